// Plays what this browser cannot play piece by piece: fetched whole, then given to an <audio>.

import { Element } from "./element.js";
import { KEPT_BYTES_MOST, Recording } from "./recording.js";

/** One utterance in `format`. */
export class WholePlayer {
    #host;
    #on;
    #kept;
    #element = null;
    #closed = false;
    /** The type that the server named, which is better than the one asked for. */
    type = null;

    constructor(host, on, format) {
        this.#host = host;
        this.#on = on;
        this.#kept = new Recording(format);
    }

    /** Seconds heard. */
    get played() {
        return this.#element?.audio.currentTime ?? 0;
    }

    /** Seconds that have arrived: not known before all has. */
    get arrived() {
        const length = this.#element?.audio.duration;
        return Number.isFinite(length) ? length : this.played;
    }

    /** The element, once there is one. */
    get audio() {
        return this.#element?.audio ?? null;
    }

    async open() {}

    /** Takes bytes. */
    async write(bytes) {
        this.#kept.push(bytes);
        if (!this.#kept.whole) {
            const most = KEPT_BYTES_MOST / (1024 * 1024);
            throw new Error(`more than ${most} MiB cannot be held at once; take mp3 or pcm`);
        }
    }

    /** All is here: plays it. */
    async end() {
        if (this.#closed) return;
        if (!this.#kept.kept) return this.#on.ended();
        const kept = this.#kept.blob();
        const sound = this.type ? kept.slice(0, kept.size, this.type) : kept;
        this.#element = new Element(this.#host, sound, this.#on);
        await this.#element.play(this.#on);
    }

    /** Plays after a refusal or a pause; called from a person's gesture. */
    async resume() {
        await this.#element?.play(this.#on);
    }

    /** Frees everything. */
    close() {
        this.#closed = true;
        this.#element?.close();
        this.#element = null;
        this.#kept = new Recording("mp3");
    }
}
