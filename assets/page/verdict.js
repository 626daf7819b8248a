// What the server's memory watch says, in words: a state, why, and how quickly it grows. Said aloud once, when it
// changes; what is bad cannot be overlooked.

import { say } from "./fields.js";

/** Each state: its mood and its words. A new state of a newer server is shown by its name. */
const STATES = {
    off: ["wait", "The memory watch is off"],
    starting: ["wait", "Memory: watching begins"],
    flat: ["good", "Memory: flat"],
    growing: ["warn", "Memory: growing"],
    disagrees: ["bad", "The books disagree"],
    leak_suspected: ["bad", "Leak suspected"],
};
/** What a person reads; the rest stands on the admin side. */
const FINDINGS_MOST = 8;
const MB = new Intl.NumberFormat("en", { maximumFractionDigits: 2, signDisplay: "exceptZero" });
/** As printers set it; a hyphen is lost in a line of text. */
const minus = (text) => text.replace("-", "−");

/** Shows beneath `root`. */
export class VerdictPanel {
    #root;
    #state;
    #findings;
    #slope;

    constructor(root) {
        this.#root = root;
        this.#state = root.querySelector("[data-state]");
        this.#findings = root.querySelector("[data-findings]");
        this.#slope = root.querySelector("[data-slope]");
    }

    /** Shows a report; a server that gives none shows nothing. */
    show(memory) {
        const known = typeof memory.state === "string";
        this.#root.hidden = !known;
        if (!known) return;
        const [mood, text] = STATES[memory.state] ?? ["wait", `Memory: ${memory.state}`];
        if (this.#root.dataset.mood !== mood) this.#root.dataset.mood = mood;
        say(this.#state, text);
        const all = Array.isArray(memory.findings) ? memory.findings : [];
        const findings = all.filter((finding) => typeof finding === "string").slice(0, FINDINGS_MOST);
        this.#list(findings);
        say(this.#slope, slope(memory.slope));
    }

    #list(findings) {
        const shown = [...this.#findings.children].map((item) => item.textContent);
        if (shown.length === findings.length && shown.every((text, i) => text === findings[i])) return;
        const items = findings.map((finding) => {
            const item = document.createElement("li");
            item.textContent = finding;
            return item;
        });
        this.#findings.replaceChildren(...items);
        this.#findings.hidden = items.length === 0;
    }
}

/** "Allocated: +0.12 MB a minute, between −0.3 and +0.54": each bound holds with 95 %. */
function slope(given) {
    const numbers = [given?.bytes_per_minute, given?.low, given?.high];
    if (!numbers.every(Number.isFinite)) return "";
    const [middle, low, high] = numbers.map((number) => minus(MB.format(number / 1e6)));
    return `Allocated: ${middle} MB a minute, between ${low} and ${high}`;
}
