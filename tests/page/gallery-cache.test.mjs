// The gallery over the server's own media: what is put there is shown, the second visit moves nothing, and other content has
// another address.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import { DESKTOP } from "./looks.mjs";
import { gif, look, tally, through } from "./reel.mjs";

const COUNT = 8;
const where = (name) => new URL(`media/${name}`, the.URL_OF);
/** Behind all that the server makes by itself. */
const named = (n) => `zz-gallery-${n}.gif`;
let browser;
before(async () => {
    browser = await the.launch();
    for (let n = 0; n < COUNT; n += 1) {
        const answer = await fetch(where(named(n)), { method: "PUT", body: gif(n), headers: { "content-type": "image/gif" } });
        assert.ok(answer.ok, `${answer.status}: ${await answer.text()}`);
    }
});
after(async () => {
    await browser.close();
    for (let n = 0; n < COUNT; n += 1) await fetch(where(named(n)), { method: "DELETE" });
});

async function listed() {
    const files = [];
    for (let next = ""; next !== null; ) {
        const page = await (await fetch(where(`?limit=100&after=${encodeURIComponent(next)}`))).json();
        files.push(...page.files);
        next = page.next;
    }
    return files.filter(({ type }) => type.startsWith("image/"));
}

test("the first visit moves each picture of the server once, the second nothing", async () => {
    const files = await listed();
    assert.ok(files.length >= COUNT, `${files.length} files`);
    const all = files.reduce((sum, { bytes }) => sum + bytes, 0);
    const first = await the.open(browser, DESKTOP);
    await through(first.page, files.length);
    const one = await sums(first.page);
    // Each answer has a head besides.
    assert.ok(one.moved >= all && one.moved < all + files.length * 1024, `${one.moved} moved of ${all}`);
    assert.equal(one.cached, 0);
    const page = await first.page.context().newPage();
    await page.goto(the.URL_OF);
    await through(page, files.length);
    const two = await sums(page);
    assert.deepEqual(two, { moved: 0, cached: all });
    assert.equal((await tally(page)).moved, "0 B");
    console.log(`# first visit: ${one.moved} bytes moved; second: ${two.moved}, and ${two.cached} from the cache`);
    the.unblemished(first);
});

test("a picture that was taken away and put again otherwise has another address", async () => {
    const { page } = await the.open(browser, DESKTOP);
    await look(page);
    const address = (name) => page.locator(".shot", { hasText: name }).locator("a").getAttribute("href");
    await through(page, (await listed()).length);
    const before = await address(named(0));
    assert.match(before, /zz-gallery-0\.[0-9a-f]{16,64}\.gif$/);
    assert.equal((await fetch(where(named(0)), { method: "DELETE" })).ok, true);
    assert.equal((await fetch(where(named(0)), { method: "PUT", body: gif(99), headers: { "content-type": "image/gif" } })).ok, true);
    await page.reload();
    await through(page, (await listed()).length);
    assert.notEqual(await address(named(0)), before);
    assert.equal((await fetch(before)).status, 404);
});

/** What the browser says of all files of media, whoever asked. */
function sums(page) {
    return page.evaluate(() => {
        const entries = performance.getEntriesByType("resource").filter(({ name }) => /\/media\/[^?]/.test(name));
        const sum = (key, of) => of.reduce((all, entry) => all + entry[key], 0);
        return { moved: sum("transferSize", entries), cached: sum("encodedBodySize", entries.filter((one) => one.transferSize === 0)) };
    });
}
