// What is looked for: as it is asked of the server, and as it stands in the page's address. Pure. It stands behind the
// address's #, which no browser sends: what somebody looks for is in no server's log.

/** The orders, as the server knows them; the first is what it does by itself. */
export const SORTS = ["relevance", "newest", "oldest"];
/** Hits of a page: what is read before one asks for more. */
const PAGE = 10;

/** Whether there is nothing in it to look for; the server would give everything. */
export function isEmpty(text) {
    return !/[\p{L}\p{N}]/u.test(text);
}

/** What was typed, as it is asked: a last word that may not be finished stands for all that begin so. */
export function unfinished(text) {
    const open = text.split('"').length % 2 === 0;
    const grows = /(?:^|[\s"])[\p{L}\p{N}]+$/u.test(text);
    return grows && !open ? `${text}*` : text;
}

/** Where a question {text, sort, audio} is asked; `whole`: its last word is finished. */
export function address({ text, sort, audio }, { whole = false } = {}) {
    const query = new URLSearchParams({ q: whole ? text : unfinished(text), limit: PAGE });
    query.set("sort", sort);
    if (audio) query.set("has_audio", "true");
    return `api/search?${query}`;
}

/** Where the page behind that of `address` is asked for. */
export function onward(address, cursor) {
    return `${address}&${new URLSearchParams({ cursor })}`;
}

/** The part of the page's own address that stands for a question; "" where nothing is looked for. */
export function fragment({ text, sort, audio }) {
    if (text.trim() === "") return "";
    const parts = new URLSearchParams({ q: text });
    if (sort !== SORTS[0]) parts.set("sort", sort);
    if (audio) parts.set("audio", "1");
    return `#${parts}`;
}

/** The question of a page's address, whatever stands there. */
export function fromFragment(hash) {
    const parts = new URLSearchParams(hash.replace(/^#/, ""));
    const sort = parts.get("sort");
    return {
        text: parts.get("q") ?? "",
        sort: SORTS.includes(sort) ? sort : SORTS[0],
        audio: parts.get("audio") === "1",
    };
}

/** How the words of a text begin: what to look for in titles where the words themselves are nowhere. */
export function beginnings(text) {
    const words = text.match(/[\p{L}\p{N}]{2,}/gu) ?? [];
    const begun = words.map((word) => word.slice(0, Math.min(4, Math.max(2, Math.ceil(word.length / 2)))).toLowerCase());
    return [...new Set(begun)];
}
