// The key that the server may ask for: one at a time, in memory, and kept for this tab or (if wanted)
// on this device as soon as the server has taken it. A key that was refused is kept nowhere.

const NAME = "evensong.key";
/** What fits a header and can be a key. */
const SENDABLE = /^[\x21-\x7e]+$/;

let key = "";
/** Whether it is, or is to be, kept on this device. */
let onDevice = false;
/** Whether the server has taken it: only then it is kept, and shown as in use. */
let taken = false;
const watchers = new Set();

recall();
// Forgotten in one tab is forgotten in all that had it from the device.
addEventListener("storage", ({ storageArea, key: name, newValue }) => {
    const gone = (name === NAME || name === null) && newValue === null;
    if (gone && onDevice && storageArea === at("localStorage")) forget();
});

/** The key to send, "" if there is none. For api.js alone. */
export function secret() {
    return key;
}

/** What may be shown of it: {held, taken, onDevice}. */
export function state() {
    return { held: key !== "", taken, onDevice };
}

/** Calls `act(state, why)` at every change; `why` is used, taken, refused or forgotten. */
export function watch(act) {
    watchers.add(act);
}

/** Takes what a person gave; false if that can be no key. */
export function use(text, remember) {
    const given = text.trim().replace(/^bearer\s+/i, "");
    if (!SENDABLE.test(given)) return false;
    key = given;
    onDevice = remember;
    taken = false;
    change("used");
    return true;
}

/** Gone from memory, from the tab and from the device. */
export function forget() {
    drop("forgotten");
}

/** What the server said to a request that carried `sent`. */
export function answered(sent, status) {
    if (sent !== key || key === "") return;
    if (status === 401) return drop("refused");
    // Who is limited, or met a gateway that is down, has not been told whether the key is good.
    if (taken || status === 429 || status >= 500) return;
    taken = true;
    keep();
    change("taken");
}

function drop(why) {
    key = "";
    taken = false;
    onDevice = false;
    for (const area of ["sessionStorage", "localStorage"]) tryTo(() => at(area)?.removeItem(NAME));
    change(why);
}

function keep() {
    const [area, other] = ["sessionStorage", "localStorage"];
    tryTo(() => at(onDevice ? other : area)?.setItem(NAME, key));
    tryTo(() => at(onDevice ? area : other)?.removeItem(NAME));
}

function recall() {
    for (const area of ["sessionStorage", "localStorage"]) {
        const kept = tryTo(() => at(area)?.getItem(NAME)) ?? "";
        if (!SENDABLE.test(kept)) continue;
        [key, taken, onDevice] = [kept, true, area === "localStorage"];
        return;
    }
}

function change(why) {
    for (const act of watchers) act(state(), why);
}

function at(area) {
    return tryTo(() => globalThis[area]);
}

/** Storage is a convenience; without it the key lasts as long as the page. */
function tryTo(act) {
    try {
        return act();
    } catch {
        return null;
    }
}
