// Speaks what stands in the form, what was found, and voices' previews: one utterance at a time, from the request to the ear.
// The state it shows is one of idle, asking, speaking, blocked; all that lives during an utterance is given back at its end.

import * as library from "./library.js";
import { speakable } from "./speakable.js";
import { Utterance } from "./utterance.js";
import { PREVIEW } from "./ways.js";
import { lower, seconds } from "./words.js";

/** A stream that nobody hears is let go after this; the server would cut it at twice the time. */
const UNHEARD_MS = 10_000;
/** What is said while the rest of a broken stream sounds. */
const REST = "Playing what has arrived.";

const byId = (id) => document.getElementById(id);

/**
 * The speaker. `parts`: composer, facts, sun, notice. `on`: begins(), before anything sounds; shown(hit, state), what the
 * page does with a hit; complain(Failure, again, tell).
 */
export class Speaker {
    #composer;
    #facts;
    #sun;
    #notice;
    #on;
    #state = byId("state");
    #stop = byId("stop");
    #play = byId("play");
    #download = byId("download");
    /**
     * What is being spoken: {utterance, isPreview, hit, tell, streams, unheard, cut}; null when all is still. `hit`: what the
     * search found and is read; `tell` says failures where it was begun.
     */
    #now = null;
    /** What was heard last, for the download. */
    #heard = null;
    /** What "try again" and a Play after a let-go stream do. */
    #again = () => this.speak();

    constructor({ composer, facts, sun, notice }, on) {
        [this.#composer, this.#facts, this.#sun, this.#notice] = [composer, facts, sun, notice];
        this.#on = on;
        this.#stop.addEventListener("click", () => this.stop("Stopped."));
        this.#play.addEventListener("click", () => (this.#now ? this.resume() : this.#again()));
        this.#download.addEventListener("click", () => this.#heard?.save());
    }

    /** Whether something is spoken. */
    get isOn() {
        return this.#now !== null;
    }

    /** Whether that is a voice's preview. */
    get isPreview() {
        return this.#now?.isPreview ?? false;
    }

    /** Does what was done last once more. */
    again() {
        this.#again();
    }

    /** Speaks what stands in the form. */
    speak() {
        this.#notice.clear();
        const { flaw } = this.#composer;
        if (flaw) {
            this.stop("Nothing to say yet.");
            return this.#notice.show(flaw);
        }
        this.#again = () => this.speak();
        this.#begin({ path: "v1/audio/speech", body: this.#composer.body }, this.#composer.way);
    }

    /** Lets a voice be heard. */
    preview(voice) {
        if (!voice?.previewUrl) return;
        this.#notice.clear();
        this.#again = () => this.preview(voice);
        this.#begin({ path: voice.previewUrl }, PREVIEW, { isPreview: true });
    }

    /** Reads aloud what was found; its text is fetched first, which Stop ends as well. `complain(Failure, again)` says failures. */
    read(hit, complain) {
        this.#notice.clear();
        this.#again = () => this.read(hit, complain);
        const tell = (failure) => complain(failure, this.#again);
        const body = async (signal) => {
            const input = speakable(await library.read(hit.id, signal));
            return { ...this.#composer.body, input };
        };
        this.#begin({ path: "v1/audio/speech", body }, this.#composer.way, { hit, tell });
    }

    /** Plays on. */
    resume() {
        return this.#now?.utterance.player.resume();
    }

    /** Silence; and why. */
    stop(message) {
        // Before the player is closed: it knows how much was heard.
        if (this.#now) this.#facts.stop();
        this.#now?.utterance.stop();
        this.#end(message);
    }

    /** Something else is going to sound, and to be told of where this is. */
    yield() {
        if (this.#now) this.stop("Stopped.");
        this.#heard = null;
        this.#download.hidden = true;
    }

    /** Says a state in words. */
    show(name, message) {
        document.body.dataset.state = name;
        if (this.#state.textContent !== message) this.#state.textContent = message;
        this.#stop.disabled = name === "idle";
        if (name === "blocked") this.#play.hidden = false;
        this.#on.shown(this.#now?.hit ?? null, name);
    }

    #begin(request, chosen, { isPreview = false, hit = null, tell = (failure) => this.#notice.show(failure) } = {}) {
        this.stop("");
        this.#on.begins();
        this.#facts.clear();
        this.#heard = null;
        this.#download.hidden = true;
        const utterance = new Utterance(request, chosen, byId("ear"), this.#events());
        this.#now = { utterance, isPreview, hit, tell, streams: chosen.streams, unheard: null, cut: null };
        this.#facts.follow(utterance.player, isPreview || hit ? 0 : this.#composer.guessSeconds);
        this.show("asking", chosen.streams ? "Asking …" : "Fetching it whole …");
        utterance.run();
    }

    #events() {
        let first = true;
        return {
            head: (head) => this.#facts.head(head),
            bytes: (number) => this.#facts.bytes(number),
            sound: (ms) => {
                if (first) this.#facts.sound(ms);
                first = false;
                this.#heed();
                this.#sun.sing(this.#now.utterance.player);
                const { isPreview, hit, cut } = this.#now;
                const live = isPreview ? "A preview." : hit ? `Reading “${hit.title}”.` : "Speaking.";
                this.show("speaking", cut ? REST : live);
            },
            starved: () => this.show("speaking", "Waiting for more sound …"),
            blocked: (why) => this.#blocked(why),
            received: () => this.#facts.whole(),
            cut: (failure) => this.#cut(failure),
            ended: () => this.#end(this.#now.cut ?? "Spoken."),
            failed: (failure) => {
                const { tell } = this.#now;
                this.#end(failure.status === 401 ? failure.message : "It did not work.");
                this.#on.complain(failure, this.#again, tell);
            },
        };
    }

    /** The browser refused, or something paused us: a person's press is needed. */
    #blocked(why) {
        this.#heed();
        this.#sun.rest();
        const refused = "The browser does not play sound by itself. Press Play.";
        this.show("blocked", why === "refused" ? refused : "Paused. Press Play to go on.");
        this.#now.unheard = setTimeout(() => {
            // What is held for nobody is given back: memory is for those who listen.
            if (!this.#now?.utterance.receiving) return;
            this.stop("Nobody listened, so the stream was let go. Press Play to hear it from the start.");
            this.#play.hidden = false;
        }, UNHEARD_MS);
    }

    /** Somebody listens: nothing is waited for any more. */
    #heed() {
        clearTimeout(this.#now?.unheard);
        this.#play.hidden = true;
    }

    #cut(failure) {
        const after = seconds(this.#now.utterance.player.arrived || NaN);
        this.#now.cut = `Connection lost after ${after}: ${lower(failure.message)}`;
        this.show("speaking", REST);
        this.#now.tell({ message: this.#now.cut, retrySeconds: 0 });
    }

    /** All is still; what was heard can be kept. */
    #end(message) {
        let words = message;
        if (this.#now) {
            this.#heed();
            this.#facts.stop();
            this.#sun.rest();
            this.#heard = this.#now.isPreview ? null : this.#now.utterance.recording;
            this.#now = null;
        }
        this.#play.hidden = true;
        this.#download.hidden = !this.#heard?.kept;
        if (this.#heard?.bytes > 0 && !this.#heard.whole) {
            words += " Too long to be kept here; the curl line below saves it.";
        }
        this.show("idle", words);
    }
}
