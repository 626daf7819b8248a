// What goes wrong in a dialogue is said, with a way on; a question is never asked twice for it, and what was cut off goes on
// where it was.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { KEY, asked, focus, give } from "./gate.mjs";
import * as the from "./harness.mjs";
import * as talk from "./talk.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

/** The browser's own line about an answer that is no 200, or that never came. */
const REFUSED = /^Failed to load resource/;
const trouble = (page) => page.textContent("#dialogue-trouble p");
const retry = (page) => page.locator("#dialogue-trouble button");
const shown = (page) => page.waitForSelector("#dialogue-trouble:not([hidden])");

/** A page before a door; `calls()` are the questions that came to it. */
async function behind(options = {}) {
    const door = await talk.door();
    const opened = await talk.talk(browser, { url: door.url, ...options });
    const calls = () => door.calls.filter(({ path }) => path === "/api/voice/converse");
    return { ...opened, door, calls };
}

/** Answers the next question so, and lets the others through. */
function once(door, act) {
    let left = 1;
    door.instead = (call, response) => call.path === "/api/voice/converse" && left-- > 0 && act(response, call);
}

test("503 says when to come again, and the same question is asked then, by hand", async () => {
    const { page, door, calls, ...opened } = await behind();
    once(door, (response) => talk.refuses(response, 503, "over_budget", "no room for it", { "retry-after": "2" }));
    await talk.ask(page, talk.QUESTION);
    await shown(page);
    assert.equal(await trouble(page), "No room for it.");
    assert.match(await retry(page).textContent(), /^Try again in [12] s$/);
    assert.equal(await talk.note(page), "This was not asked.");
    await retry(page).click({ force: true });
    assert.equal(calls().length, 1, "it asked before it was welcome");
    await the.until("the countdown", async () => (await retry(page).textContent()) === "Try again");
    assert.equal(calls().length, 1, "it asked unasked");
    await retry(page).click();
    await talk.speaks(page, 0.1);
    assert.equal(await page.isHidden("#dialogue-trouble"), true);
    assert.deepEqual(await talk.asked(page), [talk.QUESTION], "the question stands there twice");
    await page.keyboard.press("Escape");
    the.unblemished({ page, ...opened }, { expected: REFUSED });
});

test("a request that may have arrived is sent again as it was, under the same key, and is one turn", async () => {
    const { page, door, calls, ...opened } = await behind();
    let arrived = null;
    // With the head of an answer: without one, Chromium itself would send it once more.
    once(door, async (response, call) => {
        const headers = { "content-type": "application/json", "idempotency-key": call.headers["idempotency-key"] };
        arrived = await (await fetch(new URL(call.path, the.URL_OF), { method: "POST", headers, body: call.body })).json();
        response.writeHead(202, { "content-type": "application/json", "content-length": 400 });
        response.write("{", () => response.socket.destroy());
        return true;
    });
    await talk.ask(page, talk.QUESTION);
    await shown(page);
    assert.equal(await trouble(page), "The server cannot be reached.");
    await retry(page).click();
    await talk.speaks(page, 0.1);
    assert.equal(calls().length, 2);
    assert.equal(new Set(calls().map(({ headers, body }) => headers["idempotency-key"] + body)).size, 1);
    assert.match(talk.streams(opened)[0].url(), new RegExp(arrived.dialogueId));
    assert.equal(the.live((await the.ledger()).kinds, "dialogue"), 1);
    await page.keyboard.press("Escape");
    await talk.gone();
    the.unblemished({ page, ...opened }, { expected: REFUSED });
});

