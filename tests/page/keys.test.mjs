// Keys: asked for, sent, kept no longer than was wished, refused, forgotten; and nowhere to be read.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { KEY, NAME, asked, focus, gate, give, kept, locked, said, secret, spoken, wrong } from "./gate.mjs";
import * as the from "./harness.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

test("a server without keys shows nothing of them", async () => {
    const opened = await the.open(browser);
    const { page, seen } = opened;
    await page.fill("#text", the.SHORT);
    await page.click("#speak");
    await spoken(page);
    for (const id of ["#key-panel", "#key-used"]) assert.equal(await page.isHidden(id), true);
    assert.doesNotMatch(await page.textContent("#curl"), /authorization/i);
    assert.ok(seen.requests.every((request) => !request.headers().authorization));
    assert.deepEqual(await kept(page), [null, null]);
    the.unblemished(opened);
});

test("asked for without being in the way, given by keyboard, and then it speaks", async () => {
    const opened = await locked(browser);
    const { page, calls } = opened;
    await asked(page);
    assert.equal(await said(page), "This server asks for a key.");
    assert.equal(await focus(page), "text", "the focus was taken from who types");
    await page.keyboard.press("Control+Enter");
    await the.until("the field", async () => (await focus(page)) === "key");
    assert.equal(await page.isHidden("#notice"), true, "it is said twice");
    for (const [name, value] of [["type", "password"], ["autocomplete", "off"]]) {
        assert.equal(await page.getAttribute("#key", name), value);
    }
    await page.keyboard.type(KEY);
    await page.keyboard.press("Enter");
    await spoken(page);
    assert.equal(await page.isHidden("#key-panel"), true);
    assert.equal(await focus(page), "text", "the focus does not come back");
    assert.equal(await page.inputValue("#key"), "");
    assert.deepEqual(await kept(page), [KEY, null]);
    assert.match(await page.textContent("#key-used"), /for this tab only/);
    assert.match(await page.textContent("#curl"), /-H "authorization: Bearer \$EVENSONG_KEY"/);
    // What was refused before is made up for, with the key.
    await page.waitForFunction(() => document.querySelectorAll("[role=option]").length > 13);
    assert.equal(await page.isHidden("#voices-notice"), true);
    const open = calls.filter((call) => call.authorization === null).map((call) => call.path);
    assert.deepEqual(open, ["/v1/audio/voices", "/v1/audio/speech"]);
    await secret(opened);
});

test("kept for the tab: it outlives a reload, and another tab has none", async () => {
    const { page, ...opened } = await locked(browser);
    await give(page, KEY);
    await the.until("it is taken", async () => (await said(page)) === "The key is in use.");
    await page.reload();
    await page.fill("#text", the.SHORT);
    await page.click("#speak");
    await spoken(page);
    assert.equal(await page.isHidden("#key-panel"), true);
    const other = await page.context().newPage();
    await gate(other);
    await other.goto(the.URL_OF);
    await asked(other);
    await secret({ page, ...opened });
});

test("remembered on the device: another tab has it; forgotten in one, it is gone in both", async () => {
    const { page, ...opened } = await locked(browser);
    await give(page, ` Bearer ${KEY}\n`, { remember: true });
    await page.waitForSelector("#key-used:not([hidden])");
    assert.deepEqual(await kept(page), [null, KEY]);
    const other = await page.context().newPage();
    await gate(other);
    await other.goto(the.URL_OF);
    await other.waitForFunction(() => document.querySelectorAll("[role=option]").length > 13);
    assert.match(await other.textContent("#key-used"), /remembered on this device/);
    await other.focus("#text");
    await page.click("#key-forget");
    assert.equal(await said(page), "The key is forgotten.");
    assert.equal(await focus(page), "question");
    for (const one of [page, other]) {
        await the.until("it is gone", () => one.isHidden("#key-used"));
        assert.deepEqual(await kept(one), [null, null]);
        assert.doesNotMatch(await one.textContent("#curl"), /authorization/i);
    }
    assert.equal(await focus(other), "text", "another tab's press moved the focus here");
    await page.click("#speak");
    await asked(page);
    await secret({ page, ...opened });
});

test("an answer that comes after the key was given does not ask for it again", async () => {
    let release;
    const late = new Promise((resolve) => (release = resolve));
    const instead = ({ path, authorization }) => path === "/v1/audio/voices" && !authorization && late;
    const opened = await locked(browser, { instead });
    const { page } = opened;
    await page.click("#speak");
    await give(page, KEY);
    await spoken(page);
    release(null);
    await page.waitForFunction(() => document.querySelectorAll("[role=option]").length > 13);
    assert.equal(await page.isHidden("#key-panel"), true);
    assert.deepEqual(await kept(page), [KEY, null]);
    await secret(opened);
});

test("a refused key is said to be, is kept nowhere, and can be corrected", async () => {
    const opened = await locked(browser);
    const { page, calls } = opened;
    await page.click("#speak");
    await give(page, `${KEY}x`, { remember: true });
    await page.waitForSelector("#key-error:not([hidden])");
    assert.equal(await wrong(page), "The server refused this key.");
    assert.equal(await page.getAttribute("#key-error", "role"), "alert");
    assert.equal(await page.getAttribute("#key", "aria-invalid"), "true");
    assert.equal(await focus(page), "key");
    assert.deepEqual(await kept(page), [null, null]);
    assert.equal(calls.filter((call) => call.authorization).length, 1, "it was tried twice");
    await page.keyboard.press("End");
    await page.keyboard.press("Backspace");
    assert.equal(await page.isHidden("#key-error"), true);
    await page.keyboard.press("Enter");
    await spoken(page);
    assert.deepEqual(await kept(page), [null, KEY]);
    await secret(opened);
});

test("a remembered key that is good no more is forgotten, and another asked for", async () => {
    const init = `localStorage.setItem("${NAME}", "yesterday")`;
    const opened = await locked(browser, { init });
    const { page } = opened;
    await asked(page);
    assert.equal(await wrong(page), "The server refused this key.");
    assert.deepEqual(await kept(page), [null, null]);
    await give(page, KEY);
    await page.waitForSelector("#key-used:not([hidden])");
    assert.equal(the.speeches(opened.seen).length, 0, "it spoke unasked");
    await secret(opened);
});
