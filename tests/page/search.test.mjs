// The search card: as one types, by keyboard, page by page, in its orders; what an index says is text and nothing else.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import { DESKTOP, PHONE, SHOTS, faint, small } from "./looks.mjs";
import { SEARCH, answer, book, hit, questions, shows, tells, titles, told, type } from "./shelf.mjs";

let browser;
before(async () => {
    browser = await the.launch();
    await mkdir(SHOTS, { recursive: true });
});
after(() => browser.close());

const focus = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
/** A picture of one point. */
const GIF = Buffer.from("R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==", "base64");

test("as one types: the last word by its beginning, in the address, and again after a reload", async () => {
    await the.shelve(
        book(1, { title: "The quinkleberry", text: "A quinkleberry is red." }),
        book(2, { title: "A quinkle", text: "Nothing like it." }),
    );
    const opened = await the.open(browser);
    const { page } = opened;
    assert.equal(await page.isVisible("#search-hint"), true);
    assert.equal(await page.isVisible("#search-filters"), false);
    await type(page, "quinkleb");
    await shows(page, "The quinkleberry");
    assert.equal(await told(page), "1 found.");
    assert.match(await page.textContent("#search-answered"), /^embedded, \d+ ms$/);
    assert.equal(await page.textContent(".hit-snippet em"), "quinkleberry");
    assert.equal(questions(opened).pop(), "quinkleb*");
    assert.ok(questions(opened).length < 8, `${questions(opened).length} questions for 8 letters`);
    assert.equal(new URL(page.url()).hash, "#q=quinkleb");
    await page.fill("#search-box", "quinkle");
    await the.until("both", async () => (await titles(page)).length === 2);
    await page.click(".filters label:has([value=oldest])");
    await the.until("the order", () => questions(opened).length > 0 && page.url().endsWith("#q=quinkle&sort=oldest"));
    await page.reload();
    await the.until("both again", async () => (await titles(page)).length === 2);
    assert.equal(await page.inputValue("#search-box"), "quinkle");
    assert.equal(await page.isChecked("[name=sort][value=oldest]"), true);
    assert.notEqual(await focus(page), "search-box", "the focus was taken by a reload");
    the.unblemished(opened);
});

test("a finished word has all its forms, also where its beginning finds nothing", async () => {
    await the.shelve(book(1, { title: "On zorbling", text: "They zorbled all night." }));
    const opened = await the.open(browser);
    const { page } = opened;
    const isBeginning = (url) => url.searchParams.get("q") === "zorbles*";
    await page.route(isBeginning, (route) => route.fulfill(answer([])));
    await type(page, "zorbles");
    await shows(page, "On zorbling");
    assert.deepEqual(questions(opened).slice(-2), ["zorbles*", "zorbles"]);
    await page.keyboard.press("Enter");
    await the.until("it is asked as finished", () => questions(opened).pop() === "zorbles ");
    await shows(page, "On zorbling");
    the.unblemished(opened);
});

test("what is typed is read as the server reads it", async () => {
    const { page } = await the.open(browser);
    const asked = await page.evaluate(async () => {
        const { unfinished, beginnings, fromFragment, fragment } = await import("/assets/question.js");
        const texts = ["a", "a b", "a ", '"a b', '"a" b', "-a", "a-b", "a*", "été", "日本", "3", "a!", ""];
        const odd = { text: 'ä "b c" & d', sort: "newest", audio: true };
        return [texts.map(unfinished), beginnings("memry of Höhle, of"), [odd, fromFragment(fragment(odd))]];
    });
    assert.deepEqual(asked[0], ["a*", "a b*", "a ", '"a b', '"a" b*', "-a", "a-b", "a*", "été*", "日本*", "3*", "a!", ""]);
    assert.deepEqual(asked[1], ["mem", "of", "höh"]);
    assert.deepEqual(asked[2][1], asked[2][0]);
});