test("a dialogue that is gone: the question is asked in another one, which is told what was said", async () => {
    const { page, calls, ...opened } = await behind();
    await talk.ask(page, talk.QUESTION);
    await talk.answered(page);
    const { dialogueId } = await (await talk.questions(opened)[0].response()).json();
    const [, answer] = (await talk.caption(page)).match(/^(.*)$/s);
    // Ended behind the page's back, which it hears of by its stream, or by its next question.
    await page.evaluate(() => (globalThis.fetch = ((real) => (url, ...rest) => (/open-stream/.test(url) ? new Promise(() => {}) : real(url, ...rest)))(fetch)));
    await fetch(new URL(`api/voice/dialogues/${dialogueId}`, the.URL_OF), { method: "DELETE" });
    await talk.ask(page, "What does a quorble count?");
    await the.until("it is asked", async () => calls().length >= 2 && JSON.parse(calls().at(-1).body).history);
    const body = JSON.parse(calls().at(-1).body);
    assert.equal(body.dialogueId, undefined);
    assert.deepEqual(body.history, [{ role: "user", text: talk.QUESTION }, { role: "assistant", text: answer }]);
    assert.notEqual(calls().at(-1).headers["idempotency-key"], calls()[0].headers["idempotency-key"]);
    assert.equal(await page.isHidden("#dialogue-trouble"), true, "it is nobody's trouble");
    the.unblemished({ page, ...opened }, { expected: REFUSED });
});

test("nobody answers here: that is said, with what to do, and nothing to press", async () => {
    const { page, door, ...opened } = await behind();
    const detail = "nobody answers here: set answer.llm.base_url and answer.llm.model, or let documents be searched (search.enabled)";
    once(door, (response) => talk.refuses(response, 404, "not_configured", detail));
    await talk.ask(page, talk.QUESTION);
    await shown(page);
    assert.match(await trouble(page), /^Nobody answers here: set answer\.llm\.base_url/);
    assert.equal(await retry(page).isVisible(), false);
    the.unblemished({ page, ...opened }, { expected: REFUSED });
});

test("an error of the text stands at the box, with the question back in it", async () => {
    const { page, door, ...opened } = await behind();
    once(door, (response) => {
        response.writeHead(400, { "content-type": "application/problem+json" });
        response.end(JSON.stringify({ type: "text_too_long", title: "Bad Request", status: 400, detail: "text is longer than 16384 bytes", param: "text" }));
        return true;
    });
    await talk.ask(page, talk.QUESTION);
    await page.waitForSelector("#question-error:not([hidden])");
    assert.equal(await page.textContent("#question-error"), "Text is longer than 16384 bytes.");
    assert.equal(await page.inputValue("#question"), talk.QUESTION);
    assert.equal(await page.locator(".turn").count(), 0);
    assert.equal(await page.isVisible("#dialogue-hint"), true);
    the.unblemished({ page, ...opened }, { expected: REFUSED });
});

test("an error in the middle of an answer: what came is heard to its end, it is said, and can be asked again", async () => {
    const { page, door, calls, ...opened } = await behind();
    const sound = await spoken();
    door.instead = (call, response) => {
        if (call.path === "/api/voice/converse") return talk.accepts(response);
        if (!/open-stream/.test(call.path)) return Boolean(response.writeHead(204).end());
        const { tell } = talk.tells(response);
        tell("thinking", { epoch: 1, type: "none" });
        tell("text", { text: "Good evening, and", clause: 0 });
        const words = [{ word: "Good", start_ms: 0, end_ms: 300 }, { word: "evening,", start_ms: 300, end_ms: 900 }];
        tell("audio", { audio: sound, clause: 0, words });
        tell("error", { epoch: 1, error: { message: "the model ran out of patience", type: "upstream_error", code: "upstream" } });
        return true;
    };
    await talk.ask(page, talk.QUESTION);
    await shown(page);
    assert.equal(await trouble(page), "The model ran out of patience.");
    await talk.speaks(page, 0.5);
    await the.until("the end", async () => (await talk.phase(page)) === "idle", 10_000);
    assert.equal(await talk.caption(page), "Good evening, and");
    assert.match(await talk.note(page), /^The answer broke off after \d.*: the model ran out of patience\.$/);
    await retry(page).click();
    await the.until("another", () => calls().length === 2);
    assert.notEqual(calls()[1].headers["idempotency-key"], calls()[0].headers["idempotency-key"]);
    the.unblemished({ page, ...opened }, { expected: REFUSED });
});

