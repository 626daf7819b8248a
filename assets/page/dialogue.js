// A dialogue: questions go out, each by one request, and turns come in by one stream that lasts through all of them. What was
// said is remembered here as well, so that a dialogue that the server has let go of goes on in another. Invariants: one turn
// sounds at most; a question is asked once, however often its request is sent; what nobody wants any more is ended.

import { Failure } from "./api.js";
import { converse, newKey } from "./converse.js";
import { Line, hangUp } from "./line.js";
import * as memory from "./memory.js";
import { ThinkingSound } from "./thinking.js";
import { Turn } from "./turn.js";
import { hearing, way } from "./ways.js";

/** A dialogue that is over and done is kept for the next question so long; the server holds room for it meanwhile. */
const KEPT_MS = 120_000;
/** A turn that nobody hears is let go after this, as all speech is. */
const UNHEARD_MS = 10_000;
/** What says that a dialogue is no more: then the question is asked in another. */
const GONE = ["dialogue_not_found", "turn_over", "idempotency_mismatch"];

/**
 * The page's dialogue, shown in `conversation`, heard from `host`. `on`: wish(), how it is to be spoken; begins(), before anything
 * sounds; phase(name, words): idle, listening, asking, thinking, speaking, blocked; met(what the server said of it); bytes(n);
 * sound(player, firstMs); told(timings); quiet(); failed(Failure, again or null); line(Line or null).
 */
export class Dialogue {
    #conversation;
    #host;
    #on;
    #thinking;
    #line = null;
    /** The newest turn, and the one before it, until its end is told. */
    #turn = null;
    #before = null;
    #memory = memory.empty();
    /** What is being asked, one after the other. */
    #asking = Promise.resolve();
    #isLost = false;
    /** Whether events wait while somebody speaks up, and what lets them go on. */
    #waits = false;
    #goOn = () => {};
    #timer = null;

    constructor(conversation, host, on) {
        this.#conversation = conversation;
        this.#host = host;
        this.#on = on;
        this.#thinking = new ThinkingSound(host);
    }

