// What goes wrong is said, where it belongs, with a way on.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

const state = (page) => page.evaluate(() => document.body.dataset.state);
const said = (page) => page.textContent("#state");
const SPEECH = "**/v1/audio/speech";
/** The browser's own line about an answer that is no 200, or that never came. */
const REFUSED = /^Failed to load resource/;

const refusal = (param, message, status = 400, headers = {}) => ({
    status,
    headers,
    json: { error: { message, type: "invalid_request_error", param, code: null } },
});

for (const [param, id, focused] of [
    ["input", "text-error", "text"],
    ["voice", "voice-error", "voice"],
    ["speed", "speed-error", "speed"],
    ["response_format", "format-error", null],
]) {
    test(`an error of ${param} stands at its field`, async () => {
        const opened = await the.open(browser);
        const { page } = opened;
        await page.route(SPEECH, (route) => route.fulfill(refusal(param, `${param} is odd`)));
        await page.click("#speak");
        await page.waitForSelector(`#${id}:not([hidden])`);
        const message = await page.textContent(`#${id}`);
        assert.equal(message.toLowerCase(), `${param} is odd.`);
        assert.equal(await page.locator("[aria-invalid=true]").count(), 1);
        assert.equal(await page.isHidden("#notice"), true);
        if (focused) assert.equal(await page.evaluate(() => document.activeElement.id), focused);
        await page.unroute(SPEECH);
        await page.click("#speak");
        await the.until("it is gone", () => page.isHidden(`#${id}`));
        the.unblemished(opened, { expected: REFUSED });
    });
}

test("the server's own refusal stands at the text", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    await page.fill("#text", "…");
    await page.click("#speak");
    await page.waitForSelector("#text-error:not([hidden])");
    assert.match(await page.textContent("#text-error"), /\w.*\.$/);
    assert.equal(await state(page), "idle");
    the.unblemished(opened, { expected: REFUSED });
});

test("too much and nothing are said without asking the server", async () => {
    const opened = await the.open(browser);
    const { page, seen } = opened;
    await page.fill("#text", "  \n");
    await page.click("#speak");
    assert.match(await page.textContent("#text-error"), /Write something/);
    await page.fill("#text", "🌙".repeat(4097));
    assert.equal(await page.isHidden("#text-error"), true, "it stays although the text has changed");
    assert.equal(await page.textContent("#count"), "4,097 / 4,096");
    await page.click("#speak");
    assert.match(await page.textContent("#text-error"), /^1 character/);
    assert.equal(the.speeches(seen).length, 0);
    the.unblemished(opened);
});

test("503 says when to come again, and the button comes then", async () => {
    const opened = await the.open(browser);
    const { page, seen } = opened;
    const full = refusal(null, "the budget is spent", 503, { "retry-after": "2" });
    await page.route(SPEECH, (route) => route.fulfill(full), { times: 1 });
    await page.fill("#text", the.SHORT);
    await page.click("#speak");
    await page.waitForSelector("#notice:not([hidden])");
    assert.equal(await page.textContent("#notice-text"), "The budget is spent.");
    assert.match(await page.textContent("#retry"), /in [12] s/);
    await page.click("#retry", { force: true });
    assert.equal(the.speeches(seen).length, 1, "it tried before it was welcome");
    await the.until("the countdown", async () => (await page.textContent("#retry")) === "Try again");
    await page.click("#retry");
    await the.until("the end", async () => (await said(page)) === "Spoken.", 8_000);
    assert.equal(await page.isHidden("#notice"), true);
    the.unblemished(opened, { expected: REFUSED });
});

for (const [way, init, bytes] of [
    ["MediaSource", undefined, 40_000],
    ["the worklet", the.withoutMediaSource, 250_000],
]) {
    test(`cut off in mid-stream through ${way}: what came is heard, and it is said`, async () => {
        const wire = await the.wire();
        const opened = await the.open(browser, { url: wire.url, init });
        const { page } = opened;
        await page.fill("#text", the.LONG);
        wire.allow(bytes);
        await page.click("#speak");
        const heard = async () => parseFloat(await page.textContent("[data-field=played]")) || 0;
        await the.until("sound", async () => (await heard()) > 1);
        wire.cut();
        await page.waitForSelector("#notice:not([hidden])");
        const message = await page.textContent("#notice-text");
        assert.match(message, /^Connection lost after \d/);
        const then = await heard();
        await the.pause(1_000);
        assert.ok((await heard()) > then + 0.5, "what had arrived fell silent");
        assert.equal(await said(page), "Playing what has arrived.");
        await the.until("the end", async () => (await state(page)) === "idle", 12_000);
        assert.match(await said(page), /^Connection lost/);
        assert.equal(await page.isVisible("#download"), true);
        assert.match(await page.textContent("#pulse"), /does not answer/);
        the.unblemished(opened, { expected: REFUSED });
    });
}