/** A second of mp3, in base64. */
async function spoken() {
    const body = JSON.stringify({ input: "Good evening, and", voice: "alloy", model: "tts-1", response_format: "mp3" });
    const answer = await fetch(new URL("v1/audio/speech", the.URL_OF), { method: "POST", body, headers: { "content-type": "application/json" } });
    return Buffer.from(await answer.arrayBuffer()).toString("base64");
}

test("it is thought about for long: a sound of the page's own, which falls silent with the first word", async () => {
    const { page, door, seen, ...opened } = await behind();
    const sound = await spoken();
    let speak;
    door.instead = (call, response) => {
        if (call.path === "/api/voice/converse") return talk.accepts(response);
        if (!/open-stream/.test(call.path)) return Boolean(response.writeHead(204).end());
        const { tell } = talk.tells(response);
        tell("thinking", { epoch: 1, type: "sound", asset: "/assets/thinking.mp3" });
        speak = () => tell("audio", { audio: sound, clause: 0, words: [] });
        return true;
    };
    await talk.ask(page, talk.QUESTION);
    await the.until("it thinks", async () => (await talk.said(page)) === "Thinking …");
    assert.equal(await page.isVisible(".thinking"), true);
    await talk.speaks(page, 0.2);
    assert.equal(await talk.phase(page), "thinking", "the sound is taken for the answer");
    assert.match(await page.getAttribute("#dialogue-ear audio", "src"), /^blob:/, "it is fetched to be played");
    speak();
    await the.until("it speaks", async () => (await talk.said(page)) === "Speaking.");
    assert.equal(await page.locator("#dialogue-ear audio").count(), 1, "both sound");
    await page.keyboard.press("Escape");
    for (let i = 0; i < 4; i += 1) {
        await talk.ask(page, talk.QUESTION);
        await talk.speaks(page, 0.1);
        await page.keyboard.press("Escape");
    }
    assert.equal(seen.requests.filter((request) => /thinking\S*\.mp3/.test(request.url())).length, 1);
    the.unblemished({ page, seen, ...opened });
});

for (const [way, cut] of [
    ["by the network", async ({ door }) => door.cut()],
    ["by the device", async ({ page, door }) => {
        await page.context().setOffline(true);
        door.cut();
        await the.pause(2_500);
        assert.equal(door.calls.filter(({ headers }) => headers["last-event-id"]).length, 0);
        await page.context().setOffline(false);
    }],
]) {
    test(`cut off ${way}: it comes back, and nothing is lost or heard twice`, async () => {
        const { page, door, ...opened } = await behind({ init: keepSound });
        // Some seconds of it; the rest comes when it has come back.
        door.most = 96 * 1024;
        await talk.SLOWLY(page);
        await talk.ask(page, talk.QUESTION);
        await talk.speaks(page, 1.5);
        await cut({ page, door });
        await the.until("it has come back", () => door.calls.some(({ headers }) => headers["last-event-id"]), 8_000);
        await the.until("the server is done", () => door.events.some(({ name }) => name === "done"), 60_000);
        const heard = await talk.currentTime(page);
        await the.pause(500);
        assert.ok((await talk.currentTime(page)) > heard, "it is silent");
        const back = door.calls.find(({ headers }) => headers["last-event-id"]);
        assert.match(back.headers["last-event-id"], /^1\.\d+$/);
        const [, last] = back.headers["last-event-id"].split(".").map(Number);
        assert.ok(last < Number(door.events.at(-1).id.split(".")[1]), "there was nothing left to be lost");
        const sent = new Map(door.events.filter(({ name }) => name === "audio").map(({ id, data }) => [id, data.audio]));
        const whole = Buffer.concat([...sent.values()].map((part) => Buffer.from(part, "base64")));
        await the.until("all of it is there", async () => (await page.evaluate(() => globalThis.appended.length)) >= whole.length, 60_000);
        const appended = Buffer.from(await page.evaluate(() => globalThis.appended));
        assert.ok(appended.equals(whole), `${appended.length} bytes instead of ${whole.length}, or others`);
        const text = door.events.filter(({ name, id }, i, all) => name === "text" && all.findIndex((event) => event.id === id) === i).map(({ data }) => data.text);
        assert.equal(await talk.caption(page), text.join(""));
        assert.equal(talk.questions(opened).length, 1);
        assert.equal(await page.isHidden("#dialogue-trouble"), true);
        await page.keyboard.press("Escape");
        the.unblemished({ page, ...opened }, { expected: REFUSED });
    });
}

