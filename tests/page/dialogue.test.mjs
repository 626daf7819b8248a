// One asks, and hears the answer: its sound, its words as they are heard, where it is from; several turns, interruptions, Stop.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import { book, shows, type } from "./shelf.mjs";
import * as talk from "./talk.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

const WHERE = /A quorble sleeps under the bridge/;
const thinkings = ({ seen }) => seen.requests.filter((request) => /\/assets\/thinking.*mp3$/.test(request.url()));

test("who answers is said before anything is asked, and where nobody does there is nothing to be asked", async () => {
    const { page, ...opened } = await talk.talk(browser);
    await the.until("who answers", async () => (await page.textContent("#answering")) === "Answers come from the documents here.");
    assert.equal(await page.isVisible("#dialogue"), true);
    let who = "llm";
    await page.route("**/api/status", async (route) => {
        const response = await route.fetch();
        return route.fulfill({ response, json: { ...(await response.json()), answering: who } });
    });
    await the.until("another", async () => (await page.textContent("#answering")) === "Answers come from a language model, which can be wrong.");
    who = null;
    await the.until("nobody", async () => page.isHidden("#dialogue"));
    await page.unrouteAll({ behavior: "wait" });
    the.unblemished({ page, ...opened });
});

test("it is asked once, heard, and its words are marked in order and in time with the sound", async () => {
    const opened = await talk.talk(browser, { init: watchWords });
    const { page } = opened;
    await talk.ask(page, talk.QUESTION);
    await talk.speaks(page);
    assert.equal(await talk.phase(page), "speaking");
    assert.equal(await page.inputValue("#question"), "");
    assert.deepEqual(await talk.asked(page), [talk.QUESTION]);
    const earlier = await talk.currentTime(page);
    await the.pause(1_000);
    assert.ok((await talk.currentTime(page)) > earlier + 0.6, "the sound does not advance");
    await talk.answered(page);
    assert.match(await talk.caption(page), /^A quorble sleeps under the bridge .* to the lamps\. That is from The quorble by Ada Teller\.$/);
    const marks = await page.evaluate(() => globalThis.marks);
    assert.ok(marks.length > 20, `${marks.length} words were marked`);
    assert.deepEqual(marks.slice(0, 4).map(({ word }) => word), ["A", "quorble", "sleeps", "under"]);
    const places = marks.map(({ place }) => place);
    assert.deepEqual(places, places.toSorted((a, b) => a - b), "a mark went back");
    // Each begins where the server says that its word does, by the element's own clock.
    const starts = (await page.evaluate(() => globalThis.starts)).map((ms) => ms / 1000);
    const late = marks.map(({ place, at }) => at - starts[place]).sort((a, b) => a - b);
    assert.ok(late[0] > -0.05, `a word was marked ${late[0]} s before it is heard`);
    assert.ok(late[Math.floor(late.length / 2)] < 0.1, `words are marked ${late[Math.floor(late.length / 2)]} s late`);
    const [question] = talk.questions(opened);
    const { text, format, resumable, thinking, voice } = question.postDataJSON();
    assert.deepEqual({ text, format, resumable, thinking, voice }, { text: talk.QUESTION, format: "mp3", resumable: true, thinking: "sound", voice: "alloy" });
    assert.match(question.headers()["idempotency-key"], /^[0-9a-f]{32}$/);
    assert.equal(talk.questions(opened).length, 1);
    assert.equal(await page.textContent("#answering"), "Answers come from the documents here.");
    assert.match(await page.textContent("[data-field=first]"), /^\d.* m?s$/);
    assert.equal(await page.textContent("[data-field=engine]"), "espeak");
    the.unblemished(opened);
});

/** Remembers when which word was marked, by the element's clock, and when the server says that they are heard. */
function watchWords() {
    globalThis.marks = [];
    globalThis.starts = [];
    const parse = JSON.parse;
    JSON.parse = (text, ...rest) => {
        const value = parse(text, ...rest);
        for (const { word, start_ms: start } of value?.words ?? []) if (/\w/.test(word)) globalThis.starts.push(start);
        return value;
    };
    addEventListener("DOMContentLoaded", () => {
        const note = (changes) => {
            for (const { target } of changes) {
                if (!target.classList?.contains("now")) continue;
                const words = [...target.parentNode.querySelectorAll("span")];
                const at = document.querySelector("#dialogue-ear audio")?.currentTime;
                if (globalThis.marks.at(-1)?.place !== words.indexOf(target)) globalThis.marks.push({ word: target.textContent, place: words.indexOf(target), at });
            }
        };
        new MutationObserver(note).observe(document.getElementById("conversation"), { subtree: true, attributeFilter: ["class"] });
    });
}