test("an older answer never takes the place of a newer one, and its question is given up", async () => {
    for (const init of [undefined, ignoreAborts]) {
        let release;
        const late = new Promise((resolve) => (release = resolve));
        const opened = await the.open(browser, { init });
        const { page, seen } = opened;
        let answered = 0;
        await page.route(SEARCH, async (route) => {
            const old = new URL(route.request().url()).searchParams.get("q") === "old*";
            if (old) await late;
            await route.fulfill(answer([hit(old ? "old" : "new")])).catch(() => {});
            answered += 1;
        });
        await type(page, "old");
        await the.until("the first is asked", () => questions(opened).length === 1);
        await page.fill("#search-box", "newer");
        await shows(page, "Fake new");
        const [first] = seen.requests.filter((request) => SEARCH.test(request.url()));
        if (!init) assert.equal(seen.failed.get(first), "net::ERR_ABORTED");
        release();
        await the.until("both are answered", () => answered === 2);
        if (init) await the.until("the old one has arrived", () => seen.finished.has(first));
        // One more turn of everything that could still show it.
        await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))));
        assert.deepEqual(await titles(page), ["Fake new"]);
        the.unblemished(opened, { expected: /ERR_ABORTED/ });
    }
});

/** Runs in the page: a fetch that cannot be ended, as if its answer were already on its way. */
function ignoreAborts() {
    const real = globalThis.fetch;
    globalThis.fetch = (url, { signal: _, ...options } = {}) => real(url, options);
}

test("by keyboard alone: to the box, through what is found, into it, and out again", async () => {
    await the.shelve(
        book(1, { title: "Vumbling at home", text: "vumbling vumbling vumbling", url: "/docs" }),
        book(2, { title: "Of other things", text: "Vumbling is not in the title of this one." }),
    );
    const opened = await the.open(browser);
    const { page } = opened;
    await page.keyboard.press("/");
    assert.equal(await focus(page), "search-box");
    await page.keyboard.type("vumbling");
    await shows(page, "Vumbling at home", "Of other things");
    await page.keyboard.press("ArrowDown");
    assert.equal(await focus(page), "Vumbling at home");
    await page.keyboard.press("ArrowDown");
    const read = page.getByRole("button", { name: "Read it to me Of other things", exact: true });
    assert.equal(await read.evaluate((node) => node === document.activeElement), true);
    await page.keyboard.press("ArrowDown");
    assert.equal(await read.evaluate((node) => node === document.activeElement), true, "behind the last there is none");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowUp");
    assert.equal(await focus(page), "search-box");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Escape");
    assert.equal(await focus(page), "search-box");
    assert.equal(await page.inputValue("#search-box"), "vumbling");
    await page.keyboard.type("/");
    assert.equal(await page.inputValue("#search-box"), "vumbling/", "in a box it is a letter");
    await page.keyboard.press("Escape");
    assert.equal(await page.inputValue("#search-box"), "");
    await shows(page);
    assert.equal(await page.isVisible("#search-hint"), true);
    assert.equal(new URL(page.url()).hash, "");
    await page.keyboard.type("vumbling");
    await shows(page, "Vumbling at home", "Of other things");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/docs");
    await page.goBack();
    await shows(page, "Vumbling at home", "Of other things");
    the.unblemished(opened);
});

test("nothing typed: a hint, whose examples find Evensong's own documentation", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    const examples = await page.locator("#search-hint [data-example]").allTextContents();
    assert.equal(examples.length, 2);
    for (const example of examples) {
        await page.click(`#search-hint [data-example="${example}"]`);
        await tells(page, /^\d+ found/);
        assert.ok((await page.textContent(".hit-about")).startsWith("guide · Evensong"), "it is not of the documentation");
        await page.keyboard.press("Escape");
    }
    the.unblemished(opened);
});

test("signs alone are nothing to look for, though the server would give everything", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    await type(page, "heap");
    await tells(page, /^\d+ found/);
    await page.fill("#search-box", '"');
    await shows(page);
    assert.equal(await page.isVisible("#search-hint"), true);
    assert.equal(await told(page), "");
    await page.focus("#search-box");
    await page.keyboard.type("heap profile");
    await tells(page, /^\d+ found/);
    assert.equal(questions(opened).pop(), '"heap profile');
    assert.ok(!questions(opened).includes('"'));
    the.unblemished(opened);
});

