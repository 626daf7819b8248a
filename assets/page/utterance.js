// One utterance from the gesture to its last sound: asks, reads, hands each chunk to the player
// and waits while that is full. Stopping it aborts the request at once and frees the player.

import { Failure, ask, unreachable } from "./api.js";
import { Recording } from "./recording.js";

/**
 * A request is {path, body?}; a body that must be had from elsewhere first is a function of the signal that ends it.
 * `on` is told, each at most once but for bytes, sound, starved and blocked:
 * head({...}), bytes(n), sound(ms), starved(), blocked(why), received(), cut(Failure), ended(),
 * failed(Failure). After stop() nothing is told any more.
 */
export class Utterance {
    #abort = new AbortController();
    #began = performance.now();
    #request;
    #on;
    #player;
    #over = false;

    constructor(request, way, host, on) {
        this.#request = request;
        this.#on = this.#guarded(on);
        this.recording = new Recording(way.asks);
        this.receiving = true;
        this.#player = way.player(host, {
            sound: () => this.#on.sound(performance.now() - this.#began),
            starved: () => this.receiving && this.#on.starved(),
            blocked: (why) => this.#on.blocked(why),
            ended: () => this.#finish(() => this.#on.ended()),
            failed: (message) => this.#fail(new Failure(message)),
        });
    }

    /** The player: seconds played and arrived, resume(). */
    get player() {
        return this.#player;
    }

    /** Runs until everything has been received; the sound may last longer. */
    async run() {
        try {
            const [response] = await Promise.all([this.#ask(), this.#player.open()]);
            this.#player.type = response.headers.get("content-type");
            this.#on.head(head(response));
            await this.#receive(response.body.getReader());
        } catch (error) {
            this.#fail(error instanceof Failure ? error : new Failure(error.message));
        }
    }

    /** Silence, at once; everything is given back but the recording. */
    stop() {
        this.#finish(() => {});
    }

    async #ask() {
        const { signal } = this.#abort;
        const { path, body: given } = this.#request;
        const body = typeof given === "function" ? await given(signal) : given;
        return ask(path, {
            method: body ? "POST" : "GET",
            headers: body ? { "content-type": "application/json" } : {},
            body: body && JSON.stringify(body),
            signal,
        });
    }

    async #receive(reader) {
        for (;;) {
            const chunk = await this.#chunk(reader);
            if (this.#over || !chunk) break;
            this.recording.push(chunk);
            this.#on.bytes(this.recording.bytes);
            await this.#player.write(chunk);
        }
        if (this.#over) return;
        this.receiving = false;
        this.#on.received();
        await this.#player.end();
    }

    /** The next chunk; null at the end, also at one that came too early. */
    async #chunk(reader) {
        try {
            const { value, done } = await reader.read();
            return done ? null : value;
        } catch (error) {
            if (this.#over || this.#abort.signal.aborted) return null;
            if (this.recording.bytes === 0) throw unreachable();
            this.#on.cut(unreachable());
            return null;
        }
    }

    #fail(failure) {
        this.#finish(() => this.#on.failed(failure));
    }

    /** Tells the last thing, then nothing more; gives everything back. */
    #finish(tell) {
        if (this.#over) return;
        tell();
        this.#over = true;
        this.receiving = false;
        this.#abort.abort();
        this.#player.close();
    }

    #guarded(on) {
        const guard = ([name, act]) => [name, (...values) => this.#over || act(...values)];
        return Object.fromEntries(Object.entries(on).map(guard));
    }
}

/** What the answer's head says about the stream. */
function head(response) {
    const { headers } = response;
    const timing = /(?:^|,)\s*first\s*;[^,]*\bdur=([\d.]+)/.exec(headers.get("server-timing") ?? "");
    const bound = headers.get("x-stream-max-bytes");
    return {
        voice: headers.get("x-voice"),
        engine: headers.get("x-engine"),
        cache: headers.get("x-cache"),
        boundBytes: bound === null ? NaN : Number(bound),
        type: headers.get("content-type"),
        serverMs: timing ? Number(timing[1]) : NaN,
    };
}
