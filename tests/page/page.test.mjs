// The page as such: what it loads and may load, by keyboard, on a phone, in both lights.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import { DESKTOP, PHONE, SHOTS, faint, small } from "./looks.mjs";
import { hide } from "./watch.mjs";

let browser;
before(async () => {
    browser = await the.launch();
    await mkdir(SHOTS, { recursive: true });
});
after(() => browser.close());

const said = (page) => page.textContent("#state");

test("a strict policy, the right types, and nothing from elsewhere", async () => {
    const head = await fetch(the.URL_OF);
    const policy = Object.fromEntries(
        (head.headers.get("content-security-policy") ?? "").split(";").map((directive) => {
            const [name, ...values] = directive.trim().split(/\s+/);
            return [name, values.join(" ")];
        }),
    );
    assert.equal(policy["default-src"], "'self'");
    const text = Object.values(policy).join(" ");
    assert.doesNotMatch(text, /unsafe|https?:|data:|\*/, "the policy lets others in");
    assert.match(policy["media-src"], /blob:/);
    const opened = await the.open(browser);
    const { page, seen } = opened;
    const answers = await Promise.all(
        seen.requests.filter((r) => /\/assets\//.test(r.url())).map((r) => r.response()),
    );
    assert.ok(answers.length > 10);
    const types = { js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
    for (const answer of answers) {
        assert.equal(answer.status(), 200, answer.url());
        const ending = new URL(answer.url()).pathname.split(".").pop();
        assert.match(answer.headers()["content-type"], new RegExp(`^${types[ending]}`), answer.url());
    }
    const violations = await page.evaluate(() => document.querySelectorAll("[style*='http'],[onclick]").length);
    assert.equal(violations, 0);
    the.unblemished(opened);
});

test("by keyboard alone: to the question, to the text, speak, stop, choose a voice, hear it, change the speed", async () => {
    const opened = await the.open(browser);
    const { page, seen } = opened;
    const focus = () => page.evaluate(() => document.activeElement.id);
    const second = (await the.formats())[1];
    await page.waitForFunction(() => document.querySelectorAll("[role=option]").length > 13);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    assert.equal(await focus(), "question", "the first stop is the way to the question");
    for (let i = 0; i < 12 && (await focus()) !== "text"; i += 1) await page.keyboard.press("Tab");
    assert.equal(await focus(), "text");
    await page.keyboard.press("Control+A");
    await page.keyboard.type(the.LONG.slice(0, 500), { delay: 0 });
    await page.keyboard.press("Control+Enter");
    await the.until("it speaks", async () => (await said(page)) === "Speaking.");
    await page.keyboard.press("Escape");
    assert.equal(await said(page), "Stopped.");
    for (let i = 0; i < 12 && (await focus()) !== "voice"; i += 1) await page.keyboard.press("Tab");
    assert.equal(await focus(), "voice");
    await page.keyboard.press("Enter");
    assert.equal(await focus(), "voice-search");
    await page.keyboard.type("german");
    const active = await page.getAttribute("#voice-search", "aria-activedescendant");
    assert.match(await page.textContent(`#${active}`), /German/);
    await page.keyboard.press("Enter");
    assert.match(await page.textContent("#voice"), /German/);
    assert.equal(await focus(), "voice", "the focus does not come back");
    await page.keyboard.press("Tab");
    assert.equal(await focus(), "voice-hear");
    await page.keyboard.press("Enter");
    await the.until("the preview", async () => (await said(page)) === "Spoken.", 8_000);
    await page.keyboard.press("Tab");
    assert.equal(await focus(), "speed");
    await page.keyboard.press("End");
    assert.equal(await page.textContent("#speed-value"), "4×");
    assert.equal(await page.getAttribute("#speed", "aria-valuetext"), "4 times");
    await page.keyboard.press("Tab");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Control+Enter");
    await the.until("a request", () => the.speeches(seen).length === 2);
    const body = the.speeches(seen)[1].postDataJSON();
    assert.deepEqual([body.voice, body.speed, body.response_format], ["de", 4, second]);
    // The choice outlives the page.
    await page.reload();
    await the.until("the voice", async () => /German/.test(await page.textContent("#voice")));
    assert.equal(await page.textContent("#speed-value"), "4×");
    assert.equal(await page.isChecked(`[value=${second}]`), true);
    the.unblemished(opened);
});

test("Escape closes the voices and leaves the speech alone", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    await page.fill("#text", the.LONG);
    await page.click("#speak");
    await the.until("it speaks", async () => (await said(page)) === "Speaking.");
    await page.click("#voice");
    await page.fill("#voice-search", "no such voice");
    assert.match(await page.textContent("#voice-found"), /No voice/);
    await page.keyboard.press("Escape");
    if (await page.isVisible("#voices")) await page.keyboard.press("Escape");
    assert.equal(await page.isVisible("#voices"), false);
    assert.equal(await said(page), "Speaking.");
    the.unblemished(opened);
});

test("every control has a name, and what changes is told", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    const snapshot = await page.locator("body").ariaSnapshot();
    for (const line of [
        /heading "Evensong" \[level=1\]/,
        /textbox "What shall be said\?"/,
        /button "Voice Alloy/i,
        /button "Hear this voice"/,
        /slider "Speed"/,
        /group "Format"/,
        /radio "mp3" \[checked\]/,
        /button "Speak"/,
        /status: Ready\./,
    ]) {
        assert.match(snapshot, line);
    }
    assert.equal(await page.getAttribute("#state", "role"), "status");
    assert.equal(await page.locator("[role=alert]").count() >= 5, true);
    the.unblemished(opened);
});