test("nothing found: it is said, with titles whose words begin alike, and a way out of the filter", async () => {
    await the.shelve(book(1, { title: "Glimmering wrells", text: "Wrells glimmer." }));
    const opened = await the.open(browser);
    const { page } = opened;
    await type(page, "wrellington");
    await tells(page, /^Nothing is found for “wrellington”\.$/);
    assert.equal(await page.isVisible("#search-anyway"), false);
    await page.click("#search-titles button");
    await shows(page, "Glimmering wrells");
    assert.equal(await page.isVisible("#search-none"), false);
    await page.fill("#search-box", "wrells");
    await page.check("#search-audio");
    await tells(page, /^Nothing is found/);
    assert.match(page.url(), /&audio=1$/);
    await page.click("#search-anyway");
    await shows(page, "Glimmering wrells");
    assert.equal(await page.isChecked("#search-audio"), false);
    the.unblemished(opened);
});

test("page by page, with the focus on what has come; and an old cursor starts again from the top", async () => {
    const many = Array.from({ length: 13 }, (_, n) => book(n, { text: "Yondling.", created_at: `2026-01-${10 + n}T00:00:00Z` }));
    await the.shelve(...many);
    const opened = await the.open(browser);
    const { page } = opened;
    await type(page, "yondling");
    await tells(page, /^13 found, 10 shown\.$/);
    await page.click(".filters label:has([value=newest])");
    await the.until("the newest", async () => (await titles(page))[0] === "Tale 12");
    await page.click("#search-more");
    await tells(page, /^13 found\.$/);
    assert.equal((await titles(page)).join(), many.map(({ title }) => title).reverse().join());
    assert.equal(await page.locator(".hit").nth(10).locator("button").evaluate((node) => node === document.activeElement), true);
    assert.equal(await page.isVisible("#search-more"), false);
    await page.route(/cursor=/, (route) => route.fulfill({ status: 410, json: { type: "cursor_expired", status: 410, detail: "old" } }));
    await page.click(".filters label:has([value=oldest])");
    await the.until("the oldest", async () => (await titles(page))[0] === "Tale 0");
    await page.keyboard.press("Tab");
    await page.focus("#search-more");
    await page.keyboard.press("Enter");
    await tells(page, /^13 found, 10 shown\. The list had grown old: this is the newest, from its top\.$/);
    assert.equal((await titles(page)).length, 10);
    assert.equal(await page.locator(".hit button").first().evaluate((node) => node === document.activeElement), true);
    the.unblemished(opened, { expected: /status of 410/ });
});

test("what an index says is text: no element of it, no script, no address but by HTTP", async () => {
    const evil = `<img src="/nowhere" onerror="globalThis.hacked=1"><script>globalThis.hacked=2</script>`;
    const tag = `<img src="/nowhere" onerror="hacked=3">`;
    await the.shelve(book(1, { title: `Snorfling ${evil}`, text: `Snorfling ${evil} & "more"`, tags: [tag], creator: evil }));
    const opened = await the.open(browser);
    const { page, seen } = opened;
    const sound = async () => {
        assert.equal(await page.locator("#search-found :is(img, script, b)").count(), 0);
        assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
        assert.ok(seen.requests.every((request) => !request.url().includes("nowhere")));
    };
    await type(page, "snorfling");
    await shows(page, `Snorfling ${evil}`);
    assert.equal(await page.textContent(".hit-snippet"), `Snorfling ${evil} & "more"`);
    assert.equal(await page.innerHTML(".hit-snippet em"), "Snorfling");
    await sound();
    // A server that is not ours, or is no longer sane.
    const snippet = `<EM>a</EM><em>b</em></em><em class=x>c<b>&lt;b&gt;</b>${evil}&amp;lt;&#39;`;
    const odd = [
        hit(1, { title: evil, snippet, url: "javascript:hacked=3", media: "https://elsewhere.test/media/x.gif" }),
        hit(2, { title: 7, snippet: null, tags: "x", created_at: "never", media: "/media/../api/status", url: "//[" }),
    ];
    await page.route(SEARCH, (route) => route.fulfill(answer([...odd, null, { id: 3 }], { total: { value: -1 } })));
    await page.fill("#search-box", "odd");
    await shows(page, evil, "fake:2");
    const shown = await page.textContent(".hit-snippet");
    assert.equal(shown, `<EM>a</EM>b<em class=x>c<b><b></b>${evil}&lt;'`);
    assert.equal(await page.locator("#search-found a").count(), 0);
    await sound();
    the.unblemished(opened);
});

