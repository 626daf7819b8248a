// The address by which another device listens to this dialogue. It is as good as a key to it, so it is shown only to who asks
// for it; from then on the dialogue is not ended with this page.

import { say } from "./fields.js";

/** The part of the page in `root`, which is there while there is a dialogue. */
export class Share {
    #root;
    #field;
    #line = null;

    constructor(root) {
        this.#root = root;
        this.#field = root.querySelector("input");
        root.addEventListener("toggle", () => root.open && this.#show());
        root.querySelector("button").addEventListener("click", () => this.#copy());
    }

    /** Whose address it is; null: there is none to be listened to. */
    offer(line) {
        this.#line = line;
        this.#root.hidden = line === null || line.isGuest;
        if (this.#root.hidden) this.#root.open = false;
        else if (this.#root.open) this.#show();
    }

    #show() {
        if (!this.#line) return;
        this.#line.isShared = true;
        this.#field.value = `${location.origin}${location.pathname}${this.#line.fragment}`;
        this.#tell("");
    }

    async #copy() {
        this.#field.select();
        try {
            await navigator.clipboard.writeText(this.#field.value);
            this.#tell("Copied.");
        } catch {
            this.#tell("Copy it by hand: it is marked.");
        }
    }

    #tell(words) {
        say(this.#root.querySelector("[role=status]"), words);
    }
}
