// What the server's memory watch says: each state in words and a colour; an alarm that cannot be overlooked, is said
// once, and goes when it is over.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import { PHONE, SHOTS, faint } from "./looks.mjs";
import { MIB, status, told } from "./watch.mjs";

let browser;
before(async () => {
    await mkdir(SHOTS, { recursive: true });
    browser = await the.launch();
});
after(() => browser.close());

const FINDINGS = ["speech_stream: 3 alive while no client is connected", "<img src=x onerror=alert(1)>"];
const ALARM = { state: "leak_suspected", findings: FINDINGS };
const state = (page) => page.textContent("#verdict [data-state]");

/** Runs in the page: collects what a screen reader is told by the watch. */
function listen() {
    addEventListener("DOMContentLoaded", () => {
        globalThis.said = [];
        const aloud = document.querySelector("#verdict [role=status]");
        const note = () => globalThis.said.push(aloud.textContent);
        new MutationObserver(note).observe(aloud, { childList: true, characterData: true, subtree: true });
    });
}

for (const [name, mood, words] of [
    ["off", "wait", "The memory watch is off"],
    ["starting", "wait", "Memory: watching begins"],
    ["flat", "good", "Memory: flat"],
    ["growing", "warn", "Memory: growing"],
    ["disagrees", "bad", "The books disagree"],
    ["leak_suspected", "bad", "Leak suspected"],
    ["dozing", "wait", "Memory: dozing"],
]) {
    test(`${name} is said with words and a colour`, async () => {
        const opened = await told(browser, () => status({ state: name }), { init: listen });
        const { page, asked } = opened;
        await the.until("the words", async () => (await state(page)) === words);
        assert.equal(await page.getAttribute("#verdict", "data-mood"), mood);
        assert.equal(await page.textContent("[data-rate]"), "+0.12 MB");
        assert.equal(await page.textContent("[data-bounds]"), "−0.3 and +0.54");
        // At the top of the page, too, where a phone shows it without scrolling.
        assert.equal(await page.textContent("#pulse"), mood === "bad" ? words : "Ready: espeak");
        await the.until("another answer", () => asked() > 2);
        assert.deepEqual(await page.evaluate(() => globalThis.said), mood === "bad" ? [words] : []);
        the.unblemished(opened);
    });
}

test("findings are words, whatever is in them", async () => {
    const opened = await told(browser, () => status(ALARM));
    const { page } = opened;
    await the.until("the alarm", () => page.isVisible("[data-findings]"));
    assert.deepEqual(await page.locator("[data-findings] li").allTextContents(), FINDINGS);
    assert.equal(await page.locator("#verdict img").count(), 0);
    the.unblemished(opened);
});

test("many and endless findings are cut, which is said", async () => {
    const findings = Array.from({ length: 50 }, (_, n) => `${n}: ${"y".repeat(5_000)}`);
    const opened = await told(browser, () => status({ ...ALARM, findings }));
    const { page } = opened;
    await the.until("the alarm", () => page.isVisible("[data-findings]"));
    const items = await page.locator("[data-findings] li").allTextContents();
    assert.equal(items.length, 9);
    assert.equal(items[8], "and 42 more");
    assert.ok(items.every((item) => item.length <= 201));
    the.unblemished(opened);
});

test("an alarm is said aloud once, and once when it is over", async () => {
    // The findings change, the server is away for a while, and the alarm is the same.
    const answers = (n) => {
        if (n === 3) return 503;
        return status(n === 0 || n > 5 ? {} : { ...ALARM, findings: [`speech_stream: ${n} alive`] });
    };
    const opened = await told(browser, answers, { init: listen });
    const { page, asked } = opened;
    await the.until("no answer", async () => (await state(page)) === "Memory: not known at present");
    assert.equal(await page.isHidden("[data-findings]"), true, "what is not known is still shown");
    assert.equal(await page.textContent("[data-rate]"), "–");
    await the.until("it is over", async () => asked() > 7 && (await state(page)) === "Memory: flat", 15_000);
    assert.equal(await page.isHidden("[data-findings]"), true);
    assert.equal(await page.textContent("#pulse"), "Ready: espeak");
    assert.deepEqual(await page.evaluate(() => globalThis.said), ["Leak suspected", "Memory: flat"]);
    the.unblemished(opened, { expected: /503/ });
});

test("nothing moves while numbers come and change", async () => {
    const slopes = [null, [0, -1, 1], [61_330_000, -58_770_000, 640_440_000], [1.5e12, -2e12, 2.25e12]];
    const answers = (n) => {
        if (n === 0) return 503;
        const [rate, low, high] = slopes[n % 4] ?? [];
        const slope = slopes[n % 4] && { bytes_per_minute: rate, low, high };
        const [held, reserved] = [10 ** (2 * n), 10 ** (2 * n)];
        const answer = status({ slope, rss_bytes: Math.round(9.99 ** (n + 4)), samples: [] });
        return { ...answer, budget: { total: 256 * MIB, reserved, held } };
    };
    const measure = () =>
        addEventListener("DOMContentLoaded", () => {
            globalThis.heights = new Set();
            const server = document.getElementById("server");
            new ResizeObserver(() => globalThis.heights.add(server.offsetHeight)).observe(server);
        });
    const viewport = { width: 390, height: 844 };
    const opened = await told(browser, answers, { ...PHONE, viewport, init: measure });
    const { page, asked } = opened;
    await the.until("each of them", () => asked() > 5, 10_000);
    const heights = await page.evaluate(() => [...globalThis.heights]);
    assert.equal(heights.length, 1, `heights of ${heights}`);
    await page.locator("#server").screenshot({ path: new URL("numbers.png", SHOTS).pathname });
    the.unblemished(opened, { expected: /503/ });
});

test("the graph is for eyes, and told in a sentence to others", async () => {
    const opened = await told(browser, () => status({ streams: (n) => n % 3 }));
    const { page } = opened;
    await the.until("it is told", async () => /streams/.test(await page.textContent("[data-words]")));
    const snapshot = await page.locator("#server").ariaSnapshot();
    assert.match(snapshot, /In the last five minutes: memory at 30 MiB, up to 176 KiB held for clients, up to 2 streams/);
    assert.doesNotMatch(snapshot, /5 min ago|top /);
    assert.equal(await page.locator("#graph svg:not([aria-hidden=true] svg)").count(), 0);
    the.unblemished(opened);
});

for (const colorScheme of ["light", "dark"]) {
    test(`an alarm fits a phone, ${colorScheme}`, async () => {
        const findings = [`speech_stream: ${"3 alive while no client is connected, ".repeat(4)}`, "x".repeat(120)];
        const opened = await told(browser, () => status({ ...ALARM, findings }), { ...PHONE, colorScheme });
        const { page } = opened;
        await the.until("the alarm", () => page.isVisible("[data-findings]"));
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= PHONE.viewport.width, `${wide} px wide`);
        assert.deepEqual(await page.evaluate(faint), [], "less contrast than AA");
        const { y } = await page.locator("#pulse").boundingBox();
        assert.ok(y < PHONE.viewport.height, "it is not seen without scrolling");
        await page.locator("#server").screenshot({ path: new URL(`alarm-${colorScheme}.png`, SHOTS).pathname });
        the.unblemished(opened);
    });
}
