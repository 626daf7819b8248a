// Keys that do not suffice, now or at all; what is asked for from elsewhere than the form; and looks.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import * as gate from "./gate.mjs";
import * as the from "./harness.mjs";
import { DESKTOP, PHONE, SHOTS, faint, small } from "./looks.mjs";

const { KEY, asked, focus, give, kept, limited, locked, refusal, said, secret, spoken, wrong } = gate;

let browser;
before(async () => {
    browser = await the.launch();
    await mkdir(SHOTS, { recursive: true });
});
after(() => browser.close());

const SPEECH = "/v1/audio/speech";
const VOICES = "/v1/audio/voices";
const lacks = refusal(403, "missing_scope", "the key has no scope `speech`");

test("a key without the scope: it is said, and another key goes on", async () => {
    const instead = ({ path, authorization }) =>
        authorization === "Bearer reader" && (path === SPEECH ? lacks : gate.THROUGH);
    const opened = await locked(browser, { instead });
    const { page } = opened;
    await page.click("#speak");
    await give(page, "reader");
    await page.waitForSelector("#key-error:not([hidden])");
    assert.equal(await wrong(page), "This key may not do this: the key has no scope `speech`.");
    assert.deepEqual(await kept(page), ["reader", null], "a key that the server knows is kept");
    assert.equal(await page.isVisible("#key-drop"), true);
    assert.equal(await focus(page), "key");
    await give(page, KEY);
    await spoken(page);
    assert.equal(await page.isHidden("#key-panel"), true);
    await secret(opened);
});

test("a key that was given the scope meanwhile goes on by itself; given up, it is forgotten", async () => {
    let weak = true;
    const instead = ({ path }) => path === SPEECH && weak && lacks;
    const opened = await locked(browser, { instead });
    const { page } = opened;
    await give(page, KEY);
    await page.waitForSelector("#key-used:not([hidden])");
    await page.click("#speak");
    await page.waitForSelector("#key-error:not([hidden])");
    weak = false;
    await page.click("#speak");
    await spoken(page);
    assert.equal(await page.isHidden("#key-panel"), true);
    weak = true;
    await page.click("#speak");
    await page.click("#key-drop");
    assert.equal(await page.isVisible("#key-panel"), true);
    assert.equal(await focus(page), "key");
    assert.equal(await page.isHidden("#key-error"), true);
    assert.deepEqual(await kept(page), [null, null]);
    await secret(opened);
});

test("a key for speech only: it speaks, with the names that always work", async () => {
    const instead = ({ path, authorization }) => path === VOICES && authorization && lacks;
    const opened = await locked(browser, { instead });
    const { page, calls } = opened;
    await page.click("#speak");
    await give(page, KEY);
    await spoken(page);
    assert.equal(await page.isHidden("#key-panel"), true);
    assert.match(await page.textContent("#voices-notice"), /this key may not do this.*always work/i);
    assert.equal(calls.filter(({ path }) => path === VOICES).length, 2);
    await secret(opened);
});

test("limited: it is said when to come again, and the button comes then", async () => {
    let full = false;
    const instead = ({ path }) => path === SPEECH && full && limited("rate_limited", 2);
    const opened = await locked(browser, { instead });
    const { page, calls } = opened;
    await give(page, KEY);
    await page.waitForSelector("#key-used:not([hidden])");
    full = true;
    await page.click("#speak");
    await page.waitForSelector("#notice:not([hidden])");
    assert.equal(await page.textContent("#notice-text"), "Too many requests. Try again in 2 s.");
    assert.equal(await page.isHidden("#key-panel"), true);
    assert.match(await page.textContent("#retry"), /in [12] s/);
    full = false;
    await the.until("the countdown", async () => (await page.textContent("#retry")) === "Try again");
    assert.equal(calls.filter(({ path }) => path === SPEECH).length, 1);
    await page.click("#retry");
    await spoken(page);
    await secret(opened);
});

test("blocked while a key is tried: the panel says until when, and goes on after it", async () => {
    let closed = true;
    const instead = ({ authorization }) => authorization && closed && limited("blocked", 2);
    const opened = await locked(browser, { instead });
    const { page, calls } = opened;
    await page.click("#speak");
    await give(page, KEY);
    await page.waitForSelector("#key-error:not([hidden])");
    assert.equal(await wrong(page), "Too many requests. Try again in 2 s.");
    assert.match(await page.textContent("#key-use"), /^Use key in [12] s$/);
    assert.deepEqual(await kept(page), [null, null], "kept although nobody knows whether it is good");
    const before = calls.length;
    await page.press("#key", "Enter");
    assert.equal(calls.length, before, "it tried before it was welcome");
    closed = false;
    await the.until("the countdown", async () => (await page.textContent("#key-use")) === "Use key");
    await page.press("#key", "Enter");
    await spoken(page);
    assert.deepEqual(await kept(page), [KEY, null]);
    await secret(opened);
});

