// Plays mp3 while it arrives, through MediaSource. Holds at most AHEAD_SECONDS that are not yet
// heard: a full buffer stops the reading, that stops the server (back pressure).

import { Element, next } from "./element.js";

const TYPE = "audio/mpeg";
/** What may lie ready; the server would make more only for us to hold it. */
const AHEAD_SECONDS = 30;
/** What was heard is kept this long: room for the decoder, not a history. */
const BEHIND_SECONDS = 10;
/** One append; it bounds by how much the plan above is passed. */
const APPEND_BYTES = 16 * 1024;

const Source = globalThis.ManagedMediaSource ?? globalThis.MediaSource;

/** Whether this browser can play mp3 piece by piece. */
export function supported() {
    return Boolean(Source?.isTypeSupported?.(TYPE));
}

/** One utterance. */
export class MsePlayer {
    #source = new Source();
    #buffer = null;
    #element;
    #on;
    #asked = false;
    #arrived = 0;

    constructor(host, on) {
        this.#on = on;
        this.#element = new Element(host, this.#source, on);
    }

    /** Seconds heard. */
    get played() {
        return this.#element.audio.currentTime;
    }

    /** Seconds that have arrived. */
    get arrived() {
        return this.#arrived;
    }

    /** The element, for who wants to see what it sounds like. */
    get audio() {
        return this.#element.audio;
    }

    /** Resolves when bytes may be written. */
    async open() {
        if (this.#source.readyState !== "open") {
            await next(this.#source, ["sourceopen"], this.#signal);
        }
        if (this.#signal.aborted) return;
        this.#buffer = this.#source.addSourceBuffer(TYPE);
    }

    /** Takes bytes; resolves when there is room for more. */
    async write(bytes) {
        for (let at = 0; at < bytes.length && !this.#signal.aborted; at += APPEND_BYTES) {
            await this.#room();
            await this.#append(bytes.subarray(at, at + APPEND_BYTES));
        }
    }

    /** No more will come: what is here is played to its end. */
    async end() {
        if (this.#signal.aborted) return;
        if (this.#source.readyState === "open") this.#source.endOfStream();
        if (!this.#asked) this.#on.ended();
    }

    /** Plays after a refusal or a pause; called from a person's gesture. */
    resume() {
        return this.#element.play(this.#on);
    }

    /** Frees everything. */
    close() {
        if (this.#buffer && this.#source.readyState === "open") {
            this.#source.removeSourceBuffer(this.#buffer);
        }
        this.#buffer = null;
        this.#element.close();
    }

    get #signal() {
        return this.#element.signal;
    }

    async #room() {
        const { audio } = this.#element;
        while (!this.#signal.aborted && this.#arrived - audio.currentTime > AHEAD_SECONDS) {
            await next(audio, ["timeupdate"], this.#signal);
        }
        if (audio.currentTime > 2 * BEHIND_SECONDS) await this.#forget(BEHIND_SECONDS);
    }

    async #append(bytes) {
        while (!this.#signal.aborted) {
            try {
                this.#buffer.appendBuffer(bytes);
                break;
            } catch (error) {
                if (error.name !== "QuotaExceededError") throw error;
                // The browser's own bound is tighter than ours: give back all that was heard.
                if (!(await this.#forget(1))) {
                    await next(this.#element.audio, ["timeupdate"], this.#signal);
                }
            }
        }
        await this.#settled();
        if (this.#signal.aborted) return;
        this.#measure();
        if (!this.#asked && this.#arrived > 0) {
            this.#asked = true;
            // Not awaited: it resolves when sound comes, which may need the next bytes.
            this.#element.play(this.#on);
        }
    }

    #measure() {
        const { buffered } = this.#buffer;
        if (buffered.length > 0) this.#arrived = buffered.end(buffered.length - 1);
    }

    /** Removes what was heard more than `seconds` ago; false if there is no such thing. */
    async #forget(seconds) {
        const { buffered } = this.#buffer;
        const until = this.#element.audio.currentTime - seconds;
        if (buffered.length === 0 || buffered.start(0) >= until) return false;
        this.#buffer.remove(0, until);
        await this.#settled();
        return true;
    }

    async #settled() {
        while (!this.#signal.aborted && this.#buffer.updating) {
            await next(this.#buffer, ["updateend"], this.#signal);
        }
    }
}
