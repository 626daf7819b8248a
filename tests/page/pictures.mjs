// Takes the documentation's pictures of the page, while a question is being answered and while something found is read:
// EVENSONG_URL=… EVENSONG_ADMIN=… node pictures.mjs FOLDER [FORMAT]
// and then, for a quarter of the bytes: pngquant --ext .png --force FOLDER/page-*.png

import { URL_OF, launch, pause, until } from "./harness.mjs";

const [folder = ".", format = "mp3"] = process.argv.slice(2);
/** What the server's own documentation answers. */
const [FIRST, SECOND] = ["What is Evensong?", "What does a slow reader get?"];
/** Until the graph has something to show. */
const SPOKEN_SECONDS = 4;
const SHOTS = {
    "page-desktop": { viewport: { width: 1240, height: 1195 }, colorScheme: "dark" },
    "page-phone": {
        viewport: { width: 360, height: 740 },
        colorScheme: "light",
        deviceScaleFactor: 2,
        isMobile: true,
        hasTouch: true,
    },
};

/** The search card alone: of the server's own documentation, which every server has. */
const SEARCH = { viewport: { width: 1240, height: 1195 }, colorScheme: "light", deviceScaleFactor: 1.5 };
const LOOKED_FOR = "heap prof";
/** Three hits. */
const SEARCH_HEIGHT = 770;

const browser = await launch();
for (const [name, options] of Object.entries(SHOTS)) {
    await shot(name, options, speaking);
}
await shot("page-search", SEARCH, reading);
await browser.close();

/** A picture of what `prepare` makes of a page, of the part that it gives. */
async function shot(name, options, prepare) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    await page.goto(URL_OF);
    // The status says which formats there are; only then one is chosen.
    await until("the status", async () => /Ready/.test(await page.textContent("#pulse")));
    await page.click(`.pills label:has([value=${format}])`);
    const part = await prepare(page);
    await page.mouse.move(0, 0);
    await pause(300);
    await page.screenshot({ path: `${folder}/${name}.png`, ...part });
    await context.close();
}

async function speaking(page) {
    // The first sound of a browser opens its audio device; the picture is of the second.
    await ask(page, FIRST);
    await until("the end", async () => (await page.textContent("#dialogue-state")) === "Answered.", 60_000);
    await ask(page, SECOND);
    const heard = async () => parseFloat(await page.textContent("[data-field=played]")) || 0;
    await until("sound", async () => (await heard()) > SPOKEN_SECONDS, 30_000);
    await page.evaluate(() => {
        document.activeElement.blur();
        scrollTo(0, 0);
    });
    return {};
}

async function ask(page, question) {
    await page.fill("#question", question);
    await page.press("#question", "Enter");
}

async function reading(page) {
    await page.focus("#search-box");
    await page.keyboard.type(LOOKED_FOR);
    await page.waitForSelector(".hit");
    await page.locator(".hit-read").first().click();
    await until("it is read", async () => /^Reading/.test(await page.textContent("#state")));
    await page.focus("#search-box");
    const { x, y, width } = await page.locator("#search").boundingBox();
    const top = y + (await page.evaluate(() => scrollY));
    const margin = 16;
    return { fullPage: true, clip: { x: x - margin, y: top - margin, width: width + 2 * margin, height: SEARCH_HEIGHT } };
}
