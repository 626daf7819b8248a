// One asks over one socket, and hears the answer: its sound, its words as they are heard; several turns, Stop, talking over it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { KEY, gate, give } from "./gate.mjs";
import * as the from "./harness.mjs";
import * as one from "./session.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

const types = (events) => events.map(({ type }) => type);

test("a question goes over the socket, and its answer is heard, with its words", async () => {
    const door = await one.door();
    const opened = await one.session(browser, door);
    const { page, sent, came, seen } = opened;
    assert.equal(await page.isChecked("#socket"), true);
    assert.equal(door.opened, 0, "a socket before there is a question");
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.5);
    await the.until("a word is marked", async () => (await one.marked(page)) > 0);
    await one.answered(page);
    assert.deepEqual(types(sent), ["session.update", "conversation.item.create", "response.create"]);
    assert.deepEqual(sent[1].item.content, [{ type: "input_text", text: one.QUESTION }]);
    const text = one.names(came, "response.output_audio_transcript.delta").map(({ delta }) => delta).join("");
    assert.equal(await one.caption(page), text.trim());
    const sound = one.arrived(came);
    one.exact(await one.given(page), sound);
    assert.ok(Math.abs((await one.heard(page)) - sound.length / 24_000) < 0.3, "not all of it was heard");
    assert.match(door.asked[0], /^sec-websocket-protocol: realtime\r$/im);
    assert.equal(one.questions(opened).length + one.streams(opened).length, 0, "the two calls were made as well");
    assert.ok(seen.requests.filter((request) => /thinking.*mp3/.test(request.url())).length <= 1);
    the.unblemished(opened);
});

test("several turns are one session, which is told once how to speak, and again when that is another", async () => {
    const door = await one.door();
    const opened = await one.session(browser, door, { init: the.countBorrowed });
    const { page, sent } = opened;
    await page.press("#speed", "End");
    for (let n = 1; n <= 4; n += 1) {
        if (n === 4) await page.press("#speed", "ArrowLeft");
        await one.ask(page, `${one.QUESTION} Please.`);
        await the.until("the next turn", async () => (await page.locator(".turn").count()) === n);
        await one.answered(page);
    }
    assert.equal(door.opened, 1);
    assert.deepEqual(one.names(sent, "session.update").map(({ session }) => session.audio.output.speed), [4, 3.5]);
    assert.equal(one.names(sent, "response.create").length, 4);
    assert.equal(new Set(one.names(sent, "conversation.item.create").map(({ item }) => item.id)).size, 4);
    await the.until("all is given back", () => page.evaluate(() => globalThis.borrowed.contexts.size === 0), 500);
    the.unblemished(opened);
});

for (const [way, stop] of [["its button", (page) => page.click("#dialogue-stop")], ["Escape", (page) => page.keyboard.press("Escape")]]) {
    test(`Stop by ${way}: silence at once, and the server hears how far it was heard`, async () => {
        const door = await one.door();
        if (door.stub) Object.assign(door.stub, { answer: () => one.clauses(20), everyMs: 100, burst: 1 });
        const opened = await one.session(browser, door, { init: the.countBorrowed });
        const { page, sent, came } = opened;
        await one.SLOWLY(page);
        await one.ask(page, one.QUESTION);
        await one.sounds(page, 1.6);
        await stop(page);
        const played = await one.heard(page);
        await the.until("silence", async () => (await one.phase(page)) === "idle", 500);
        assert.equal(await one.said(page), "Stopped.");
        await the.until("all is given back", () => page.evaluate(() => globalThis.borrowed.contexts.size === 0), 500);
        await the.until("it is told", () => one.names(came, "conversation.item.truncated").length === 1);
        assert.deepEqual(types(sent).filter((type) => type !== "response.cancel").slice(3), ["conversation.item.truncate", "output_audio_buffer.clear"]);
        const [{ audio_end_ms: end, item_id: item }] = one.names(sent, "conversation.item.truncate");
        assert.ok(Math.abs(end - 1000 * played) < 150, `${end} ms of ${played} s`);
        assert.equal(item, one.names(came, "response.output_audio.delta")[0].item_id);
        assert.equal(one.names(came, "error").length, 0);
        const heard = await one.caption(page);
        const text = one.names(came, "response.output_audio_transcript.delta").map(({ delta }) => delta).join("");
        assert.ok(heard.length > 0 && text.startsWith(heard) && heard.length < 60, heard);
        assert.equal(await one.note(page), "Interrupted: this was heard.");
        assert.equal(door.open.size, 1, "the session is not kept");
        the.unblemished(opened);
    });
}

