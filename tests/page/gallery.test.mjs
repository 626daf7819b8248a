// The gallery: fetched as one scrolls, held only while it is near, and never fetched twice; nothing jumps, what moves can be held
// still, and what goes wrong is said.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, before, test } from "node:test";
import * as the from "./harness.mjs";
import { DESKTOP, PHONE, SHOTS, faint, small } from "./looks.mjs";
import { look, projector, reel, tally, through, weight } from "./reel.mjs";

let browser;
before(async () => {
    browser = await the.launch();
    await mkdir(SHOTS, { recursive: true });
});
after(() => browser.close());

const names = (page) => page.locator(".shot-about span").allTextContents();
const pictures = (page) => page.locator(".shot img").count();
const hint = (page) => page.textContent("#gallery-none p");
/** The browser's own line about an answer that is no 200. */
const REFUSED = /^Failed to load resource/;
/** Bytes as the page says them, give or take what rounding hides. */
const kib = (text) => parseFloat(text) * { B: 1 / 1024, KiB: 1, MiB: 1024 }[text.split(" ")[1]];

test("a first visit moves every picture once, a second one nothing", async () => {
    const files = reel(30);
    const server = await projector(files);
    const first = await the.open(browser, { ...DESKTOP, url: server.url });
    assert.equal(server.listings.length, 0, "it was asked before it was nearly in sight");
    await through(first.page, 30);
    const one = await tally(first.page);
    assert.ok(Math.abs(kib(one.moved) - weight(files) / 1024) < 30, `${one.moved} moved of ${weight(files)} bytes`);
    assert.equal(one.cached, "0 B");
    assert.deepEqual(server.fetched.toSorted(), files.map(({ url }) => url), "each once, and by its hashed name");
    the.unblemished(first);
    const page = await first.page.context().newPage();
    await page.goto(server.url);
    await through(page, 30);
    const two = await tally(page);
    assert.equal(two.moved, "0 B");
    assert.ok(Math.abs(kib(two.cached) - weight(files) / 1024) < 30, `${two.cached} from the cache`);
    assert.equal(server.fetched.length, 30, "the server was asked again");
    console.log(`# first visit: ${one.moved} moved; second: ${two.moved} moved, ${two.cached} from the cache`);
});

test("boxes have their shape before their pictures come, and nothing jumps", async () => {
    const server = await projector(reel(12));
    const init = () => {
        globalThis.jumps = [];
        const noted = ({ value, sources }) => globalThis.jumps.push([value, sources.map(({ node }) => node?.className)]);
        new PerformanceObserver((seen) => seen.getEntries().forEach(noted)).observe({ type: "layout-shift", buffered: true });
    };
    let release;
    const held = new Promise((resolve) => (release = resolve));
    const before = (page) => page.route(/\.gif$/, (route) => held.then(() => route.continue()));
    const opened = await the.open(browser, { ...DESKTOP, url: server.url, init, before });
    const { page } = opened;
    await look(page);
    await the.until("twelve boxes", async () => (await names(page)).length === 12);
    const boxes = () => page.locator(".shot-frame").evaluateAll((all) => all.map((one) => JSON.stringify(one.getBoundingClientRect())));
    await page.evaluate(() => (globalThis.jumps.length = 0));
    const empty = await boxes();
    release();
    await the.until("they have come", async () => (await tally(page)).shown === "12");
    assert.deepEqual(await boxes(), empty);
    const moved = (await page.evaluate(() => globalThis.jumps)).filter(([, nodes]) => nodes.some((name) => /shot/.test(name)));
    assert.deepEqual(moved, []);
    const lazy = await page.locator(".shot img").evaluateAll((all) => all.every(({ loading, alt }) => loading === "lazy" && /^Picture: dusk \d+$/.test(alt)));
    assert.ok(lazy, "an image is not lazy, or has no words");
    the.unblemished(opened);
});

