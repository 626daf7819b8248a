// A dialogue over one socket: questions go out and turns come in by a realtime session, which goes on where it was when its
// network was cut. Invariants: one turn sounds at most; a question is answered once, also when the socket broke while it was
// asked; there is one session at most, and it is closed when nobody wants it any more.

import { Failure } from "./api.js";
import { Exchange, MANNER, manner, message } from "./exchange.js";
import { Session } from "./realtime.js";
import { ThinkingSound } from "./thinking.js";
import { Turn } from "./turn.js";
import { way } from "./ways.js";
import { age } from "./words.js";

/** A session with nothing to do is kept for the next question so long. */
const KEPT_MS = 120_000;
/** A turn that nobody hears is let go after this, as all speech is. */
const UNHEARD_MS = 10_000;
/** Where the server does not say which. */
const THINKING = "assets/thinking.mp3";
/** What a new session is told of what was said: as much as a server keeps of a dialogue. */
const MESSAGES_MOST = 16;
/** What a server says that is busy with the answer before. */
const BUSY = "conversation_already_has_active_response";
/** How often a question is sent where sessions are lost under it. */
const SENT_MOST = 3;

/** The page's dialogue; `conversation`, `host` and `on` as for Dialogue, whose place it takes. */
export class RealtimeDialogue {
    #conversation;
    #host;
    #on;
    #thinking;
    #session = null;
    /** How the session speaks, as it was told. */
    #manner = null;
    /** The newest question, and those before it that the server is not done with. */
    #now = null;
    #open = [];
    /** What was said, for a session that does not know. */
    #said = [];
    /** Whether a session was lost, and none has begun in its place. */
    #isLost = false;
    /** Of the socket: said in place of what would be said of the turn. */
    #news = null;
    #phase = "idle";
    #timer = null;

    constructor(conversation, host, on) {
        this.#conversation = conversation;
        this.#host = host;
        this.#on = on;
        this.#thinking = new ThinkingSound(host);
    }