    /** Whether there is something to be stopped. */
    get isOn() {
        return Boolean(this.#turn?.isOn || this.#line?.isGuest);
    }

    /** Asks, and interrupts what is being said. `again`: {view, request}, the same question once more. */
    ask(text, again = null) {
        this.#on.begins();
        this.hush();
        if (again) this.#conversation.forget(again.view);
        const turn = this.#begin(text, way("mp3"));
        this.#on.phase("asking", "Asking …");
        this.#asking = this.#asking.then(() => this.#post(turn, again?.request ?? null));
    }

    /** Listens to what was begun elsewhere; see `fromFragment`. */
    listen(where) {
        this.stop();
        this.#hold(where);
        this.#rest("Listening to a conversation that was begun elsewhere.");
    }

    /** Silence; a question goes on from here. `waits`: somebody speaks up, and until then no more of it is taken. */
    hush({ waits = false } = {}) {
        clearTimeout(this.#timer);
        this.#waits = waits;
        this.#goOn();
        const turn = this.#turn;
        if (!turn?.isOn) return;
        const { playedMs: played, isTold, view } = turn;
        this.#memory = memory.cut(this.#memory, { asked: view.question, heard: turn.hush(), played, isTold });
        this.#quiet();
    }

    /** Silence, and nothing is held for it; but where others listen, only here. */
    stop(words = "Stopped.") {
        this.hush();
        if (!this.#line?.isShared) this.#letGo();
        this.#rest(words);
    }

    /** Plays on, by a person's gesture. */
    resume() {
        this.#turn?.resume();
    }

    /** The page is left: nothing is held for it. */
    leave() {
        this.hush();
        this.#letGo();
        this.#rest("");
    }

    #begin(text, how) {
        const turn = new Turn(this.#conversation.begin(text), how, this.#host, {
            sound: (player) => this.#sounds(turn, player),
            bytes: (number) => this.#on.bytes(number),
            starved: () => this.#on.phase("speaking", this.#isLost ? "Connection lost, coming back …" : "Waiting for more sound …"),
            blocked: (why) => this.#blocked(turn, why),
            heard: () => this.#conversation.follow(turn.view.captions.now),
            over: (failure) => turn === this.#turn && this.#ended(failure),
            failed: (failure) => turn === this.#turn && this.#failed(turn, failure),
        });
        this.#before = this.#turn;
        this.#turn = turn;
        return turn;
    }

    async #post(turn, request) {
        if (!turn.isOn) return;
        const { key, body } = request ?? { key: newKey(), body: this.#body(turn.view.question) };
        let accepted;
        try {
            accepted = await converse(key, body);
        } catch (error) {
            if (!(error instanceof Failure)) throw error;
            if (GONE.includes(error.code) && (request !== null || this.#line)) {
                this.#letGo({ end: false });
                return this.#post(turn, null);
            }
            // A request that may have arrived is sent again as it was; one that was refused is another.
            return this.#refused(turn, error, error.status === 0 ? { key, body } : null);
        }
        if (!turn.isOn && turn === this.#turn) return this.#unwanted(accepted.dialogueId);
        this.#memory = memory.asked(this.#memory);
        turn.epoch = accepted.epoch;
        const { dialogueId: id, streams, format } = accepted;
        if (this.#line?.id !== id) this.#hold({ id, events: streams.events, format });
        this.#line.epoch = Math.max(this.#line.epoch, accepted.epoch);
        if (turn === this.#turn && turn.isOn) this.#on.met(accepted);
    }

    #body(text) {
        const { voice, model, speed } = this.#on.wish();
        const asked = { text, voice, model, speed, format: way("mp3").asks, thinking: "sound", resumable: true };
        return JSON.stringify({ ...asked, ...memory.request(this.#memory, this.#line?.id ?? null) });
    }

    #refused(turn, failure, request) {
        if (!turn.isOn || turn !== this.#turn) return;
        const { view } = turn;
        turn.drop();
        if (failure.param === "text") this.#conversation.forget(view);
        else view.settle({ note: "This was not asked." });
        this.#quiet();
        this.#rest("It did not work.");
        this.#on.failed(failure, () => this.ask(view.question, { view, request }), view.question);
    }

    /** It was stopped while it was being asked. */
    #unwanted(id) {
        return this.#line?.id === id ? this.#letGo() : hangUp(id);
    }

    #hold(where) {
        this.#line?.close({ end: !this.#line.isShared });
        const line = new Line(where, {
            event: (event) => line === this.#line && this.#heed(line, event),
            lost: () => (this.#isLost = true),
            back: () => (this.#isLost = false),
            over: (failure) => line === this.#line && this.#lost(line, failure),
        });
        this.#isLost = false;
        this.#line = line;
        this.#on.line(line);
    }

    async #heed(line, { id, name, data }) {
        if (name === "heartbeat" || id === null) return;
        if (name === "interrupted") return this.#interrupted(data);
        const epoch = Number.parseInt(id, 10);
        if (epoch > line.epoch) await this.#begun(line, epoch, name);
        const turn = this.#turn;
        if (turn?.epoch !== epoch || line !== this.#line) return;
        if (name === "done") return this.#done(line, turn, data);
        if (this.#waits && !turn.isOn) await new Promise((resolve) => (this.#goOn = resolve));
        if (!turn.isOn) return;
        if (name === "thinking") this.#thinks(data);
        else if (name === "text") turn.write(data.text);
        else if (name === "audio") await turn.sound(data);
        else if (name === "sources") turn.view.source(data.hits);
        else if (name === "error") this.#broke(turn, new Failure(data.error?.message ?? "the answer broke off", { code: data.error?.code }));
    }

    /** A turn that this page has not asked for, or does not know yet that it has. */
    async #begun(line, epoch, name) {
        await this.#asking;
        if (line !== this.#line || epoch <= line.epoch) return;
        line.epoch = epoch;
        this.#on.begins();
        this.hush();
        // What is not there from its beginning has no text: that was told before.
        Object.assign(this.#begin(null, hearing(line.format)), { epoch, isLate: name !== "thinking" });
    }

    #thinks({ type, asset }) {
        if (type === "sound" && typeof asset === "string") this.#thinking.play(asset);
        this.#on.phase("thinking", "Thinking …");
    }

    #interrupted({ epoch, heard_text: heard, history }) {
        this.#memory = memory.told(this.#memory, history);
        const turn = [this.#turn, this.#before].find((one) => one?.epoch === epoch);
        if (!turn) return;
        const wasOn = turn.isOn && turn === this.#turn;
        turn.interrupted(heard);
        if (!wasOn) return;
        this.#quiet();
        this.#rest("Interrupted.");
    }

    async #done(line, turn, { history, timings = {} }) {
        this.#memory = memory.told(this.#memory, history);
        const said = this.#memory.history;
        if (turn.view.question === null) turn.view.question = said.findLast(({ role }) => role === "user")?.text ?? null;
        if (line.isGuest && this.#conversation.isAlone) this.#conversation.recall(said.slice(0, -2));
        this.#on.told(timings);
        this.#isLost = false;
        await turn.whole(said.at(-1)?.text);
    }

    #broke(turn, failure) {
        this.#thinking.stop();
        this.#tell(turn, failure);
        turn.broke(failure);
    }

    #failed(turn, failure) {
        this.#tell(turn, failure);
        this.#ended(failure);
        this.#letGo();
    }

    /** What broke off can be asked once more. */
    #tell({ view: { question } }, failure) {
        this.#on.failed(failure, question === null ? null : () => this.ask(question));
    }

    /** Nothing more comes of a dialogue. */
    #lost(line, failure) {
        this.#letGo({ end: false });
        const turn = this.#turn;
        if (turn?.isOn && !turn.isTold) return this.#broke(turn, failure ?? new Failure("the conversation was ended"));
        if (!line.isGuest) return;
        if (failure) this.#on.failed(new Failure(failure.status === 404 ? "that conversation is over" : failure.message), null);
        this.#rest("Nobody speaks here any more.");
    }

    #sounds(turn, player) {
        clearTimeout(this.#timer);
        this.#thinking.stop();
        this.#on.sound(player, turn.firstMs);
        this.#on.phase("speaking", "Speaking.");
    }

    /** The browser refused, or something paused us: a person's press is needed. */
    #blocked(turn, why) {
        this.#thinking.stop();
        const refused = "The browser does not play sound by itself. Press Play.";
        this.#on.phase("blocked", why === "refused" ? refused : "Paused. Press Play to go on.");
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => turn.isOn && !turn.isTold && this.stop("Nobody listened, so the answer was let go."), UNHEARD_MS);
    }

    #ended(failure) {
        this.#quiet();
        this.#rest(failure?.message ?? "Answered.");
    }

    #quiet() {
        this.#thinking.stop();
        this.#on.quiet();
    }

    /** Nothing sounds; the dialogue is kept for a while, for the next question. */
    #rest(words) {
        clearTimeout(this.#timer);
        if (this.#line?.isGuest) return this.#on.phase("listening", words);
        this.#on.phase("idle", words);
        if (this.#line) this.#timer = setTimeout(() => this.#line?.isShared || this.#letGo(), KEPT_MS);
    }

    #letGo({ end = true } = {}) {
        clearTimeout(this.#timer);
        this.#memory = memory.alone(this.#memory);
        if (!this.#line) return;
        this.#line.close({ end: end && !this.#line.isShared });
        this.#line = null;
        this.#on.line(null);
    }
}