test("a thousand pictures that were scrolled past are not held", async () => {
    const files = reel(1000);
    const server = await projector(files);
    const opened = await the.open(browser, { ...DESKTOP, url: server.url });
    const { page } = opened;
    await look(page);
    let most = 0;
    await the.until(
        "all of them",
        async () => {
            await page.mouse.wheel(0, 900);
            most = Math.max(most, await pictures(page));
            return (await page.locator(".shot").count()) === 1000 && !(await page.isVisible("#gallery-more"));
        },
        60_000,
    );
    assert.deepEqual(await names(page), files.map(({ name }) => name), "in order, each once");
    assert.equal(server.listings.length, Math.ceil(1000 / 48));
    assert.ok(most < 120, `${most} images at once`);
    await page.evaluate(() => scrollTo(0, 0));
    const held = () => page.locator(".shot").evaluateAll((all) => all.flatMap((one, n) => (one.querySelector("img") ? [n] : [])));
    // What is a screen below may be; nothing that was scrolled past is.
    await the.until("none is held far away", async () => (await held()).every((n) => n < 60));
    the.unblemished(opened);
});

test("less motion where it is asked for: pictures stand until one is asked to move", async () => {
    const server = await projector(reel(6));
    const opened = await the.open(browser, { ...DESKTOP, url: server.url, reducedMotion: "reduce" });
    const { page } = opened;
    await look(page);
    await the.until("six that stand", async () => (await page.locator(".shot canvas").count()) === 6);
    assert.equal(await pictures(page), 0);
    assert.equal(await page.getAttribute("#gallery-still", "aria-pressed"), "true");
    assert.equal(await page.getAttribute(".shot canvas", "aria-label"), "Picture: dusk 0000");
    // By keyboard: its link, then its button.
    await page.locator(".shot a").first().focus();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Move dusk-0000.gif");
    await page.keyboard.press("Enter");
    await the.until("one moves", async () => (await pictures(page)) === 1);
    await page.keyboard.press("Enter");
    await the.until("it stands", async () => (await page.locator(".shot canvas").count()) === 6);
    await page.click("#gallery-still");
    await the.until("all move", async () => (await pictures(page)) === 6);
    assert.equal(await page.locator(".shot-play").count(), 0);
    await page.click("#gallery-still");
    await the.until("all stand again", async () => (await page.locator(".shot canvas").count()) === 6);
    the.unblemished(opened);
});

test("none yet: it looks again by itself, and goes on while more are made", async () => {
    const server = await projector([]);
    const opened = await the.open(browser, { ...DESKTOP, url: server.url });
    const { page } = opened;
    await look(page);
    await the.until("it says so", async () => /no pictures yet/.test(await hint(page)));
    assert.match(await page.textContent("#gallery-again"), /^Look again in \d s$/);
    const all = reel(5);
    server.files = [all[1], all[3]];
    await the.until("two have come", async () => (await tally(page)).shown === "2", 10_000);
    await page.locator(".shot a").nth(1).focus();
    server.files = all;
    await the.until("the rest takes its place", async () => (await names(page)).join() === all.map(({ name }) => name).join(), 10_000);
    const here = await page.evaluate(() => document.activeElement.closest(".shot").textContent);
    assert.match(here, /dusk-0003/, "the focus was taken");
    server.files = all.slice(1);
    await the.until("what is gone goes", async () => (await names(page)).length === 4, 10_000);
    // The first may have been on its way just then.
    the.unblemished(opened, { expected: REFUSED });
});

test("a server without media has no gallery", async () => {
    const server = await projector([]);
    server.refuse = () => ({ status: 404, type: "not_configured", detail: "media.root is not set" });
    const opened = await the.open(browser, { ...DESKTOP, url: server.url });
    await look(opened.page);
    await the.until("it is gone", async () => !(await opened.page.isVisible("#gallery")));
    the.unblemished(opened, { expected: REFUSED });
});