/** Keeps what was given to be played. */
function keepSound() {
    globalThis.appended = [];
    const append = SourceBuffer.prototype.appendBuffer;
    SourceBuffer.prototype.appendBuffer = function (bytes) {
        append.call(this, bytes);
        globalThis.appended.push(...bytes);
    };
}

test("cut off for good: what came is heard, it is said, and the question can be asked again", async () => {
    const { page, door, ...opened } = await behind();
    // Some seconds of it: else the server might be done before it is cut.
    door.most = 96 * 1024;
    await talk.SLOWLY(page);
    await talk.ask(page, talk.QUESTION);
    await talk.speaks(page, 0.5);
    const { dialogueId } = await (await talk.questions(opened)[0].response()).json();
    door.shut = true;
    door.cut();
    await fetch(new URL(`api/voice/dialogues/${dialogueId}`, the.URL_OF), { method: "DELETE" });
    const then = await talk.currentTime(page);
    await the.pause(800);
    assert.ok((await talk.currentTime(page)) > then + 0.4, "what had arrived fell silent");
    door.shut = false;
    await shown(page);
    assert.equal(await trouble(page), "The conversation was ended.");
    assert.equal(await retry(page).textContent(), "Try again");
    await retry(page).click();
    await the.until("it is asked anew", () => talk.questions(opened).length === 2);
    await talk.speaks(page, 0.1);
    await page.keyboard.press("Escape");
    the.unblemished({ page, ...opened }, { expected: /^Failed to load resource|ERR_/ });
});

test("a key is asked for as everywhere, and then the question is asked", async () => {
    const { page, door, calls, ...opened } = await behind();
    door.instead = ({ path, headers }, response) => {
        const isKeyed = path === "/api/voice/converse" || path.startsWith("/api/voice/dialogues");
        if (!isKeyed) {
            assert.equal(headers.authorization, undefined, "the key went where none is asked for");
            return false;
        }
        if (headers.authorization === `Bearer ${KEY}`) {
            delete headers.authorization;
            return false;
        }
        return talk.refuses(response, 401, "missing_api_key", "this needs an API key", { "www-authenticate": "Bearer" });
    };
    await talk.ask(page, talk.QUESTION);
    await asked(page);
    await the.until("the field", async () => (await focus(page)) === "key");
    assert.equal(await page.isHidden("#dialogue-trouble"), true, "it is said twice");
    await give(page, KEY);
    await talk.speaks(page, 0.1);
    assert.equal(await page.isHidden("#key-panel"), true);
    assert.equal(calls().length, 2);
    assert.deepEqual(await talk.asked(page), [talk.QUESTION]);
    await page.keyboard.press("Escape");
    await talk.gone();
    assert.doesNotMatch(await page.content(), new RegExp(KEY), "the key stands in the page");
    the.unblemished({ page, ...opened }, { expected: REFUSED });
});

test("sound refused by the browser: a Play button comes, and plays", async () => {
    const strict = await the.launchStrict();
    await the.shelve(talk.TALE);
    const asks = (text) => addEventListener("load", () => setTimeout(() => {
        document.getElementById("question").value = text;
        document.getElementById("ask-form").requestSubmit();
    }, 300));
    const { page, ...opened } = await the.open(strict, { before: (page) => page.addInitScript(asks, talk.QUESTION) });
    // Nothing is asked of the page meanwhile: that would be the gesture.
    await the.pause(2_500);
    assert.equal(await talk.phase(page), "blocked");
    assert.match(await talk.said(page), /Press Play/);
    await page.click("#dialogue-play");
    await the.until("sound", async () => (await talk.phase(page)) === "speaking");
    assert.equal(await page.isHidden("#dialogue-play"), true);
    await talk.answered(page);
    the.unblemished(opened);
});
