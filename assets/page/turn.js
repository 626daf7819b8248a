// One turn of a dialogue from the question to its last sound: its events come in, its sound and its words go out. Invariant:
// behind its end nothing is shown, heard or held of it; its clock is what the player has played.

import { Failure } from "./api.js";
import { lower, seconds } from "./words.js";

/**
 * A turn that `view` shows, played by `way` into `host`. `on` is told: sound(player), starved(), blocked(why), bytes(n),
 * heard() while it sounds, over(Failure or null) when all was heard that there is, and failed(Failure) where it cannot be played.
 */
export class Turn {
    /** The server's number of it, once that is known. */
    epoch = null;
    /** Whether its beginning was missed: then what is written of it is not known, but what is said. */
    isLate = false;
    /** Whether the server is done with it. */
    isTold = false;
    /** From the question to the first sound. */
    firstMs = null;
    view;
    #way;
    #host;
    #on;
    #began = performance.now();
    #player = null;
    /** Where in the turn this tab's sound begins: who comes late has missed some. */
    #offset = null;
    #frame = null;
    #failure = null;
    #bytes = 0;
    /** All that is said, where it was not told as it came. */
    #text = null;
    #isOver = false;

    constructor(view, way, host, on) {
        this.view = view;
        this.#way = way;
        this.#host = host;
        this.#on = on;
        view.think();
    }

    /** Whether it sounds, or may. */
    get isOn() {
        return !this.#isOver;
    }

    /** Milliseconds of its sound that were played. */
    get playedMs() {
        return Math.round((this.#offset ?? 0) + 1000 * (this.#player?.played ?? 0));
    }

    /** What comes next of the text. */
    write(text) {
        if (typeof text === "string" && !this.isLate) this.view.write(text);
    }

    /** What comes next of the sound, with its words; waits while enough lies ready. */
    async sound(part) {
        if (this.#isOver) return;
        try {
            await this.#play(part);
        } catch (error) {
            this.#end(new Failure(error.message), this.#on.failed);
        }
    }

    async #play({ audio = "", words = [] }) {
        const player = await this.#open();
        if (this.isLate) this.view.write(words.map(({ word }) => `${word} `).join(""));
        this.view.captions.time(words);
        const bytes = Uint8Array.from(atob(audio), (letter) => letter.charCodeAt(0));
        this.#bytes += bytes.length;
        this.#on.bytes(this.#bytes);
        if (!this.#isOver && bytes.length > 0) await player.write(bytes);
        // A late one's sound begins somewhere: words come with the sound that they end in.
        if (this.isLate && words.length > 0) this.#offset ??= Math.max(0, words.at(-1).end_ms - 1000 * player.arrived);
    }

    /** All is here, and `text` is what it says; it sounds to its end. */
    async whole(text) {
        this.isTold = true;
        if (this.isLate) this.#text = text;
        await this.#last();
    }

    /** No more comes, for a reason; what is here sounds to its end. */
    async broke(failure) {
        this.isTold = true;
        const heard = this.#player && ` after ${seconds(this.#player.arrived || NaN)}`;
        this.#failure = heard ? new Failure(`The answer broke off${heard}: ${lower(failure.message)}`, failure) : failure;
        await this.#last();
    }

    /** Its server says what was heard of it. */
    interrupted(heard) {
        this.isTold = true;
        if (!this.#isOver) this.hush();
        if (typeof heard === "string") this.view.settle({ heard, note: cutNote(heard) });
    }

    /** Silence, at once. Gives what was heard of it; null where that was all. */
    hush() {
        if (this.#isOver) return null;
        const { captions } = this.view;
        const played = this.playedMs;
        const whole = this.isTold && captions.isWhole(played) && this.#player !== null;
        const heard = captions.heard(played);
        this.#finish();
        this.view.settle(whole ? {} : { heard, note: cutNote(heard) });
        return whole ? null : heard;
    }

    /** It was never asked. */
    drop() {
        this.#finish();
    }

    /** Plays after a refusal or a pause; called from a person's gesture. */
    resume() {
        return this.#player?.resume();
    }

    async #open() {
        if (this.#player) return this.#player;
        const player = this.#way.player(this.#host, {
            sound: () => this.#sounds(player),
            starved: () => this.#isOver || this.isTold || this.#on.starved(),
            blocked: (why) => this.#isOver || this.#on.blocked(why),
            ended: () => this.#end(this.#failure),
            failed: (message) => this.#end(new Failure(message), this.#on.failed),
        });
        this.#player = player;
        await player.open();
        return player;
    }

    #sounds(player) {
        if (this.#isOver) return;
        this.firstMs ??= performance.now() - this.#began;
        this.#on.sound(player);
        cancelAnimationFrame(this.#frame);
        this.#mark();
    }

    #mark() {
        if (!this.isLate || this.#offset !== null) this.view.captions.mark(this.playedMs);
        this.#on.heard();
        this.#frame = requestAnimationFrame(() => this.#mark());
    }

    async #last() {
        if (this.#isOver) return;
        if (this.#player === null) return this.#end(this.#failure);
        await this.#player.end();
    }

    #end(failure, tell = this.#on.over) {
        if (this.#isOver) return;
        this.#finish();
        this.view.settle({ heard: this.#text, note: failure ? failure.message : "" });
        tell(failure);
    }

    /** Everything is given back. */
    #finish() {
        this.#isOver = true;
        cancelAnimationFrame(this.#frame);
        this.#player?.close();
    }
}

function cutNote(heard) {
    return heard === "" ? "Interrupted before a word was heard." : "Interrupted: this was heard.";
}
