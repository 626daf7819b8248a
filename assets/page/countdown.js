// A button that counts down until it may be pressed. It is not hidden meanwhile, so that nobody has
// to hunt for it, and not disabled, so that the focus stays on it.

import { say } from "./fields.js";
import { wait } from "./words.js";

const TICK_MS = 250;

/** One button with its own words, which are "Try again" or "Try again in 12 s". */
export class Countdown {
    #button;
    #label;
    #timer = null;
    #over = () => {};

    constructor(button, label) {
        this.#button = button;
        this.#label = label;
    }

    /** Whether it is too early. */
    get waiting() {
        return this.#button.getAttribute("aria-disabled") === "true";
    }

    /** Its words from the next start on. */
    set label(label) {
        this.#label = label;
    }

    /** Counts from here; 0 lets it be pressed at once. `over` is told when it may be pressed. */
    start(seconds, over = () => {}) {
        this.stop();
        this.#over = over;
        const until = performance.now() + seconds * 1000;
        const tick = () => this.#show(Math.ceil((until - performance.now()) / 1000));
        if (seconds > 0) this.#timer = setInterval(tick, TICK_MS);
        tick();
    }

    /** Counts no more, and tells nobody. */
    stop() {
        this.#over = () => {};
        clearInterval(this.#timer);
        this.#show(0);
    }

    #show(left) {
        const early = left > 0;
        this.#button.setAttribute("aria-disabled", String(early));
        say(this.#button, early ? `${this.#label} in ${wait(left)}` : this.#label);
        if (early) return;
        clearInterval(this.#timer);
        const over = this.#over;
        this.#over = () => {};
        over();
    }
}
