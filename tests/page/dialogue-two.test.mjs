// A dialogue that others hear as well: a second tab, one that joins late, one that asks, one that leaves.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import * as talk from "./talk.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

const REFUSED = /^Failed to load resource/;

/** A tab that asks slowly, and the address by which others listen. */
async function begun() {
    const opened = await talk.talk(browser);
    const { page } = opened;
    assert.equal(await page.isHidden("#share"), true, "there is nothing to be listened to yet");
    await talk.SLOWLY(page);
    await talk.ask(page, talk.QUESTION);
    await talk.speaks(page, 0.2);
    await page.click("#share summary");
    // A browser says that it was opened a moment after it was.
    await the.until("an address", async () => (await page.inputValue("#share input")) !== "");
    const address = await page.inputValue("#share input");
    assert.match(address, /#dialogue=[0-9a-f]{32}&capability=[0-9a-f]{32}$/);
    return { ...opened, address };
}

const listeners = async () => the.live((await the.ledger()).kinds, "dialogue_listener");

test("a second tab hears the same, through all turns, and either may leave", async () => {
    const first = await begun();
    const second = await the.open(browser, { url: first.address });
    await talk.speaks(second.page, 0.2);
    assert.equal(await listeners(), 2);
    assert.equal(talk.questions(second).length, 0);
    assert.equal(await second.page.isHidden("#share"), true);
    assert.match(await talk.caption(second.page), /^A quorble sleeps .*Ada Teller\.$/);
    assert.equal(await second.page.locator(".source").first().textContent(), "The quorbleAda Teller");
    const earlier = await talk.currentTime(second.page);
    await the.until("it goes on", async () => (await talk.currentTime(second.page)) > earlier + 0.5);
    // The next question, from the first.
    await talk.ask(first.page, "What does a quorble count?");
    await the.until("the second turn", async () => (await second.page.locator(".turn").count()) === 2);
    assert.equal(await talk.note(second.page, 0), "Interrupted: this was heard.");
    // Of a turn that the server is done with, each says what it has heard itself.
    for (const { page } of [first, second]) assert.match(await talk.caption(page, 0), /^A( quorble|$)/);
    await talk.speaks(second.page, 0.2);
    assert.equal(await second.page.locator("#dialogue-ear audio").count(), 1);
    // One leaves, the other hears on.
    await second.page.keyboard.press("Escape");
    assert.equal(await talk.said(second.page), "Stopped.");
    await the.until("it has left", async () => (await listeners()) === 1);
    const then = await talk.currentTime(first.page);
    await the.until("the first goes on", async () => (await talk.currentTime(first.page)) > then + 0.4);
    await first.close();
    await the.until("all is gone", async () => the.live((await the.ledger()).kinds, "dialogue") === 0, 12_000);
    the.unblemished(first);
    the.unblemished(second);
});

test("one that joins late hears the rest, with the right words marked, and learns what was asked", async () => {
    const first = await begun();
    await talk.speaks(first.page, 8);
    const second = await the.open(browser, { url: first.address });
    await talk.speaks(second.page, 0.5);
    await the.until("a word", async () => (await talk.marked(second.page)) > 0, 8_000);
    await first.page.keyboard.press("Escape");
    // Here only: somebody else listens.
    assert.equal(await talk.phase(first.page), "idle");
    const left = () => second.page.evaluate(() => {
        const { currentTime, buffered } = document.querySelector("#dialogue-ear audio");
        const last = document.querySelector(".turn:last-child .caption span:last-child");
        return last.matches(".now") && last.textContent === "Teller." ? buffered.end(0) - currentTime : null;
    });
    const seconds = await the.until("the last word", left, 60_000);
    assert.ok(seconds < 3 && seconds > 0.5, `the last word, which lasts 2 s, is marked ${seconds} s before the end`);
    await the.until("the end", async () => (await talk.said(second.page)) === "Answered.");
    assert.deepEqual(await talk.asked(second.page), [talk.QUESTION]);
    assert.match(await talk.caption(second.page), /^A quorble sleeps .*Ada Teller\.$/);
    the.unblemished(second);
});

test("it may ask as well, which interrupts the first, and both hear the answer", async () => {
    const first = await begun();
    const second = await the.open(browser, { url: first.address });
    await talk.speaks(second.page, 0.3);
    await second.page.press("#speed", "End");
    await talk.ask(second.page, "What does a quorble count?");
    await the.until("the second turn", async () => (await first.page.locator(".turn").count()) === 2);
    await the.until("it ends", async () => (await talk.said(first.page)) === "Answered.", 30_000);
    assert.deepEqual(await talk.asked(first.page), [talk.QUESTION, "What does a quorble count?"]);
    assert.deepEqual(await talk.asked(second.page), [talk.QUESTION, "What does a quorble count?"].slice(-(await talk.asked(second.page)).length));
    assert.equal(await talk.note(first.page, 0), "Interrupted: this was heard.");
    const { dialogueId } = talk.questions(second)[0].postDataJSON();
    assert.ok(first.address.includes(dialogueId));
    // The first goes on where the second has been.
    await talk.ask(first.page, "Thank you, quorble.");
    await the.until("the third", async () => (await second.page.locator(".turn").count()) >= 2 && talk.questions(first).length === 2);
    assert.equal(talk.questions(first)[1].postDataJSON().dialogueId, dialogueId);
    the.unblemished(first);
    the.unblemished(second);
});

test("one that is cut off comes back while the other hears on", async () => {
    const first = await begun();
    const door = await talk.door();
    const second = await the.open(browser, { url: first.address.replace(the.URL_OF.replace(/\/$/, ""), door.url.replace(/\/$/, "")) });
    await talk.speaks(second.page, 0.5);
    door.cut();
    await the.until("it is back", () => door.calls.some(({ headers }) => headers["last-event-id"]), 5_000);
    await the.until("the end", async () => (await talk.said(second.page)) === "Answered.", 60_000);
    const numbers = [...new Set(door.events.map(({ id }) => Number(id.split(".")[1])))];
    assert.deepEqual(numbers, Array.from({ length: numbers.length }, (_, i) => numbers[0] + i), "an event is missing");
    assert.equal(await talk.note(first.page), "");
    the.unblemished(second, { expected: REFUSED });
});

test("a conversation that is over: it is said", async () => {
    await the.shelve(talk.TALE);
    const url = new URL(`#dialogue=${"0".repeat(32)}&capability=${"0".repeat(32)}`, the.URL_OF).href;
    const opened = await the.open(browser, { url });
    const { page } = opened;
    await page.waitForSelector("#dialogue-trouble:not([hidden])");
    assert.equal(await page.textContent("#dialogue-trouble p"), "That conversation is over.");
    assert.equal(await page.isVisible("#dialogue-trouble button"), false);
    await talk.ask(page, talk.QUESTION);
    await talk.speaks(page, 0.1);
    assert.equal(await page.isHidden("#dialogue-trouble"), true);
    the.unblemished(opened, { expected: REFUSED });
});