    /** Whether there is something to be stopped. */
    get isOn() {
        return Boolean(this.#now?.turn.isOn);
    }

    /** Asks, and interrupts what is being said. `again`: {view}, the same question once more. */
    ask(text, again = null) {
        this.#on.begins();
        this.hush();
        if (again) this.#conversation.forget(again.view);
        this.#news = null;
        const exchange = this.#begin(text);
        this.#show("asking", "Asking …");
        this.#session ??= this.#begun();
        if (this.#session.isLive) this.#send(exchange);
        this.#watch();
    }

    /** Silence; the server hears how much of it was heard. */
    hush() {
        clearTimeout(this.#timer);
        const exchange = this.#now;
        if (!exchange?.turn.isOn) return;
        const isCut = exchange.hush();
        this.#heard(exchange);
        // The server may be done with it already; it has not heard of this.
        if (isCut && !this.#open.includes(exchange)) this.#open.push(exchange);
        if (isCut) this.#tell(exchange.ends());
        // What was never sent needs no end.
        if (exchange.sent === 0) this.#close(exchange);
        this.#quiet();
    }

    /** Silence; the session is kept for the next question. */
    stop(words = "Stopped.") {
        this.hush();
        this.#rest(words);
    }

    /** Plays on, by a person's gesture. */
    resume() {
        this.#now?.turn.resume();
    }

    /** The page is left, or goes another way: nothing is held for it. */
    leave() {
        this.hush();
        this.#letGo();
        this.#rest("");
    }

    #begun() {
        const session = new Session({
            begun: (about) => this.#meet(about),
            resumed: (seconds) => this.#resumed(seconds),
            lost: () => this.isOn && this.#show(this.#phase, "Connection lost, coming back …"),
            gone: () => this.#gone(),
            event: (event) => this.#heed(event),
            over: (failure) => this.#over(failure),
        });
        session.open();
        return session;
    }

    #begin(text) {
        const exchange = new Exchange(this.#turn(text, () => exchange), () => this.#flooded(exchange));
        this.#now = exchange;
        this.#open.push(exchange);
        return exchange;
    }

    #turn(text, own) {
        const isNow = (act) => own() === this.#now && act();
        const turn = new Turn(this.#conversation.begin(text), way("pcm"), this.#host, {
            sound: (player) => this.#sounds(turn, player),
            bytes: (number) => this.#on.bytes(number),
            starved: () => this.#show("speaking", this.#session?.isLive === false ? "Connection lost, coming back …" : "Waiting for more sound …"),
            blocked: (why) => this.#blocked(turn, why),
            heard: () => this.#conversation.follow(turn.view.captions.now),
            over: (failure) => isNow(() => this.#ended(own(), failure)),
            failed: (failure) => isNow(() => this.#failed(own(), failure)),
        });
        return turn;
    }

    /** Sends a question, unless it was in vain too often. */
    #send(exchange) {
        if (exchange.sent === SENT_MOST) return this.#refused(exchange, new Failure("the session was lost each time", { retrySeconds: 0 }));
        const how = manner(this.#on.wish());
        // It is said once, and again when it is another.
        if (JSON.stringify(how) !== this.#manner) this.#tell([how]);
        this.#manner = JSON.stringify(how);
        exchange.sent += 1;
        this.#tell(exchange.asks);
    }

    #tell(events) {
        for (const event of events) this.#session?.send(event);
    }

    /** Another session: it is told what was said, and asked what is not answered. */
    #meet({ audio }) {
        this.#manner = null;
        // What was said of the one that is lost stays.
        if (!this.#isLost) this.#on.met({ voice: audio?.output?.voice, format: "pcm" });
        this.#tell(this.#said.map(({ role, text }) => message(role, text)));
        for (const exchange of this.#open) if (exchange.turn.isOn) this.#send(exchange);
        if (this.#isLost) this.#news = this.#tidings("The session was lost; a new one has begun.");
        this.#isLost = false;
        this.#watch();
    }

    /** What was on its way when the socket broke may have been lost: it is asked for, or said again. */
    #resumed(seconds) {
        const isLong = Math.max(1, Math.round(seconds));
        this.#manner = null;
        this.#news = this.#tidings(`Gone on after ${age(isLong)} without the network.`);
        for (const exchange of this.#open) {
            if (exchange.sent === 0 && exchange.turn.isOn) this.#send(exchange);
            else if (exchange.sent > 0 && exchange.response === null) this.#tell([exchange.doubts]);
            this.#tell(exchange.ends({ again: true }));
        }
        this.#watch();
    }

    #tidings(words) {
        this.#show(this.#phase, words);
        return words;
    }

    /** The session is lost, and with it what was being answered. */
    #gone() {
        this.#isLost = true;
        for (const exchange of [...this.#open]) {
            if (exchange.turn.isOn && exchange.response === null) continue;
            this.#close(exchange);
            if (exchange.turn.isOn && !exchange.isDone) this.#broke(exchange, new Failure("the session was lost", { retrySeconds: 0 }));
        }
    }

    #heed(event) {
        const { type, error, response, response_id: id = response?.id } = event;
        if (type === "response.created") return this.#created(id);
        if (type === "error") return this.#complained(error ?? {});
        if (type === "evensong.thinking") return this.#thinks(event);
        if (type === "conversation.item.retrieved") return this.#found(event.item?.id);
        if (type === "conversation.item.truncated") return this.#cut(event.item_id);
        const exchange = id === undefined ? null : this.#open.find((one) => one.response === id);
        if (!exchange) return;
        exchange.take(event);
        if (type === "response.done") this.#done(exchange);
    }

    #created(id) {
        const exchange = this.#open.find(({ sent, response }) => sent > 0 && response === null);
        if (exchange) Object.assign(exchange, { response: id, isPut: false });
        if (exchange?.turn.isOn && this.#phase === "asking") this.#show("thinking", this.#news ?? "Thinking …");
    }

    /** What was cut stays until the server has heard where. */
    #done(exchange) {
        this.#tell(exchange.ends());
        if (exchange.failure && exchange.turn.isOn) this.#broke(exchange, exchange.failure);
        if (exchange.isOver) this.#close(exchange);
        for (const put of this.#open.filter(({ isPut, turn }) => isPut && turn.isOn)) this.#tell([put.wants]);
        this.#watch();
    }

    #thinks({ asset }) {
        if (!this.isOn || this.#now.turn.firstMs !== null) return;
        this.#thinking.play(typeof asset === "string" ? asset : THINKING);
        this.#show("thinking", this.#news ?? "Thinking …");
    }

    /** It has arrived; that an answer is wanted has not, or it would have begun. */
    #found(id) {
        const exchange = this.#open.find((one) => one.id === id && one.response === null);
        if (!exchange) return;
        if (exchange.turn.isOn) this.#tell([exchange.wants]);
        else this.#close(exchange);
    }

    #cut(item) {
        const exchange = this.#open.find(({ answer }) => answer === item);
        exchange?.settled();
        if (exchange?.isOver) this.#close(exchange);
    }

