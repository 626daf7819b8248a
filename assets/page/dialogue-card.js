// The card where one asks: the box, the buttons, and what is said of the dialogue's state. Invariant: what was typed is never
// lost: it is in the conversation, or back in the box.

import { Conversation } from "./conversation.js";
import { Dialogue } from "./dialogue.js";
import { Dictation, supported } from "./dictation.js";
import { say } from "./fields.js";
import { fromFragment } from "./line.js";
import { RealtimeDialogue } from "./realtime-dialogue.js";
import { Share } from "./share.js";
import { SocketSwitch } from "./socket-switch.js";
import { Trouble } from "./trouble.js";
import { characters, count } from "./words.js";

/** The server's bound is in bytes; a question that reaches this is none. */
const CHARACTERS_MOST = 4096;
const ANSWERING = {
    llm: "Answers come from a language model, which can be wrong.",
    found: "Answers come from the documents here.",
};

const byId = (id) => document.getElementById(id);

/**
 * The card. `on`: wish(), begins(), sound(player, firstMs), bytes(n), quiet(), met(accepted), told(timings), as the dialogue's; and
 * refused(Failure, again), which is true if a key is asked for elsewhere.
 */
export class DialogueCard {
    #card = byId("dialogue");
    #form = byId("ask-form");
    #box = byId("question");
    #error = byId("question-error");
    #state = byId("dialogue-state");
    #play = byId("dialogue-play");
    #stop = byId("dialogue-stop");
    #trouble = new Trouble(byId("dialogue-trouble"));
    #share = new Share(byId("share"));
    #socket = new SocketSwitch(byId("socket"), () => this.#turn());
    /** By two calls, and over one socket; the one that the switch says is the card's. */
    #calls;
    #session;
    #dialogue;
    #dictation;
    #on;

    constructor(on) {
        this.#on = on;
        const own = {
            ...on,
            phase: (name, words) => this.#show(name, words),
            met: (accepted) => this.#met(accepted),
            failed: (failure, again, question) => this.#failed(failure, again, question),
            line: (line) => this.#share.offer(line),
        };
        const shown = [new Conversation(), byId("dialogue-ear"), own];
        this.#calls = new Dialogue(...shown);
        this.#session = new RealtimeDialogue(...shown);
        this.#dialogue = this.#socket.isOn ? this.#session : this.#calls;
        this.#dictation = new Dictation(byId("dictate"), {
            begins: () => this.#speakUp(),
            text: (text) => this.#fill(text),
            heard: (text) => this.#ask(text),
            nothing: (why) => this.#unheard(why),
        });
        byId("dictate-hint").hidden = !supported();
        this.#listen();
    }

    /** Whether something is asked, heard, or listened to. */
    get isOn() {
        return this.#dialogue.isOn || this.#dictation.isOn;
    }

    /** Whether the focus is in the box, where one asks. */
    get isTyped() {
        return document.activeElement === this.#box;
    }

    /** Silence, and no more of it. */
    stop(words) {
        this.#dictation.give();
        this.#dialogue.stop(words);
    }

    /** The page is left. */
    leave() {
        this.#dictation.give();
        this.#dialogue.leave();
    }

    /** Asks what stands in the box. */
    submit() {
        const text = this.#box.value.trim();
        const flaw = this.#flaw(text);
        // The second of two presses finds the box empty, and what was in it on its way.
        if (text === "" && this.isOn) return;
        if (flaw) return this.#complain(flaw);
        this.#fill("");
        this.#ask(text);
    }

    #ask(text) {
        this.#fill("");
        this.#complain("");
        this.#trouble.clear();
        this.#dialogue.ask(text);
    }

    #flaw(text) {
        if (text === "") return "Write a question, or press one of the examples.";
        const over = characters(text) - CHARACTERS_MOST;
        return over > 0 ? `${count(over)} characters too many: 4,096 is the most.` : "";
    }

    /** Who answers is said, and where nobody does there is nothing to be asked. */
    answers(who) {
        this.#card.hidden = who === null;
        say(byId("answering"), ANSWERING[who] ?? "");
    }

    /** Somebody speaks: who answers falls silent. */
    #speakUp() {
        this.#on.begins();
        this.#complain("");
        this.#dialogue.hush({ waits: true });
        this.#show("listens", "Listening …");
    }

    #unheard(why) {
        this.#fill("");
        this.#dialogue.stop(why || "Stopped.");
    }

    #met(accepted) {
        this.#trouble.clear();
        if (accepted.answering !== undefined) this.answers(accepted.answering);
        this.#on.met(accepted);
    }

    #failed(failure, again, question) {
        if (failure.param === "text") {
            if (this.#box.value === "") this.#fill(question);
            return this.#complain(failure.message);
        }
        const act = () => {
            this.#trouble.clear();
            again();
        };
        if (again && this.#on.refused(failure, act)) return;
        const helps = again !== null && (failure.retrySeconds !== null || ![400, 403, 404].includes(failure.status));
        this.#trouble.show(failure, { act: helps ? act : null });
    }

    #show(name, words) {
        this.#card.dataset.state = name;
        say(this.#state, words);
        this.#stop.disabled = name === "idle";
        this.#play.hidden = name !== "blocked";
    }

    #complain(message) {
        say(this.#error, message);
        this.#error.hidden = message === "";
        if (message === "") return this.#box.removeAttribute("aria-invalid");
        this.#box.setAttribute("aria-invalid", "true");
        this.#box.focus();
    }

    #fill(text) {
        this.#box.value = text;
    }

    #listen() {
        this.#form.addEventListener("submit", (event) => {
            event.preventDefault();
            this.submit();
        });
        this.#box.addEventListener("input", () => this.#corrected());
        this.#box.addEventListener("keydown", (event) => {
            // A line more is Shift and Enter; a word that is still being composed is no question.
            if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.ctrlKey || event.metaKey) return;
            event.preventDefault();
            if (!event.repeat) this.submit();
        });
        this.#stop.addEventListener("click", () => this.stop());
        this.#play.addEventListener("click", () => this.#dialogue.resume());
        this.#card.addEventListener("click", ({ target }) => {
            const { ask } = target.closest("[data-ask]")?.dataset ?? {};
            if (ask && !this.isOn) this.#ask(ask);
        });
        addEventListener("hashchange", () => this.#follow());
        this.#follow();
    }

    /** The other way: nothing of the one before is held. */
    #turn() {
        this.#dictation.give();
        this.#dialogue.leave();
        this.#trouble.clear();
        this.#dialogue = this.#socket.isOn ? this.#session : this.#calls;
    }

    #corrected() {
        if (!this.#error.hidden) this.#complain("");
    }

    /** A page whose address names a dialogue listens to it. */
    #follow() {
        const where = fromFragment(location.hash);
        if (!where) return;
        // What was begun elsewhere is heard by a stream of its own.
        if (this.#socket.isOn) {
            this.#socket.isOn = false;
            this.#turn();
        }
        this.#dialogue.listen(where);
    }
}
