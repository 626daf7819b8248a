// The search that does not answer, wants a key, or is not there: said in its card, with a way on; speech goes on without it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { KEY, THROUGH, asked, focus, give, locked, secret } from "./gate.mjs";
import * as the from "./harness.mjs";
import { SEARCH, answer, hit, problem, questions, shows, told, type } from "./shelf.mjs";
import { status, told as statusTold } from "./watch.mjs";

let browser;
before(async () => (browser = await the.launch()));
after(() => browser.close());

const REFUSED = /^Failed to load resource/;
const wrong = (page) => page.textContent("#search-trouble p");
const troubled = (page) => page.waitForSelector("#search-trouble:not([hidden])");
const button = (page) => page.locator("#search-trouble button");

test("503 says when it is tried again, and then it is; nothing is asked before, whatever is typed", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    const down = problem(503, "search_unavailable", "the search engine is not there", { "retry-after": "2" });
    let calls = 0;
    await page.route(SEARCH, (route) => route.fulfill(calls++ === 0 ? down : answer([hit(1)])));
    await type(page, "odd");
    await troubled(page);
    assert.equal(await wrong(page), "The search engine is not there.");
    assert.equal(await page.getAttribute("#search-trouble", "role"), "alert");
    assert.match(await button(page).textContent(), /^Try again in [12] s$/);
    await page.keyboard.type("ity");
    await button(page).click({ force: true });
    await the.until("the address", () => page.url().endsWith("#q=oddity"));
    assert.equal(calls, 1, "it asked before it was welcome");
    await shows(page, "Fake 1");
    assert.deepEqual(questions(opened), ["odd*", "oddity*"]);
    assert.equal(await page.isVisible("#search-trouble"), false);
    the.unblemished(opened, { expected: REFUSED });
});

test("a search that stays down is not asked for ever, but still by hand", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    let calls = 0;
    await page.clock.install();
    await page.route(SEARCH, (route) => {
        calls += 1;
        return route.fulfill(problem(503, "busy", "too many search at once", { "retry-after": "1" }));
    });
    await type(page, "odd");
    await the.until("the first", async () => {
        await page.clock.runFor(200);
        return calls === 1;
    });
    for (let tried = 2; tried <= 4; tried += 1) {
        await the.until(`try ${tried}`, async () => {
            await page.clock.runFor(500);
            return calls === tried;
        });
        await troubled(page);
    }
    await the.until("it may be pressed", async () => {
        await page.clock.runFor(500);
        return (await button(page).textContent()) === "Try again";
    });
    await page.clock.runFor(10_000);
    assert.equal(calls, 4);
    await button(page).click();
    await the.until("by hand", () => calls === 5);
    the.unblemished(opened, { expected: REFUSED });
});

test("offline is said, and over as soon as the device is online", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    await page.route(SEARCH, (route) => route.fulfill(answer([hit(1)])));
    await type(page, "odd");
    await shows(page, "Fake 1");
    await page.unroute(SEARCH);
    await page.context().setOffline(true);
    await page.keyboard.type("ity");
    await troubled(page);
    assert.equal(await wrong(page), "This device is offline.");
    assert.equal(await told(page), "");
    assert.equal(await button(page).textContent(), "Try again");
    await page.route(SEARCH, (route) => route.fulfill(answer([hit(2)])));
    await page.context().setOffline(false);
    await shows(page, "Fake 2");
    assert.equal(await page.isVisible("#search-trouble"), false);
    the.unblemished(opened, { expected: REFUSED });
});

