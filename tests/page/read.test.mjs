// What was found is read aloud: its title, its beginning, whose it is; one at a time, by the same way as all else is spoken.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { KEY, asked, focus, give, locked, secret } from "./gate.mjs";
import * as the from "./harness.mjs";
import { SEARCH, answer, book, hit, problem, shows, type } from "./shelf.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

const said = (page) => page.textContent("#state");
const currentTime = (page) => page.evaluate(() => document.querySelector("audio")?.currentTime ?? 0);
const sound = (page, least = 0.3) => the.until("sound", async () => (await currentTime(page)) > least);
const reader = (page, n = 0) => page.locator(".hit-read").nth(n);
const label = (page, n = 0) => reader(page, n).textContent();
const LONG = "They plimmered on and on, over hill and dale, and nobody knew why. ".repeat(30).trim();
const DOCUMENT = /\/api\/search\/test/;

async function found(options = {}, ...rest) {
    await the.shelve(
        book(1, { title: "The plimmer", text: LONG, creator: "Ada Reader", created_at: "2026-02-02T00:00:00Z" }),
        book(2, { title: "Plimmers, too", text: LONG, url: "https://www.elsewhere.test/x", created_at: "2026-01-01T00:00:00Z" }),
        ...rest,
    );
    const opened = await the.open(browser, options);
    // As slow as it goes: more sound than browser and kernel take in advance, so that it is still on its way.
    await opened.page.press("#speed", "Home");
    await type(opened.page, "plimmer");
    await the.until("both", async () => (await opened.page.locator(".hit").count()) === 2 + rest.length);
    await opened.page.click(".filters label:has([value=newest])");
    await shows(opened.page, "The plimmer", "Plimmers, too", ...rest.map(({ title }) => title));
    return opened;
}

async function still(page) {
    await the.until("silence", async () => (await page.evaluate(() => document.body.dataset.state)) === "idle", 1_000);
    assert.equal(await page.locator("audio").count(), 0);
    await the.until("the stream is gone", async () => {
        const { kinds } = await the.ledger();
        return the.live(kinds, "speech_stream") + the.live(kinds, "job") === 0;
    }, 1_000);
}

test("it sounds, is shown as all speech is, and its button stops it", async () => {
    const opened = await found();
    const { page, seen } = opened;
    assert.equal(await label(page), "Read it to me");
    await reader(page).click();
    await sound(page);
    assert.equal(await label(page), "Stop");
    assert.equal(await said(page), "Reading “The plimmer”.");
    assert.equal(await page.evaluate(() => document.body.dataset.state), "speaking");
    assert.equal(await page.isEnabled("#stop"), true);
    assert.match(await page.textContent("[data-field=first]"), /^\d.* m?s$/);
    assert.equal(the.live((await the.ledger()).kinds, "speech_stream"), 1);
    const [speech] = the.speeches(seen);
    const { input, voice, response_format: format } = speech.postDataJSON();
    assert.deepEqual([voice, format], ["alloy", "mp3"]);
    assert.match(input, /^The plimmer\.\n\nThey plimmered .* knew why\.\n\nFrom Ada Reader\.$/s);
    assert.ok(input.length > 500 && input.length < 650, `${input.length} characters`);
    const earlier = await currentTime(page);
    await the.until("it goes on", async () => (await currentTime(page)) > earlier + 0.5);
    await reader(page).click();
    await still(page);
    assert.equal(await label(page), "Read it to me");
    assert.equal(await said(page), "Stopped.");
    assert.equal(seen.failed.get(speech), "net::ERR_ABORTED");
    the.unblemished(opened);
});

