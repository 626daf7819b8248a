// Follows one dialogue's events, through all its turns and through cuts: who was cut off comes back and goes on behind the
// last event that came. Invariants: what is read and not taken yet is bounded, so that a full player stops the server; what
// ends a turn, or begins another, does not wait for a player that is full of the one before.
//
// By fetch and not by EventSource, which comes back by itself as well, but reads as fast as it can: half an hour of an answer
// would lie here while its first minute is heard, and after an interruption all of it was made for nobody. Nor does it say
// why it was refused.

import { Failure, ask, unreachable } from "./api.js";
import { next } from "./element.js";
import { Events } from "./sse.js";

/** From one attempt to come back to the next; a device that is online again does not wait for it. */
const AGAIN_MS = 1_000;
/** The server keeps the place for 10 s from when it has seen the cut, which may take it as long again. */
const COME_BACK_MS = 30_000;
/** A stream with nothing to say says so every 15 s. */
const SILENT_MS = 40_000;
/** Characters of events that wait for a full player: behind them may be news of an interruption. */
const WAITING_MOST = 1024 * 1024;
/** What an answer to coming back means: nothing more will come. */
const OVER = [204, 404, 409, 410];

/**
 * One dialogue's events. `on`: event({id, name, data}), which is waited for; lost() and back(); over(Failure or null) when
 * nothing more will come, with why. After close() nothing is told any more.
 */
export class Follow {
    #gone = new AbortController();
    #path;
    #on;
    /** The last event that came. */
    #last = null;
    /** The turn that it is of. */
    #epoch = 0;
    #lostAt = null;
    /** What came and was not taken: {event}, or {taken}, where that has begun already. */
    #waiting = [];
    #characters = 0;
    /** {failure}, when nothing more will come. */
    #over = null;
    /** Whom to tell when something comes or was taken. */
    #watchers = [];

    constructor(path, on) {
        this.#path = path;
        this.#on = on;
    }

    /** Runs until nothing more will come, and what came was taken. */
    async run() {
        await Promise.all([this.#follow(), this.#take()]);
    }

    async #follow() {
        while (!this.#signal.aborted) {
            try {
                await this.#read(await this.#open());
                // A dialogue that goes on does not end its stream: who comes back is told.
                this.#lose();
            } catch (error) {
                if (this.#signal.aborted) return;
                if (!(error instanceof Failure)) throw error;
                if (OVER.includes(error.status)) return this.#end(error.status === 204 ? null : error);
                if (error.status !== 0 && error.status < 500) return this.#end(error);
                this.#lose();
                if (performance.now() - this.#lostAt > COME_BACK_MS) return this.#end(error);
            }
            await this.#wait();
        }
    }

    /** Listens no more; the server sees it at once. */
    close() {
        this.#gone.abort();
        this.#moved();
    }

    get #signal() {
        return this.#gone.signal;
    }

    async #open() {
        const headers = this.#last ? { "last-event-id": this.#last } : {};
        const response = await ask(this.#path, { headers, signal: this.#signal });
        if (response.status === 204) throw new Failure("the dialogue is over", { status: 204 });
        return response.body.getReader();
    }

    async #read(reader) {
        const events = new Events();
        try {
            for (;;) {
                const { value, done } = await within(reader.read(), SILENT_MS);
                if (done) return;
                if (this.#lostAt !== null) this.#on.back();
                this.#lostAt = null;
                for (const event of events.push(value)) this.#put(event);
                while (this.#characters > WAITING_MOST && !this.#signal.aborted) await this.#moves();
                if (this.#signal.aborted) return;
            }
        } catch (error) {
            if (this.#signal.aborted || error instanceof Failure) throw error;
            throw error instanceof SyntaxError ? new Failure("the server's answer cannot be read", { status: 410 }) : unreachable();
        } finally {
            reader.cancel().catch(() => {});
        }
    }

    #put(event) {
        const epoch = event.id === null ? this.#epoch : Number.parseInt(event.id, 10);
        const isUrgent = event.name === "interrupted" || epoch > this.#epoch;
        this.#last = event.id ?? this.#last;
        this.#epoch = Math.max(epoch, this.#epoch);
        if (isUrgent) {
            // Nothing of the turn before is wanted; a player that is full of it is emptied by this one.
            this.#waiting = [];
            this.#characters = 0;
        }
        this.#waiting.push(isUrgent ? { taken: this.#on.event(event) } : { event });
        if (!isUrgent) this.#characters += weight(event);
        this.#moved();
    }

    async #take() {
        while (!this.#signal.aborted) {
            const first = this.#waiting.shift();
            if (first) {
                if (first.event) this.#characters -= weight(first.event);
                await (first.taken ?? this.#on.event(first.event));
                this.#moved();
            } else if (this.#over) {
                this.close();
                this.#on.over(this.#over.failure);
            } else {
                await this.#moves();
            }
        }
    }

    #moves() {
        return new Promise((resolve) => this.#watchers.push(resolve));
    }

    #moved() {
        for (const tell of this.#watchers.splice(0)) tell();
    }

    #lose() {
        if (this.#lostAt !== null) return;
        this.#lostAt = performance.now();
        this.#on.lost();
    }

    #end(failure) {
        this.#over = { failure };
        this.#moved();
    }

    #wait() {
        return next(globalThis, ["online"], AbortSignal.any([this.#signal, AbortSignal.timeout(AGAIN_MS)]));
    }
}

/** About how many characters an event is: all but sound is small. */
function weight({ data }) {
    return 256 + (data.audio?.length ?? 0);
}

/** What a promise gives, if it does so in time. */
async function within(promise, ms) {
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(unreachable()), ms)));
    try {
        return await Promise.race([promise, late]);
    } finally {
        clearTimeout(timer);
    }
}
