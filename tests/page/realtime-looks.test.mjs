// How it looks to talk over one socket: the switch, a cut, and what is said after it; on a phone and at a desk, by day and by night,
// by keyboard and for a screen reader.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import { DESKTOP, PHONE, SHOTS, faint, small } from "./looks.mjs";
import * as one from "./session.mjs";

let browser;
before(async () => {
    browser = await the.launch();
    await mkdir(SHOTS, { recursive: true });
});
after(() => browser.close());

async function fits(page, width, path) {
    await page.screenshot({ path });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${wide} px wide`);
    assert.deepEqual(await page.evaluate(small), [], "smaller than 44 px");
    assert.deepEqual(await page.evaluate(faint), [], "less contrast than AA");
}

for (const [name, context] of [["phone", PHONE], ["desktop", DESKTOP]]) {
    for (const colorScheme of ["light", "dark"]) {
        test(`${name}, ${colorScheme}: a conversation that was cut off fits, is legible and can be touched`, async () => {
            const door = await one.door();
            if (door.stub) Object.assign(door.stub, { answer: () => one.clauses(8), everyMs: 20 });
            const opened = await one.session(browser, door, { ...context, colorScheme });
            const { page } = opened;
            const path = (what) => new URL(`realtime-${name}-${colorScheme}-${what}.png`, SHOTS).pathname;
            await one.ask(page, one.QUESTION);
            await one.sounds(page, 0.6);
            door.shut = true;
            door.cut();
            await the.until("it says so", async () => (await one.said(page)) === "Connection lost, coming back …");
            await fits(page, context.viewport.width, path("cut"));
            door.shut = false;
            await the.until("it goes on", async () => /^Gone on after/.test(await one.said(page)), 8_000);
            await fits(page, context.viewport.width, path("back"));
            await page.keyboard.press("Escape");
            the.unblemished(opened, { expected: one.CUT });
        });
    }
}

test("the switch is a box with a name and a description, and news of the network are told to who does not see them", async () => {
    const door = await one.door({ isStub: true });
    const opened = await one.session(browser, door);
    const { page } = opened;
    const box = page.getByRole("checkbox", { name: "Over one socket", exact: true });
    assert.equal(await box.count(), 1);
    assert.match(await page.textContent(`#${await box.getAttribute("aria-describedby")}`), /\w/);
    assert.equal(await page.getAttribute("#dialogue-state", "role"), "status");
    await box.focus();
    await page.keyboard.press("Space");
    assert.equal(await box.isChecked(), false);
    await page.keyboard.press("Space");
    assert.equal(await box.isChecked(), true);
    the.unblemished(opened);
});
