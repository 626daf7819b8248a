// The list of what was found: drawn a page at a time, walked through by Up and Down, with one hit at most being read.
// A hit that is read and no longer in the list keeps a line of its own, so that it can be stopped.

import { say } from "./fields.js";
import { Hit } from "./hit.js";

/** The list and its "More". `on`: read(hit), stop(), resume(), more(), back() to the box. */
export class Results {
    #list = document.getElementById("search-found");
    #more = document.getElementById("search-more");
    #line = document.getElementById("search-reading");
    #hits = [];
    /** What is being read: {hit, state}. */
    #reading = null;
    #on;

    constructor(on) {
        this.#on = on;
        this.#more.addEventListener("click", () => on.more());
        this.#line.querySelector("button").addEventListener("click", () => on.stop());
        for (const node of [this.#list, this.#more]) node.addEventListener("keydown", (event) => this.#key(event));
    }

    /** How many are shown. */
    get length() {
        return this.#hits.length;
    }

    /** Shows these alone; `goesOn`: there are more. */
    show(hits, goesOn) {
        this.#hits = [];
        this.#list.replaceChildren();
        this.add(hits, goesOn);
    }

    /** Shows these behind the others. */
    add(hits, goesOn) {
        const added = hits.map((hit) => new Hit(hit, (...pressed) => this.#press(...pressed)));
        this.#hits.push(...added);
        this.#list.append(...added.map(({ root }) => root));
        this.#list.hidden = this.#hits.length === 0;
        this.#more.hidden = !goesOn;
        this.#mark();
    }

    /** What was found is of an earlier question, while a newer one is asked. */
    busy(asking) {
        this.#list.setAttribute("aria-busy", String(asking));
    }

    /** Says what the page does with a hit; null: with none. */
    reading(hit, state) {
        this.#reading = hit && { hit, state };
        this.#mark();
    }

    /** Takes the focus to one of them; false if there is none such. */
    focus(index) {
        const node = this.#stops[index];
        node?.focus();
        return node !== undefined;
    }

    get #stops() {
        const hits = this.#hits.map((hit) => hit.focusable);
        return this.#more.hidden ? hits : [...hits, this.#more];
    }

    #key(event) {
        // While something is read, Escape stops that, as everywhere.
        if (event.key === "Escape" && !this.#reading) this.#on.back();
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
        event.preventDefault();
        const here = this.#hits.findIndex(({ root }) => root.contains(document.activeElement));
        const to = (here < 0 ? this.#hits.length : here) + step;
        if (to < 0) this.#on.back();
        else this.focus(to);
    }

    #press(hit, state) {
        if (state === "idle") this.#on.read(hit);
        else if (state === "blocked") this.#on.resume();
        else this.#on.stop();
    }

    #mark() {
        const { hit: read, state } = this.#reading ?? {};
        let seen = false;
        for (const hit of this.#hits) {
            const here = hit.hit.id === read?.id;
            hit.reading(here ? state : "idle");
            seen ||= here;
        }
        const line = read !== undefined && !seen;
        if (line) say(this.#line.querySelector("p"), `Reading “${read.title}”`);
        this.#line.hidden = !line;
    }
}