test("five questions: one request each, one stream for all, the thinking sound once at most, and no sound in an answer to a question", async () => {
    const opened = await talk.talk(browser);
    const { page, seen } = opened;
    await page.press("#speed", "End");
    for (let i = 1; i <= 5; i += 1) {
        await talk.ask(page, `${talk.QUESTION} Please.`);
        await the.until("the next turn", async () => (await page.locator(".turn").count()) === i);
        await the.until("it has ended", async () => (await talk.phase(page)) === "idle", 20_000);
        assert.equal(await talk.said(page), "Answered.");
    }
    assert.equal(talk.questions(opened).length, 5);
    assert.equal(talk.streams(opened).length, 1);
    assert.ok(thinkings(opened).length <= 1, `${thinkings(opened).length} times`);
    const ids = new Set();
    for (const question of talk.questions(opened)) {
        const answer = await question.response();
        assert.equal(answer.status(), 202);
        const body = await answer.text();
        assert.ok(body.length < 1_000 && !/base64|"audio":"\/\//.test(body), body);
        assert.match(answer.headers()["content-type"], /^application\/json/);
        assert.match(JSON.parse(body).thinkingIndicator.asset, /^\/assets\/thinking\.[0-9a-f]{32}\.mp3$/);
        ids.add(JSON.parse(body).dialogueId);
    }
    assert.equal(ids.size, 1, "it is not one dialogue");
    assert.equal(seen.requests.filter((request) => /\/audio\?capability/.test(request.url())).length, 0);
    const bodies = talk.questions(opened).map((question) => question.postDataJSON());
    assert.deepEqual(bodies.map((body) => [Boolean(body.dialogueId), "history" in body, "played_ms" in body]), [
        [false, false, false],
        ...Array(4).fill([true, false, false]),
    ]);
    the.unblemished(opened);
});

test("Enter twice, and a double click, ask once", async () => {
    const opened = await talk.talk(browser);
    const { page } = opened;
    await page.fill("#question", talk.QUESTION);
    await page.focus("#question");
    await page.evaluate(() => {
        const enter = () => document.getElementById("question").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
        enter();
        enter();
    });
    await talk.speaks(page, 0.1);
    await page.fill("#question", talk.QUESTION);
    await page.dblclick("#ask");
    await the.until("the second", () => talk.questions(opened).length === 2);
    await talk.speaks(page, 0.1);
    assert.equal(talk.questions(opened).length, 2);
    assert.equal(await page.isHidden("#question-error"), true, "the second press complains");
    the.unblemished(opened);
});

for (const [way, stop] of [["its button", (page) => page.click("#dialogue-stop")], ["Escape", (page) => page.keyboard.press("Escape")]]) {
    test(`Stop by ${way}: silence at once, nothing is held, and what was heard is remembered`, async () => {
        const opened = await talk.talk(browser, { init: the.countBorrowed });
        const { page, seen } = opened;
        await talk.SLOWLY(page);
        await talk.ask(page, talk.QUESTION);
        await talk.speaks(page, 2.5);
        const [stream] = talk.streams(opened);
        await stop(page);
        await talk.still(page);
        assert.equal(await talk.said(page), "Stopped.");
        assert.ok(seen.failed.has(stream), "the stream goes on");
        const heard = await talk.caption(page);
        assert.match("A quorble sleeps under the bridge until the bells have rung.", new RegExp(`^${heard}\\b`));
        assert.ok(heard.length > 0 && heard.split(" ").length < 9, heard);
        assert.equal(await talk.note(page), "Interrupted: this was heard.");
        assert.equal(await page.evaluate(() => globalThis.borrowed.urls.size), 0);
        await talk.ask(page, "And where does a quorble walk?");
        await talk.speaks(page, 0.1);
        const { dialogueId, history } = talk.questions(opened)[1].postDataJSON();
        assert.equal(dialogueId, undefined);
        assert.deepEqual(history, [{ role: "user", text: talk.QUESTION }, { role: "assistant", text: heard }]);
        await page.keyboard.press("Escape");
        the.unblemished(opened);
    });
}

test("another question while it speaks: the first falls silent at once, and shows what was heard of it", async () => {
    const opened = await talk.talk(browser);
    const { page } = opened;
    await talk.SLOWLY(page);
    await talk.ask(page, talk.QUESTION);
    await talk.speaks(page, 3);
    await talk.ask(page, "What does a quorble count?");
    await the.until("the second turn", async () => (await page.locator(".turn").count()) === 2);
    await talk.speaks(page, 0.2);
    assert.equal(await page.locator("#dialogue-ear audio").count(), 1);
    const [first, second] = talk.questions(opened).map((question) => question.postDataJSON());
    assert.equal(first.dialogueId, undefined);
    assert.match(second.dialogueId, /^[0-9a-f]{32}$/);
    assert.ok(second.played_ms > 2_500 && second.played_ms < 6_000, `${second.played_ms} ms`);
    const heard = await talk.caption(page, 0);
    assert.ok(/^A quorble sleeps\b/.test(heard) && heard.length < 60, heard);
    assert.equal(await talk.note(page, 0), "Interrupted: this was heard.");
    assert.equal(talk.streams(opened).length, 1, "another stream was opened");
    await page.keyboard.press("Escape");
    the.unblemished(opened);
});

test("an answer that is all here and not yet heard is interrupted as well, and remembered as far as it was heard", async () => {
    const opened = await talk.talk(browser);
    const { page } = opened;
    await talk.ask(page, talk.QUESTION);
    await talk.speaks(page, 1.5);
    await the.until("the server is done", async () => (await page.textContent("[data-field=server]")) !== "–");
    await talk.ask(page, "What does a quorble count?");
    await the.until("the second", () => talk.questions(opened).length === 2);
    const { dialogueId, history } = talk.questions(opened)[1].postDataJSON();
    assert.match(dialogueId, /^[0-9a-f]{32}$/);
    assert.equal(history.length, 2);
    assert.match(history[1].text, /^A quorble sleeps under/);
    assert.doesNotMatch(history[1].text, /lamps/);
    assert.equal(await talk.caption(page, 0), history[1].text);
    the.unblemished(opened);
});

test("one thing sounds at a time: the form, what is read, and the dialogue end each other", async () => {
    const opened = await talk.talk(browser);
    const { page } = opened;
    const all = () => page.locator("audio").count();
    await page.fill("#text", the.LONG);
    await page.click("#speak");
    await the.until("the form", async () => (await page.textContent("#state")) === "Speaking.");
    await talk.ask(page, talk.QUESTION);
    await talk.speaks(page, 0.2);
    assert.deepEqual([await all(), await page.textContent("#state")], [1, "Stopped."]);
    await type(page, "quorble");
    await shows(page, "The quorble");
    await page.click(".hit-read");
    await the.until("it is read", async () => (await page.textContent("#state")) === "Reading “The quorble”.");
    assert.deepEqual([await all(), await talk.phase(page)], [1, "idle"]);
    await talk.ask(page, talk.QUESTION);
    await talk.speaks(page, 0.2);
    assert.deepEqual([await all(), await page.textContent(".hit-read")], [1, "Read it to me"]);
    await page.keyboard.press("Escape");
    await talk.still(page);
    the.unblemished(opened);
});

test("what it is from is shown: titles, links, whose it is; a picture of this server only", async () => {
    const url = "https://elsewhere.test/tale";
    const evil = book(2, { title: "Glimps <b>bold</b>", text: "A glimp is a small light over the water at night.", media: "https://elsewhere.test/x.gif", url });
    const opened = await talk.talk(browser, {}, evil);
    const { page } = opened;
    await talk.ask(page, "What is a glimp?");
    await talk.speaks(page, 0.1);
    const source = page.locator(".source").first();
    assert.equal(await source.locator("a").textContent(), "Glimps <b>bold</b>");
    assert.deepEqual(await source.locator("a").evaluate((a) => [a.href, a.target, a.rel]), [url, "_blank", "noopener noreferrer"]);
    assert.equal(await source.locator("img").count(), 0);
    assert.match(await talk.caption(page), /That is from Glimps <b>bold<\/b>\.$/);
    await page.keyboard.press("Escape");
    the.unblemished(opened);
});

test("by keyboard and for a screen reader: names, states, and sentences that are told once each", async () => {
    const opened = await talk.talk(browser);
    const { page } = opened;
    await page.evaluate(() => {
        globalThis.aloud = [];
        const node = document.getElementById("dialogue-aloud");
        new MutationObserver(() => globalThis.aloud.push(node.textContent)).observe(node, { childList: true, characterData: true, subtree: true });
    });
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "question");
    await page.keyboard.type(talk.QUESTION);
    await page.keyboard.press("Shift+Enter");
    assert.match(await page.inputValue("#question"), /\n$/, "a line more is no question");
    await page.keyboard.press("Control+Enter");
    await talk.speaks(page, 0.1);
    const snapshot = await page.locator("#dialogue").ariaSnapshot();
    for (const line of [/textbox "Ask something"/, /button "Ask"/, /button "Stop"/, /log "Conversation"/, /status: Speaking\./, /list "Where this is from"/]) {
        assert.match(snapshot, line);
    }
    await talk.answered(page);
    const aloud = await page.evaluate(() => globalThis.aloud);
    assert.deepEqual(aloud, [
        "A quorble sleeps under the bridge until the bells have rung.",
        "Then it walks along the river, counts the boats, and sings to the lamps.",
        "That is from The quorble by Ada Teller.",
    ]);
    assert.equal(await page.getAttribute("#conversation", "aria-live"), "off");
    the.unblemished(opened);
});

