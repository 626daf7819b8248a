// The <audio> element of one utterance: says when sound comes out, when it waits, when the browser
// refuses to play, and leaves nothing behind when it is closed.

/** Resolves at the next such event of the target, or when the signal is aborted. */
export function next(target, types, signal) {
    return new Promise((resolve) => {
        if (signal.aborted) return resolve();
        const heard = new AbortController();
        const done = () => {
            heard.abort();
            resolve();
        };
        for (const type of types) target.addEventListener(type, done, { signal: heard.signal });
        signal.addEventListener("abort", done, { signal: heard.signal });
    });
}

/** One utterance's element. `on` is told: sound, starved, blocked(why), ended, failed(message). */
export class Element {
    #gone = new AbortController();
    #url;
    #sounded = false;

    constructor(host, source, on) {
        this.audio = document.createElement("audio");
        // ManagedMediaSource opens only where the sound cannot be sent to another device.
        this.audio.disableRemotePlayback = true;
        this.#url = URL.createObjectURL(source);
        this.audio.src = this.#url;
        this.#listen(on);
        host.append(this.audio);
    }

    /** Aborted when the element is closed. */
    get signal() {
        return this.#gone.signal;
    }

    /** Asks for sound; a refusal is told as blocked("refused"). */
    async play(on) {
        try {
            await this.audio.play();
        } catch (error) {
            if (this.signal.aborted) return;
            if (error.name === "NotAllowedError") on.blocked("refused");
            else if (error.name !== "AbortError") on.failed(error.message);
        }
    }

    /** Silence now; the address and the element are given back. */
    close() {
        if (this.signal.aborted) return;
        this.#gone.abort();
        this.audio.pause();
        this.audio.removeAttribute("src");
        this.audio.load();
        this.audio.remove();
        URL.revokeObjectURL(this.#url);
    }

    #listen(on) {
        const { audio, signal } = this;
        const heard = (type, act) => audio.addEventListener(type, act, { signal });
        heard("playing", () => {
            this.#sounded = true;
            on.sound();
        });
        heard("waiting", () => this.#sounded && on.starved());
        // Headphones pulled out or a media key: not ours, so it is said and can be undone.
        heard("pause", () => !audio.ended && on.blocked("paused"));
        heard("ended", () => on.ended());
        heard("error", () => on.failed(audio.error?.message || "the sound could not be decoded"));
    }
}
