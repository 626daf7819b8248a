// The last five minutes of the server, and what its memory watch says: filled at once, live, with gaps where
// nothing was seen; alarms that cannot be overlooked and are said once; and answers of servers of another age.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import { PHONE, SHOTS, faint } from "./looks.mjs";

let browser;
before(async () => {
    await mkdir(SHOTS, { recursive: true });
    browser = await the.launch();
});
after(() => browser.close());

const MIB = 2 ** 20;

/** An answer of /api/status; `streams(n)` of the n-th of its thirty samples. */
function status({ state = "flat", findings = [], streams = () => 0, ...memory } = {}) {
    const samples = Array.from({ length: 30 }, (_, n) => ({
        age_ms: (30 - n) * 10_000 - 5_000,
        rss_bytes: 30 * MIB,
        allocated_bytes: 9 * MIB,
        reserved_bytes: 40_960 + streams(n) * 440 * 1024,
        held_bytes: streams(n) * 90_000,
        kernel_bytes: 0,
        connections: 1,
        speech_streams: streams(n),
    }));
    return {
        status: "ok",
        uptime_seconds: 400,
        budget: { total: 256 * MIB, reserved: 40_960, held: 0 },
        live: { connection: 1, speech_stream: 0, worker: 2 },
        engines: [{ name: "espeak", ready: true, detail: null }],
        formats: ["mp3", "wav"],
        memory: {
            state,
            findings,
            rss_bytes: 30 * MIB,
            allocated_bytes: 9 * MIB,
            slope: { bytes_per_minute: 120_000, low: -300_000, high: 540_000 },
            interval_seconds: 10,
            samples,
            ...memory,
        },
    };
}

/** The page with a server whose status is what `answers` gives next; anything but an object is its refusal. */
async function told(answers, options = {}) {
    let asked = 0;
    const opened = await the.open(browser, {
        ...options,
        before: (page) =>
            page.route("**/api/status", (route) => {
                const answer = answers(asked++);
                if (typeof answer === "number") return route.fulfill({ status: answer, body: "" });
                return route.fulfill({ contentType: "application/json", body: JSON.stringify(answer) });
            }),
    });
    await the.until("the status was asked", () => asked > 0);
    return { ...opened, asked: () => asked };
}

const line = (page, lane, name = "line") => page.getAttribute(`[data-lane=${lane}] .${name}`, "d");
const runs = (path) => path.split("M").length - 1;

test("five minutes are there at once, of what the server remembers", async () => {
    const opened = await told(() => status({ streams: (n) => (n > 9 && n < 20 ? 12 : 0) }));
    const { page } = opened;
    const steps = await the.until("the lane is drawn", async () => (await line(page, "streams")) || undefined);
    assert.equal(runs(steps), 1, "nothing is missing");
    assert.ok(steps.split("V").length >= 30, `as many points as samples: ${steps}`);
    const first = Number(/M([\d.]+)/.exec(steps)[1]);
    assert.ok(first < 15, `it begins at the left: ${first}`);
    assert.equal(await page.textContent("[data-lane=streams] b"), "12");
    assert.match(await page.textContent("[data-lane=held] b"), /^5\.[0-9] MiB$/);
    const words = await page.textContent("[data-words]");
    assert.match(words, /memory between 30 MiB and 30 MiB, .* up to 12 streams at once/);
    the.unblemished(opened);
});

test("then it goes on, and what was not seen stays a gap", async () => {
    // Nothing remembered; two answers, two refusals, and answers again.
    const opened = await told((n) => (n === 2 || n === 3 ? 503 : status({ samples: [] })));
    const { page, asked } = opened;
    await the.until("two answers", () => asked() > 1);
    await the.until("a gap", async () => asked() > 5 && runs(await line(page, "memory")) === 2, 20_000);
    assert.equal(await page.textContent("[data-field=rss]"), "30 MiB");
    the.unblemished(opened, { expected: /503/ });
});

for (const [state, mood, words] of [
    ["off", "wait", "The memory watch is off"],
    ["starting", "wait", "Memory: watching begins"],
    ["flat", "good", "Memory: flat"],
    ["growing", "warn", "Memory: growing"],
    ["disagrees", "bad", "The books disagree"],
    ["leak_suspected", "bad", "Leak suspected"],
    ["dozing", "wait", "Memory: dozing"],
]) {
    test(`${state} is said with words and a colour`, async () => {
        const opened = await told(() => status({ state }));
        const { page } = opened;
        await the.until("the words", async () => (await page.textContent("#verdict [data-state]")) === words);
        assert.equal(await page.getAttribute("#verdict", "data-mood"), mood);
        assert.equal(await page.textContent("[data-slope]"), "Allocated: +0.12 MB a minute, between −0.3 and +0.54");
        the.unblemished(opened);
    });
}

