// What went wrong with the search, said beneath its box, with a button that goes on. Where the server has said when to come
// again, it is tried by itself then: a few times, and not while nobody looks.

import { Countdown } from "./countdown.js";
import { say } from "./fields.js";

/** A server that is down for long is asked again by hand. */
const TRIES_MOST = 3;

/** The box in `root`. */
export class Trouble {
    #root;
    #button;
    #countdown;
    #act = () => {};
    /** Whether it may be tried without a press. */
    #itself = false;
    #tries = 0;

    constructor(root) {
        this.#root = root;
        this.#button = root.querySelector("button");
        this.#countdown = new Countdown(this.#button, "Try again");
        this.#button.addEventListener("click", () => this.waiting || this.#act());
        addEventListener("online", () => this.#root.hidden || this.waiting || this.#again());
    }

    /** Whether the server has said that it is too early. */
    get waiting() {
        return !this.#root.hidden && this.#countdown.waiting;
    }

    /**
     * Says a failure. `act` goes on, if going on can help; with `itself` also without a press, when the server has
     * said that it may, or the device is no longer offline. `label`: the button's words.
     */
    show({ message, retrySeconds }, { act = null, itself = false, label = "Try again" } = {}) {
        const wait = retrySeconds ?? 0;
        this.#act = act ?? (() => {});
        this.#itself = itself && act !== null;
        this.#button.hidden = act === null;
        this.#countdown.label = label;
        this.#countdown.start(wait, () => wait > 0 && this.#again());
        say(this.#root.querySelector("p"), message);
        this.#root.hidden = false;
    }

    /** Nothing is wrong any more. */
    clear() {
        this.#tries = 0;
        this.#countdown.stop();
        this.#root.hidden = true;
    }

    #again() {
        if (!this.#itself || document.hidden || this.#tries >= TRIES_MOST) return;
        this.#tries += 1;
        this.#act();
    }
}