    /** The server refuses what an event of ours asked for. */
    #complained(error) {
        if (error.event_id === MANNER) return this.#on.failed(said(error), null);
        const [, why, id] = /^(say|want|doubt|cancel|cut)_(.+)$/.exec(error.event_id ?? "") ?? [];
        const exchange = this.#open.find((one) => one.id === id);
        if (!exchange) return;
        if (why === "want" && error.code === BUSY) exchange.isPut = exchange.response === null;
        else if (why === "say" || why === "want") return this.#refused(exchange, said(error, why));
        else if (why === "doubt") return exchange.turn.isOn ? this.#send(exchange) : this.#close(exchange);
        // There is nothing to be cut any more.
        else if (why === "cut") this.#cut(exchange.answer);
        else if (why === "cancel" && exchange.response === null) this.#close(exchange);
    }

    #refused(exchange, failure) {
        this.#close(exchange);
        const { turn } = exchange;
        if (!turn.isOn || exchange !== this.#now) return;
        const { view } = turn;
        turn.drop();
        if (failure.param === "text") this.#conversation.forget(view);
        else view.settle({ note: "This was not asked." });
        this.#quiet();
        this.#rest("It did not work.");
        this.#on.failed(failure, () => this.ask(view.question, { view }), view.question);
    }

    /** There is no session any more, and none to be had. */
    #over(failure) {
        const exchange = this.#now;
        this.#session = null;
        this.#isLost = false;
        this.#open = [];
        if (!exchange?.turn.isOn || exchange.isDone) return;
        if (exchange.response === null) this.#refused(exchange, failure);
        else this.#broke(exchange, failure);
    }

    #broke(exchange, failure) {
        this.#thinking.stop();
        this.#on.failed(failure, () => this.ask(exchange.turn.view.question));
        exchange.broke(failure);
    }

    /** More has come than can be held. */
    #flooded(exchange) {
        exchange.isDone = true;
        exchange.turn.isOn && this.#failed(exchange, new Failure("the sound came faster than it is heard"));
    }

    #failed(exchange, failure) {
        this.#on.failed(failure, () => this.ask(exchange.turn.view.question));
        exchange.turn.drop();
        this.#ended(exchange, failure);
        this.#letGo();
    }

    #sounds(turn, player) {
        clearTimeout(this.#timer);
        this.#thinking.stop();
        this.#on.sound(player, turn.firstMs);
        this.#show("speaking", this.#news ?? "Speaking.");
    }

    /** The browser refused, or something paused us: a person's press is needed. */
    #blocked(turn, why) {
        this.#thinking.stop();
        const refused = "The browser does not play sound by itself. Press Play.";
        this.#show("blocked", why === "refused" ? refused : "Paused. Press Play to go on.");
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => turn.isOn && !turn.isTold && this.stop("Nobody listened, so the answer was let go."), UNHEARD_MS);
    }

    #ended(exchange, failure) {
        this.#heard(exchange);
        this.#quiet();
        this.#rest(failure?.message ?? "Answered.");
    }

    /** What was said is remembered as far as it was heard. */
    #heard({ turn: { view }, response }) {
        if (response === null) return;
        const all = [...this.#said, { role: "user", text: view.question }, { role: "assistant", text: view.text }];
        this.#said = all.filter(({ text }) => text !== "").slice(-MESSAGES_MOST);
    }

    #quiet() {
        this.#thinking.stop();
        this.#on.quiet();
    }

    #rest(words) {
        clearTimeout(this.#timer);
        this.#news = null;
        this.#watch();
        this.#show("idle", words);
        if (this.#session) this.#timer = setTimeout(() => this.#letGo(), KEPT_MS);
    }

    #show(name, words) {
        this.#phase = name;
        this.#on.phase(name, words);
    }

    #watch() {
        if (this.#session) this.#session.isDue = this.#open.some((exchange) => exchange.isDue);
    }

    #close(exchange) {
        this.#open = this.#open.filter((one) => one !== exchange);
    }

    #letGo() {
        clearTimeout(this.#timer);
        this.#open = [];
        this.#session?.close();
        this.#session = null;
    }
}

/** What is wrong with a question is said where it was asked. */
function said({ message: why = "the server refused this", code = null }, event) {
    return new Failure(why, { status: 400, code, param: event === "say" ? "text" : null });
}
