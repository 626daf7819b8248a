// The listing of this server's media, page by page. Invariant: what comes out is of this server, can be shown by a browser,
// and has its hash in its address, so that it is fetched once; or it is a Failure.

import { at, json, unreadable } from "./api.js";
import { isAmount } from "./words.js";

const DEADLINE_MS = 5_000;
/** Files of a page: a few screens of them. */
export const PAGE = 48;
/** What is shown, and as what. */
const SHOWN = { image: "picture", video: "film", audio: "sound" };
/** Those of them that may move without being asked. */
const MOVING = ["image/gif", "image/webp", "image/avif", "image/apng"];
/** `name.<hash>.ending`: other content has another address, so a browser need not ask again. */
const HASHED = /\.[0-9a-f]{16,64}(\.[^./]+)?$/;

/** {files, next}: those behind the name `after`, or the first; `next` is null at the end. */
export async function list(after, signal) {
    const query = new URLSearchParams({ limit: PAGE, ...(after !== null && { after }) });
    const { files, next } = (await json(`media/?${query}`, signal, DEADLINE_MS)) ?? {};
    if (!Array.isArray(files)) throw unreadable();
    return { files: files.flatMap(complete), next: typeof next === "string" ? next : null };
}

/** One that can be shown, in a list; others are in none. */
function complete(file) {
    const { name, url, bytes, type } = file ?? {};
    const kind = SHOWN[String(type).split("/")[0]];
    const address = hashed(url);
    if (typeof name !== "string" || !kind || !address) return [];
    return [{ name, kind, href: address.href, bytes: isAmount(bytes) ? bytes : null, moves: MOVING.includes(type) }];
}

function hashed(url) {
    if (typeof url !== "string") return null;
    try {
        const address = at(url.replace(/^\/(?!\/)/, ""));
        return address.href.startsWith(at("media/").href) && HASHED.test(address.pathname) ? address : null;
    } catch {
        return null;
    }
}