test("a hit is shown with all that is known of it; one elsewhere opens there, and says where", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    const url = "https://www.elsewhere.test/a?b";
    const known = hit(1, { url, creator: "Ada", tags: ["x", "y z"], has_audio: true, snippet: "An <em>oddity</em> &amp; more" });
    await page.route(SEARCH, (route) => route.fulfill(answer([known], { total: { value: 12345, relation: "gte" } })));
    await type(page, "odd");
    await tells(page, /^About 12,345 found, 1 shown\.$/);
    const about = "tale · Ada · Nov 22, 2026 · www.elsewhere.test · with sound · #x · #y z";
    assert.equal(await page.textContent(".hit-about"), about);
    const link = page.locator(".hit h3 a");
    const attributes = await link.evaluate(({ href, rel, target }) => ({ href, rel, target }));
    assert.deepEqual(attributes, { href: url, rel: "noopener noreferrer", target: "_blank" });
    assert.equal(await page.getAttribute(".hit time", "datetime"), "2026-11-22T20:00:00.000Z");
    the.unblemished(opened);
});

test("pictures wait until they are near, keep their place, and go where they do not come", async () => {
    const opened = await the.open(browser);
    const { page, seen } = opened;
    await page.route("**/media/**", (route) =>
        route.request().url().endsWith("there.gif")
            ? route.fulfill({ contentType: "image/gif", body: GIF })
            : route.fulfill({ status: 404, body: "" }));
    const hits = [hit(1, { media: "/media/there.gif" }), hit(2, { media: "/media/gone.gif" }), hit(3)];
    await page.route(SEARCH, (route) => route.fulfill(answer(hits)));
    await type(page, "odd");
    await shows(page, "Fake 1", "Fake 2", "Fake 3");
    const boxes = page.locator(".hit-picture");
    const picture = page.getByRole("img", { name: "Picture: Fake 1" });
    await picture.scrollIntoViewIfNeeded();
    assert.equal(await picture.getAttribute("loading"), "lazy");
    await the.until("it has come", () => picture.evaluate((image) => image.complete && image.naturalWidth === 1));
    const { width, height } = await boxes.first().boundingBox();
    assert.ok(Math.abs(width / height - 4 / 3) < 0.02, `${width}×${height}`);
    await the.until("the other is hidden", () => boxes.nth(1).isHidden());
    assert.equal(await boxes.count(), 2);
    // The gallery asks for its list; pictures are those of the hits.
    assert.equal(seen.requests.filter((request) => /\/media\/.+\.gif$/.test(request.url())).length, 2);
    the.unblemished(opened, { expected: /status of 404/ });
});

test("less motion where it is asked for: a picture stands", async () => {
    const opened = await the.open(browser, { reducedMotion: "reduce" });
    const { page } = opened;
    await page.route("**/media/**", (route) => route.fulfill({ contentType: "image/gif", body: GIF }));
    await page.route(SEARCH, (route) => route.fulfill(answer([hit(1, { media: "/media/a.gif" })])));
    await type(page, "odd");
    const picture = page.getByRole("img", { name: "Picture: Fake 1" });
    await picture.scrollIntoViewIfNeeded();
    await the.until("it stands", () => picture.evaluate((node) => node.localName === "canvas"));
    assert.equal(await page.locator("#search-found img").count(), 0);
    the.unblemished(opened);
});