test("another question while it speaks: the first falls silent, and the server hears of both in their order", async () => {
    const door = await one.door();
    if (door.stub) Object.assign(door.stub, { answer: () => one.clauses(20), everyMs: 100, burst: 1 });
    const opened = await one.session(browser, door, { init: the.countBorrowed });
    const { page, sent, came } = opened;
    await one.SLOWLY(page);
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 1);
    await one.ask(page, "What does a quorble count?");
    await the.until("the second speaks", async () => (await page.evaluate(() => globalThis.given.length)) === 2);
    await one.sounds(page, 0.1);
    const behind = types(sent).slice(3).filter((type) => type !== "response.cancel");
    assert.deepEqual(behind, ["conversation.item.truncate", "output_audio_buffer.clear", "conversation.item.create", "response.create"]);
    assert.equal(await page.evaluate(() => globalThis.borrowed.contexts.size), 1, "two sound");
    assert.equal(await one.note(page, 0), "Interrupted: this was heard.");
    assert.equal(await one.note(page, 1), "");
    assert.equal(door.opened, 1);
    assert.equal(one.names(came, "error").length, 0);
    await page.keyboard.press("Escape");
    the.unblemished(opened);
});

test("stopped when all of it is here: nothing is cancelled, and what was heard is told", async () => {
    const door = await one.door({ isStub: true });
    Object.assign(door.stub, { answer: () => one.clauses(10), everyMs: 5, burst: 20 });
    const opened = await one.session(browser, door);
    const { page, sent, came } = opened;
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.5);
    await the.until("the server is done", () => one.names(came, "response.done").length === 1);
    await page.keyboard.press("Escape");
    await the.until("it is told", () => one.names(came, "conversation.item.truncated").length === 1);
    assert.deepEqual(types(sent).slice(3), ["conversation.item.truncate", "output_audio_buffer.clear"]);
    the.unblemished(opened);
});

test("stopped while it is thought about: nothing of the answer is heard or shown", async () => {
    const door = await one.door({ isStub: true });
    door.stub.thinks = 40;
    const opened = await one.session(browser, door);
    const { page, sent, came, seen } = opened;
    await one.ask(page, one.QUESTION);
    await the.until("the thinking sound", () => seen.requests.some((request) => /thinking.*mp3/.test(request.url())));
    assert.equal(await one.phase(page), "thinking");
    await page.keyboard.press("Escape");
    await the.until("the server ends it", () => one.names(came, "response.done").length === 1);
    assert.deepEqual(types(sent).slice(3), ["response.cancel"]);
    assert.equal(await one.note(page), "Interrupted before a word was heard.");
    assert.equal(await page.locator("audio").count(), 0);
    assert.deepEqual(await page.evaluate(() => globalThis.given), []);
    the.unblemished(opened);
});

test("an answer that fails: what came is heard to its end, it is said, and it can be asked again", async () => {
    const door = await one.door({ isStub: true });
    const [first] = one.clauses(1);
    door.stub.answer = () => [first, { fails: { message: "the engine died", code: "engine_failed" } }];
    const opened = await one.session(browser, door);
    const { page } = opened;
    await one.ask(page, one.QUESTION);
    await page.waitForSelector("#dialogue-trouble:not([hidden])");
    assert.equal(await page.textContent("#dialogue-trouble p"), "The engine died.");
    await the.until("it has ended", async () => (await one.phase(page)) === "idle");
    assert.equal(await one.said(page), "The answer broke off after 1.0 s: the engine died.");
    assert.equal((await one.given(page)).length, 24_000);
    door.stub.answer = () => one.clauses(1);
    await page.click("#dialogue-trouble button");
    await one.answered(page);
    assert.equal(door.opened, 1);
    the.unblemished(opened);
});

test("a question that is refused stands in the box again; the next one goes over the same socket", async () => {
    const door = await one.door({ isStub: true });
    door.stub.refuse = ({ type }) => type === "conversation.item.create" && { code: "string_above_max_length", message: "the text is too long" };
    const opened = await one.session(browser, door);
    const { page } = opened;
    await one.ask(page, one.QUESTION);
    await page.waitForSelector("#question-error:not([hidden])");
    assert.equal(await page.textContent("#question-error"), "The text is too long.");
    assert.equal(await page.inputValue("#question"), one.QUESTION);
    assert.equal(await page.locator(".turn").count(), 0);
    door.stub.refuse = () => null;
    await page.press("#question", "Enter");
    await one.answered(page);
    assert.equal(door.opened, 1);
    the.unblemished(opened);
});

