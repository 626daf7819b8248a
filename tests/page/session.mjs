// What the tests of the page's realtime sessions share: a door before the server that counts sockets and can cut them, what of a
// page is looked at, and how one asks.

import assert from "node:assert/strict";
import net from "node:net";
import { after } from "node:test";
import * as the from "./harness.mjs";
import { clauses, samples, stub } from "./session-stub.mjs";
import * as talk from "./talk.mjs";

export * from "./talk.mjs";
export { clauses, samples };

/** Who answers on the socket where a test does not need one that fails as it is told to: the server, or the stub. */
const IS_STUB = process.env.EVENSONG_REALTIME === "stub";
/** The browser's own lines about a socket that does not come about. */
export const CUT = /^WebSocket connection to|^Failed to load resource/;

const doors = new Set();
after(() => doors.forEach((door) => door.close()));

/**
 * A door: {url, open, opened, asked, shut, shuts, most, takes, cut(), stub}. `open` sockets of sessions are held through it, `opened` were
 * ever; `asked` has their heads. `cut()` breaks them off; while `shut`, nobody comes in, and `shuts` counts who tried. Of what a socket is
 * sent `most` bytes pass, and of what it sends the pieces that `takes()` allows. With `isStub` sessions are those of a stub.
 */
export async function door({ isStub = IS_STUB } = {}) {
    const { hostname, port } = new URL(the.URL_OF);
    const server = net.createServer((near) => come(near));
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const own = { open: new Set(), opened: 0, asked: [], shut: false, shuts: 0, most: Infinity, takes: () => true, stub: isStub ? await stub() : null };
    const all = new Set();
    function come(near) {
        all.add(near);
        near.on("error", () => {});
        near.on("close", () => all.delete(near));
        near.once("data", (head) => {
            const isSession = head.toString("latin1").startsWith("GET /v1/realtime");
            if (isSession && own.shut) {
                own.shuts += 1;
                return near.destroy();
            }
            const far = net.connect(isSession && isStub ? own.stub.port : Number(port), hostname);
            far.on("error", () => {});
            far.write(head);
            far.on("close", () => near.destroy());
            near.on("close", () => far.destroy());
            if (!isSession) return near.pipe(far).pipe(near);
            near.on("data", (bytes) => own.takes() && far.write(bytes));
            let passed = 0;
            far.on("data", (bytes) => {
                near.write(bytes);
                passed += bytes.length;
                if (passed > own.most) far.pause();
            });
            own.asked.push(head.toString("latin1"));
            own.opened += 1;
            own.open.add(near);
            near.on("close", () => own.open.delete(near));
        });
    }
    own.url = `http://127.0.0.1:${server.address().port}/`;
    own.cut = () => own.open.forEach((near) => near.destroy());
    own.close = () => {
        server.close();
        all.forEach((near) => near.destroy());
    };
    doors.add(own);
    return own;
}

/** A page that talks over one socket, through a door. Gives what it sent and what it was sent as well. `isLocked`: a key is asked for. */
export async function session(browser, door, { init = () => {}, isLocked = false, ...options } = {}) {
    await the.shelve(talk.TALE);
    const sent = [];
    const came = [];
    const before = async (page) => {
        page.on("websocket", (socket) => {
            socket.on("framesent", ({ payload }) => sent.push(JSON.parse(payload)));
            socket.on("framereceived", ({ payload }) => came.push(JSON.parse(payload)));
        });
        await options.before?.(page);
        await page.addInitScript(() => location.protocol === "http:" && localStorage.setItem("evensong.socket", "on"));
        await page.addInitScript(recordSamples);
        await page.addInitScript(init);
    };
    const opened = await the.open(browser, { ...options, url: door.url, before });
    if (!isLocked) await the.until("the voices", async () => (await opened.page.textContent("#voice-name")).includes("Alloy"));
    return { ...opened, sent, came };
}

/** Remembers, in the page, all samples that its players are given, a list for each of them. */
function recordSamples() {
    globalThis.given = [];
    // Weakly: what is remembered must not be what grows.
    const players = new WeakMap();
    const post = MessagePort.prototype.postMessage;
    MessagePort.prototype.postMessage = function (message, ...rest) {
        if (message?.pcm) {
            if (!players.has(this)) globalThis.given.push(players.set(this, []).get(this));
            players.get(this).push(...message.pcm);
        }
        return post.call(this, message, ...rest);
    };
}

/** The samples that the n-th player was given. */
export const given = (page, n = -1) => page.evaluate((n) => globalThis.given.at(n) ?? [], n);
/** All samples of what the server has sent of its last answer, as it came. */
export function arrived(came) {
    const sound = names(came, "response.output_audio.delta");
    const last = sound.filter(({ item_id: item }) => item === sound.at(-1).item_id);
    const bytes = Buffer.concat(last.map(({ delta }) => Buffer.from(delta, "base64")));
    return new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
}

/** All events that a session told, over however many sockets: each came once, in order, and none is missing. */
export function gapless(came) {
    const told = came.filter(({ type }) => type !== "evensong.resumed").map(({ event_id: id }) => Number(id.replace("event_", "")));
    assert.deepEqual(told, told.map((_, n) => n + 1));
}

/** Seconds that were heard. */
export const heard = async (page) => parseFloat(await page.textContent("[data-field=played]")) || 0;
export const names = (events, type) => events.filter((event) => event.type === type);

export function sounds(page, least = 0.3) {
    return the.until("it sounds", async () => (await talk.phase(page)) === "speaking" && (await heard(page)) > least, 10_000);
}

/** All that one answer was sent as, over however many sockets: nothing twice, and nothing missing. */
export function exact(actual, expected) {
    assert.equal(actual.length, expected.length, "samples");
    const at = expected.findIndex((sample, n) => sample !== actual[n]);
    assert.equal(at, -1, `sample ${at} is another`);
}
