// How a conversation looks: on a phone and at a desk, by day and by night, and with less motion.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import { DESKTOP, PHONE, SHOTS, faint, small } from "./looks.mjs";
import * as talk from "./talk.mjs";

let browser;
before(async () => {
    browser = await the.launch();
    await mkdir(SHOTS, { recursive: true });
});
after(() => browser.close());

for (const [name, context] of [["phone", PHONE], ["desktop", DESKTOP]]) {
    for (const colorScheme of ["light", "dark"]) {
        test(`${name}, ${colorScheme}: the conversation fits, is legible and can be touched`, async () => {
            const opened = await talk.talk(browser, { ...context, colorScheme });
            const { page } = opened;
            const path = (what) => new URL(`dialogue-${name}-${colorScheme}${what}.png`, SHOTS).pathname;
            await page.screenshot({ path: path("-first") });
            await talk.ask(page, talk.QUESTION);
            await talk.speaks(page, 1.2);
            await talk.ask(page, "What does the quorble count along the river?");
            await talk.speaks(page, 2);
            await page.screenshot({ path: path("") });
            const wide = await page.evaluate(() => document.documentElement.scrollWidth);
            assert.ok(wide <= context.viewport.width, `${wide} px wide`);
            assert.deepEqual(await page.evaluate(small), [], "smaller than 44 px");
            assert.deepEqual(await page.evaluate(faint), [], "less contrast than AA");
            const seen = await page.evaluate(() => {
                const [box, word] = ["#conversation", ".turn:last-child .now"].map((one) => document.querySelector(one).getBoundingClientRect());
                return word.top >= box.top && word.bottom <= box.bottom;
            });
            assert.ok(seen, "the word that is heard is out of sight");
            the.unblemished(opened);
            await opened.close();
        });
    }
}

test("less motion where it is asked for: nothing moves while it is thought about", async () => {
    const opened = await talk.talk(browser, { reducedMotion: "reduce" });
    const { page } = opened;
    await talk.ask(page, talk.QUESTION);
    await talk.speaks(page, 0.3);
    const moving = await page.evaluate(() => document.getAnimations().filter(({ playState }) => playState === "running").length);
    assert.equal(moving, 0);
    the.unblemished(opened);
});