test("one at a time: another hit, and the form, end the one before", async () => {
    const opened = await found();
    const { page, seen } = opened;
    await reader(page, 0).click();
    await sound(page, 0.1);
    await reader(page, 1).click();
    await the.until("the other", async () => (await said(page)) === "Reading “Plimmers, too”.");
    await sound(page, 0.1);
    assert.deepEqual([await label(page, 0), await label(page, 1)], ["Read it to me", "Stop"]);
    assert.match(the.speeches(seen)[1].postDataJSON().input, /From elsewhere\.test\.$/);
    await page.fill("#text", the.LONG);
    await page.keyboard.press("Control+Enter");
    await the.until("the form", async () => (await said(page)) === "Speaking.");
    assert.equal(await label(page, 1), "Read it to me");
    const [first, second] = the.speeches(seen);
    assert.deepEqual([seen.failed.has(first), seen.failed.has(second)], [true, true]);
    assert.equal(the.live((await the.ledger()).kinds, "speech_stream"), 1);
    await page.keyboard.press("Escape");
    await still(page);
    the.unblemished(opened);
});

test("Stop while its text is being fetched: nothing is said", async () => {
    const opened = await found();
    const { page, seen } = opened;
    let release;
    const late = new Promise((resolve) => (release = resolve));
    await page.route(DOCUMENT, async (route) => {
        await late;
        await route.continue().catch(() => {});
    });
    await reader(page).click();
    await the.until("the text is asked for", () => seen.requests.some((request) => DOCUMENT.test(request.url())));
    assert.equal(await label(page), "Stop");
    await reader(page).click();
    await still(page);
    const [asked] = seen.requests.filter((request) => DOCUMENT.test(request.url()));
    await the.until("the question is given up", () => seen.failed.has(asked), 1_000);
    release();
    assert.equal(the.speeches(seen).length, 0);
    the.unblemished(opened);
});

test("what is read goes on while one looks for something else, and can be stopped", async () => {
    const opened = await found();
    const { page } = opened;
    await reader(page).click();
    await sound(page, 0.1);
    await page.focus("#search-box");
    await page.keyboard.press("Escape");
    assert.equal(await page.inputValue("#search-box"), "");
    assert.equal(await said(page), "Reading “The plimmer”.", "the first Escape clears, and does not stop");
    assert.match(await page.textContent("#search-reading"), /^Reading “The plimmer”Stop$/);
    await page.keyboard.type("plimmer");
    await the.until("it is found again", async () => (await page.locator(".hit.reading .hit-read").count()) === 1);
    assert.equal(await page.isVisible("#search-reading"), false);
    await page.fill("#search-box", "");
    await page.click("#search-reading button");
    await still(page);
    assert.equal(await page.isVisible("#search-reading"), false);
    await page.fill("#search-box", "plimmer");
    await the.until("it is found", async () => (await page.locator(".hit").count()) === 2);
    await reader(page).click();
    await sound(page, 0.1);
    await page.focus("#search-box");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await still(page);
    the.unblemished(opened);
});

test("by keyboard: Enter on a hit that leads nowhere reads it, Escape stops", async () => {
    const opened = await found();
    const { page } = opened;
    await page.focus("#search-box");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await sound(page, 0.1);
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Stop");
    await page.keyboard.press("Escape");
    await still(page);
    the.unblemished(opened);
});

test("to its end", async () => {
    await the.shelve(book(1, { title: "Shortly quirpled", text: "That was all" }));
    const opened = await the.open(browser);
    const { page, seen } = opened;
    await type(page, "quirpled");
    await shows(page, "Shortly quirpled");
    await reader(page).click();
    await the.until("the end", async () => (await said(page)) === "Spoken.", 10_000);
    assert.equal(the.speeches(seen)[0].postDataJSON().input, "Shortly quirpled.\n\nThat was all.");
    assert.equal(await label(page), "Read it to me");
    assert.equal(await page.isVisible("#download"), true);
    the.unblemished(opened);
});

