// The socket of one voice session, and the way back to it when it breaks. Invariants: there is one socket at most, and what a
// replaced one still says is not heard; who comes back asks for what is behind the last event that came, so that nothing comes
// twice; close() ends the socket, the timers and the listeners, and after it nothing is told.

import { Failure, ask, socket, unreachable } from "./api.js";
import { next } from "./element.js";

/** A server that is there has answered by then. */
const CONNECT_MS = 10_000;
/** From one attempt to come back to the next: at least, and at most after some of them. */
const AGAIN_MS = 500;
const AGAIN_MOST_MS = 5_000;
/** How long a server remembers who is gone, if it has not said so. */
const GRACE_MS = 60_000;
/** What a browser has of a socket it has told us by then. */
const TAKEN_MS = 200;
/** A socket that says nothing for so long, while an answer is due, is dead: a browser is not shown the server's pings. */
const SILENT_MS = 20_000;
/** A socket that held so long was good: the next one is tried as soon as the first was. */
const STEADY_MS = 10_000;
/** A session that is no more, as the server says it. */
const GONE = ["session_lost", "unknown_session"];

/**
 * A session, from open() to close(). `on`: begun(session), another one: nothing of the one before is known; resumed(seconds), it
 * goes on after so long; lost(), it is tried to come back; gone(), that was in vain, and another one is begun; event(event), in
 * their order; over(Failure), it is not to be had.
 */
export class Session {
    #gone = new AbortController();
    #on;
    #socket = null;
    /** Ends the socket that there is. */
    #life = null;
    #id = null;
    #token = null;
    #graceMs = GRACE_MS;
    /** The last event that came. */
    #last = null;
    #lostAt = null;
    /** Since when what is sent arrives; null while it does not. */
    #liveAt = null;
    #tries = 0;
    /** Whether the server has just said that the session is lost: the next one need not be waited for. */
    #isForgotten = false;
    #isDue = false;
    /** Until the socket has answered, or until the next is tried; and until its silence is its end. */
    #timer = null;
    #watch = null;

    constructor(on) {
        this.#on = on;
    }

    /** Whether what is sent now arrives, for all that is known. */
    get isLive() {
        return this.#liveAt !== null;
    }

    /** Whether an answer is due: then silence is a sign. */
    set isDue(isDue) {
        this.#isDue = isDue;
        this.#rearm();
    }

    /** Sends an event; only while it is live. */
    send(event) {
        if (!this.isLive) return;
        this.#socket.send(JSON.stringify(event));
        this.#rearm();
    }

    /** Runs until it is closed, or not to be had. */
    async open() {
        while (!this.#signal.aborted) {
            let failure = null;
            try {
                await this.#live();
            } catch (error) {
                if (!(error instanceof Failure)) throw error;
                failure = error;
            }
            if (this.#signal.aborted) return;
            if (failure || this.#isLate) return this.#end(failure ?? (await this.#why()));
            if (!this.#isForgotten) await this.#wait();
            this.#isForgotten = false;
        }
    }

    /** Ends it, whatever it is doing. The server keeps it for a while, and then no more. */
    close() {
        this.#gone.abort();
        this.#still();
    }

    get #signal() {
        return this.#gone.signal;
    }

    /** Whether there is nothing to come back to: it never was, or was too long ago. */
    get #isLate() {
        return this.#lostAt === null || performance.now() - this.#lostAt > this.#graceMs;
    }

    /** One socket, from its beginning to its end. */
    async #live() {
        this.#life = new AbortController();
        const signal = AbortSignal.any([this.#signal, this.#life.signal]);
        const opened = socket(this.#path, signal);
        this.#socket = opened;
        this.#giveUp(CONNECT_MS);
        opened.addEventListener("message", ({ data }) => this.#take(data), { signal });
        // It may take minutes until the loss is seen. What has come and is not told yet is taken first: the server may know by the
        // browser's answers to its pings that it came, and keep it no longer.
        globalThis.addEventListener("offline", () => this.#giveUp(TAKEN_MS), { signal });
        await next(opened, ["close"], signal);
        this.#still();
        if (this.#signal.aborted || this.#liveAt === null) return;
        if (performance.now() - this.#liveAt > STEADY_MS) this.#tries = 0;
        this.#liveAt = null;
        this.#lostAt = performance.now();
        this.#on.lost();
    }

    #giveUp(ms) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#life.abort(), ms);
    }

    get #path() {
        if (this.#token === null) return "v1/realtime";
        const place = new URLSearchParams({ resume: this.#token, ...(this.#last && { after: this.#last }) });
        return `v1/realtime?${place}`;
    }

    /** The socket and its timers are no more. */
    #still() {
        clearTimeout(this.#timer);
        clearTimeout(this.#watch);
        this.#life?.abort();
        this.#socket?.close();
        this.#socket = null;
    }

    #take(data) {
        let event;
        try {
            event = JSON.parse(data);
        } catch {
            return this.#life.abort();
        }
        const { type, event_id: id, error } = event;
        // That it goes on is said before what was missed: who is cut off in between has missed it still.
        if (typeof id === "string" && type !== "evensong.resumed") this.#last = id;
        this.#rearm();
        if (type === "session.created") this.#begin(event.session ?? {});
        else if (type === "evensong.resume_token") this.#remember(event);
        else if (type === "evensong.resumed") this.#resume();
        else if (type === "error" && GONE.includes(error?.code)) this.#forget();
        else this.#on.event(event);
    }

    #begin(session) {
        if (this.#token !== null && session.id === this.#id) return;
        // One that could not be resumed: its socket broke before there was a token.
        if (this.#id !== null) this.#on.gone();
        this.#id = session.id ?? null;
        this.#hold();
        this.#on.begun(session);
    }

    #remember({ token, grace_seconds: seconds }) {
        this.#token = token;
        if (Number.isFinite(seconds)) this.#graceMs = 1000 * seconds;
    }

    #resume() {
        const seconds = (performance.now() - this.#lostAt) / 1000;
        this.#hold();
        this.#on.resumed(seconds);
    }

    #hold() {
        clearTimeout(this.#timer);
        this.#lostAt = null;
        this.#liveAt = performance.now();
    }

    #forget() {
        this.#token = this.#last = this.#id = null;
        this.#isForgotten = true;
        this.#on.gone();
        this.#life.abort();
    }

    #rearm() {
        clearTimeout(this.#watch);
        if (this.#isDue && this.isLive) this.#watch = setTimeout(() => this.#life.abort(), SILENT_MS);
    }

    /** Until the next attempt: half a second at first, then longer, and never as long as all the others wait. */
    async #wait() {
        const most = Math.min(AGAIN_MOST_MS, 2 * AGAIN_MS * 2 ** this.#tries);
        const over = new AbortController();
        this.#tries += 1;
        this.#timer = setTimeout(() => over.abort(), AGAIN_MS + Math.random() * (most - AGAIN_MS));
        await next(globalThis, ["online"], AbortSignal.any([this.#signal, over.signal]));
        clearTimeout(this.#timer);
    }

    /** A browser does not say why a socket was refused; the same server says it to a question. */
    async #why() {
        try {
            const response = await ask("v1/models", { signal: this.#signal });
            response.body?.cancel();
        } catch (error) {
            return error instanceof Failure ? error : unreachable();
        }
        return new Failure("the server takes no more sessions over a socket at the moment", { status: 503, retrySeconds: 5 });
    }

    #end(failure) {
        if (this.#signal.aborted) return;
        this.close();
        this.#on.over(failure);
    }
}
