// What the tests of the search share: documents with words that stand nowhere else, answers as a server would give them,
// and what is looked at.

import * as the from "./harness.mjs";

/** A document of the tests; `n` makes its id. */
export const book = (n, rest) => ({ id: `test:${n}`, type: "tale", title: `Tale ${n}`, text: "", ...rest });

/** A hit as the server tells one. */
export const hit = (n, rest = {}) => ({
    id: `fake:${n}`,
    score: 1,
    type: "tale",
    title: `Fake ${n}`,
    snippet: "",
    created_at: "2026-11-22T20:00:00Z",
    tags: [],
    has_audio: false,
    ...rest,
});

/** A page of hits as the server tells it. */
export const answer = (hits, rest = {}) => ({
    json: { took_ms: 1, total: { value: hits.length, relation: "eq" }, hits, next_cursor: null, backend: "embedded", ...rest },
});

export const problem = (status, type, detail, headers = {}) => ({
    status,
    headers,
    contentType: "application/problem+json",
    body: JSON.stringify({ type, title: type, status, detail }),
});

/** Where a search is asked, but no document of it. */
export const SEARCH = /\/api\/search\?/;

/** What was looked for so far, as the server read it. */
export function questions({ seen }) {
    const searches = seen.requests.filter((request) => SEARCH.test(request.url()));
    return searches.map((request) => new URL(request.url()).searchParams.get("q"));
}

export const titles = (page) => page.locator(".hit h3").allTextContents();
export const told = (page) => page.textContent("#search-status");

/** Waits until these titles are shown, and no others. */
export function shows(page, ...expected) {
    const wanted = expected.join("|");
    return the.until(`the titles ${wanted}`, async () => (await titles(page)).join("|") === wanted);
}

/** Waits until this is said of what was found. */
export function tells(page, expected) {
    return the.until(`that it says ${expected}`, async () => expected.test(await told(page)));
}

/** Types into the box, as a person does. */
export async function type(page, text) {
    await page.focus("#search-box");
    await page.keyboard.type(text);
}