test("what goes wrong is said beside what was found, and tried again by hand", async () => {
    const opened = await found();
    const { page, seen } = opened;
    const full = { status: 503, headers: { "retry-after": "1" }, json: { error: { message: "the budget is spent" } } };
    await page.route("**/v1/audio/speech", (route) => route.fulfill(full), { times: 1 });
    await reader(page).click();
    await page.waitForSelector("#search-unread:not([hidden])");
    assert.match(await page.textContent("#search-unread"), /^The budget is spent\.Try again in 1 s$/);
    assert.equal(await page.isVisible("#notice"), false, "it is said twice");
    assert.equal(await label(page), "Read it to me");
    const button = page.locator("#search-unread button");
    await the.until("the countdown", async () => (await button.textContent()) === "Try again");
    assert.equal(the.speeches(seen).length, 1, "it spoke unasked");
    await button.click();
    await sound(page, 0.1);
    assert.equal(await page.isVisible("#search-unread"), false);
    await page.keyboard.press("Escape");
    await still(page);
    // It was taken out meanwhile.
    await page.route(DOCUMENT, (route) => route.fulfill(problem(404, "no_such_document", "there is no such document")));
    await reader(page).click();
    await page.waitForSelector("#search-unread:not([hidden])");
    assert.equal(await page.textContent("#search-unread p"), "There is no such document.");
    assert.equal(await page.isVisible("#search-unread button"), false);
    the.unblemished(opened, { expected: /^Failed to load resource/ });
});

test("a key is asked for as for all speech, and then it is read", async () => {
    const opened = await locked(browser);
    const { page } = opened;
    await page.unroute(SEARCH);
    await page.route(SEARCH, (route) => route.fulfill(answer([hit(1)])));
    const document = { id: "fake:1", title: "Fake 1", text: "Some words to be spoken aloud.", creator: "Ada" };
    const carries = (route) => route.request().headers().authorization === `Bearer ${KEY}`;
    const refused = problem(401, "missing_api_key", "this needs an API key");
    await page.route("**/api/search/fake*", (route) => route.fulfill(carries(route) ? { json: document } : refused));
    await type(page, "odd");
    await shows(page, "Fake 1");
    await reader(page).click();
    await asked(page);
    await the.until("the field", async () => (await focus(page)) === "key");
    assert.equal(await page.isVisible("#search-unread"), false, "it is said twice");
    await give(page, KEY);
    await the.until("the end", async () => (await said(page)) === "Spoken.", 10_000);
    assert.equal(the.speeches(opened.seen)[0].postDataJSON().input, "Fake 1.\n\nSome words to be spoken aloud.\n\nFrom Ada.");
    await secret(opened);
});

test("whole sentences that fit, and whose they are", async () => {
    const { page } = await the.open(browser);
    const spoken = await page.evaluate(async () => {
        const { speakable } = await import("/assets/speakable.js");
        const six = "abcde ".repeat(200);
        return [
            { title: "T?", text: "  One.\n Two " },
            { title: "T", text: `One (yes!) ${"two ".repeat(130)}end.” ${six}`, url: "http://a.test/x" },
            { title: "T", text: six, url: "/docs", creator: "" },
            { title: "T", text: "x".repeat(700) },
            { title: "T", text: "夜が来た。".repeat(200), creator: "Who?" },
            { title: "T", text: `${"𝒳".repeat(599)}. And on` },
            { title: "T", text: `Version 1.${"2".repeat(700)}` },
            {},
        ].map(speakable);
    });
    assert.equal(spoken[0], "T?\n\nOne. Two.");
    assert.match(spoken[1], /^T\.\n\nOne \(yes!\) (two )+end\.”\n\nFrom a\.test\.$/);
    assert.match(spoken[2], /^T\.\n\n(abcde )+…$/);
    assert.equal(spoken[3], `T.\n\n${"x".repeat(600)} …`);
    assert.equal(spoken[4], `T.\n\n${"夜が来た。".repeat(120)}\n\nFrom Who?`);
    assert.equal(spoken[5], `T.\n\n${"𝒳".repeat(599)}.`);
    assert.equal(spoken[6], "T.\n\nVersion …");
    assert.equal(spoken[7], "");
});
