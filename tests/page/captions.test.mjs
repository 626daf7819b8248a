// An answer's words: as they are written, found again as they are spoken, marked in time, and told; and the events in which they
// come, however the bytes are cut.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

/** Writes `pieces`, speaks `spoken` a word each 100 ms, and gives what is shown at each of `times`. */
async function captions(pieces, spoken, times) {
    const { page } = await the.open(browser);
    return page.evaluate(async ({ pieces, spoken, times }) => {
        const { Captions } = await import("/assets/captions.js");
        const root = document.createElement("p");
        const told = [];
        const captions = new Captions(root, { sentence: (text) => told.push(text) });
        for (const piece of pieces) captions.write(piece);
        const text = root.textContent;
        captions.time(spoken.split(" ").map((word, i) => ({ word, start_ms: 100 * i, end_ms: 100 * i + 90 })));
        const at = times.map((ms) => {
            captions.mark(ms);
            return [captions.now?.textContent ?? null, [...root.querySelectorAll(".said")].map((node) => node.textContent).filter(Boolean).join(" ")];
        });
        const heard = times.map((ms) => captions.heard(ms));
        captions.settle();
        return { text, at, heard, told, settled: root.textContent, nodes: root.childElementCount };
    }, { pieces, spoken, times });
}

test("written in pieces, spoken in words", async () => {
    const { text, at, heard, told, settled, nodes } = await captions(["Good ev", "ening,", " all. So", " it", " is."], "Good evening, all. So it is.", [0, 150, 200, 560]);
    assert.equal(text, "Good evening, all. So it is.");
    assert.deepEqual(at, [["Good", "Good"], ["evening,", "Good evening,"], ["all.", "Good evening, all."], ["is.", "Good evening, all. So it is."]]);
    assert.deepEqual(heard, ["", "Good evening,", "Good evening,", "Good evening, all. So it is."]);
    assert.deepEqual(told, ["Good evening, all.", "So it is."]);
    assert.deepEqual([settled, nodes], [text, 0]);
});

test("Markdown is not shown, and what is not spoken goes along", async () => {
    const written = "# The *ring*\n\nIt is **a `queue`** of [counted pages](https://x.test/y), 👍 see [1] and snake_case.\n- one\n- two";
    const { text, at, told } = await captions([written], "The ring It is a queue of counted pages, see [1] and snake_case. one two", [800, 1000, 1500]);
    assert.equal(text.replace(/\s+/g, " ").trim(), "The ring It is a queue of counted pages, 👍 see [1] and snake_case. • one • two");
    assert.deepEqual(at.map(([now]) => now), ["pages,", "[1]", "two"]);
    assert.match(told[0], /^\s*The ring$/);
});

test("words that are spoken otherwise than written lose nobody the place", async () => {
    const spoken = "It costs one hundred and twenty three pounds on Donaudampfschifffahrtsgesellschafts kapitaen day six";
    const { at } = await captions(["It costs £123 on Donaudampfschifffahrtsgesellschaftskapitaen day six"], spoken, [150, 500, 850, 1000, 1150, 1250]);
    assert.deepEqual(at.map(([now]) => now), ["costs", "costs", "on", "Donaudampfschifffahrtsgesellschaftskapitaen", "day", "six"]);
});

test("whatever an answer says is text", async () => {
    const { text, settled } = await captions(["<img src=x onerror=alert(1)> & <b>so</b>"], "img so", [0]);
    assert.equal(text, "<img src=x onerror=alert(1)> & <b>so</b>");
    assert.equal(settled, text);
});

test("events, however their bytes are cut; what has no end is refused", async () => {
    const { page } = await the.open(browser);
    const wire = 'retry: 1000\n\nid: 1.1\nevent: text\ndata: {"text":"für 👍"}\n\n: nothing\n\nevent: heartbeat\ndata: {}\n\nid: 1.2\r\nevent: audio\r\ndata: {"a":\r\ndata: 1}\r\n\r\n';
    const found = await page.evaluate(async (wire) => {
        const { Events } = await import("/assets/sse.js");
        const bytes = new TextEncoder().encode(wire);
        const all = [];
        for (const size of [1, 2, 7, 1000]) {
            const events = new Events();
            const seen = [];
            for (let at = 0; at < bytes.length; at += size) seen.push(...events.push(bytes.subarray(at, at + size)));
            all.push(JSON.stringify(seen));
        }
        const endless = new Events();
        let refused = null;
        try {
            for (let i = 0; i < 40; i += 1) [...endless.push(new Uint8Array(100_000).fill(97))];
        } catch (error) {
            refused = error.message;
        }
        return { all: [...new Set(all)], refused };
    }, wire);
    assert.deepEqual(found.all.map((one) => JSON.parse(one)), [[
        { id: "1.1", name: "text", data: { text: "für 👍" } },
        { id: "1.1", name: "heartbeat", data: {} },
        { id: "1.2", name: "audio", data: { a: 1 } },
    ]]);
    assert.equal(found.refused, "an event has no end");
});
