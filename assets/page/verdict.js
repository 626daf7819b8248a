// What the server's memory watch says, in words: a state, why, and how quickly memory grows. What is bad cannot be
// overlooked, and is said aloud once: not again with each answer, nor when the server was away for a while.

import { say } from "./fields.js";
import * as words from "./words.js";

/** Each state: its mood and its words. A new state of a newer server is shown by its name. */
const STATES = new Map([
    ["off", ["wait", "The memory watch is off"]],
    ["starting", ["wait", "Memory: watching begins"]],
    ["flat", ["good", "Memory: flat"]],
    ["growing", ["warn", "Memory: growing"]],
    ["disagrees", ["bad", "The books disagree"]],
    ["leak_suspected", ["bad", "Leak suspected"]],
]);
/** What a person reads; the rest stands on the admin side. */
const FINDINGS_MOST = 8;
const FINDING_CHARS_MOST = 200;

/** Shows beneath `root`. */
export class VerdictPanel {
    #root;
    #state;
    #aloud;
    #findings;
    #rate;
    #bounds;

    constructor(root) {
        const part = (name) => root.querySelector(`[data-${name}]`);
        this.#root = root;
        [this.#state, this.#aloud, this.#findings] = ["state", "aloud", "findings"].map(part);
        [this.#rate, this.#bounds] = ["rate", "bounds"].map(part);
    }

    /** The words of the alarm that is shown; empty when there is none. */
    get alarm() {
        return this.#root.dataset.mood === "bad" ? this.#state.textContent : "";
    }

    /** Shows a report; a server that gives none shows nothing. */
    show({ state, findings, slope }) {
        const known = typeof state === "string";
        this.#root.hidden = !known;
        if (!known) return this.#say("wait", "");
        const [mood, text] = STATES.get(state) ?? ["wait", `Memory: ${short(state)}`];
        this.#say(mood, text);
        // Silence until there was an alarm; then also that it is over.
        if (mood === "bad" || this.#aloud.textContent) say(this.#aloud, text);
        const all = Array.isArray(findings) ? findings : [];
        this.#list(all.filter((finding) => typeof finding === "string").map(short));
        this.#grow(slope);
    }

    /** Nothing is known any more. */
    miss() {
        this.#say("wait", "Memory: not known at present");
        this.#list([]);
        this.#grow(null);
    }

    #say(mood, text) {
        if (this.#root.dataset.mood !== mood) this.#root.dataset.mood = mood;
        say(this.#state, text);
    }

    #list(findings) {
        const texts = findings.slice(0, FINDINGS_MOST);
        if (findings.length > texts.length) texts.push(`and ${findings.length - texts.length} more`);
        const shown = [...this.#findings.children].map((item) => item.textContent);
        if (shown.length === texts.length && shown.every((text, i) => text === texts[i])) return;
        const items = texts.map((text) => {
            const item = document.createElement("li");
            item.textContent = text;
            return item;
        });
        this.#findings.replaceChildren(...items);
        this.#findings.hidden = items.length === 0;
    }

    #grow(slope) {
        const { bytes_per_minute: rate, low, high } = slope ?? {};
        const known = words.changes([rate, low, high]);
        say(this.#rate, known ? `${known.texts[0]} ${known.unit}` : "–");
        say(this.#bounds, known ? `${known.texts[1]} and ${known.texts[2]}` : "–");
    }
}

function short(text) {
    return text.length > FINDING_CHARS_MOST ? `${text.slice(0, FINDING_CHARS_MOST)}…` : text;
}
