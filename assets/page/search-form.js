// What is looked for, as it is typed and chosen: the box, the order, the keys that lead here and away, and the page's address,
// which always says the same, so that a reload shows it again.

import { SORTS, fragment, fromFragment } from "./question.js";

/** From a key to the question: who types fast asks once. */
const PAUSE_MS = 120;

/** The form. `on`: changed(byHand), down() which is true if there is something below to go to. */
export class SearchForm {
    #form = document.getElementById("search-form");
    #box = document.getElementById("search-box");
    #filters = document.getElementById("search-filters");
    #audio = document.getElementById("search-audio");
    #timer = null;
    #on;

    constructor(on) {
        this.#on = on;
        this.#form.addEventListener("submit", (event) => {
            event.preventDefault();
            this.#finish();
        });
        this.#box.addEventListener("input", () => {
            clearTimeout(this.#timer);
            this.#timer = setTimeout(() => this.#changed(false), PAUSE_MS);
        });
        this.#box.addEventListener("keydown", (event) => this.#key(event));
        this.#filters.addEventListener("change", () => this.#changed(false));
        document.addEventListener("keydown", (event) => this.#slash(event));
        addEventListener("hashchange", () => location.hash.startsWith("#q=") && this.recall());
    }

    /** {text, sort, audio}, as it stands there. */
    get question() {
        const { sort } = this.#form.elements;
        return { text: this.#box.value, sort: sort.value ?? SORTS[0], audio: this.#audio.checked };
    }

    /** Takes the question from the page's address. */
    recall() {
        const { text, sort, audio } = fromFragment(location.hash);
        this.#box.value = text;
        this.#form.elements.sort.value = sort;
        this.#audio.checked = audio;
        if (text.trim() !== "") this.#changed(false);
    }

    /** Looks for something else, or for the same among all. */
    lookFor(text) {
        this.#box.value = text;
        this.#audio.checked = false;
        this.focus();
        this.#finish();
    }

    /** To the box. */
    focus() {
        this.#box.focus();
    }

    /** Orders and filters are for what can be in order. */
    set filters(shown) {
        this.#filters.hidden = !shown;
    }

    /** The last word is finished, which a space says. */
    #finish() {
        if (/[\p{L}\p{N}]$/u.test(this.#box.value)) this.#box.value += " ";
        this.#changed(true);
    }

    #changed(byHand) {
        clearTimeout(this.#timer);
        remember(this.question);
        this.#on.changed(byHand);
    }

    #key(event) {
        if (event.key === "ArrowDown" && this.#on.down()) event.preventDefault();
        // What is being read is stopped by the Escape after this one.
        if (event.key !== "Escape" || this.#box.value === "") return;
        event.preventDefault();
        event.stopPropagation();
        this.#box.value = "";
        this.#changed(false);
    }

    /** "/" leads to the box, from wherever it is no letter. */
    #slash(event) {
        const { key, target, ctrlKey, metaKey, altKey } = event;
        const typing = target.closest("input:not([type=radio], [type=checkbox], [type=range]), textarea, dialog");
        if (key !== "/" || typing || ctrlKey || metaKey || altKey || !this.#box.checkVisibility()) return;
        event.preventDefault();
        this.focus();
        this.#box.select();
    }
}

/** Keeps the question in the page's address, without a step back for each letter. */
function remember(question) {
    const { pathname, search, hash } = location;
    const wanted = fragment(question);
    // Nothing looked for leaves alone where else the address leads.
    if (wanted === hash || (wanted === "" && !hash.startsWith("#q="))) return;
    try {
        history.replaceState(history.state, "", `${pathname}${search}${wanted}`);
    } catch {
        // Some browsers allow so many a minute; the next letter comes.
    }
}
