// Talks to the server: where it is, with which key, and what its errors mean.
// Every address is taken from this file's own, so the page also works beneath a path of a proxy.

import { answered, secret } from "./key.js";
import { wait } from "./words.js";

const ROOT = new URL("../", import.meta.url);
/** Only what begins so asks for a key, so only there one is sent. */
const KEYED = ["v1/", "api/search", "api/voice/converse", "api/voice/dialogues/"].map((path) => new URL(path, ROOT).href);

/** What is spoken on a socket, and how a key goes with it. */
const PROTOCOL = "realtime";
const KEY_PROTOCOL = "openai-insecure-api-key.";

/** The address of a path of this server. */
export function at(path) {
    return new URL(path, ROOT);
}

/** What went wrong, as a sentence, with the field it belongs to and when to come again. */
export class Failure extends Error {
    constructor(message, { status = 0, code = null, param = null, retrySeconds = null } = {}) {
        super(sentence(message));
        this.status = status;
        this.code = code;
        this.param = param;
        this.retrySeconds = retrySeconds;
    }
}

/** Asks the server; anything but a good answer is thrown as a Failure. */
export async function ask(path, options = {}) {
    const headers = new Headers(options.headers);
    const key = keyFor(path);
    if (key) headers.set("authorization", `Bearer ${key}`);
    let response;
    try {
        response = await fetch(at(path), { ...options, headers, cache: "no-store" });
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw unreachable();
    }
    const newer = keyFor(path);
    if (response.status === 401 && newer && newer !== key) {
        // A key was given while this was under way.
        response.body?.cancel();
        return ask(path, options);
    }
    if (key) answered(key, response.status);
    if (!response.ok) throw await refused(response, key !== "");
    return response;
}

/** A socket to the server. A browser sets no headers on one: a key goes along as the name of a protocol. */
export function socket(path, signal) {
    const where = at(path);
    where.protocol = where.protocol.replace("http", "ws");
    const key = keyFor(path);
    let opened;
    try {
        opened = new WebSocket(where, key ? [PROTOCOL, `${KEY_PROTOCOL}${key}`] : [PROTOCOL]);
    } catch {
        throw new Failure("this key has signs in it that no socket can carry: take the two calls", { status: 400 });
    }
    if (key) opened.addEventListener("open", () => answered(key, 200), { signal });
    return opened;
}

function keyFor(path) {
    return KEYED.some((keyed) => at(path).href.startsWith(keyed)) ? secret() : "";
}

/** The failure for a server that gave no answer at all. */
export function unreachable() {
    const offline = navigator.onLine === false;
    return new Failure(offline ? "this device is offline" : "the server cannot be reached", {
        retrySeconds: 0,
    });
}

/** Reads both shapes of errors: OpenAI's under /v1, RFC 9457's elsewhere. */
async function refused(response, keyed) {
    let body = null;
    try {
        body = await response.json();
    } catch {
        // A proxy in between answers in its own words; the status says enough.
    }
    const inner = body?.error ?? body ?? {};
    const { status } = response;
    // The second shape calls it a type.
    const code = (body?.error ? inner.code : inner.type) ?? null;
    const retrySeconds = retryAfter(response, inner);
    const message = inner.message ?? inner.detail ?? inner.title;
    const said = message || `the server answered ${status}`;
    return new Failure(inWords(said, { status, code, keyed, retrySeconds }), {
        status,
        code,
        param: inner.param ?? null,
        retrySeconds,
    });
}

/** The server's words, but where a key is the matter: who reads them sees no request. */
function inWords(message, { status, code, keyed, retrySeconds }) {
    // A 401 may quote what was sent, so it is not repeated here.
    if (status === 401) return keyed ? "the server refused this key" : "this server asks for a key";
    if (code === "missing_scope") return `this key may not do this: ${message}`;
    if (status !== 429) return message;
    const when = retrySeconds > 0 ? `in ${wait(retrySeconds)}` : "later";
    return `${sentence(message)} Try again ${when}.`;
}

/** Seconds until a retry is welcome, or null where none was offered. */
function retryAfter(response, inner) {
    const header = response.headers.get("retry-after");
    const seconds = header === null ? inner.retry_after_seconds : Number(header);
    if (Number.isFinite(seconds)) return Math.max(0, Math.ceil(seconds));
    const wait = header === null ? NaN : Date.parse(header) - Date.now();
    return Number.isFinite(wait) ? Math.max(0, Math.ceil(wait / 1000)) : null;
}

/** The server's messages begin small and end without a stop, as log lines do. */
function sentence(message) {
    const text = String(message).trim();
    const first = text.charAt(0).toUpperCase() + text.slice(1);
    return /[.!?…)]$/.test(first) ? first : `${first}.`;
}

/** What stands at `path` as JSON, within so many milliseconds, or a Failure. */
export async function json(path, signal, deadlineMs) {
    try {
        const within = AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]);
        const answer = await (await ask(path, { signal: within })).json();
        // It may have been on its way already when nobody wanted it any more.
        signal.throwIfAborted();
        return answer;
    } catch (error) {
        if (signal.aborted || error instanceof Failure) throw error;
        throw error instanceof SyntaxError ? unreadable() : unreachable();
    }
}

/** What to say of an answer that is none. */
export function unreadable() {
    return new Failure("the server's answer cannot be read");
}
