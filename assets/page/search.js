// The search card: asks while one types, and shows what is found. Invariant: one question is under way at most, and only the
// answer to the newest is ever shown.

import { Failure } from "./api.js";
import { say } from "./fields.js";
import * as library from "./library.js";
import { address, beginnings, isEmpty, onward } from "./question.js";
import { Results } from "./results.js";
import { SearchForm } from "./search-form.js";
import { Trouble } from "./trouble.js";
import { count } from "./words.js";

/** Words whose beginnings are looked for in titles, and titles offered, where nothing was found. */
const WORDS_MOST = 3;
const TITLES_MOST = 4;
const AGED = "The list had grown old: this is the newest, from its top.";

const byId = (id) => document.getElementById(id);

/**
 * The card. `on`: read(hit), stop(), resume(), and refused(Failure, again, byHand), which is true if a key is asked for
 * elsewhere.
 */
export class SearchCard {
    #card = byId("search");
    #status = byId("search-status");
    #answered = byId("search-answered");
    #trouble = new Trouble(byId("search-trouble"));
    #unread = new Trouble(byId("search-unread"));
    #form;
    #results;
    /** The question that is under way, as its abort. */
    #asking = new AbortController();
    /** What is shown: {address, cursor, total, about}. */
    #shown = null;
    /** Whether a key is missing: then nothing is asked by merely typing. */
    #locked = false;
    #on;

    constructor(on) {
        this.#on = on;
        this.#form = new SearchForm({
            changed: (byHand) => this.#search(byHand),
            down: () => this.#results.focus(0),
        });
        this.#results = new Results({ ...on, more: () => this.#more(), back: () => this.#form.focus() });
        this.#card.addEventListener("click", ({ target }) => {
            const { example } = target.closest("[data-example]")?.dataset ?? {};
            if (example) this.#form.lookFor(example);
        });
        byId("search-anyway").addEventListener("click", () => this.#form.lookFor(this.#form.question.text));
        this.#form.recall();
    }

    /** Whether this server searches at all. */
    set there(there) {
        this.#card.hidden = !there;
    }

    /** Says what the page does with a hit: asking, speaking, blocked; of none, idle. */
    reading(hit, state) {
        this.#results.reading(hit, state);
        if (state !== "idle") this.#unread.clear();
    }

    /** Says what went wrong with reading one. */
    complain(failure, again) {
        this.#unread.show(failure, { act: failure.retrySeconds === null ? null : again });
    }

    /** A key is there. */
    unlock() {
        if (!this.#locked) return;
        this.#locked = false;
        this.#search(false);
    }

    /** Asks what stands in the form; what was under way is of no interest any more. */
    #search(byHand) {
        const { question } = this.#form;
        if (isEmpty(question.text)) return this.#rest();
        // Asked when the wait is over, or the key is there.
        if (this.#trouble.waiting || (this.#locked && !byHand)) return this.#drop();
        this.#locked = false;
        const again = () => this.#search(true);
        this.#ask({ byHand, again }, async (signal) => {
            const first = address(question);
            const page = await library.find(first, signal);
            if (page.hits.length > 0) return this.#show(page, first);
            // The word may have other forms, which its beginning has not.
            const whole = address(question, { whole: true });
            const found = whole === first ? page : await library.find(whole, signal);
            if (found.hits.length > 0) return this.#show(found, whole);
            this.#none(question, await titles(question.text, signal));
        });
    }

    #more() {
        if (this.#trouble.waiting) return;
        const { address, cursor, total, about } = this.#shown;
        this.#ask({ byHand: true, again: () => this.#more() }, async (signal) => {
            try {
                const page = await library.find(onward(address, cursor), signal);
                const before = this.#results.length;
                this.#results.add(page.hits, page.cursor !== null);
                this.#trouble.clear();
                this.#shown = { address, cursor: page.cursor, total, about };
                this.#tell(page);
                this.#results.focus(Math.min(before, this.#results.length - 1));
            } catch (error) {
                if (error.code !== "cursor_expired") throw error;
                this.#show(await library.find(address, signal), address, AGED);
                this.#results.focus(0);
            }
        });
    }

    /** Runs `act` as the one thing that is under way; how it ends behind its abort is nobody's matter. */
    async #ask({ byHand, again }, act) {
        this.#drop();
        const { signal } = (this.#asking = new AbortController());
        this.#results.busy(true);
        try {
            await act(signal);
        } catch (error) {
            if (signal.aborted) return;
            if (!(error instanceof Failure)) throw error;
            this.#failed(error, byHand, again);
        } finally {
            if (!signal.aborted) this.#results.busy(false);
        }
    }

    #drop() {
        this.#asking.abort();
        this.#results.busy(false);
    }

    #show(page, address, note = "") {
        this.#only("search-found");
        const { cursor, total, about } = page;
        this.#results.show(page.hits, cursor !== null);
        this.#shown = { address, cursor, total, about };
        this.#tell(page, note);
    }

    #tell({ backend, tookMs }, note = "") {
        const { total, about } = this.#shown;
        const shown = this.#results.length;
        const rest = shown < total ? `, ${count(shown)} shown` : "";
        say(this.#status, `${about ? "About " : ""}${count(total)} found${rest}. ${note}`.trim());
        say(this.#answered, `${backend}, ${count(tookMs)} ms`);
    }

    /** Nothing is looked for. */
    #rest() {
        this.#drop();
        this.#only("search-hint");
        say(this.#status, "");
    }

    #none({ text, audio }, titles) {
        this.#only("search-none");
        say(this.#status, `Nothing is found for “${text.trim()}”.`);
        byId("search-anyway").hidden = !audio;
        byId("search-titles").hidden = titles.length === 0;
        byId("search-titles").querySelector("div").replaceChildren(...titles.map(offered));
    }

    #failed(failure, byHand, again) {
        this.#locked = failure.status === 401;
        say(this.#status, "");
        if (this.#on.refused(failure, again, byHand)) {
            const { message } = failure;
            return this.#trouble.show({ message, retrySeconds: 0 }, { act: again, label: "Enter a key" });
        }
        // Not there, or too much asked of it: neither is what was typed.
        const itself = [0, 429, 503].includes(failure.status);
        this.#trouble.show(failure, { act: failure.retrySeconds === null ? null : again, itself });
    }

    /** Shows one of the card's states, and nothing of the others. */
    #only(id) {
        if (!this.#trouble.waiting) this.#trouble.clear();
        for (const other of ["search-hint", "search-none"]) byId(other).hidden = other !== id;
        this.#form.filters = id !== "search-hint";
        if (id === "search-found") return;
        this.#shown = null;
        this.#results.show([], false);
        say(this.#answered, "");
    }
}

/** Titles in which words begin as those that were typed: one letter wrong is no reason to find nothing. */
async function titles(text, signal) {
    const words = beginnings(text).slice(-WORDS_MOST);
    const found = await Promise.all(words.map((word) => library.titles(word, signal)));
    return [...new Set(found.flat())].slice(0, TITLES_MOST);
}

/** A title that can be looked for. */
function offered(title) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.example = title;
    button.textContent = title;
    return button;
}
