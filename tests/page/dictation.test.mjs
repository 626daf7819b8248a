// A question that is spoken: the browser's own recognition, held or tapped, over an answer, and where there is none. The browser
// of the tests has no ears, so what it would hear is said here.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import * as talk from "./talk.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

/** A recognition that hears what a test says: hear(text, isFinal), fail(error). */
function fakeEars() {
    globalThis.ears = { made: 0, begun: 0, now: null };
    globalThis.webkitSpeechRecognition = globalThis.SpeechRecognition = class {
        constructor() {
            globalThis.ears.made += 1;
        }

        start() {
            globalThis.ears.begun += 1;
            globalThis.ears.now = this;
        }

        stop() {
            setTimeout(() => this.onend?.(), 20);
        }

        abort() {
            this.onerror?.({ error: "aborted" });
            this.stop();
        }
    };
    globalThis.hear = (text) => globalThis.ears.now.onresult({ results: [[{ transcript: text }]] });
    globalThis.fail = (error) => {
        globalThis.ears.now.onerror({ error });
        globalThis.ears.now.stop();
    };
}

function withoutEars() {
    for (const name of ["SpeechRecognition", "webkitSpeechRecognition"]) Reflect.deleteProperty(globalThis, name);
}

const hear = (page, text) => page.evaluate((words) => globalThis.hear(words), text);
const listens = async (page) => (await page.getAttribute("#dictate", "aria-pressed")) === "true";

async function hold(page) {
    const { x, y, width, height } = await page.locator("#dictate").boundingBox();
    await page.mouse.move(x + width / 2, y + height / 2);
    await page.mouse.down();
    await the.until("it listens", () => listens(page));
}

test("held while one speaks: what is heard is shown, and asked when it is let go", async () => {
    const opened = await talk.talk(browser, { init: fakeEars });
    const { page } = opened;
    await hold(page);
    assert.equal(await talk.said(page), "Listening …");
    await hear(page, "Where does");
    assert.equal(await page.inputValue("#question"), "Where does");
    await hear(page, talk.QUESTION);
    await the.pause(400);
    assert.equal(talk.questions(opened).length, 0, "it asked while one speaks");
    await page.mouse.up();
    await talk.speaks(page, 0.1);
    assert.deepEqual(await talk.asked(page), [talk.QUESTION]);
    assert.equal(await page.inputValue("#question"), "");
    assert.equal(await listens(page), false);
    assert.equal(talk.questions(opened).length, 1);
    the.unblemished(opened);
});

test("over an answer: silence as soon as one speaks up, and the question interrupts it", async () => {
    const opened = await talk.talk(browser, { init: fakeEars });
    const { page } = opened;
    await talk.SLOWLY(page);
    await talk.ask(page, talk.QUESTION);
    await talk.speaks(page, 2);
    await hold(page);
    assert.equal(await page.locator("#dialogue-ear audio").count(), 0, "it speaks on");
    await hear(page, "What does a quorble count?");
    await the.pause(400);
    await page.mouse.up();
    await talk.speaks(page, 0.1);
    const { dialogueId, played_ms: played } = talk.questions(opened)[1].postDataJSON();
    assert.match(dialogueId, /^[0-9a-f]{32}$/);
    assert.ok(played > 1_500 && played < 4_000, `${played} ms`);
    await page.keyboard.press("Escape");
    the.unblemished(opened);
});

test("a tap begins, another ends; by keyboard as well; nothing heard is said, and holds nothing", async () => {
    const opened = await talk.talk(browser, { init: fakeEars });
    const { page } = opened;
    await page.click("#dictate");
    await the.pause(500);
    assert.equal(await listens(page), true, "a tap is no wish to stop");
    await page.click("#dictate");
    await the.until("it listens no more", async () => !(await listens(page)));
    assert.equal(await talk.said(page), "Nothing was heard. Hold the button while you speak.");
    await page.focus("#dictate");
    await page.keyboard.down("Space");
    await hear(page, talk.QUESTION);
    await the.pause(450);
    await page.keyboard.up("Space");
    await talk.speaks(page, 0.1);
    await hold(page);
    await page.evaluate(() => globalThis.fail("not-allowed"));
    await the.until("why", async () => /may not use the microphone/.test(await talk.said(page)));
    await page.mouse.up();
    await talk.still(page);
    // Escape gives it up.
    await page.click("#dictate");
    await hear(page, "never mind");
    await page.keyboard.press("Escape");
    await the.until("it listens no more", async () => !(await listens(page)));
    assert.equal(talk.questions(opened).length, 1);
    assert.equal(await page.inputValue("#question"), "");
    the.unblemished(opened);
});

test("where the browser has none, there is no button, and nothing is said of it", async () => {
    const opened = await talk.talk(browser, { init: withoutEars });
    assert.equal(await opened.page.isHidden("#dictate"), true);
    assert.equal(await opened.page.isHidden("#dictate-hint"), true);
    the.unblemished(opened);
});
