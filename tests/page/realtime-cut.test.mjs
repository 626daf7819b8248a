// The network of a session is cut, in every place where that hurts: it goes on where it was, and says so; or it is lost, and says so.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import * as one from "./session.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

/** A page with a clock that a test may move on. */
const clocked = (door, options = {}) => one.session(browser, door, { ...options, before: (page) => page.clock.install() });
const asked = ({ sent }) => one.names(sent, "response.create").length;
const whole = async (opened) => {
    await one.ask(opened.page, one.QUESTION);
    await one.answered(opened.page);
};
/** Nothing of the last answer is missing, or was heard twice. No two of an engine's are alike, so it is told by the words and their times. */
const exact = async (door, { page, came }) => {
    one.gapless(came);
    const sound = one.arrived(came);
    one.exact(await one.given(page), sound);
    if (door.stub) return one.exact(sound, one.samples(3_000));
    const last = came.findLast(({ words }) => words).words.at(-1).end_ms;
    assert.ok(Math.abs(last - sound.length / 24) < 1_000, `the last word ends at ${last} ms of ${sound.length / 24}`);
    assert.match(await one.caption(page), /^A quorble sleeps under the bridge .* to the lamps\. That is from The quorble by Ada Teller\.$/);
};
const slow = (door) => door.stub && Object.assign(door.stub, { answer: () => one.clauses(8), everyMs: 100, burst: 1 });

test("twenty seconds without the network in the middle of an answer: it goes on where it was, nothing is missing or heard twice, and it says so", async () => {
    const door = await one.door();
    const opened = await clocked(door);
    const { page, sent } = opened;
    await whole(opened);
    // No more than the first second comes before the cut.
    door.most = 60_000;
    slow(door);
    if (door.stub) door.stub.answer = () => one.clauses(3);
    door.cut();
    await the.until("it is back", () => door.opened === 2);
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.2);
    door.shut = true;
    door.most = Infinity;
    door.cut();
    await the.until("it says so", async () => (await one.said(page)) === "Connection lost, coming back …");
    await the.until("it tries", () => door.shuts > 0);
    await page.clock.fastForward(20_000);
    const shuts = door.shuts;
    await the.until("it tries again", () => door.shuts > shuts);
    door.shut = false;
    await the.until("it goes on", async () => /^Gone on after 2\d s without the network\.$/.test(await one.said(page)), 8_000);
    assert.match(door.asked.at(-1), /^GET \/v1\/realtime\?resume=[^&]+&after=[^& ]+ /);
    await one.answered(page);
    await exact(door, opened);
    assert.equal(asked(opened), 2);
    assert.equal(sent.filter(({ type }) => /cancel|truncate|retrieve/.test(type)).length, 0);
    assert.equal(await one.note(page), "");
    the.unblemished(opened, { expected: one.CUT });
});

test("the same by the clock on the wall", { skip: !process.env.EVENSONG_SLOW && "EVENSONG_SLOW=1 waits for 20 s" }, async () => {
    const door = await one.door();
    const opened = await one.session(browser, door);
    const { page } = opened;
    await whole(opened);
    door.most = 60_000;
    slow(door);
    if (door.stub) door.stub.answer = () => one.clauses(3);
    door.cut();
    await the.until("it is back", () => door.opened === 2);
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.2);
    door.shut = true;
    door.most = Infinity;
    door.cut();
    await the.pause(20_000);
    door.shut = false;
    await the.until("it goes on", async () => /^Gone on after 2\d s without the network\.$/.test(await one.said(page)), 8_000);
    await one.answered(page);
    await exact(door, opened);
    the.unblemished(opened, { expected: one.CUT });
});

test("cut six times in one answer, and each time goes on", async () => {
    const door = await one.door({ isStub: true });
    Object.assign(door.stub, { answer: () => one.clauses(8), everyMs: 40, burst: 1 });
    const opened = await one.session(browser, door);
    const { page, came } = opened;
    await one.ask(page, one.QUESTION);
    for (let n = 1; n <= 6; n += 1) {
        const before = one.names(came, "response.output_audio.delta").length;
        await the.until("more of it", () => one.names(came, "response.output_audio.delta").length > before + 3);
        door.cut();
        await the.until("it is back", () => door.opened === n + 1);
    }
    await one.answered(page);
    one.exact(await one.given(page), one.samples(8_000));
    one.gapless(came);
    assert.equal(await one.caption(page), one.clauses(8).map(({ text }) => text).join(""));
    the.unblemished(opened, { expected: one.CUT });
});

test("the device says that it is offline: the socket is given up, and taken up again as soon as it is online", async () => {
    const door = await one.door();
    slow(door);
    const opened = await one.session(browser, door, { init: () => (Math.random = () => 0.999) });
    const { page } = opened;
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.2);
    door.shut = true;
    await page.evaluate(() => dispatchEvent(new Event("offline")));
    await the.until("the socket is given up", () => door.open.size === 0);
    await the.until("it tries", () => door.shuts >= 3, 12_000);
    door.shut = false;
    // The next wait would be five seconds.
    const began = performance.now();
    await page.evaluate(() => dispatchEvent(new Event("online")));
    await the.until("it goes on", async () => /^Gone on after \d+ s/.test(await one.said(page)));
    assert.ok(performance.now() - began < 1_500, "it waited");
    await page.keyboard.press("Escape");
    the.unblemished(opened, { expected: one.CUT });
});

