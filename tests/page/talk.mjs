// What the tests of the dialogue share: what is asked and looked at, documents that answer, and a door of their own before the
// real server, at which what passes is written down, answered otherwise, or cut.

import assert from "node:assert/strict";
import http from "node:http";
import { after } from "node:test";
import * as the from "./harness.mjs";
import { book } from "./shelf.mjs";

/** What is answered from it lasts some seconds. */
export const TALE = book(1, {
    title: "The quorble",
    text: "A quorble sleeps under the bridge until the bells have rung. Then it walks along the river, counts the boats, and sings to the lamps.",
    creator: "Ada Teller",
});
export const QUESTION = "Where does a quorble sleep?";
/** So slow that it lasts half a minute. */
export const SLOWLY = (page) => page.press("#speed", "Home");

export const phase = (page) => page.evaluate(() => document.getElementById("dialogue").dataset.state);
export const said = (page) => page.textContent("#dialogue-state");
export const caption = (page, n = -1) => page.locator(".turn .caption").nth(n).textContent();
export const note = (page, n = -1) => page.locator(".turn .note").nth(n).textContent();
export const asked = (page) => page.locator(".turn .asked span:last-child").allTextContents();
export const currentTime = (page) => page.evaluate(() => document.querySelector("#dialogue-ear audio")?.currentTime ?? 0);
export const marked = (page) => page.evaluate(() => document.querySelectorAll(".turn:last-child .said").length);

export async function ask(page, text) {
    await page.fill("#question", text);
    await page.press("#question", "Enter");
}

export function speaks(page, least = 0.3) {
    return the.until("it speaks", async () => (await currentTime(page)) > least, 10_000);
}

export function answered(page, ms = 30_000) {
    return the.until("the end", async () => (await said(page)) === "Answered.", ms);
}

/** Nothing sounds, and the server holds nothing for it. */
export async function still(page) {
    await the.until("silence", async () => (await phase(page)) === "idle", 1_000);
    assert.equal(await page.locator("audio").count(), 0);
    await gone();
}

/** No dialogue lives. */
export function gone(ms = 2_000) {
    const kinds = ["dialogue", "dialogue_listener", "turn"];
    return the.until("the dialogue is gone", async () => {
        const ledger = await the.ledger();
        return kinds.every((kind) => the.live(ledger.kinds, kind) === 0);
    }, ms);
}

/** The requests by which questions were asked. */
export const questions = ({ seen }) => seen.requests.filter((request) => request.url().endsWith("/api/voice/converse"));
/** The streams by which answers came. */
export const streams = ({ seen }) => seen.requests.filter((request) => request.url().includes("/api/voice/open-stream"));

/** A page where `TALE` and others answer. */
export async function talk(browser, options = {}, ...documents) {
    await the.shelve(TALE, ...documents);
    const opened = await the.open(browser, options);
    await the.until("the voices", async () => (await opened.page.textContent("#voice-name")).includes("Alloy"));
    return opened;
}

/** Doors that are open; they are closed when their file is through. */
const doors = new Set();
after(() => doors.forEach((close) => close()));

/**
 * A door: {url, calls, events, cut(), shut, instead}. `calls` are requests to /api/voice {method, path, headers, body};
 * `events` are those that passed, {line, id, name, data}, with the number of their stream. `cut()` breaks the streams off, and
 * while `shut` is set nobody comes in. Of each stream `most` bytes pass until there was a cut. `instead(call, response)` may answer itself, which it says by true.
 */
export async function door() {
    const target = new URL(the.URL_OF);
    const own = { calls: [], events: [], shut: false, most: Infinity, instead: () => false };
    const open = new Set();
    const server = http.createServer(async (request, response) => {
        const body = await whole(request);
        const call = { method: request.method, path: request.url, headers: request.headers, body };
        const isOurs = request.url.startsWith("/api/voice/");
        if (isOurs) own.calls.push(call);
        if (own.shut) return request.socket.destroy();
        if (isOurs && (await own.instead(call, response))) return;
        pass(call, response);
    });
    let lines = 0;
    function pass(call, response) {
        const { method, path, headers, body } = call;
        const onward = http.request({ host: target.hostname, port: target.port, method, path, headers: { ...headers, host: target.host, ...(headers.origin && { origin: target.origin }) } });
        onward.on("response", (answer) => {
            response.writeHead(answer.statusCode, answer.headers);
            if (!/open-stream/.test(path)) return answer.pipe(response);
            lines += 1;
            const stream = { response, onward, note: noting(own.events, lines) };
            open.add(stream);
            let passed = 0;
            answer.on("data", (bytes) => {
                stream.note(bytes);
                response.write(bytes);
                passed += bytes.length;
                if (passed > own.most) answer.pause();
            });
            answer.on("end", () => response.end());
            response.on("close", () => {
                open.delete(stream);
                onward.destroy();
            });
        });
        onward.on("error", () => response.destroy());
        response.on("close", () => response.writableFinished || onward.destroy());
        onward.end(body);
    }
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    own.url = `http://127.0.0.1:${server.address().port}/`;
    own.cut = () => {
        own.most = Infinity;
        for (const { response, onward } of open) {
            onward.destroy();
            response.socket?.destroy();
        }
    };
    doors.add(() => {
        server.closeAllConnections();
        server.close();
    });
    return own;
}

/** A stream of events of the test's own making: tell(name, data), end(). */
export function tells(response, epoch = 1) {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    let number = 0;
    const tell = (name, data) => {
        number += 1;
        response.write(`id: ${epoch}.${number}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
    };
    return { tell, end: () => response.end() };
}

/** What a question is answered with where the test answers. */
export function accepts(response, id = "0".repeat(32), epoch = 1) {
    response.writeHead(202, { "content-type": "application/json" });
    response.end(JSON.stringify({
        dialogueId: id,
        epoch,
        answering: "llm",
        voice: "en-us",
        engine: "espeak",
        format: "mp3",
        thinkingIndicator: { type: "sound", asset: "/assets/thinking.mp3" },
        streams: { events: `/api/voice/open-stream?dialogueId=${id}&capability=1`, audio: "/none" },
    }));
    return true;
}

/** A refusal as the server's own. */
export function refuses(response, status, type, detail, headers = {}) {
    response.writeHead(status, { "content-type": "application/problem+json", ...headers });
    response.end(JSON.stringify({ type, title: type, status, detail }));
    return true;
}

async function whole(request) {
    const parts = [];
    for await (const part of request) parts.push(part);
    return Buffer.concat(parts).toString();
}

function noting(events, line) {
    let rest = "";
    return (bytes) => {
        rest += bytes.toString();
        const parts = rest.split("\n\n");
        rest = parts.pop();
        for (const part of parts) {
            const field = (name) => new RegExp(`^${name}: (.*)$`, "m").exec(part)?.[1];
            if (field("id")) events.push({ line, id: field("id"), name: field("event"), data: JSON.parse(field("data")) });
        }
    };
}
