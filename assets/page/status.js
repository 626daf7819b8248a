// What the server holds, asked once a second while somebody looks: one request at a time, a
// deadline for each, nothing while the tab is hidden, less often while there is no answer.

import { ask } from "./api.js";
import { Fields, say } from "./fields.js";
import { Graph } from "./graph.js";
import { VerdictPanel } from "./verdict.js";
import * as words from "./words.js";

const PERIOD_MS = 1_000;
/** A server that does not answer is not asked more often than this. */
const PERIOD_MOST_MS = 10_000;
const DEADLINE_MS = 3_000;

/**
 * Keeps the panel true. `on.formats(names)` is told what this build can make, `on.search(there)` whether it searches,
 * `on.answering(who)` who answers questions, if somebody does.
 */
export class Status {
    #fields = new Fields(document.getElementById("server"));
    #pulse = document.getElementById("pulse");
    #graph = new Graph(document.getElementById("graph"));
    #verdict = new VerdictPanel(document.getElementById("verdict"));
    #timer = null;
    #period = PERIOD_MS;
    #asking = false;
    #on;

    constructor(on) {
        this.#on = on;
        document.addEventListener("visibilitychange", () => this.#watch());
        this.#watch();
    }

    #watch() {
        clearTimeout(this.#timer);
        if (!document.hidden && !this.#asking) this.#ask();
    }

    async #ask() {
        this.#asking = true;
        try {
            const signal = AbortSignal.timeout(DEADLINE_MS);
            const response = await ask("api/status", { signal });
            this.#show(await response.json());
            this.#period = PERIOD_MS;
        } catch (error) {
            this.#missing(error);
            this.#period = Math.min(this.#period * 2, PERIOD_MOST_MS);
        }
        this.#asking = false;
        if (!document.hidden) this.#timer = setTimeout(() => this.#ask(), this.#period);
    }

    #show(status) {
        // A server of another age may leave something out.
        const { budget, live: lives, memory } = { budget: {}, live: {}, memory: {}, ...present(status) };
        // A turn of a dialogue is a stream as any other, to whoever looks.
        const live = { ...lives, speech_stream: lives.speech_stream + (lives.turn ?? 0) };
        const named = (engine) => typeof engine?.name === "string";
        const engines = Array.isArray(status.engines) ? status.engines.filter(named) : [];
        const { held, reserved, total } = budget;
        this.#graph.push({ budget, live, memory });
        this.#verdict.show(memory);
        this.#fields.put("held", words.bytes(held));
        this.#fields.put("reserved", words.bytes(reserved));
        this.#fields.put("total", words.bytes(total));
        this.#fields.put("streams", words.count(live.speech_stream));
        this.#fields.put("connections", words.count(live.connection));
        this.#fields.put("rss", words.bytes(memory.rss_bytes));
        this.#fields.put("uptime", words.age(status.uptime_seconds));
        const lame = engines.filter((engine) => !engine.ready);
        const detail = lame.map((e) => `${e.name}: ${e.detail || "not ready"}`).join("; ");
        const ready = engines.filter((engine) => engine.ready).map((engine) => engine.name);
        if (status.status === "leaving") this.#say("warn", "The server is shutting down");
        else if (engines.length > 0 && ready.length === 0) this.#say("bad", detail);
        else if (lame.length > 0) this.#say("warn", detail);
        // At the top of the page as well: on a phone the alarm itself is far below.
        else if (this.#verdict.alarm) this.#say("warn", this.#verdict.alarm);
        else this.#say("good", ready.length > 0 ? `Ready: ${ready.join(", ")}` : "Ready");
        if (Array.isArray(status.formats)) this.#on.formats(status.formats);
        if (status.search !== undefined) this.#on.search(status.search !== null);
        if (status.answering !== undefined) this.#on.answering(status.answering);
    }

    #missing(error) {
        this.#graph.miss();
        this.#verdict.miss();
        const gone = error.status === 404;
        this.#say("bad", gone ? "This server tells no status" : "The server does not answer");
        this.#fields.clear();
    }

    #say(mood, text) {
        this.#pulse.dataset.mood = mood;
        say(this.#pulse.querySelector("span"), text);
    }
}

/** The parts of an answer that are objects; throws if it is none itself. */
function present(status) {
    if (typeof status !== "object" || Array.isArray(status)) throw new TypeError("not a status");
    return Object.fromEntries(Object.entries(status).filter(([, part]) => part && typeof part === "object"));
}
