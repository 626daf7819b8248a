// What the page's tests stand on: the server's addresses, a browser, a page that remembers what it
// asked for and what it complained of, and a wire that can be cut.

import assert from "node:assert/strict";
import net from "node:net";
import { afterEach } from "node:test";
import { chromium } from "playwright-core";

export const URL_OF = process.env.EVENSONG_URL;
export const ADMIN = process.env.EVENSONG_ADMIN;
const CHROMIUM = process.env.EVENSONG_CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];
/** Sound that a machine without ears still plays; left out where refusal is the test. */
const MAY_PLAY = "--autoplay-policy=no-user-gesture-required";

if (!URL_OF || !ADMIN) {
    console.error("EVENSONG_URL and EVENSONG_ADMIN must name a running server, as http://127.0.0.1:8080");
    process.exit(2);
}

/** Long enough to be still under way when a test looks: minutes of speech. */
export const LONG = "The bell rang over the river, and the ferryman listened to it. ".repeat(60).trim();
export const SHORT = "Good evening.";

/** What a test has opened; closed after it, also when it failed. */
const opened = new Set();
afterEach(async () => {
    for (const close of opened) await close();
    opened.clear();
});

/** A browser; `autoplay: false` one that asks for a gesture before it plays. */
export function launch({ autoplay = true } = {}) {
    return chromium.launch({ executablePath: CHROMIUM, args: autoplay ? [...FLAGS, MAY_PLAY] : FLAGS });
}

/** A browser for one test that refuses to play by itself. */
export async function launchStrict() {
    const browser = await launch({ autoplay: false });
    opened.add(() => browser.close());
    return browser;
}

/** A page of its own profile, opened; `init` runs in it before anything else. */
export async function open(browser, { init, url = URL_OF, before, ...context } = {}) {
    const own = await browser.newContext(context);
    opened.add(() => own.close());
    const page = await own.newPage();
    const seen = { requests: [], finished: new Set(), failed: new Map(), errors: [] };
    page.on("request", (request) => seen.requests.push(request));
    page.on("requestfinished", (request) => seen.finished.add(request));
    page.on("requestfailed", (request) => seen.failed.set(request, request.failure().errorText));
    page.on("pageerror", (error) => seen.errors.push(error.stack));
    page.on("console", (message) => {
        if (message.type() === "error") seen.errors.push(message.text());
    });
    if (init) await page.addInitScript(init);
    if (before) await before(page);
    await page.goto(url);
    return { page, seen, close: () => own.close(), origin: new URL(url).origin };
}

/** The requests for speech so far. */
export function speeches(seen) {
    return seen.requests.filter((request) => request.url().endsWith("/v1/audio/speech"));
}

/** No complaint but the browser's own line about an answer that the test had asked for. */
export function unblemished({ seen, origin }, { expected = /^$/ } = {}) {
    const errors = seen.errors.filter((error) => !expected.test(error));
    assert.deepEqual(errors, [], "the page complained");
    for (const request of seen.requests) {
        if (request.url().startsWith("blob:")) continue;
        assert.equal(new URL(request.url()).origin, origin, "a request to another host");
    }
}

/** Waits until `look` gives something true; fails with `what`. */
export async function until(what, look, ms = 5_000) {
    const began = performance.now();
    for (;;) {
        const found = await look();
        if (found) return found;
        assert.ok(performance.now() - began < ms, `not within ${ms} ms: ${what}`);
        await pause(20);
    }
}

export function pause(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
}

export async function ledger() {
    const response = await fetch(`${ADMIN}/debug/ledger`, { headers: { connection: "close" } });
    assert.equal(response.status, 200);
    return response.json();
}

/** The formats that this build makes. */
export async function formats() {
    return (await (await fetch(new URL("api/status", URL_OF))).json()).formats;
}

