// The last five minutes of the server: its memory, what is held for clients, the streams. Filled at once from what
// the server remembers, then once a second; also told in words, for those who do not see it.

import { say } from "./fields.js";
import { Lane } from "./lane.js";
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
    #root;
    #words;
    #last = -Infinity;
    #worded = -Infinity;
    #hole = HOLE_MS;

    constructor(root) {
        const lane = (name) => root.querySelector(`[data-lane=${name}] svg`);
        this.#root = root;
        this.#words = root.querySelector("[data-words]");
        this.#memory = new Lane(lane("memory"), { rss: { line: ".line", area: ".area" } }, 16 * 2 ** 20);
        const held = { reserved: { line: ".edge", area: ".area" }, held: { line: ".line" } };
        this.#held = new Lane(lane("held"), held, 512 * 2 ** 10);
        const streams = { streams: { line: ".line", area: ".area", steps: true } };
        this.#streams = new Lane(lane("streams"), streams, 4);
    }

    /** Adds what an answer said, and what it remembers of the time that nobody asked in. */
    push(status, now = performance.now()) {
        const { budget, live, memory } = status;
        this.#hole = Math.max(HOLE_MS, 1500 * memory.interval_seconds || 0);
        for (const sample of Array.isArray(memory.samples) ? memory.samples : []) {
            const at = now - sample?.age_ms;
            if (!(at > this.#last + this.#hole / 2) || !(at < now - 1)) continue;
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
        this.#top("memory", words.bytes(this.#memory.most()));
        this.#top("held", words.bytes(this.#held.most()));
        this.#top("streams", words.count(this.#streams.most()));
        if (now - this.#worded < WORDS_MS) return;
        this.#worded = now;
        say(this.#words, this.#told());
    }

    #top(lane, text) {
        say(this.#root.querySelector(`[data-lane=${lane}] b`), text);
    }

    #told() {
        const { bytes, count } = words;
        const memory = `memory between ${bytes(this.#memory.least("rss"))} and ${bytes(this.#memory.most("rss"))}`;
        const held = `up to ${bytes(this.#held.most("held"))} held for clients`;
        return `In the last five minutes: ${memory}, ${held}, up to ${count(this.#streams.most())} streams at once.`;
    }
}
