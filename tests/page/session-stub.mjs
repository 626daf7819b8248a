// A server of realtime sessions for the page's tests, of which every sample is known, and which fails as it is told to. It speaks
// as much of the contract as the page does. Invariants: what a session remembers is bounded; nothing of it lasts longer than
// the tests of its file.

import { after } from "node:test";
import { WebSocketServer } from "ws";

/** Samples of an event of sound, a tenth of a second of them. */
const PART = 2_400;
/** Events that a session can be asked for again. */
const LOGGED_MOST = 4_000;
const SESSIONS_MOST = 256;

const stubs = new Set();
after(() => stubs.forEach((stub) => stub.close()));

/** The samples of an answer of so many milliseconds. */
export function samples(ms, from = 0) {
    return Int16Array.from({ length: 24 * ms }, (_, n) => (((n + from) * 7_919) % 20_011) - 10_005);
}

/** A sentence of so many seconds, in clauses of one. */
export function clauses(seconds) {
    return Array.from({ length: seconds }, (_, n) => ({ text: `This is what the clause ${n + 1} says${n + 1 === seconds ? "." : ", "}`, ms: 1_000 }));
}

/**
 * A stub: {port, sessions, events, answer, everyMs, burst, thinks, refuse, forget()}. `events` are those that clients sent. An answer
 * is made of `answer(question)`, clauses {text, ms}; every `everyMs` come `burst` events of it, after `thinks` times nothing.
 * `refuse(event)` gives an error {code, message}, or nothing. `forget()` loses all sessions, and whoever holds one.
 */
export async function stub() {
    const own = { sessions: new Map(), events: [], protocols: [], answer: () => clauses(3), everyMs: 20, burst: 2, thinks: 1, graceSeconds: 60, refuse: () => null };
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "realtime", maxPayload: 256 * 1024 });
    server.on("connection", (socket, request) => {
        own.protocols.push(request.headers["sec-websocket-protocol"]);
        const { searchParams: asked } = new URL(request.url, "http://stub");
        const token = asked.get("resume");
        const session = token === null ? begin(own) : own.sessions.get(token);
        socket.on("error", () => {});
        if (!session) {
            socket.send(JSON.stringify({ type: "error", event_id: "event_0", error: { code: "session_lost", message: "the session is lost" } }));
            return socket.close(1008);
        }
        session.attach(socket, asked.get("after"));
        socket.on("message", (data) => session.take(JSON.parse(data)));
        socket.on("close", () => session.detach(socket));
    });
    await new Promise((resolve) => server.on("listening", resolve));
    own.port = server.address().port;
    own.forget = () => {
        const lost = [...own.sessions.values()];
        own.sessions.clear();
        for (const session of lost) session.end();
    };
    own.close = () => {
        own.forget();
        for (const socket of server.clients) socket.terminate();
        server.close();
    };
    stubs.add(own);
    return own;
}

function begin(own) {
    const session = new Session(own, own.sessions.size + 1);
    if (own.sessions.size === SESSIONS_MOST) throw new Error("more sessions than a test has");
    own.sessions.set(session.token, session);
    return session;
}

class Session {
    #own;
    #socket = null;
    #log = [];
    #number = 0;
    #items = new Map();
    #steps = null;
    #response = null;
    #timer = null;

    constructor(own, number) {
        this.#own = own;
        this.id = `sess_${number}`;
        this.token = `token_${number}_${Math.random().toString(36).slice(2)}`;
    }

