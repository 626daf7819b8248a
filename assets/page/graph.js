// The last five minutes of the server: its memory, what is held for clients, the streams. Filled at once from what
// the server remembers, then once a second; also told in words, for those who do not see it.

import { say } from "./fields.js";
import { Lane, WINDOW_MS } from "./lane.js";
import * as words from "./words.js";

/** A hole that is shorter than this, or than the server's own pace and a half, is none. */
const HOLE_MS = 15_000;
/** The words change so often at the most: a screen reader may be in the middle of them. */
const WORDS_MS = 10_000;

/** Draws beneath `root`. */
export class Graph {
    #memory;
    #held;
    #streams;
    #words;
    #last = -Infinity;
    #worded = -Infinity;
    #hole = HOLE_MS;

    constructor(root) {
        const lane = (name) => root.querySelector(`[data-lane=${name}]`);
        this.#words = root.querySelector("[data-words]");
        const memory = { rss: { line: ".line", area: ".area" } };
        this.#memory = new Lane(lane("memory"), memory, 16 * 2 ** 20, words.bytes);
        const held = { reserved: { line: ".edge", area: ".area" }, held: { line: ".line" } };
        this.#held = new Lane(lane("held"), held, 512 * 2 ** 10, words.bytes);
        const streams = { streams: { line: ".line", area: ".area", steps: true } };
        this.#streams = new Lane(lane("streams"), streams, 4, words.count);
    }

    /** Adds what an answer said, and what it remembers of the time that nobody asked in. */
    push({ budget, live, memory }, now = performance.now()) {
        const pace = words.isAmount(memory.interval_seconds) ? 1500 * memory.interval_seconds : 0;
        this.#hole = Math.min(Math.max(HOLE_MS, pace), WINDOW_MS);
        for (const sample of Array.isArray(memory.samples) ? memory.samples : []) {
            const at = words.isAmount(sample?.age_ms) ? now - sample.age_ms : NaN;
            // What is left out for being close to a point must not make a hole to the next one.
            if (!(at > this.#last + this.#hole / 5 && at < now - 1)) continue;
            this.#add({
                at,
                rss: sample.rss_bytes,
                reserved: sample.reserved_bytes,
                held: sample.held_bytes,
                streams: sample.speech_streams,
            });
        }
        const { held, reserved } = budget;
        this.#add({ at: now, rss: memory.rss_bytes, reserved, held, streams: live.speech_stream });
        this.#draw(now);
    }

    /** Nothing is known of this moment. */
    miss(now = performance.now()) {
        this.#add({ at: now });
        this.#draw(now);
    }

    #add(point) {
        for (const lane of [this.#memory, this.#held, this.#streams]) lane.push(point);
        this.#last = point.at;
    }

    #draw(now) {
        for (const lane of [this.#memory, this.#held, this.#streams]) lane.draw(now, this.#hole);
        if (now - this.#worded < WORDS_MS) return;
        this.#worded = now;
        say(this.#words, this.#told());
    }

    #told() {
        const [memory, held, streams] = [this.#memory.range("rss"), this.#held.range("held"), this.#streams.range("streams")];
        const parts = [
            memory && `memory ${between(...memory)}`,
            held && `up to ${words.bytes(held[1])} held for clients`,
            streams && `up to ${words.count(streams[1])} streams at once`,
        ].filter(Boolean);
        return parts.length > 0 ? `In the last five minutes: ${parts.join(", ")}.` : "Nothing is known of the last five minutes.";
    }
}

function between(least, most) {
    const [from, to] = [words.bytes(least), words.bytes(most)];
    return from === to ? `at ${from}` : `between ${from} and ${to}`;
}