test("between two attempts half a second lies at least, five at most, and never the same", async () => {
    const door = await one.door({ isStub: true });
    const opened = await clocked(door, { init: recordWaits });
    const { page } = opened;
    await one.ask(page, one.QUESTION);
    await one.answered(page);
    door.shut = true;
    await page.evaluate(() => (globalThis.waits = []));
    door.cut();
    for (let n = 1; n <= 8; n += 1) {
        await the.until("it tries", () => door.shuts === n);
        await page.clock.fastForward(5_000);
    }
    const waits = await page.evaluate(() => globalThis.waits);
    assert.ok(waits.length >= 8 && waits.every((ms) => ms >= 500 && ms <= 5_000), String(waits));
    assert.ok(waits[0] <= 1_000 && waits[1] <= 2_000 && waits[2] <= 4_000, String(waits));
    assert.equal(new Set(waits).size, waits.length, String(waits));
    door.shut = false;
    await page.clock.fastForward(5_000);
    await the.until("it is back", () => door.opened === 2);
    the.unblemished(opened, { expected: one.CUT });
});

/** Remembers what is waited for, but for what has a fixed length. */
function recordWaits() {
    globalThis.waits = [];
    const set = globalThis.setTimeout;
    globalThis.setTimeout = (act, ms, ...rest) => {
        if (!Number.isInteger(ms)) globalThis.waits.push(ms);
        return set(act, ms, ...rest);
    };
}

test("asked while there is no network: it is asked once, when there is", async () => {
    const door = await one.door();
    const opened = await one.session(browser, door);
    const { page, sent } = opened;
    await page.press("#speed", "End");
    await whole(opened);
    door.shut = true;
    door.cut();
    await the.until("it tries", () => door.shuts > 0);
    await one.ask(page, "And where does it walk?");
    assert.equal(asked(opened), 1);
    door.shut = false;
    await the.until("it is asked", () => asked(opened) === 2, 8_000);
    await one.answered(page);
    assert.equal(one.names(sent, "conversation.item.create").length, 2);
    assert.equal(await page.locator(".turn").count(), 2);
    the.unblemished(opened, { expected: one.CUT });
});

for (const [what, most] of [["all of it", 0], ["that an answer is wanted", 1]]) {
    test(`the question was lost on its way, ${what}: it is found out, and asked once`, async () => {
        const door = await one.door();
        const opened = await one.session(browser, door);
        const { page, sent, came } = opened;
        await page.press("#speed", "End");
        await whole(opened);
        // The text is followed at once by the wish for an answer: the door takes apart what the wire may.
        let passed = 0;
        door.takes = () => (passed += 1) <= most;
        await page.evaluate(() => {
            const send = WebSocket.prototype.send;
            WebSocket.prototype.send = function (data) {
                const { type } = JSON.parse(data);
                if (type === "response.create") globalThis.late = () => send.call(this, data);
                else send.call(this, data);
            };
            globalThis.restore = () => (WebSocket.prototype.send = send);
        });
        await one.ask(page, "And where does it walk?");
        await the.until("the text was sent", () => one.names(sent, "conversation.item.create").length === 2);
        if (most === 1) await the.until("it has arrived", () => one.names(came, "conversation.item.added").filter(({ item }) => item.role === "user").length === 2);
        await page.evaluate(() => {
            globalThis.restore();
            globalThis.late();
        });
        await the.until("the wish was sent", () => asked(opened) === 2);
        door.cut();
        door.takes = () => true;
        await the.until("it is found out", () => one.names(sent, "conversation.item.retrieve").length === 1);
        await the.until("it is asked again", () => asked(opened) === 3);
        await one.answered(page);
        assert.equal(one.names(sent, "conversation.item.create").length, most === 1 ? 2 : 3);
        assert.equal(one.names(came, "response.created").length, 2);
        assert.equal(await page.locator(".turn").count(), 2);
        the.unblemished(opened, { expected: one.CUT });
    });
}

test("stopped while there is no network: silence at once, and the server hears of it when there is", async () => {
    const door = await one.door();
    slow(door);
    const opened = await one.session(browser, door);
    const { page, sent, came } = opened;
    await one.SLOWLY(page);
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.4);
    door.shut = true;
    door.cut();
    await the.until("it says so", async () => (await one.said(page)) === "Connection lost, coming back …");
    await page.keyboard.press("Escape");
    assert.equal(await one.phase(page), "idle");
    assert.equal(one.names(sent, "conversation.item.truncate").length, 0);
    door.shut = false;
    await the.until("it is told", () => one.names(came, "conversation.item.truncated").length === 1, 8_000);
    assert.match(await one.said(page), /^Gone on after \d+ s without the network\.$/);
    const heard = await one.caption(page);
    await one.ask(page, "And where does it walk?");
    await one.sounds(page, 0.1);
    assert.equal(await one.caption(page, 0), heard);
    await page.keyboard.press("Escape");
    the.unblemished(opened, { expected: one.CUT });
});

