// One turn as it is shown: who asked what, and what was answered, with what it is from. Invariant: an answer that was
// interrupted shows what was heard of it, and says so.

import { Captions } from "./captions.js";
import { say } from "./fields.js";
import { made } from "./node.js";
import * as sources from "./sources.js";

/** The page's own words where there are none from the server. */
const THINKING = "Thinking";

/** A turn; `question` is null where somebody else asked, until it is known. `on`: grows(), and as for Captions. */
export class TurnView {
    #on;
    #question = null;
    #asked = made("p", { class: "asked", dir: "auto" });
    #answer = made("div", { class: "answered" });
    #thinking = made("p", { class: "thinking" }, made("span", {}, THINKING), made("i", { "aria-hidden": "true" }));
    #text = made("p", { class: "caption", dir: "auto" });
    #note = made("p", { class: "note" });
    #sources = made("ul", { class: "sources", role: "list", "aria-label": "Where this is from" });

    constructor(question, on) {
        this.#on = on;
        this.captions = new Captions(this.#text, on);
        this.root = made("article", { class: "turn" });
        this.#answer.append(made("span", { class: "who" }, "Evensong"), this.#thinking, this.#text, this.#note, this.#sources);
        this.root.append(this.#asked, this.#answer);
        this.#sources.hidden = this.#note.hidden = this.#thinking.hidden = true;
        this.question = question;
        this.answering = false;
    }

    /** What was asked. */
    get question() {
        return this.#question;
    }

    set question(question) {
        this.#question = question;
        this.#asked.hidden = question === null;
        if (question !== null) this.#asked.replaceChildren(made("span", { class: "who" }, "You"), made("span", {}, question));
    }

    /** Whether there is an answer, or one is thought about. */
    set answering(answering) {
        this.#answer.hidden = !answering;
    }

    /** It is being thought about. */
    think() {
        this.answering = true;
        this.#thinking.hidden = false;
        this.#on.grows();
    }

    /** There is something of the answer. */
    write(text) {
        this.answering = true;
        this.#thinking.hidden = true;
        this.captions.write(text);
        this.#on.grows();
    }

    /** What stands there of the answer. */
    get text() {
        return this.#text.textContent;
    }

    /** What it is from. */
    source(hits) {
        sources.show(this.#sources, hits);
        this.#on.grows();
    }

    /** It is over: all of it stands there, or `heard`; `note` says why it is no more. */
    settle({ heard = null, note = "" } = {}) {
        this.#thinking.hidden = true;
        this.captions.settle(heard);
        this.#answer.classList.toggle("broken", note !== "");
        this.#text.hidden = this.#text.textContent === "";
        this.note(note);
        if (note) this.answering = true;
        this.#on.grows();
    }

    /** Says something beneath it. */
    note(note) {
        say(this.#note, note);
        this.#note.hidden = note === "";
    }
}