test("what goes wrong is said, and tried again; a picture that does not come keeps its box", async () => {
    const server = await projector(reel(60));
    server.refuse = (path) => path === "/media/" && { status: 503, detail: "no room at present", headers: { "retry-after": "1" } };
    const opened = await the.open(browser, { ...DESKTOP, url: server.url });
    const { page } = opened;
    await look(page);
    await the.until("it says so", async () => /No room at present\./.test(await page.textContent("#gallery-trouble")));
    server.refuse = (path) => path.startsWith("/media/dusk-0001.") && { status: 500 };
    await the.until("it was tried again", async () => (await names(page)).length >= 48, 10_000);
    await the.until("one did not come", async () => (await page.locator(".shot.gone").count()) === 1);
    assert.match(await page.locator(".shot.gone").textContent(), /It did not come/);
    const [gone, there] = await page.locator(".shot-frame").evaluateAll((all) => [all[1].offsetHeight, all[0].offsetHeight]);
    assert.equal(gone, there);
    // The second page fails: what is there stays.
    server.refuse = (path) => path === "/media/" && { status: 400, detail: "no such page" };
    await the.until("the second page fails", async () => {
        await page.mouse.wheel(0, 700);
        return page.isVisible("#gallery-trouble");
    }, 10_000);
    assert.equal((await names(page)).length, 48);
    server.refuse = () => null;
    await page.click("#gallery-trouble button").catch(() => {});
    the.unblemished(opened, { expected: REFUSED });
});

test("what a listing says is believed in nothing that a browser would act on", async () => {
    const [good, ...rest] = reel(9);
    const odd = [
        { url: "https://elsewhere.test/media/x.0123456789abcdef.gif" },
        { url: "/media/plain.gif" },
        { url: "/media/../api/status.0123456789abcdef.gif" },
        { url: "javascript:0//media/x.0123456789abcdef.gif" },
        { url: 7 },
        { type: "text/html" },
        { name: null },
    ].map((wrong, n) => ({ ...rest[n], ...wrong }));
    const film = { ...rest[7], name: "film.webm", type: "video/webm" };
    const server = await projector([]);
    const before = (page) =>
        page.route(/\/media\/\?/, (route) => route.fulfill({ json: { files: [good, null, ...odd, film].map((one) => one && { ...one, body: undefined }), next: 5 } }));
    const opened = await the.open(browser, { ...DESKTOP, url: server.url, before });
    const { page } = opened;
    server.files = [good];
    await look(page);
    await the.until("two are shown", async () => (await names(page)).length === 2);
    assert.deepEqual(await names(page), [good.name, "film.webm"]);
    assert.equal(await page.getAttribute(".shot video", "preload"), "none");
    the.unblemished(opened);
});

for (const [name, context] of [["phone", PHONE], ["narrow", { viewport: { width: 390, height: 844 } }], ["desktop", { viewport: { width: 1280, height: 940 } }]]) {
    for (const colorScheme of ["light", "dark"]) {
        test(`${name}, ${colorScheme}: the gallery fits, is legible and can be touched`, async () => {
            const server = await projector(reel(20));
            const opened = await the.open(browser, { ...context, colorScheme, url: server.url });
            const { page } = opened;
            await through(page, 20);
            await page.locator("#gallery").evaluate((card) => card.scrollIntoView());
            await page.screenshot({ path: new URL(`gallery-${name}-${colorScheme}.png`, SHOTS).pathname });
            const wide = await page.evaluate(() => document.documentElement.scrollWidth);
            assert.ok(wide <= context.viewport.width, `${wide} px wide`);
            assert.deepEqual(await page.evaluate(small), [], "smaller than 44 px");
            assert.deepEqual(await page.evaluate(faint), [], "less contrast than AA");
            await page.click("#gallery-still");
            await page.screenshot({ path: new URL(`gallery-${name}-${colorScheme}-still.png`, SHOTS).pathname });
            assert.deepEqual(await page.evaluate(small), [], "smaller than 44 px");
            the.unblemished(opened);
        });
    }
}