test("nothing and too much are said without asking the server", async () => {
    const opened = await talk.talk(browser);
    const { page } = opened;
    await page.click("#ask");
    assert.match(await page.textContent("#question-error"), /Write a question/);
    assert.equal(await page.evaluate(() => document.activeElement.id), "question");
    await page.fill("#question", "🌙".repeat(4097));
    assert.equal(await page.isHidden("#question-error"), true);
    await page.click("#ask");
    assert.match(await page.textContent("#question-error"), /^1 character/);
    assert.equal(talk.questions(opened).length, 0);
    the.unblemished(opened);
});

test("twenty questions: what the page borrowed is given back, and it does not grow", async () => {
    const opened = await talk.talk(browser, { init: the.countBorrowed });
    const { page } = opened;
    const session = await page.context().newCDPSession(page);
    await session.send("Performance.enable");
    await page.press("#speed", "End");
    const turn = async (i) => {
        await talk.ask(page, talk.QUESTION);
        await talk.speaks(page, 0.05);
        // Some are stopped, some interrupted, some heard to their end.
        if (i % 3 === 0) await page.keyboard.press("Escape");
        if (i % 3 === 1) await the.until("the end", async () => (await talk.phase(page)) === "idle", 15_000);
    };
    const counts = async () => {
        await page.keyboard.press("Escape");
        await the.pause(300);
        await session.send("HeapProfiler.collectGarbage");
        const { metrics } = await session.send("Performance.getMetrics");
        const value = (name) => metrics.find((metric) => metric.name === name).value;
        const turns = await page.locator(".turn").count();
        const { urls, contexts } = await page.evaluate(() => ({ urls: globalThis.borrowed.urls.size, contexts: globalThis.borrowed.contexts.size }));
        return { listeners: value("JSEventListeners"), nodes: value("Nodes"), resources: value("AudioHandlers") + value("MediaKeys"), turns, urls, contexts };
    };
    for (let i = 0; i < 3; i += 1) await turn(i);
    const before = await counts();
    for (let i = 0; i < 20; i += 1) await turn(i);
    const now = await counts();
    assert.deepEqual([now.urls, now.contexts], [0, 0]);
    assert.equal(now.listeners, before.listeners, "listeners are left behind");
    assert.equal(now.resources, before.resources);
    const perTurn = (now.nodes - before.nodes) / (now.turns - before.turns);
    assert.ok(perTurn < 60, `${perTurn} nodes for each turn that is shown`);
    the.unblemished(opened);
    await opened.close();
    await talk.gone();
    await the.until("the ledger is idle", async () => (await the.ledger()).idle, 2_000);
});

test("a dialogue in which nothing more is asked is let go of, and goes on in another", async () => {
    const opened = await talk.talk(browser, { before: (page) => page.clock.install() });
    const { page } = opened;
    await page.press("#speed", "End");
    await talk.ask(page, talk.QUESTION);
    await talk.answered(page);
    assert.equal(the.live((await the.ledger()).kinds, "dialogue"), 1, "the next question would not find it");
    await page.clock.fastForward(121_000);
    await talk.gone();
    await talk.ask(page, "What does a quorble count?");
    await the.until("the second", () => talk.questions(opened).length === 2);
    const { dialogueId, history } = talk.questions(opened)[1].postDataJSON();
    assert.deepEqual([dialogueId, history.length, history[0].text], [undefined, 2, talk.QUESTION]);
    the.unblemished(opened);
});

test("a page that is left holds nothing, not even for a while", async () => {
    const opened = await talk.talk(browser);
    const { page } = opened;
    await talk.SLOWLY(page);
    await talk.ask(page, talk.QUESTION);
    await talk.speaks(page, 0.2);
    await page.goto(new URL("docs", the.URL_OF).href);
    await talk.gone();
});