test("a limited list of voices comes by itself, when it may", async () => {
    const instead = ({ path }, calls) => path === VOICES && calls.length === 1 && limited("rate_limited", 1);
    const opened = await locked(browser, { instead, init: `sessionStorage.setItem("${gate.NAME}", "${KEY}")` });
    const { page } = opened;
    await page.waitForSelector("#voices-notice:not([hidden])");
    assert.match(await page.textContent("#voices-notice"), /try again in 1 s/i);
    await page.waitForFunction(() => document.querySelectorAll("[role=option]").length > 13);
    assert.equal(await page.isHidden("#voices-notice"), true);
    await secret(opened);
});

test("a preview asks for the key, too, and is fetched with it", async () => {
    const opened = await locked(browser);
    const { page, calls } = opened;
    await give(page, KEY);
    await page.waitForFunction(() => document.querySelectorAll("[role=option]").length > 13);
    await page.click("#key-forget");
    await page.click("#voice");
    await page.fill("#voice-search", "german");
    await page.click("#voice-preview");
    await asked(page);
    assert.equal(await page.isVisible("#voices"), false, "the panel lies out of reach");
    await the.until("the field", async () => (await focus(page)) === "key");
    await give(page, KEY);
    await spoken(page);
    const last = calls.at(-1);
    assert.match(last.path, /preview/);
    assert.equal(last.authorization, `Bearer ${KEY}`);
    await secret(opened);
});

test("the voice that was chosen is not lost while there is no key", async () => {
    const init = `localStorage.setItem("evensong.settings", JSON.stringify({ voice: "de" }))`;
    const opened = await locked(browser, { init });
    const { page } = opened;
    await give(page, KEY);
    await the.until("the voice", async () => /German/.test(await page.textContent("#voice")));
    await secret(opened);
});

test("the key is shown on demand, and what can be none is not sent", async () => {
    const opened = await locked(browser);
    const { page, calls } = opened;
    await asked(page);
    for (const [pressed, type] of [["true", "text"], ["false", "password"], ["true", "text"]]) {
        await page.click("#key-show");
        assert.equal(await page.getAttribute("#key-show", "aria-pressed"), pressed);
        assert.equal(await page.getAttribute("#key", "type"), type);
    }
    const before = calls.length;
    for (const text of ["", "  ", "open sesame", "schlüssel"]) {
        await give(page, text);
        assert.match(await wrong(page), /^Enter the key/);
        assert.equal(await focus(page), "key");
    }
    assert.equal(calls.length, before);
    assert.equal(await page.getAttribute("#key", "type"), "password", "it is still to be read");
    await page.check("#key-remember");
    assert.match(await page.textContent("#key-kept"), /until you forget it/);
    const snapshot = await page.locator("#key-panel").ariaSnapshot();
    for (const line of [/textbox "Key"/, /button "Show key"/, /checkbox "Remember on this device" \[checked\]/, /button "Use key"/]) {
        assert.match(snapshot, line);
    }
    await secret(opened);
});

for (const [name, context] of [["phone", PHONE], ["desktop", DESKTOP]]) {
    for (const colorScheme of ["light", "dark"]) {
        test(`${name}, ${colorScheme}: the panel fits, is legible and can be touched`, async () => {
            const opened = await locked(browser, { ...context, colorScheme });
            const { page } = opened;
            const picture = async (what) => {
                await page.screenshot({ path: new URL(`${name}-${colorScheme}-${what}.png`, SHOTS).pathname });
                const wide = await page.evaluate(() => document.documentElement.scrollWidth);
                assert.ok(wide <= context.viewport.width, `${wide} px wide`);
                assert.deepEqual(await page.evaluate(small), [], "smaller than 44 px");
                assert.deepEqual(await page.evaluate(faint), [], "less contrast than AA");
            };
            await page.click("#speak");
            await asked(page);
            await picture("key");
            await give(page, "wrong-key");
            await page.waitForSelector("#key-error:not([hidden])");
            await the.pause(200);
            await picture("key-refused");
            await give(page, KEY);
            await spoken(page);
            await page.locator("#key-used").scrollIntoViewIfNeeded();
            await picture("key-used");
            await secret(opened);
        });
    }
}