for (const [name, context] of [["phone", PHONE], ["desktop", DESKTOP]]) {
    for (const colorScheme of ["light", "dark"]) {
        test(`${name}, ${colorScheme}: it fits, is legible and can be touched`, async () => {
            const opened = await the.open(browser, { ...context, colorScheme });
            const { page } = opened;
            await page.route("**/media/**", (route) => route.fulfill({ contentType: "image/gif", body: GIF }));
            const long = "Donaudampfschifffahrtsgesellschaft".repeat(5);
            const hits = [
                hit(1, { title: long, snippet: `<em>${long}</em> and more`, media: "/media/a.gif", tags: [long], url: "/docs" }),
                hit(2, { title: "A tale of two lanterns", snippet: "One <em>lantern</em> was lit.", creator: "Ada" }),
            ];
            await page.route(SEARCH, (route) => route.fulfill(answer(hits, { next_cursor: "x" })));
            await type(page, "lantern");
            await page.waitForSelector(".hit");
            await page.locator("#search").screenshot({ path: new URL(`search-${name}-${colorScheme}.png`, SHOTS).pathname });
            const wide = () => page.evaluate(() => document.documentElement.scrollWidth);
            assert.ok((await wide()) <= context.viewport.width, `${await wide()} px wide`);
            assert.deepEqual(await page.evaluate(small), [], "smaller than 44 px");
            assert.deepEqual(await page.evaluate(faint), [], "less contrast than AA");
            await page.route("**/api/search/fake*", (route) => route.fulfill({ json: { title: "Fake", text: the.LONG } }));
            await page.locator(".hit-read").first().click();
            await the.until("it is read", async () => (await page.textContent("#state")) === `Reading “${long}”.`);
            await page.locator("#search").screenshot({ path: new URL(`search-${name}-${colorScheme}-read.png`, SHOTS).pathname });
            assert.ok((await wide()) <= context.viewport.width, `${await wide()} px wide while it is read`);
            assert.deepEqual(await page.evaluate(faint), [], "less contrast than AA while it is read");
            await page.unroute(SEARCH);
            await page.route(SEARCH, (route) => route.fulfill(answer([])));
            await page.fill("#search-box", long);
            await page.waitForSelector("#search-none:not([hidden])");
            assert.equal(await page.isVisible("#search-reading"), true);
            assert.ok((await wide()) <= context.viewport.width, `${await wide()} px wide where nothing is found`);
            assert.deepEqual(await page.evaluate(small), [], "smaller than 44 px where nothing is found");
            assert.deepEqual(await page.evaluate(faint), [], "less contrast than AA where nothing is found");
            the.unblemished(opened);
        });
    }
}

test("every part has a name and a role, and what is found is told", async () => {
    const opened = await the.open(browser);
    const { page } = opened;
    const hits = [hit(1, { url: "/docs", media: "/media/a.gif" })];
    await page.route("**/media/**", (route) => route.fulfill({ contentType: "image/gif", body: GIF }));
    await page.route(SEARCH, (route) => route.fulfill(answer(hits, { next_cursor: "x", total: { value: 30, relation: "eq" } })));
    await type(page, "odd");
    await page.waitForSelector(".hit");
    const snapshot = await page.locator("main").ariaSnapshot();
    for (const line of [
        /search "What shall be looked for\?"/,
        /searchbox "What shall be looked for\?"/,
        /group "Order"/,
        /radio "Best" \[checked\]/,
        /checkbox "Only with sound"/,
        /status: 30 found, 1 shown\./,
        /list "30 found, 1 shown\."/,
        /img "Picture: Fake 1"/,
        /heading "Fake 1" \[level=3\]/,
        /link "Fake 1"/,
        /button "Read it to me Fake 1"/,
        /button "More"/,
    ]) {
        assert.match(snapshot, line);
    }
    the.unblemished(opened);
});