/** Puts documents in; they are taken out after the test. The server must let administrators in without a key. */
export async function shelve(...documents) {
    const lines = documents.map((document) => `${JSON.stringify(document)}\n`).join("");
    const where = new URL("api/search/documents", URL_OF);
    const response = await fetch(where, { method: "POST", body: lines });
    assert.equal(response.status, 200, "documents are not taken: is EVENSONG_INSECURE_ADMIN=true said to the server?");
    opened.add(async () => {
        for (const { id } of documents) {
            await fetch(`${where}/${encodeURIComponent(id)}`, { method: "DELETE" });
        }
    });
    const { rejected, items } = await response.json();
    assert.equal(rejected, 0, JSON.stringify(items));
}

/** How many of a kind live. */
export function live(kinds, kind) {
    return kinds.find((one) => one.kind === kind)?.live ?? 0;
}

/**
 * A wire to the server: {url, allow(bytes), cut()}. So much of each speech goes through, then that
 * connection falls silent; cut, all are gone for good.
 */
export async function wire() {
    const { hostname, port } = new URL(URL_OF);
    const sockets = new Set();
    let most = Infinity;
    const server = net.createServer((near) => {
        const far = net.connect(Number(port), hostname);
        for (const socket of [near, far]) {
            sockets.add(socket);
            socket.on("error", () => {});
            socket.on("close", () => {
                sockets.delete(socket);
                near.destroy();
                far.destroy();
            });
        }
        let left = Infinity;
        near.on("data", (bytes) => {
            if (bytes.includes("POST /v1/audio/speech")) left = most;
            far.write(bytes);
        });
        far.on("data", (bytes) => {
            left -= bytes.length;
            near.write(bytes);
            if (left <= 0) far.pause();
        });
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const cut = () => {
        server.close();
        sockets.forEach((socket) => socket.destroy());
    };
    opened.add(cut);
    const allow = (bytes) => (most = bytes);
    return { url: `http://127.0.0.1:${server.address().port}/`, allow, cut };
}

/** Counts what the page must give back: object URLs and audio contexts. */
export function countBorrowed() {
    globalThis.borrowed = { urls: new Set(), contexts: new Set() };
    const { createObjectURL, revokeObjectURL } = URL;
    URL.createObjectURL = (thing) => {
        const url = createObjectURL.call(URL, thing);
        globalThis.borrowed.urls.add(url);
        return url;
    };
    URL.revokeObjectURL = (url) => {
        globalThis.borrowed.urls.delete(url);
        revokeObjectURL.call(URL, url);
    };
    const Real = globalThis.AudioContext;
    globalThis.AudioContext = class extends Real {
        constructor(...options) {
            super(...options);
            globalThis.borrowed.contexts.add(this);
        }

        close() {
            globalThis.borrowed.contexts.delete(this);
            return super.close();
        }
    };
}

/** Speaks as soon as the page has loaded, with no gesture; the driver's own calls count as one. */
export function speakAtOnce(text) {
    addEventListener("load", () => {
        document.getElementById("text").value = text;
        document.getElementById("composer").requestSubmit();
    });
}

/** A SourceBuffer that holds six seconds, as a browser short of memory would. */
export function tightBuffer() {
    globalThis.refusals = 0;
    const append = SourceBuffer.prototype.appendBuffer;
    SourceBuffer.prototype.appendBuffer = function (bytes) {
        const { buffered } = this;
        if (buffered.length > 0 && buffered.end(buffered.length - 1) - buffered.start(0) > 6) {
            globalThis.refusals += 1;
            throw new DOMException("full", "QuotaExceededError");
        }
        append.call(this, bytes);
    };
}

/** Takes MediaSource away, as on a browser that has none. */
export function withoutMediaSource() {
    for (const name of ["MediaSource", "ManagedMediaSource", "WebKitMediaSource"]) {
        Reflect.deleteProperty(globalThis, name);
    }
}

/** Takes everything away that could play piece by piece. */
export function withoutStreaming() {
    for (const name of ["MediaSource", "ManagedMediaSource", "AudioWorkletNode"]) {
        Reflect.deleteProperty(globalThis, name);
    }
}
