// Asks the server's search, each time within a deadline. Invariant: what comes out has the shape said here, or is a Failure;
// an abort by whoever asked is thrown as it came.

import { at, json, unreadable } from "./api.js";
import { isAmount } from "./words.js";

/** The server gives up after 2 s. */
const DEADLINE_MS = 5_000;
/** Titles that are offered for one word. */
const TITLES = 3;

/** {hits, total, about, cursor, backend, tookMs}: the page of an address. */
export async function find(address, signal) {
    const page = await json(address, signal, DEADLINE_MS);
    const { hits, total, next_cursor: cursor, backend, took_ms: tookMs } = page ?? {};
    if (!Array.isArray(hits)) throw unreadable();
    return {
        hits: hits.filter((hit) => typeof hit?.id === "string").map(complete),
        total: isAmount(total?.value) ? total.value : hits.length,
        about: total?.relation === "gte",
        cursor: typeof cursor === "string" ? cursor : null,
        backend: text(backend),
        tookMs,
    };
}

/** {title, text, creator, url}: a whole document. */
export async function read(id, signal) {
    const answer = await json(`api/search/${encodeURIComponent(id)}`, signal, DEADLINE_MS);
    const { title, text: whole, creator, url } = answer ?? {};
    return { title: text(title), text: text(whole), creator: text(creator), url: text(url) };
}

/** {title, creator, link, picture}: a document that an answer is from; null for what is none. */
export function source(hit) {
    if (typeof hit?.id !== "string") return null;
    const { id, title, creator, link: leads, picture: shown } = complete(hit);
    return { id, title, creator, link: leads, picture: shown };
}

/** Titles in which a word begins so; none where they cannot be had, since nobody has asked for them. */
export async function titles(beginning, signal) {
    try {
        const query = new URLSearchParams({ q: beginning, limit: TITLES });
        const { suggestions } = await json(`api/search/suggest?${query}`, signal, DEADLINE_MS);
        return suggestions.map((suggestion) => text(suggestion?.text)).filter(Boolean);
    } catch (error) {
        if (signal.aborted) throw error;
        return [];
    }
}

/** A hit with all of its parts; what an index says is believed in nothing that the browser would act on. */
function complete(hit) {
    return {
        id: hit.id,
        type: text(hit.type),
        title: text(hit.title) || hit.id,
        snippet: text(hit.snippet),
        creator: text(hit.creator),
        link: link(hit.url),
        picture: picture(hit.media),
        tags: Array.isArray(hit.tags) ? hit.tags.map(text).filter(Boolean) : [],
        made: new Date(text(hit.created_at)),
        hasAudio: hit.has_audio === true,
    };
}

/** Where it can be read: by HTTP or not at all. */
function link(url) {
    const address = parsed(url);
    return address && /^https?:$/.test(address.protocol) ? address : null;
}

/** A picture among this server's own media; the policy of the page lets none from elsewhere in. */
function picture(media) {
    const address = parsed(media);
    return address?.href.startsWith(at("media/").href) ? address.href : null;
}

/** An address; a path is one of this server, also where that lies beneath a path of a proxy. */
function parsed(url) {
    if (text(url) === "") return null;
    try {
        return at(url.replace(/^\/(?!\/)/, ""));
    } catch {
        return null;
    }
}

function text(value) {
    return typeof value === "string" ? value : "";
}
