// A server that wants a key, for the page's tests: a gate that stands in the browser, behind which is
// the real server, and what people do before it.

import assert from "node:assert/strict";
import * as the from "./harness.mjs";

export const KEY = "sesame-5d41402abc4b2a76";
export const NAME = "evensong.key";
/** The browser's own line about an answer that is no 200. */
const REFUSED = /^Failed to load resource/;

export const said = (page) => page.textContent("#state");
export const wrong = (page) => page.textContent("#key-error");
export const focus = (page) => page.evaluate(() => document.activeElement.id);
export const kept = (page) => page.evaluate((n) => [sessionStorage.getItem(n), localStorage.getItem(n)], NAME);
export const asked = (page) => page.waitForSelector("#key-panel:not([hidden])");
export const spoken = (page) => the.until("the end", async () => (await said(page)) === "Spoken.", 8_000);

export const refusal = (status, code, message, headers = {}) => ({
    status,
    headers,
    json: { error: { message, type: "invalid_request_error", param: null, code } },
});
export const limited = (code, seconds) =>
    refusal(429, code, "too many requests", { "retry-after": String(seconds) });

/** What `instead` answers to let a call through. */
export const THROUGH = "through";

/** Lets through what carries KEY; `instead(call, calls)` may answer otherwise. Gives what was asked so far. */
export async function gate(target, { instead = () => null } = {}) {
    const calls = [];
    await target.route(/\/(v1|api\/search)[/?]/, async (route) => {
        const { authorization = null } = route.request().headers();
        const call = { path: new URL(route.request().url()).pathname, authorization };
        calls.push(call);
        const other = await instead(call, calls);
        if (other && other !== THROUGH) return route.fulfill(other);
        if (other || authorization === `Bearer ${KEY}`) return route.continue();
        const why = authorization ? `incorrect key: ${authorization}` : "a key is needed";
        return route.fulfill(refusal(401, "invalid_api_key", why, { "www-authenticate": "Bearer" }));
    });
    return calls;
}

/** A page behind a gate, opened, with a short text. */
export async function locked(browser, { instead, ...context } = {}) {
    let calls;
    const before = async (page) => (calls = await gate(page, { instead }));
    const opened = await the.open(browser, { before, ...context });
    await opened.page.fill("#text", the.SHORT);
    return { ...opened, calls };
}

export async function give(page, key, { remember = false } = {}) {
    await asked(page);
    await page.fill("#key", key);
    await page.setChecked("#key-remember", remember);
    await page.click("#key-use");
}

/** The key is nowhere that it could be read: no address, no text, no attribute. */
export async function secret(opened) {
    const { page, seen } = opened;
    assert.doesNotMatch(await page.content(), new RegExp(KEY), "the key stands in the page");
    for (const request of seen.requests) {
        assert.ok(!request.url().includes(KEY), "the key stands in an address");
        const { authorization } = request.headers();
        const mayCarry = /^\/(v1\/|api\/search)/.test(new URL(request.url()).pathname);
        assert.ok(mayCarry || !authorization, `the key went to ${request.url()}`);
    }
    the.unblemished(opened, { expected: REFUSED });
}
