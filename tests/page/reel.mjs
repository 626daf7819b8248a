// Media for the gallery's tests: pictures that move, made here, and a server that has as many of them as a test wants, before
// the real one, which answers all the rest. It serves them as Evensong does: hashed names, for a year, with tags.

import { createHash } from "node:crypto";
import http from "node:http";
import { after } from "node:test";
import { URL_OF, until } from "./harness.mjs";

const WIDTH = 120;
const HEIGHT = 90;
const FRAMES = 2;
const servers = new Set();
after(() => servers.forEach((close) => close()));

/** A GIF of two frames; `seed` gives it its own colours and bytes. */
export function gif(seed) {
    const short = (number) => [number & 255, number >> 8];
    const colours = Array.from({ length: 128 }, (_, n) => [n * 2, (seed * 53) % 256, (255 - n * 2 + seed * 29) % 256]).flat();
    const parts = [Buffer.from("GIF89a"), Buffer.from([...short(WIDTH), ...short(HEIGHT), 0xf6, 0, 0, ...colours])];
    parts.push(Buffer.from([0x21, 0xff, 11]), Buffer.from("NETSCAPE2.0"), Buffer.from([3, 1, 0, 0, 0]));
    for (let frame = 0; frame < FRAMES; frame += 1) {
        parts.push(Buffer.from([0x21, 0xf9, 4, 0, 40, 0, 0, 0, 0x2c, 0, 0, 0, 0, ...short(WIDTH), ...short(HEIGHT), 0, 7]));
        const codes = [];
        for (let at = 0; at < WIDTH * HEIGHT; at += 1) {
            // 128 empties the decoder's table before a code would need more than eight bits: each is one byte.
            if (at % 100 === 0) codes.push(128);
            codes.push(((at % WIDTH) + Math.floor(at / WIDTH) * (frame + 1) + seed * 7) % 128);
        }
        codes.push(129);
        for (let at = 0; at < codes.length; at += 255) {
            const block = codes.slice(at, at + 255);
            parts.push(Buffer.from([block.length, ...block]));
        }
        parts.push(Buffer.from([0]));
    }
    return Buffer.concat([...parts, Buffer.from([0x3b])]);
}

/** So many files as a listing tells them, with their bytes. */
export function reel(count, first = 0) {
    return Array.from({ length: count }, (_, n) => {
        const name = `dusk-${String(first + n).padStart(4, "0")}.gif`;
        const body = gif(first + n);
        const hash = createHash("sha256").update(body).digest("hex").slice(0, 32);
        const url = `/media/${name.replace(".gif", `.${hash}.gif`)}`;
        return { name, url, bytes: body.length, type: "image/gif", modified: "2026-11-23T10:00:00Z", body };
    });
}

export const weight = (files) => files.reduce((sum, { bytes }) => sum + bytes, 0);

/**
 * A server before the real one: {url, files, listings, fetched, refuse}. `files` may be changed; `refuse(path)` gives a status
 * for what is not to be answered well, with a body if it is a problem.
 */
export async function projector(files) {
    const it = { files, listings: [], fetched: [], refuse: () => null };
    const server = http.createServer((request, response) => {
        const address = new URL(request.url, URL_OF);
        if (!address.pathname.startsWith("/media/")) return pass(request, response);
        const refused = it.refuse(address.pathname);
        if (refused) {
            const { status, headers = {}, ...problem } = refused;
            response.writeHead(status, { "content-type": "application/problem+json", ...headers });
            return response.end(JSON.stringify({ status, title: "Refused", ...problem }));
        }
        if (address.pathname === "/media/") return listing(it, address.searchParams, response);
        it.fetched.push(address.pathname);
        const file = it.files.find(({ url }) => url === address.pathname);
        if (!file) return response.writeHead(404).end();
        const headers = { "cache-control": "public, max-age=31536000, immutable", etag: `"${file.url}"` };
        response.writeHead(200, { ...headers, "content-type": file.type, "content-length": file.bytes });
        response.end(file.body);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    servers.add(() => {
        server.close();
        server.closeAllConnections();
    });
    return Object.assign(it, { url: `http://127.0.0.1:${server.address().port}/` });
}

function listing(it, query, response) {
    const [after, limit] = [query.get("after") ?? "", Number(query.get("limit"))];
    it.listings.push(after);
    const behind = it.files.filter(({ name }) => name > after);
    const page = behind.slice(0, limit).map(({ body: _, ...file }) => file);
    const next = behind.length > limit ? page.at(-1).name : null;
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ files: page, next }));
}

/** To the real server, and back. */
function pass(request, response) {
    const { hostname, port } = new URL(URL_OF);
    const { url: path, method, headers } = request;
    const onward = http.request({ hostname, port, path, method, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
}

/** Scrolls to the gallery. */
export const look = (page) => page.locator("#gallery").scrollIntoViewIfNeeded();

/** What the gallery says of itself. */
export const tally = (page) =>
    page.evaluate(() => {
        const said = (name) => document.querySelector(`#gallery [data-field=${name}]`).textContent;
        return { shown: said("shown"), moved: said("moved"), cached: said("cached") };
    });

/** Scrolls through the gallery until so many have come. */
export async function through(page, count, ms = 30_000) {
    await look(page);
    await until(
        `${count} pictures`,
        async () => {
            await page.mouse.wheel(0, 500);
            return (await tally(page)).shown === count.toLocaleString("en");
        },
        ms,
    );
}
