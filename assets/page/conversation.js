// The conversation: turns beneath each other, the newest in sight unless somebody reads further up. Invariant: no more than
// TURNS_MOST of them; a screen reader is told sentences, once each and politely, and never words.

import { say } from "./fields.js";
import { TurnView } from "./turn-view.js";

/** A tab that is open for a day is no archive. */
const TURNS_MOST = 40;
/** So near the end is at the end. */
const NEAR_PX = 48;

/** The list in #conversation. */
export class Conversation {
    #list = document.getElementById("conversation");
    #aloud = document.getElementById("dialogue-aloud");
    #invitation = document.getElementById("dialogue-hint");

    /** Whether nothing was asked yet. */
    get isEmpty() {
        return this.#list.childElementCount === 0;
    }

    /** Whether there is one turn, and nothing before it. */
    get isAlone() {
        return this.#list.childElementCount === 1;
    }

    /** Another turn, shown. */
    begin(question) {
        const view = new TurnView(question, { sentence: (text) => say(this.#aloud, text) });
        this.#list.append(view.root);
        while (this.#list.childElementCount > TURNS_MOST) this.#list.firstElementChild.remove();
        this.#invitation.hidden = true;
        this.#list.hidden = false;
        this.#list.scrollTop = this.#list.scrollHeight;
        return view;
    }

    /** A turn was never asked. */
    forget(view) {
        view.root.remove();
        this.#list.hidden = this.isEmpty;
        this.#invitation.hidden = !this.isEmpty;
    }

    /** What was said before this tab came, {role, text} each, above what it has. */
    recall(messages) {
        const [first] = this.#list.children;
        let view = null;
        for (const { role, text } of messages) {
            if (role === "user" || view === null) {
                view = new TurnView(role === "user" ? text : null, { sentence() {} });
                this.#list.insertBefore(view.root, first ?? null);
            }
            if (role !== "assistant") continue;
            view.write(text);
            view.settle();
            view = null;
        }
    }

    /** Keeps a place of the newest turn in sight, if its end was. */
    follow(node) {
        const { scrollHeight, scrollTop, clientHeight } = this.#list;
        const far = scrollHeight - scrollTop - clientHeight;
        const last = this.#list.lastElementChild;
        if (!node || !last?.contains(node)) return void (far < 3 * NEAR_PX && (this.#list.scrollTop = scrollHeight));
        const [box, word] = [this.#list.getBoundingClientRect(), node.getBoundingClientRect()];
        // Further up, or further down, somebody reads.
        if (word.bottom > box.bottom - NEAR_PX && word.top < box.bottom + NEAR_PX) this.#list.scrollTop += word.bottom - box.bottom + 2 * NEAR_PX;
    }
}
