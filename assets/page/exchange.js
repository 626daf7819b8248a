// One question and its answer over a realtime session: what of it is sent, which ids the server gave it, and how its sound and its
// words reach the turn that shows it. Invariants: what comes of an answer is taken in its order, and what waits for a full player
// is bounded; an answer that was cut short asks for nothing more than that the server hears of it.

import { Failure } from "./api.js";
import { newKey } from "./converse.js";
import { Pace } from "./pace.js";

/** Characters of sound that wait for a player that is full: six minutes of it, behind its half. */
const WAITING_MOST = 24 * 1024 * 1024;
/** Bytes of a millisecond: 16 bits, 24,000 times a second. */
const BYTES_PER_MS = 48;
/** The format of the player that plays it. */
const FORMAT = { type: "audio/pcm", rate: 24_000 };

/** The name of the event that says how a session speaks. */
export const MANNER = "manner";

/** How a session speaks: the event that says so. */
export function manner({ voice, speed }) {
    const output = { format: FORMAT, voice, speed };
    return { type: "session.update", event_id: MANNER, session: { type: "realtime", output_modalities: ["audio"], audio: { output } } };
}

/** Something that was said, as the event that tells a session of it. */
export function message(role, text, id = newId()) {
    const type = role === "user" ? "input_text" : "output_text";
    return { type: "conversation.item.create", event_id: `say_${id}`, item: { id, type: "message", role, content: [{ type, text }] } };
}

/** A question in the turn that shows it; `broken()` is told when there is more of it than can be held. */
export class Exchange {
    turn;
    /** Its item, by a name that is ours. */
    id = newId();
    /** Whether it was sent, and how often. */
    sent = 0;
    /** The server's names of its answer, and of what is said in it. */
    response = null;
    answer = null;
    /** Whether the server is done with it. */
    isDone = false;
    /** Why there is no more of it. */
    failure = null;
    /** Whether the server had no room for it yet: it was busy with the one before. */
    isPut = false;
    /** Milliseconds that were heard of what was cut short, until the server has heard of it; and what of that was said. */
    #cutMs = null;
    #isCancelled = false;
    #isCut = false;
    #broken;
    #pace = new Pace();
    /** Whether the server says itself when words are heard. */
    #isTimed = false;
    #ms = 0;
    #waiting = 0;
    #taking = Promise.resolve();

    constructor(turn, broken) {
        this.turn = turn;
        this.#broken = broken;
    }

    /** Whether anything is still to come of it that is wanted. */
    get isDue() {
        return this.turn.isOn && !this.isDone;
    }

    /** Whether nothing more will come of it, and nothing is left to be said. */
    get isOver() {
        return this.isDone && (this.#cutMs === null || this.answer === null);
    }

    /** What asks it. */
    get asks() {
        return [message("user", this.turn.view.question, this.id), this.wants];
    }

    /** What wants it answered. */
    get wants() {
        return { type: "response.create", event_id: `want_${this.id}` };
    }

    /** What finds out whether it has arrived. */
    get doubts() {
        return { type: "conversation.item.retrieve", event_id: `doubt_${this.id}`, item_id: this.id };
    }

    /** What says that it is heard no more, and how far it was; `again`: also what was said of that and may not have arrived. */
    ends({ again = false } = {}) {
        if (this.#cutMs === null || this.sent === 0) return [];
        const events = [];
        if (!this.isDone && (again || !this.#isCancelled)) {
            this.#isCancelled = true;
            events.push({ type: "response.cancel", event_id: `cancel_${this.id}`, ...(this.response && { response_id: this.response }) });
        }
        if (this.answer !== null && (again || !this.#isCut)) {
            this.#isCut = true;
            const heard = { item_id: this.answer, content_index: 0, audio_end_ms: this.#cutMs };
            events.push({ type: "conversation.item.truncate", event_id: `cut_${this.id}`, ...heard });
            events.push({ type: "output_audio_buffer.clear", event_id: `clear_${this.id}` });
        }
        return events;
    }

    /** Silence. Whether there was anything left to be heard. */
    hush() {
        if (!this.turn.isOn) return false;
        const { playedMs } = this.turn;
        if (!this.#isTimed) this.turn.view.captions.time(this.#pace.cut(this.#ms));
        if (this.turn.hush() === null) return false;
        // No more can be cut off than there is.
        this.#cutMs = Math.min(playedMs, Math.floor(this.#ms));
        return true;
    }

    /** The server has heard where it was cut. */
    settled() {
        this.#cutMs = null;
    }

    /** Takes an event of its answer. */
    take(event) {
        const { type } = event;
        if (type === "response.output_item.added") this.answer ??= event.item?.id ?? null;
        else if (type === "response.output_audio_transcript.delta") this.#then(() => this.#write(event));
        else if (type === "response.output_audio.delta") this.#hear(event);
        else if (type === "response.output_audio.done") this.#then(() => this.#time(this.#pace.end(this.#ms)));
        else if (type === "evensong.sources" && this.turn.isOn) this.turn.view.source(event.hits);
        else if (type === "response.done") this.#done(event.response ?? {});
    }

    /** No more comes, for a reason; what is here sounds to its end. */
    broke(failure) {
        this.isDone = true;
        this.failure = failure;
        this.#then(() => this.turn.broke(failure));
    }

    #then(act) {
        this.#taking = this.#taking.then(() => this.turn.isOn && act());
    }

    #write({ delta, words }) {
        this.turn.write(delta);
        if (Array.isArray(words)) this.#isTimed = true;
        this.#time(words ?? this.#pace.write(delta, this.#ms));
    }

    #hear({ item_id: item, delta, words }) {
        this.answer ??= item ?? null;
        if (!this.turn.isOn) return;
        this.#waiting += delta.length;
        if (this.#waiting > WAITING_MOST) return this.#broken();
        this.#then(async () => {
            if (Array.isArray(words)) this.#isTimed = true;
            this.#ms += bytes(delta) / BYTES_PER_MS;
            await this.turn.sound({ audio: delta, words: words ?? [] });
            this.#waiting -= delta.length;
        });
    }

    #time(words) {
        if (words.length > 0) this.turn.view.captions.time(words);
    }

    #done({ status, status_details: details }) {
        this.isDone = true;
        const { message: why = "the answer broke off", code = null } = details?.error ?? {};
        if (status === "failed") this.failure = new Failure(why, { code });
        else if (status === "cancelled") this.failure = new Failure("it was interrupted");
        else this.#then(() => this.turn.whole());
    }
}

/** Bytes that so many letters of base64 are. */
function bytes(base64) {
    const filled = base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0;
    return (base64.length / 4) * 3 - filled;
}

/** A name of 96 bits, which no other item of a session has. */
function newId() {
    return `item_${newKey().slice(0, 24)}`;
}
