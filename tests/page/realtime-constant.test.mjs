// What a page holds does not grow, however long it is talked with over one socket: listeners, timers, sockets, nodes and audio
// contexts, over hundreds of turns, reconnections and visits.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import * as one from "./session.mjs";

/** So many turns fill the conversation, which keeps the last forty. */
const WARM = 45;
const TURNS = 200;
const CUTS = 50;
const VISITS = 100;

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

/** Counts, in the page, timers that are set, whoever set them. */
function countTimers() {
    globalThis.timers = new Set();
    const { setTimeout: set, clearTimeout: clear, setInterval: every } = globalThis;
    globalThis.setTimeout = (act, ms, ...rest) => {
        const timer = set(() => {
            globalThis.timers.delete(timer);
            act(...rest);
        }, ms);
        globalThis.timers.add(timer);
        return timer;
    };
    globalThis.setInterval = (act, ms, ...rest) => {
        const timer = every(act, ms, ...rest);
        globalThis.timers.add(timer);
        return timer;
    };
    globalThis.clearTimeout = globalThis.clearInterval = (timer) => {
        globalThis.timers.delete(timer);
        clear(timer);
    };
}

/** Counts, in the page, sockets that are not closed. */
function countSockets() {
    globalThis.sockets = new Set();
    const Real = globalThis.WebSocket;
    globalThis.WebSocket = class extends Real {
        constructor(...where) {
            super(...where);
            globalThis.sockets.add(this);
            // As a property, which counts as no listener.
            this.onclose = () => globalThis.sockets.delete(this);
        }
    };
}

/** A page that counts, and what it holds when nothing is said: after its garbage was collected. */
async function counted(door) {
    const opened = await one.session(browser, door, {
        before: async (page) => {
            for (const count of [countTimers, countSockets, the.countBorrowed]) await page.addInitScript(count);
        },
    });
    const { page } = opened;
    const cdp = await page.context().newCDPSession(page);
    await cdp.send("Performance.enable");
    const listened = async (expression) => {
        const { result } = await cdp.send("Runtime.evaluate", { expression });
        const { listeners } = await cdp.send("DOMDebugger.getEventListeners", { objectId: result.objectId });
        return listeners.length;
    };
    async function holds() {
        await cdp.send("HeapProfiler.collectGarbage");
        const { metrics } = await cdp.send("Performance.getMetrics");
        const metric = (name) => metrics.find((one) => one.name === name).value;
        const here = await page.evaluate(() => ({
            timers: globalThis.timers.size,
            sockets: globalThis.sockets.size,
            urls: globalThis.borrowed.urls.size,
            contexts: globalThis.borrowed.contexts.size,
            elements: document.querySelectorAll("*").length,
        }));
        // Nodes are counted as elements: the browser keeps the texts of a box that was written in, for its undo.
        return { listeners: metric("JSEventListeners"), audio: metric("AudioHandlers"), window: await listened("window"), document: await listened("document"), ...here, atTheDoor: door.open.size };
    }
    return { ...opened, holds, heap: async () => (await cdp.send("Runtime.getHeapUsage")).usedSize };
}

/** It holds no more than it held, of anything; what the page does once a second may be under way when it is looked at, or was. */
async function noMore(opened, before, when) {
    let now;
    const more = () => Object.keys(before).filter((what) => now[what] > before[what]);
    const isNoMore = async () => (now = await opened.holds()) && more().length === 0;
    await the.until("it holds no more", isNoMore, 15_000).catch(() => assert.deepEqual(now, before, `${when}: ${more()}`));
}

/** The least that it holds at rest: between two looks at the server's state. */
async function atRest(opened) {
    const seen = [];
    await the.until("some looks", async () => seen.push(await opened.holds()) === 15, 15_000);
    return seen.reduce((least, one) => (one.timers + one.listeners < least.timers + least.listeners ? one : least));
}

/** A turn: asked, heard, and stopped, or heard to its end: one in two of a stub's, which are short, one in ten of a server's. */
async function turn({ page }, n, door) {
    const given = await page.evaluate(() => globalThis.given.length);
    await one.ask(page, one.QUESTION);
    await the.until("it sounds", () => page.evaluate((given) => globalThis.given.length > given && document.getElementById("dialogue").dataset.state !== "asking", given));
    if (n % (door.stub ? 2 : 10) > 0) await page.keyboard.press("Escape");
    else await the.until("the end", async () => (await one.phase(page)) === "idle", 20_000);
    await page.evaluate(() => (globalThis.given = []));
}

async function cut({ page }, door) {
    const { opened } = door;
    door.cut();
    // Who is cut off again and again waits longer each time, up to five seconds.
    await the.until("it is back", () => door.opened === opened + 1, 10_000);
    await the.until("it says so", async () => /^Gone on after/.test(await one.said(page)));
}

function short(door) {
    if (door.stub) Object.assign(door.stub, { answer: () => [{ text: "Under the bridge.", ms: 120 }], everyMs: 5, burst: 2, thinks: 1 });
}

test(`${TURNS} turns and ${CUTS} reconnections: what the page holds is constant`, async (t) => {
    const door = await one.door();
    short(door);
    const opened = await counted(door);
    const { page } = opened;
    await page.press("#speed", "End");
    for (let n = 0; n < WARM; n += 1) await turn(opened, n, door);
    await cut(opened, door);
    const before = await atRest(opened);
    const heap = await opened.heap();
    for (let n = 0; n < TURNS; n += 1) {
        await turn(opened, n, door);
        if (n % (TURNS / CUTS) === 0) await cut(opened, door);
    }
    assert.equal(door.opened, CUTS + 2);
    await noMore(opened, before, "it grows");
    const kib = Math.round(((await opened.heap()) - heap) / 1024);
    t.diagnostic(`${JSON.stringify(before)}, heap ${kib} KiB more`);
    assert.ok(kib < 2_048, `${kib} KiB more`);
    assert.equal(before.sockets, 1);
    assert.equal(before.atTheDoor, 1);
    the.unblemished(opened, { expected: one.CUT });
});

test(`${VISITS} visits, each left while it speaks: what the page holds is constant, and no socket is left`, async (t) => {
    const door = await one.door();
    short(door);
    if (door.stub) door.stub.answer = () => one.clauses(5);
    const opened = await counted(door);
    const { page } = opened;
    let before = null;
    for (let n = 0; n <= VISITS; n += 1) {
        await page.goto(door.url);
        await the.until("no socket is left", () => door.open.size === 0);
        if (n === 1) before = await atRest(opened);
        await one.ask(page, one.QUESTION);
        await the.until("it speaks", async () => (await one.phase(page)) === "speaking", 10_000);
        assert.equal(door.open.size, 1);
    }
    await page.goto(door.url);
    await the.until("no socket is left", () => door.open.size === 0);
    await noMore(opened, before, "it grows");
    assert.equal(door.opened, VISITS + 1);
    t.diagnostic(JSON.stringify(before));
    the.unblemished(opened, { expected: one.CUT });
});