test("nobody there: it is said, and asked again by hand", async () => {
    const door = await one.door({ isStub: true });
    const opened = await one.session(browser, door);
    const { page } = opened;
    door.shut = true;
    await one.ask(page, one.QUESTION);
    await page.waitForSelector("#dialogue-trouble:not([hidden])");
    assert.equal(await page.textContent("#dialogue-trouble p"), "The server takes no more sessions over a socket at the moment.");
    assert.equal(await one.note(page), "This was not asked.");
    assert.equal(door.shuts, 1, "it tries by itself");
    door.shut = false;
    await the.until("the button", async () => (await page.getAttribute("#dialogue-trouble button", "aria-disabled")) === "false", 8_000);
    await page.click("#dialogue-trouble button");
    await one.answered(page);
    the.unblemished(opened, { expected: one.CUT });
});

test("a key is asked for as everywhere, and goes along as a protocol's name", async () => {
    const door = await one.door({ isStub: true });
    const opened = await one.session(browser, door, { isLocked: true, before: (page) => gate(page) });
    const { page } = opened;
    door.shut = true;
    await one.ask(page, one.QUESTION);
    await page.waitForSelector("#key-panel:not([hidden])");
    door.shut = false;
    await give(page, KEY);
    await one.answered(page);
    assert.deepEqual(door.stub.protocols, [`realtime, openai-insecure-api-key.${KEY}`]);
    assert.equal(await page.isHidden("#key-panel"), true);
    assert.equal(await page.evaluate(() => sessionStorage.getItem("evensong.key")), KEY);
    assert.ok(door.asked.every((head) => !head.split("\r\n")[0].includes(KEY)), "the key stands in an address");
    the.unblemished(opened, { expected: one.CUT });
});

test("the switch: off as long as nobody sets it, kept, and either way ends the other", async () => {
    const door = await one.door({ isStub: true });
    await the.shelve(one.TALE);
    door.stub.answer = () => one.clauses(20);
    const opened = await the.open(browser, { url: door.url });
    const { page, seen } = opened;
    assert.equal(await page.isChecked("#socket"), false);
    await one.ask(page, one.QUESTION);
    await one.speaks(page, 0.1);
    const [stream] = one.streams(opened);
    await page.focus("#socket");
    await page.keyboard.press("Space");
    assert.equal(await one.phase(page), "idle");
    await the.until("the stream is ended", () => seen.failed.has(stream));
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.1);
    assert.equal(one.questions(opened).length, 1);
    await page.reload();
    assert.equal(await page.isChecked("#socket"), true, "it is forgotten");
    await the.until("the socket is closed", () => door.open.size === 0);
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.1);
    await page.uncheck("#socket");
    assert.equal(await one.phase(page), "idle");
    await the.until("the socket is closed", () => door.open.size === 0);
    await one.ask(page, one.QUESTION);
    await one.speaks(page, 0.1);
    assert.equal(one.questions(opened).length, 2);
    await page.keyboard.press("Escape");
    the.unblemished(opened);
});

test("where the browser could not play it, the switch cannot be set", async () => {
    const door = await one.door({ isStub: true });
    const opened = await one.session(browser, door, { init: () => Reflect.deleteProperty(globalThis, "AudioWorkletNode") });
    const { page } = opened;
    assert.equal(await page.isDisabled("#socket"), true);
    assert.equal(await page.isChecked("#socket"), false);
    await one.ask(page, one.QUESTION);
    await one.speaks(page, 0.1);
    assert.equal(door.opened, 0);
    await page.keyboard.press("Escape");
    the.unblemished(opened);
});

test("a session that is not needed any more is closed, and the next is told what was said", async () => {
    const door = await one.door();
    const opened = await one.session(browser, door, { before: (page) => page.clock.install() });
    const { page, sent } = opened;
    await page.press("#speed", "End");
    await one.ask(page, one.QUESTION);
    await one.answered(page);
    const answer = await one.caption(page);
    await page.clock.fastForward(125_000);
    await the.until("the socket is closed", () => door.open.size === 0);
    await one.ask(page, "And where does it walk?");
    await the.until("another socket", () => door.opened === 2);
    await one.answered(page);
    const told = one.names(sent, "conversation.item.create").slice(1).map(({ item }) => [item.role, item.content[0]]);
    assert.deepEqual(told, [
        ["user", { type: "input_text", text: one.QUESTION }],
        ["assistant", { type: "output_text", text: answer }],
        ["user", { type: "input_text", text: "And where does it walk?" }],
    ]);
    the.unblemished(opened);
});