test("the status is asked once a second, and not while the tab is hidden", async () => {
    const opened = await the.open(browser);
    const { page, seen } = opened;
    const asked = () => seen.requests.filter((r) => r.url().endsWith("/api/status")).length;
    await the.pause(3_300);
    assert.ok(asked() >= 3 && asked() <= 5, `asked ${asked()} times in 3.3 s`);
    await hide(page, true);
    await the.pause(100);
    const before = asked();
    await the.pause(2_500);
    assert.equal(asked(), before, "it asks although nobody looks");
    await hide(page, false);
    await the.until("it asks again", () => asked() > before, 500);
    assert.match(await page.textContent("[data-field=total]"), /[KMG]iB/);
    the.unblemished(opened);
});

for (const [name, context] of [["phone", PHONE], ["desktop", DESKTOP]]) {
    for (const colorScheme of ["light", "dark"]) {
        test(`${name}, ${colorScheme}: it fits, is legible and can be touched`, async () => {
            const opened = await the.open(browser, { ...context, colorScheme });
            const { page } = opened;
            await page.click("[data-sample=long]");
            await page.click("#speak");
            await the.until("it speaks", async () => (await said(page)) === "Speaking.");
            await the.pause(2_500);
            const path = (what) => new URL(`${name}-${colorScheme}${what}.png`, SHOTS).pathname;
            await page.screenshot({ path: path("") });
            const wide = await page.evaluate(() => document.documentElement.scrollWidth);
            assert.ok(wide <= context.viewport.width, `${wide} px wide`);
            assert.deepEqual(await page.evaluate(small), [], "smaller than 44 px");
            assert.deepEqual(await page.evaluate(faint), [], "less contrast than AA");
            await page.click("#stop");
            await page.click("#voice");
            await the.pause(200);
            await page.screenshot({ path: path("-voices") });
            assert.deepEqual(await page.evaluate(faint), [], "less contrast than AA in the dialog");
            the.unblemished(opened);
            await opened.close();
        });
    }
}

test("less motion where it is asked for: the sun stands still", async () => {
    const opened = await the.open(browser, { reducedMotion: "reduce" });
    const { page } = opened;
    await page.fill("#text", the.LONG);
    await page.click("#speak");
    await the.until("it speaks", async () => (await said(page)) === "Speaking.");
    const bars = () => page.evaluate(() => [...document.querySelectorAll("#sun rect")].map((r) => r.style.transform).join());
    const earlier = await bars();
    await the.pause(400);
    assert.equal(await bars(), earlier);
    the.unblemished(opened);
});
