// Talks to the server: where it is, the key it may ask for, and what its errors mean.
// Every address is taken from this file's own, so the page also works beneath a path of a proxy.

const ROOT = new URL("../", import.meta.url);
const KEY_NAME = "evensong.key";

let key = remembered();

/** The address of a path of this server. */
export function at(path) {
    return new URL(path, ROOT);
}

/** Sets the key for this tab; an empty one takes it away. */
export function useKey(value) {
    key = value.trim();
    try {
        sessionStorage.setItem(KEY_NAME, key);
    } catch {
        // Storage is a convenience; without it the key lasts as long as the page.
    }
}

/** What went wrong, as a sentence, with the field it belongs to and when to come again. */
export class Failure extends Error {
    constructor(message, { status = 0, param = null, retrySeconds = null } = {}) {
        super(sentence(message));
        this.status = status;
        this.param = param;
        this.retrySeconds = retrySeconds;
    }
}

/** Asks the server; anything but a good answer is thrown as a Failure. */
export async function ask(path, options = {}) {
    const headers = new Headers(options.headers);
    if (key) headers.set("authorization", `Bearer ${key}`);
    let response;
    try {
        response = await fetch(at(path), { ...options, headers, cache: "no-store" });
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw unreachable();
    }
    if (!response.ok) throw await refused(response);
    return response;
}

/** The failure for a server that gave no answer at all. */
export function unreachable() {
    const offline = navigator.onLine === false;
    return new Failure(offline ? "this device is offline" : "the server cannot be reached", {
        retrySeconds: 0,
    });
}

/** Reads both shapes of errors: OpenAI's under /v1, RFC 9457's elsewhere. */
async function refused(response) {
    let body = null;
    try {
        body = await response.json();
    } catch {
        // A proxy in between answers in its own words; the status says enough.
    }
    const inner = body?.error ?? body ?? {};
    const message = inner.message ?? inner.detail ?? inner.title;
    return new Failure(message || `the server answered ${response.status}`, {
        status: response.status,
        param: inner.param ?? null,
        retrySeconds: retryAfter(response, inner),
    });
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

function remembered() {
    try {
        return sessionStorage.getItem(KEY_NAME) ?? "";
    } catch {
        return "";
    }
}
