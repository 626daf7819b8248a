// The conversation: turns beneath each other, the newest in sight unless somebody reads further up. Invariant: no more than
// TURNS_MOST of them; a screen reader is told sentences, once each and politely, and never words.

import { say } from "./fields.js";
import { TurnView } from "./turn-view.js";

/** A tab that is open for a day is no archive. */
const TURNS_MOST = 40;
/** A word that is so near the lower edge is moved up. */
const NEAR_PX = 48;
/** What somebody does who reads further up. */
const READS = ["wheel", "touchmove", "keydown"];

/** The list in #conversation. */
export class Conversation {
    #list = document.getElementById("conversation");
    #aloud = document.getElementById("dialogue-aloud");
    #invitation = document.getElementById("dialogue-hint");

    #isRead = false;
    #followed = null;

    constructor() {
        for (const type of READS) this.#list.addEventListener(type, () => (this.#isRead = true), { passive: true });
    }

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
        const view = new TurnView(question, {
            sentence: (text) => say(this.#aloud, text),
            grows: () => this.follow(),
        });
        this.#list.append(view.root);
        while (this.#list.childElementCount > TURNS_MOST) this.#list.firstElementChild.remove();
        this.#invitation.hidden = true;
        this.#list.hidden = false;
        this.#isRead = false;
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
                view = new TurnView(role === "user" ? text : null, { sentence() {}, grows() {} });
                this.#list.insertBefore(view.root, first ?? null);
            }
            if (role !== "assistant") continue;
            view.write(text);
            view.settle();
            view = null;
        }
    }

    /** Keeps the newest turn in sight, and of one that is too long for that the word that is heard. */
    follow(node = null) {
        if (this.#isRead || (node !== null && node === this.#followed)) return;
        this.#followed = node;
        const [list, turn] = [this.#list, this.#list.lastElementChild];
        if (turn === null) return;
        if (turn.offsetHeight < list.clientHeight) list.scrollTop = list.scrollHeight;
        else if (node === null) list.scrollTop = Math.max(list.scrollTop, turn.offsetTop);
        else {
            const below = node.getBoundingClientRect().bottom - list.getBoundingClientRect().bottom;
            if (below > -NEAR_PX) list.scrollTop += below + 3 * NEAR_PX;
        }
    }
}
