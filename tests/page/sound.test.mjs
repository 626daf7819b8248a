// Sound while it is still being made, by each way and in each format; Stop; and nothing kept.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";

const GRACE_MS = 75_000;

let browser;
before(async () => {
    browser = await the.launch();
    // Sessions of tests before these wait a minute for their devices, and here nothing may be left.
    await the.until("who was here before is forgotten", async () => (await the.ledger()).idle, GRACE_MS);
});
after(() => browser.close());

const state = (page) => page.evaluate(() => document.body.dataset.state);
const said = (page) => page.textContent("#state");
const field = (page, name) => page.textContent(`[data-field=${name}]`);
const currentTime = (page) => page.evaluate(() => document.querySelector("audio")?.currentTime ?? 0);
const heardSeconds = async (page) => parseFloat(await field(page, "played")) || 0;
const pick = (page, format) => page.check(`[value=${format}]`, { force: true });

async function stopped(opened) {
    const { page, seen } = opened;
    const [speech] = the.speeches(seen).slice(-1);
    assert.ok(!seen.finished.has(speech), "the stream has ended before Stop: nothing was shown");
    await page.click("#stop");
    await the.until("the request is aborted", () => seen.failed.has(speech), 500);
    assert.equal(seen.failed.get(speech), "net::ERR_ABORTED");
    assert.equal(await state(page), "idle");
    assert.equal(await page.locator("audio").count(), 0, "an element was left behind");
    // The browser keeps a few idle connections; nothing of the speech may be left with them.
    await the.until("the stream and its job are gone", async () => {
        const { kinds } = await the.ledger();
        return the.live(kinds, "speech_stream") + the.live(kinds, "job") === 0;
    }, 1_000);
    await opened.close();
    await the.until("the ledger is idle", async () => (await the.ledger()).idle, 1_000);
}

test("mp3 sounds through MediaSource while it is being made, and Stop ends it", async () => {
    const opened = await the.open(browser, { init: the.countBorrowed });
    const { page, seen } = opened;
    await page.fill("#text", the.LONG);
    await page.click("#speak");
    await the.until("sound", async () => (await currentTime(page)) > 0.3);
    const [speech] = the.speeches(seen);
    assert.deepEqual(
        [speech.postDataJSON().response_format, speech.postDataJSON().input],
        ["mp3", the.LONG],
    );
    const earlier = await currentTime(page);
    await the.pause(1_500);
    assert.ok((await currentTime(page)) > earlier + 1, "currentTime does not advance");
    assert.equal(await state(page), "speaking");
    assert.match(await field(page, "first"), /^\d.* m?s$/);
    assert.match(await field(page, "bytes"), /iB$/);
    assert.equal(await field(page, "type"), "audio/mpeg");
    assert.equal(await field(page, "engine"), "espeak");
    assert.match(await field(page, "bound"), /KiB$/);
    const ahead = await page.evaluate(() => {
        const audio = document.querySelector("audio");
        return audio.buffered.end(audio.buffered.length - 1) - audio.currentTime;
    });
    assert.ok(ahead < 36, `${ahead} s lie ready: no back pressure`);
    the.unblemished(opened);
    await stopped(opened);
});

test("without MediaSource pcm sounds through a worklet, which is said", async () => {
    const opened = await the.open(browser, { init: the.withoutMediaSource });
    const { page, seen } = opened;
    assert.match(await page.textContent("#way"), /No MediaSource.*AudioWorklet/);
    await page.fill("#text", the.LONG);
    // As slow as it goes: 50 MB, more than browser and kernel take in advance.
    await page.press("#speed", "Home");
    await page.click("#speak");
    await the.until("sound", async () => (await heardSeconds(page)) > 0.3);
    const body = the.speeches(seen)[0].postDataJSON();
    assert.deepEqual([body.response_format, body.speed], ["pcm", 0.25]);
    const earlier = await heardSeconds(page);
    await the.pause(1_500);
    assert.ok((await heardSeconds(page)) > earlier + 1, "the seconds heard do not advance");
    const ahead = parseFloat(await field(page, "arrived")) - (await heardSeconds(page));
    assert.ok(ahead < 32, `${ahead} s lie ready: no back pressure`);
    assert.equal(the.live((await the.ledger()).kinds, "speech_stream"), 1);
    the.unblemished(opened);
    await stopped(opened);
});