    attach(socket, last) {
        this.#socket?.close(1008);
        this.#socket = socket;
        if (this.#number === 0) {
            this.say("session.created", { session: { id: this.id, type: "realtime", audio: { output: { voice: "alloy" } } } });
            this.say("evensong.resume_token", { token: this.token, grace_seconds: this.#own.graceSeconds });
        } else {
            const at = this.#log.findIndex(({ event_id: id }) => id === last);
            socket.send(JSON.stringify({ type: "evensong.resumed", event_id: `event_${this.#number + 1}_resumed`, from: last }));
            for (const event of this.#log.slice(at + 1)) socket.send(JSON.stringify(event));
        }
        this.#run();
    }

    detach(socket) {
        if (socket !== this.#socket) return;
        this.#socket = null;
        clearTimeout(this.#timer);
    }

    end() {
        clearTimeout(this.#timer);
        this.#steps = null;
        this.#socket?.terminate();
    }

    say(type, fields = {}) {
        this.#number += 1;
        const event = { type, event_id: `event_${this.#number}`, ...fields };
        this.#log.push(event);
        if (this.#log.length > LOGGED_MOST) this.#log.shift();
        this.#socket?.send(JSON.stringify(event));
    }

    take(event) {
        this.#own.events.push(event);
        const error = this.#own.refuse(event) ?? this.#answer(event);
        if (error) this.say("error", { error: { type: "invalid_request_error", param: null, event_id: event.event_id, ...error } });
    }

    #answer(event) {
        const { type, item, item_id: id } = event;
        if (type === "session.update") this.say("session.updated", { session: event.session });
        else if (type === "conversation.item.create") this.#add(item);
        else if (type === "conversation.item.retrieve") {
            if (!this.#items.has(id)) return { code: "item_not_found", message: "no such item" };
            this.say("conversation.item.retrieved", { item: this.#items.get(id) });
        } else if (type === "response.create") {
            if (this.#steps) return { code: "conversation_already_has_active_response", message: "busy" };
            this.#respond();
        } else if (type === "response.cancel") {
            if (!this.#steps) return { code: "response_cancel_not_active", message: "nothing to cancel" };
            this.#steps = null;
            clearTimeout(this.#timer);
            this.say("response.done", { response: { id: this.#response, status: "cancelled", status_details: { type: "cancelled", reason: "client_cancelled" } } });
        } else if (type === "conversation.item.truncate") {
            if (!this.#items.has(id)) return { code: "item_not_found", message: "no such item" };
            this.say("conversation.item.truncated", { item_id: id, content_index: 0, audio_end_ms: event.audio_end_ms });
        } else if (type === "output_audio_buffer.clear") this.say("output_audio_buffer.cleared", { response_id: this.#response });
        else return { code: "unknown_event", message: type };
        return null;
    }

    #add(item) {
        this.#items.set(item.id, item);
        this.say("conversation.item.added", { item });
        this.say("conversation.item.done", { item });
    }

    #respond() {
        const question = [...this.#items.values()].at(-1)?.content[0].text;
        this.#response = `resp_${this.#number + 1}`;
        this.say("response.created", { response: { id: this.#response, status: "in_progress" } });
        this.say("evensong.thinking", { response_id: this.#response, asset: "/assets/thinking.mp3" });
        this.#steps = this.#events(question);
        this.#run();
    }

    #run() {
        clearTimeout(this.#timer);
        if (!this.#steps || !this.#socket) return;
        this.#timer = setTimeout(() => {
            for (let n = 0; n < this.#own.burst && this.#steps; n += 1) {
                const { value, done } = this.#steps.next();
                if (done) this.#steps = null;
                else if (value) this.say(...value);
            }
            this.#run();
        }, this.#own.everyMs);
    }

    *#events(question) {
        const response = this.#response;
        const item = { id: `item_of_${response}`, type: "message", role: "assistant", content: [] };
        const where = { response_id: response, item_id: item.id, output_index: 0, content_index: 0 };
        for (let n = 0; n < this.#own.thinks * this.#own.burst; n += 1) yield null;
        this.#items.set(item.id, item);
        yield ["response.output_item.added", { response_id: response, output_index: 0, item }];
        yield ["response.content_part.added", { ...where, part: { type: "output_audio" } }];
        let at = 0;
        const said = this.#own.answer(question);
        for (const { text, ms, fails } of said) {
            if (fails) return yield ["response.done", { response: { id: response, status: "failed", status_details: { type: "failed", error: fails } } }];
            yield ["response.output_audio_transcript.delta", { ...where, delta: text }];
            const sound = samples(ms, at);
            at += sound.length;
            for (let from = 0; from < sound.length; from += PART) {
                const part = Buffer.from(sound.slice(from, from + PART).buffer);
                yield ["response.output_audio.delta", { ...where, delta: part.toString("base64") }];
            }
        }
        yield ["response.output_audio.done", where];
        yield ["response.output_audio_transcript.done", { ...where, transcript: said.map(({ text }) => text).join("") }];
        yield ["response.output_item.done", { response_id: response, output_index: 0, item }];
        yield ["response.done", { response: { id: response, status: "completed" } }];
    }
}
