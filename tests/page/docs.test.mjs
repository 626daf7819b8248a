// The documentation page: everything in the document is on it, it can be tried, and it fits a phone.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DESKTOP, PHONE, small } from "./looks.mjs";
import { URL_OF, launch, open, unblemished, until } from "./harness.mjs";

const DOCS = new URL("docs", URL_OF).href;
let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

async function documentOf() {
    return (await fetch(new URL("openapi.json", URL_OF))).json();
}

test("every operation of the document is shown, with all that can go wrong", async () => {
    const api = await documentOf();
    const operations = Object.values(api.paths).flatMap((item) => Object.values(item));
    const it = await open(browser, { ...DESKTOP, url: DOCS });
    const { page } = it;
    await until("all operations", async () => (await page.locator(".operation").count()) === operations.length);
    for (const { operationId, responses, parameters = [] } of operations) {
        const card = page.locator(`#${operationId}`);
        await card.locator("> summary").click();
        await card.locator("h3").first().waitFor();
        const told = await card.locator(".answers > dt").allTextContents();
        assert.deepEqual(told.sort(), Object.keys(responses).sort(), operationId);
        for (const { name } of parameters) assert.match(await card.textContent(), new RegExp(name), operationId);
    }
    unblemished(it);
});

test("what is tried is sent: sound plays, errors say why", async () => {
    const it = await open(browser, { ...DESKTOP, url: `${DOCS}#create_speech` });
    const { page } = it;
    const speech = page.locator("#create_speech");
    await speech.locator(".send").click();
    await speech.locator(".result audio").waitFor();
    assert.match(await speech.locator(".result").textContent(), /^200 · audio\/mpeg/);
    await until("the sound", () => speech.locator("audio").evaluate((audio) => audio.duration > 0.5));
    await speech.locator("textarea").fill(`{"input": "Good evening.", "speed": 9}`);
    await speech.locator(".send").click();
    await speech.locator(".result .error").waitFor();
    assert.match(await speech.locator(".result").textContent(), /400 · .*speed/i);
    unblemished(it, { expected: /status of 400/ });
});

test("it fits a phone, and fingers", async () => {
    const it = await open(browser, { ...PHONE, url: `${DOCS}#preview_voice` });
    const { page } = it;
    await page.locator("#preview_voice .send").waitFor();
    await page.locator("#get_openapi > summary").click();
    await page.locator("#get_openapi .send").click();
    await page.locator("#get_openapi pre").waitFor();
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= room, `${wide} px in ${room}`);
    assert.deepEqual(await page.evaluate(small), []);
    unblemished(it);
});