test("a socket that falls silent while an answer is due is given up, and the answer goes on", async () => {
    const door = await one.door({ isStub: true });
    Object.assign(door.stub, { answer: () => one.clauses(2), everyMs: 100, burst: 1 });
    const opened = await clocked(door);
    const { page } = opened;
    door.most = 1;
    await one.ask(page, one.QUESTION);
    await the.until("the session", () => door.stub.sessions.size === 1);
    // Of all that comes behind the first bytes nothing does.
    await the.until("it is asked or given up", async () => {
        await page.clock.fastForward(10_500);
        return door.opened > 1 || door.open.size === 0 || (await one.phase(page)) === "idle";
    });
    door.most = Infinity;
    if ((await one.phase(page)) === "idle") await page.click("#dialogue-trouble button");
    await one.answered(page);
    one.exact(await one.given(page), one.samples(2_000));
    door.most = 40_000;
    door.cut();
    await the.until("it is back", () => door.opened >= 3);
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.1);
    await the.until("it waits for more", async () => (await one.said(page)) === "Waiting for more sound …");
    door.most = Infinity;
    await page.clock.fastForward(20_500);
    await one.answered(page);
    one.exact(await one.given(page), one.samples(2_000));
    the.unblemished(opened, { expected: one.CUT });
});

test("the session is lost in the middle of an answer: it is said, another is begun, and the question can be asked again", async () => {
    const door = await one.door({ isStub: true });
    const opened = await one.session(browser, door);
    const { page, sent } = opened;
    await whole(opened);
    Object.assign(door.stub, { answer: () => one.clauses(8), everyMs: 25, burst: 1 });
    await one.ask(page, "And where does it walk?");
    await one.sounds(page, 0.6);
    door.stub.forget();
    await the.until("it is said", async () => (await one.said(page)) === "The session was lost; a new one has begun.");
    assert.equal(await page.textContent("#dialogue-trouble p"), "The session was lost.");
    await the.until("it has ended", async () => (await one.phase(page)) === "idle");
    assert.match(await one.note(page), /^The answer broke off after \d\.\d s: the session was lost\.$/);
    const told = one.names(sent, "conversation.item.create").slice(2);
    assert.deepEqual(told.map(({ item }) => item.role), ["user", "assistant"], "the new session does not know what was said");
    door.stub.answer = () => one.clauses(1);
    await page.click("#dialogue-trouble button");
    await one.answered(page);
    assert.equal(door.stub.sessions.size, 1);
    assert.equal(door.open.size, 1);
    the.unblemished(opened, { expected: one.CUT });
});

test("the session is lost while nothing is said: another is begun, and the next question goes on", async () => {
    const door = await one.door({ isStub: true });
    door.stub.answer = () => one.clauses(1);
    const opened = await one.session(browser, door);
    const { page } = opened;
    await whole(opened);
    door.stub.forget();
    await the.until("it is said", async () => (await one.said(page)) === "The session was lost; a new one has begun.");
    await one.ask(page, "And where does it walk?");
    await one.answered(page);
    assert.equal(door.open.size, 1);
    assert.equal(await page.isHidden("#dialogue-trouble"), true);
    the.unblemished(opened, { expected: one.CUT });
});

test("longer without the network than the server remembers: it is given up and said, and the next question begins anew", async () => {
    const door = await one.door({ isStub: true });
    Object.assign(door.stub, { answer: () => one.clauses(8), everyMs: 100, burst: 1 });
    const opened = await clocked(door);
    const { page } = opened;
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.4);
    door.shut = true;
    door.cut();
    await the.until("it tries", () => door.shuts > 0);
    await page.clock.fastForward(61_000);
    await page.waitForSelector("#dialogue-trouble:not([hidden])");
    await the.until("it has ended", async () => (await one.phase(page)) === "idle");
    assert.match(await one.note(page), /^The answer broke off after \d\.\d s: /);
    const { shuts } = door;
    await page.clock.fastForward(30_000);
    assert.equal(door.shuts, shuts, "it goes on trying");
    door.shut = false;
    door.stub.answer = () => one.clauses(1);
    await one.ask(page, one.QUESTION);
    await one.answered(page);
    assert.doesNotMatch(door.asked.at(-1), /resume/);
    the.unblemished(opened, { expected: one.CUT });
});

test("a page that is left holds no socket, and comes back for none", async () => {
    const door = await one.door();
    slow(door);
    const opened = await one.session(browser, door);
    const { page } = opened;
    await one.ask(page, one.QUESTION);
    await one.sounds(page, 0.1);
    await page.goto("about:blank");
    await the.until("the socket is closed", () => door.open.size === 0);
    assert.equal(door.opened, 1);
    the.unblemished(opened);
});