for (const [what, response, message] of [
    ["a refusal", problem(400, "invalid_parameter", "q in the query must be at most 32 words and phrases"), /^Q in the query .* phrases\.$/],
    ["an answer that is no JSON", { status: 200, contentType: "text/html", body: "<p>Welcome" }, /^The server's answer cannot be read\.$/],
    ["an answer of another shape", { json: { hits: "many" } }, /^The server's answer cannot be read\.$/],
    ["a gateway's own words", { status: 502, contentType: "text/html", body: "<h1>Bad gateway" }, /^The server answered 502\.$/],
]) {
    test(`${what}: it is said, and another word may do better`, async () => {
        const opened = await the.open(browser);
        const { page } = opened;
        await page.route(SEARCH, (route) => route.fulfill(response), { times: 1 });
        await type(page, "odd");
        await troubled(page);
        assert.match(await wrong(page), message);
        assert.equal(await button(page).isVisible(), false);
        await page.route(SEARCH, (route) => route.fulfill(answer([hit(1)])));
        await page.keyboard.type("ity");
        await shows(page, "Fake 1");
        assert.equal(await page.isVisible("#search-trouble"), false);
        the.unblemished(opened, { expected: REFUSED });
    });
}

test("a server that searches nothing has no card, and no key that leads there", async () => {
    let search = null;
    const answers = () => ({ ...status(), search });
    const opened = await statusTold(browser, answers);
    const { page } = opened;
    await the.until("it is gone", () => page.isHidden("#search"));
    await page.keyboard.press("/");
    assert.equal(await page.evaluate(() => document.activeElement === document.body), true);
    search = { backend: "embedded", ready: true, detail: null };
    await the.until("it is there", () => page.isVisible("#search"));
    await page.route(SEARCH, (route) => route.fulfill(problem(404, "not_configured", "nothing is searched here: search.enabled is false")));
    await type(page, "odd");
    await troubled(page);
    assert.equal(await wrong(page), "Nothing is searched here: search.enabled is false.");
    assert.equal(await button(page).isVisible(), false);
    the.unblemished(opened, { expected: REFUSED });
});

/** The gate answers searches in the shape of their place. */
const keyless = ({ path, authorization }) => {
    if (!path.startsWith("/api/search")) return authorization ? THROUGH : null;
    return authorization === `Bearer ${KEY}` ? answer([hit(1)]) : problem(401, "missing_api_key", "this needs an API key");
};

test("a key is asked for without being in the way of who types, and then it is found", async () => {
    const opened = await locked(browser, { instead: keyless });
    const { page, calls } = opened;
    await asked(page);
    const searches = () => calls.filter((call) => call.path === "/api/search");
    await type(page, "odd");
    await troubled(page);
    assert.equal(await wrong(page), "This server asks for a key.");
    await page.keyboard.type("ity");
    await the.until("the address", () => page.url().endsWith("#q=oddity"));
    assert.equal(await focus(page), "search-box", "the focus was taken from who types");
    assert.equal(searches().length, 1, "it asks in vain");
    assert.equal(await button(page).textContent(), "Enter a key");
    await button(page).click();
    await the.until("the field", async () => (await focus(page)) === "key");
    await give(page, KEY);
    await shows(page, "Fake 1");
    assert.equal(await page.isVisible("#search-trouble"), false);
    assert.deepEqual(searches().map((call) => call.authorization), [null, null, `Bearer ${KEY}`]);
    await secret(opened);
});

test("a key given for something else serves here, too; one without the scope is said to be", async () => {
    let weak = true;
    const lacks = problem(403, "missing_scope", "the key has no scope `search`");
    const instead = (call) => (call.path === "/api/search" && call.authorization && weak ? lacks : keyless(call));
    const opened = await locked(browser, { instead });
    const { page } = opened;
    await type(page, "odd");
    await troubled(page);
    await give(page, KEY);
    await the.until("it is tried", async () => /scope `search`/.test(await wrong(page)));
    await page.waitForSelector("#key-error:not([hidden])");
    assert.match(await page.textContent("#key-error"), /^This key may not do this: the key has no scope `search`\.$/);
    weak = false;
    await page.fill("#search-box", "oddity");
    await shows(page, "Fake 1");
    await secret(opened);
});
