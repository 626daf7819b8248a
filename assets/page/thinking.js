// The sound that says that an answer is being thought about. It is the page's own: fetched once, however many questions are
// asked, and played from memory. Invariant: it is silent as soon as there is an answer, and before the first second has
// passed for nothing.

import { at } from "./api.js";
import { Element } from "./element.js";

/** An answer that comes sooner needs no sound before it. */
const AFTER_MS = 450;

/** The sound, played into `host`. */
export class ThinkingSound {
    #host;
    /** The bytes, or their being fetched. */
    #sound = null;
    #element = null;
    #timer = null;

    constructor(host) {
        this.#host = host;
    }

    /** The server thinks, and names the sound; it says so again from time to time. */
    play(asset) {
        this.#sound ??= load(asset);
        if (this.#timer === null && this.#element === null) this.#timer = setTimeout(() => this.#begin(), AFTER_MS);
    }

    /** Silence, at once. */
    stop() {
        clearTimeout(this.#timer);
        this.#timer = null;
        this.#element?.close();
        this.#element = null;
    }

    async #begin() {
        const timer = this.#timer;
        const sound = await this.#sound;
        if (timer !== this.#timer) return;
        this.stop();
        if (!sound) return void (this.#sound = null);
        const done = () => this.stop();
        const on = { sound() {}, starved() {}, blocked: done, ended: done, failed: done };
        this.#element = new Element(this.#host, sound, on);
        this.#element.play(on);
    }
}

/** Its bytes, or null: a sound that cannot be had is no reason to say anything. */
async function load(asset) {
    try {
        const response = await fetch(at(asset.replace(/^\//, "")));
        return response.ok ? await response.blob() : null;
    } catch {
        return null;
    }
}
