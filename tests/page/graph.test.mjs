// The last five minutes of the server: filled at once, live, with gaps where nothing was seen, on scales that stay;
// and answers of servers of another age.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import { MIB, hide, status, told } from "./watch.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

const line = (page, lane, name = "line") => page.getAttribute(`[data-lane=${lane}] .${name}`, "d");
const drawn = (page, lane) => the.until("the lane is drawn", () => line(page, lane));
const top = (page, lane) => page.textContent(`[data-lane=${lane}] b`);
const runs = (path) => (path ?? "").split("M").length - 1;
const points = (path) => (path ?? "").split(" ").filter((step) => /^[ML]/.test(step)).length;
/** Where the last point of a lane stands: 47 is the ground, 3 the top. */
const newest = (path) => Number(/[\d.]+$/.exec(path)[0]);

test("five minutes are there at once, of what the server remembers", async () => {
    const opened = await told(browser, () => status({ streams: (n) => (n > 9 && n < 20 ? 12 : 0) }));
    const { page } = opened;
    const steps = await drawn(page, "streams");
    assert.equal(runs(steps), 1, "nothing is missing");
    assert.ok(steps.split("V").length >= 30, `as many points as samples: ${steps}`);
    const first = Number(/M([\d.]+)/.exec(steps)[1]);
    assert.ok(first < 15, `it begins at the left: ${first}`);
    const words = await page.textContent("[data-words]");
    assert.match(words, /memory at 30 MiB, .* up to 12 streams at once/);
    the.unblemished(opened);
});

test("the scale is round, so that it stays while a value trembles", async () => {
    const trembling = (n) => status({ rss_bytes: 30 * MIB + n * 4096, streams: () => 12, samples: undefined });
    const opened = await told(browser, (n) => (n < 4 ? trembling(n) : status({ rss_bytes: 33 * MIB, samples: [] })));
    const { page, asked } = opened;
    for (const number of [1, 2, 3]) {
        await the.until("an answer", () => asked() > number);
        assert.equal(await top(page, "memory"), "32 MiB");
    }
    await the.until("more than fits", async () => (await top(page, "memory")) === "48 MiB");
    assert.equal(await top(page, "held"), "512 KiB");
    assert.equal(await top(page, "streams"), "4");
    the.unblemished(opened);
});

test("then it goes on, and what was not seen stays a gap", async () => {
    // Nothing remembered; two answers, two refusals, and answers again.
    const opened = await told(browser, (n) => (n === 2 || n === 3 ? 503 : status({ samples: [] })));
    const { page, asked } = opened;
    await the.until("two answers", () => asked() > 1);
    await the.until("a gap", async () => asked() > 5 && runs(await line(page, "memory")) === 2, 20_000);
    assert.equal(await page.textContent("[data-field=rss]"), "30 MiB");
    the.unblemished(opened, { expected: /503/ });
});

for (const [remembered, samples, expected] of [
    ["nothing", [], 2],
    ["it", [55_000, 45_000, 35_000, 25_000, 15_000, 5_000].map((age_ms) => ({ age_ms, rss_bytes: 30 * MIB })), 1],
]) {
    test(`a minute in which nobody looked, and the server remembers ${remembered}`, async () => {
        let away = false;
        const opened = await told(browser, () => status({ samples: away ? samples : [] }), {
            before: (page) => page.clock.install(),
        });
        const { page, asked } = opened;
        await the.until("two answers", () => asked() > 1);
        await hide(page, true);
        await the.until("the last answer is shown", async () => points(await line(page, "memory")) >= asked());
        const seen = asked();
        away = true;
        await page.clock.fastForward(60_000);
        assert.equal(asked(), seen, "it asks although nobody looks");
        await hide(page, false);
        await the.until("two more", async () => points(await line(page, "memory")) >= seen + 2);
        assert.equal(runs(await line(page, "memory")), expected);
        the.unblemished(opened);
    });
}

test("it holds five minutes, however long somebody looks", async () => {
    const opened = await told(browser, () => status({ samples: [] }), { before: (page) => page.clock.install() });
    const { page, asked } = opened;
    for (let second = 0; second < 400; second += 1) {
        const before = asked();
        await page.clock.runFor(1_000);
        await the.until("an answer", () => asked() > before);
    }
    const path = await line(page, "memory");
    // A second is a little more than a second: the timer is set when the answer is there.
    assert.ok(points(path) > 100 && points(path) <= 302, `${points(path)} points`);
    const first = Number(/^M(-?[\d.]+)/.exec(path)[1]);
    assert.ok(first > -15 && first <= 0, `it begins at ${first}, not at the left edge`);
    the.unblemished(opened);
});

const ODD = {
    "an empty one": {},
    "parts of other kinds": { memory: null, live: null, budget: "x", engines: {}, formats: 5 },
    "an engine that is none": { ...status(), engines: [null, 5, { name: {} }, { name: "espeak", ready: true }] },
    "an older one": { ...status(), memory: { rss_bytes: 5 * MIB } },
    "words for numbers": status({ samples: "x", slope: { low: "x" }, findings: "y", rss_bytes: "NaN", interval_seconds: "x" }),
    "samples that are none": status({ samples: [null, 5, {}, { age_ms: "a" }, { age_ms: -5 }], slope: {}, findings: [1, null] }),
    "more than there can be": {
        ...status({
            rss_bytes: 1e300,
            samples: [{ age_ms: 20_000, rss_bytes: -1, speech_streams: 1e18 }, { age_ms: 1e300 }],
            slope: { bytes_per_minute: 1e300, low: -1e300, high: 1e300 },
            interval_seconds: 1e300,
        }),
        budget: { total: 1e300, reserved: -1e300, held: 2 ** 52 },
        live: { connection: 1e300, speech_stream: -1 },
        uptime_seconds: 1e300,
    },
    "a state that is no word": status({ state: "constructor" }),
    "a state without an end": status({ state: "a".repeat(5_000) }),
    "a list for the watch": { ...status(), memory: [] },
};

for (const [name, answer] of Object.entries(ODD)) {
    test(`an odd answer breaks nothing: ${name}`, async () => {
        const viewport = { width: 390, height: 844 };
        let odd = true;
        const opened = await told(browser, () => (odd ? answer : status()), { viewport });
        const { page } = opened;
        await the.until("it is shown", async () => /Ready/.test(await page.textContent("#pulse")));
        const server = await page.locator("#server").textContent();
        assert.doesNotMatch(server, /NaN|undefined|Infinity|null|object|\de\+|\d{4}/);
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390, "too wide");
        odd = false;
        await the.until("the next one", async () => (await page.textContent("#verdict [data-state]")) === "Memory: flat");
        assert.equal(await page.textContent("#pulse"), "Ready: espeak");
        the.unblemished(opened);
    });
}

test("a stream of one's own goes up and down", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    const streams = () => page.textContent("#server [data-field=streams]");
    await the.until("the watch is shown", async () => /^(Memory|The)/.test(await page.textContent("#verdict [data-state]")));
    await page.fill("#text", the.LONG);
    await page.click("#speak");
    await the.until("it goes up", async () => Number(await streams()) >= 1, 10_000);
    assert.ok(newest(await line(page, "streams")) < 47, "the lane stays at the ground");
    await page.click("#stop");
    await the.until("and down", async () => (await streams()) === "0", 10_000);
    assert.equal(newest(await line(page, "streams")), 47);
    the.unblemished(opened);
});