test("a server that is not there is said, and can be asked again", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    await page.route(SPEECH, (route) => route.abort("connectionrefused"), { times: 1 });
    await page.fill("#text", the.SHORT);
    await page.click("#speak");
    await page.waitForSelector("#notice:not([hidden])");
    assert.equal(await page.textContent("#notice-text"), "The server cannot be reached.");
    await page.click("#retry");
    await the.until("the end", async () => (await said(page)) === "Spoken.", 8_000);
    the.unblemished(opened, { expected: REFUSED });
});

for (const [way, missing] of [["MediaSource", null], ["the worklet", the.withoutMediaSource]]) {
    test(`sound refused through ${way}: a Play button comes, and plays`, async () => {
        const { page, ...opened } = await refused(the.SHORT, missing);
        assert.equal(await page.isVisible("#play"), true);
        assert.equal(await state(page), "blocked");
        assert.match(await said(page), /Press Play/);
        await page.click("#play");
        await the.until("sound", async () => (await state(page)) === "speaking");
        assert.equal(await page.isHidden("#play"), true);
        await the.until("the end", async () => (await said(page)) === "Spoken.");
        the.unblemished(opened);
    });
}

test("a stream that nobody hears is let go, and Play begins anew", async () => {
    const { page, seen, ...opened } = await refused(the.LONG, null);
    const [speech] = the.speeches(seen);
    await the.until("the abort", () => seen.failed.has(speech), 12_000);
    assert.match(await said(page), /let go/);
    await page.click("#play");
    await the.until("sound", async () => (await state(page)) === "speaking");
    assert.equal(the.speeches(seen).length, 2);
    the.unblemished({ seen, ...opened });
});

/** A page that spoke without a gesture and was refused. */
async function refused(text, missing) {
    const strict = await the.launchStrict();
    const opened = await the.open(strict, {
        async before(page) {
            if (missing) await page.addInitScript(missing);
            await page.addInitScript(the.speakAtOnce, text);
        },
    });
    // Nothing is asked of the page meanwhile: that would be the gesture.
    await the.pause(2_000);
    return opened;
}

test("without the list of voices the names that always work are there, with a notice", async () => {
    const before = (page) => page.route("**/v1/audio/voices", (route) => route.fulfill({ status: 500, body: "" }));
    const opened = await the.open(browser, { before });
    const { page, seen } = opened;
    await page.waitForSelector("#voices-notice:not([hidden])");
    assert.match(await page.textContent("#voices-notice"), /500.*always work/);
    await page.click("#voice");
    assert.equal(await page.locator("[role=option]").count(), 13);
    await page.click("[role=option] >> text=nova");
    await page.fill("#text", the.SHORT);
    await page.click("#speak");
    await the.until("the end", async () => (await said(page)) === "Spoken.", 8_000);
    assert.equal(the.speeches(seen)[0].postDataJSON().voice, "nova");
    the.unblemished(opened, { expected: REFUSED });
});

test("a key that is asked for can be given", async () => {
    const opened = await the.open(browser);
    const { page, seen } = opened;
    await page.route(SPEECH, (route) => {
        const known = route.request().headers().authorization === "Bearer sesame";
        return known ? route.continue() : route.fulfill(refusal(null, "no key", 401));
    });
    await page.fill("#text", the.SHORT);
    await page.click("#speak");
    await page.waitForSelector("#key-form:not([hidden])");
    assert.equal(await page.evaluate(() => document.activeElement.id), "key");
    await page.keyboard.type("sesame");
    await page.keyboard.press("Enter");
    await the.until("the end", async () => (await said(page)) === "Spoken.", 8_000);
    assert.equal(await page.isHidden("#key-form"), true);
    assert.equal(the.speeches(seen).length, 2);
    the.unblemished(opened, { expected: REFUSED });
});

test("without JavaScript there is a line for the terminal", async () => {
    const opened = await the.open(browser, { javaScriptEnabled: false });
    assert.match(await opened.page.innerText("noscript"), /curl .*\/v1\/audio\/speech/);
    the.unblemished(opened);
});

test("no status: it is said, asked less often, and comes back", async () => {
    let broken = true;
    let asked = 0;
    const before = (page) =>
        page.route("**/api/status", (route) => {
            asked += 1;
            return broken ? route.fulfill({ status: 503, body: "" }) : route.continue();
        });
    const opened = await the.open(browser, { before });
    const { page } = opened;
    await the.until("it is said", async () => /does not answer/.test(await page.textContent("#pulse")));
    await the.pause(3_500);
    assert.ok(asked <= 3, `asked ${asked} times in 4 s`);
    broken = false;
    await the.until("it comes back", async () => /Ready/.test(await page.textContent("#pulse")), 6_000);
    the.unblemished(opened, { expected: REFUSED });
});