test("findings are words, whatever is in them, and an alarm is said once", async () => {
    const findings = ["speech_stream: 3 alive while no client is connected", "<img src=x onerror=alert(1)>"];
    const opened = await told((n) => status(n < 2 ? {} : { state: "leak_suspected", findings }), {
        init: () =>
            addEventListener("DOMContentLoaded", () => {
                globalThis.said = [];
                const state = document.querySelector("#verdict [data-state]");
                const note = () => globalThis.said.push(state.textContent);
                new MutationObserver(note).observe(state, { childList: true, characterData: true, subtree: true });
            }),
    });
    const { page, asked } = opened;
    await the.until("five more answers", () => asked() > 6, 15_000);
    const items = await page.locator("[data-findings] li").allTextContents();
    assert.deepEqual(items, findings);
    assert.equal(await page.locator("#verdict img").count(), 0);
    assert.equal(await page.getAttribute("#verdict [data-state]", "role"), "status");
    assert.deepEqual(await page.evaluate(() => globalThis.said), ["Memory: flat", "Leak suspected"]);
    the.unblemished(opened);
});

test("an alarm goes when it is over", async () => {
    const opened = await told((n) => status(n < 2 ? { state: "leak_suspected", findings: ["task: 1 alive"] } : {}));
    const { page } = opened;
    await the.until("the alarm", () => page.isVisible("[data-findings]"));
    await the.until("it is over", () => page.isHidden("[data-findings]"));
    assert.equal(await page.textContent("#verdict [data-state]"), "Memory: flat");
    the.unblemished(opened);
});

const ODD = [
    {},
    { memory: null, live: null, budget: "x", engines: {} },
    { ...status(), memory: { rss_bytes: 5 * MIB } },
    status({ samples: "x", slope: { low: "x" }, findings: "y" }),
    status({ samples: [null, 5, {}, { age_ms: "a" }, { age_ms: -5 }], slope: {}, findings: [1, null] }),
    status({ rss_bytes: 1e300, samples: [{ age_ms: 20_000, rss_bytes: -1, speech_streams: 1e18 }] }),
    { ...status(), memory: [] },
];

test("answers of servers of another age break nothing", async () => {
    const opened = await told((n) => ODD[n] ?? status());
    const { page, asked } = opened;
    await the.until("all of them were shown", () => asked() > ODD.length + 1, 20_000);
    await the.until("and the next is", async () => (await page.textContent("#verdict [data-state]")) === "Memory: flat");
    assert.match(await page.textContent("#pulse"), /Ready: espeak/);
    assert.doesNotMatch(await page.textContent("#server"), /NaN|undefined|Infinity|null/);
    the.unblemished(opened);
});

for (const colorScheme of ["light", "dark"]) {
    test(`an alarm fits a phone, ${colorScheme}`, async () => {
        const findings = [`speech_stream: ${"3 alive while no client is connected, ".repeat(4)}`, "x".repeat(120)];
        const options = { ...PHONE, colorScheme };
        const opened = await told(() => status({ state: "leak_suspected", findings }), options);
        const { page } = opened;
        await the.until("the alarm", () => page.isVisible("[data-findings]"));
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= PHONE.viewport.width, `${wide} px wide`);
        assert.deepEqual(await page.evaluate(faint), [], "less contrast than AA");
        await page.locator("#server").screenshot({ path: new URL(`alarm-${colorScheme}.png`, SHOTS).pathname });
        the.unblemished(opened);
    });
}

test("a stream of one's own goes up and down", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    const streams = () => page.textContent("[data-lane=streams] b");
    await the.until("the watch is shown", () => page.isVisible("#verdict"));
    await page.fill("#text", the.LONG);
    await page.click("#speak");
    await the.until("it goes up", async () => Number(await page.textContent("#server [data-field=streams]")) >= 1, 10_000);
    assert.ok(Number(await streams()) >= 1);
    await page.click("#stop");
    await the.until("and down", async () => (await page.textContent("#server [data-field=streams]")) === "0", 10_000);
    const path = await line(page, "streams");
    assert.ok(path.split("V").length > 3, path);
    the.unblemished(opened);
});