for (const format of ["mp3", "opus", "flac", "wav", "pcm"]) {
    test(`${format} is spoken to its end and can be kept`, async (t) => {
        if (!(await the.formats()).includes(format)) return t.skip("not in this build");
        const opened = await the.open(browser, { init: the.countBorrowed });
        const { page } = opened;
        await page.fill("#text", the.SHORT);
        await pick(page, format);
        await page.click("#speak");
        await the.until("the end", async () => (await said(page)) === "Spoken.", 10_000);
        assert.ok((await heardSeconds(page)) > 0.5, `only ${await heardSeconds(page)} s heard`);
        const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
        const ending = format === "pcm" ? "wav" : format;
        assert.match(download.suggestedFilename(), new RegExp(`^evensong-\\d{8}-\\d{6}\\.${ending}$`));
        const bytes = await readFile(await download.path());
        const magic = { wav: "RIFF", flac: "fLaC", opus: "OggS" }[ending];
        if (magic) assert.equal(bytes.toString("latin1", 0, 4), magic);
        if (ending === "wav") {
            assert.equal(bytes.readUInt32LE(4), bytes.length - 8, "RIFF's length");
            assert.equal(bytes.readUInt32LE(40), bytes.length - 44, "data's length");
            assert.equal(bytes.readUInt32LE(24), 24_000);
        }
        the.unblemished(opened);
        await opened.close();
    });
}

test("with neither MediaSource nor worklet it is fetched whole, which is said", async () => {
    const opened = await the.open(browser, { init: the.withoutStreaming });
    const { page } = opened;
    assert.match(await page.textContent("#way"), /fetched whole/);
    await page.fill("#text", the.SHORT);
    await page.click("#speak");
    await the.until("the end", async () => (await said(page)) === "Spoken.", 10_000);
    assert.ok((await heardSeconds(page)) > 0.5);
    the.unblemished(opened);
});

test("a tab has one stream: speaking again ends the one before", async () => {
    const opened = await the.open(browser);
    const { page, seen } = opened;
    await page.fill("#text", the.LONG);
    for (let i = 0; i < 3; i += 1) {
        await page.click("#speak");
        await the.until("sound", async () => (await currentTime(page)) > 0.1);
    }
    const [first, second, third] = the.speeches(seen);
    assert.deepEqual([seen.failed.has(first), seen.failed.has(second)], [true, true]);
    assert.equal(seen.failed.has(third), false);
    assert.equal(await page.locator("audio").count(), 1);
    assert.equal(the.live((await the.ledger()).kinds, "speech_stream"), 1);
    the.unblemished(opened);
    await stopped(opened);
});

for (const format of ["mp3", "pcm", "opus"]) {
    test(`thirty times ${format} and Stop: everything borrowed is given back`, async (t) => {
        if (!(await the.formats()).includes(format)) return t.skip("not in this build");
        const opened = await the.open(browser, { init: the.countBorrowed });
        const { page } = opened;
        await page.fill("#text", the.LONG.slice(0, 600));
        await pick(page, format);
        const nodes = () => page.evaluate(() => document.querySelectorAll("*").length);
        const before = await nodes();
        for (let i = 0; i < 30; i += 1) {
            await page.click("#speak");
            // Some are stopped before, some after the first sound.
            await the.pause(i * 12);
            await page.keyboard.press("Escape");
        }
        assert.equal(await state(page), "idle");
        assert.equal(await page.evaluate(() => globalThis.borrowed.urls.size), 0);
        // A processor of samples is asked to end before its context is closed.
        await the.until("no context is open", () => page.evaluate(() => globalThis.borrowed.contexts.size === 0), 1_000);
        assert.equal(await nodes(), before);
        the.unblemished(opened);
        await opened.close();
        await the.until("the ledger is idle", async () => (await the.ledger()).idle, 1_000);
    });
}

test("a browser that holds less than we would: what was heard makes room", async () => {
    const opened = await the.open(browser, { init: the.tightBuffer });
    const { page } = opened;
    await page.fill("#text", the.LONG);
    await page.click("#speak");
    await the.until("it plays on past the bound", async () => (await currentTime(page)) > 9, 20_000);
    assert.ok(await page.evaluate(() => globalThis.refusals > 0), "the bound was never met");
    the.unblemished(opened);
    await stopped(opened);
});

test("a long stream through MediaSource plays on past what may lie ready", { skip: !process.env.EVENSONG_SLOW && "EVENSONG_SLOW=1 listens for 75 s" }, async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    await page.fill("#text", the.LONG);
    await page.click("#speak");
    await the.pause(75_000);
    assert.ok((await currentTime(page)) > 70);
    const behind = await page.evaluate(() => {
        const audio = document.querySelector("audio");
        return audio.currentTime - audio.buffered.start(0);
    });
    assert.ok(behind < 25, `${behind} s that were heard are still kept`);
    the.unblemished(opened);
    await stopped(opened);
});
