// Wires the page: one utterance at a time, from the form to the ear. The state it shows is one of
// idle, asking, speaking, blocked; all that lives during an utterance is given back at its end.

import { Composer } from "./composer.js";
import { Facts } from "./facts.js";
import { KeyPanel } from "./key-panel.js";
import * as library from "./library.js";
import { Notice } from "./notice.js";
import { SearchCard } from "./search.js";
import { speakable } from "./speakable.js";
import { Status } from "./status.js";
import { Sun } from "./sun.js";
import { Utterance } from "./utterance.js";
import { VoicePicker } from "./voice-picker.js";
import { firstChoice, loadVoices } from "./voices.js";
import { PREVIEW } from "./ways.js";
import { lower, seconds } from "./words.js";

/** A stream that nobody hears is let go after this; the server would cut it at twice the time. */
const UNHEARD_MS = 10_000;
/** However long a server says that its list is not to be had. */
const RELIST_MS_MOST = 3_600_000;

/** What is said while the rest of a broken stream sounds. */
const REST = "Playing what has arrived.";

const byId = (id) => document.getElementById(id);
const [form, state, stopButton, playButton] = ["composer", "state", "stop", "play"].map(byId);
const [download, voiceButton] = ["download", "voice"].map(byId);

const facts = new Facts();
const sun = new Sun(byId("sun"));
const notice = new Notice(() => again());
const composer = new Composer({ changed: () => {} });
const picker = new VoicePicker({
    chosen: choose,
    preview: (voice) => preview(voice),
    closed: () => now?.isPreview && stop("Stopped."),
});

/** Why the server's list of voices is not there, and when it is asked for again. */
let unlisted = null;
let relisting = null;
/** What a person wanted when a key was asked for. */
let wanted = null;
const panel = new KeyPanel({
    given() {
        // One request with a new key, not two: a refused one counts against its sender.
        const act = wanted ?? voices;
        wanted = null;
        act();
    },
    taken() {
        if (!now) show("idle", "The key is in use.");
        if (unlisted) voices();
        search.unlock();
    },
    changed: (held, why) => {
        composer.keyed = held;
        if (why === "forgotten" && !now) show("idle", "The key is forgotten.");
    },
});

const search = new SearchCard({
    read,
    stop: () => stop("Stopped."),
    resume: () => now?.utterance.player.resume(),
    refused: (failure, act, byHand) => panel.concerns(failure) && askForKey(failure, act, byHand),
});

/**
 * What is being spoken: {utterance, isPreview, hit, tell, streams, unheard, cut}; null when all is still. `hit`: what the
 * search found and is read; `tell` says failures where it was begun.
 */
let now = null;
/** What was heard last, for the download. */
let heard = null;
/** What "try again" and a Play after a let-go stream do. */
let again = () => speak();

function speak() {
    notice.clear();
    const { flaw } = composer;
    if (flaw) {
        stop("Nothing to say yet.");
        return notice.show(flaw);
    }
    again = speak;
    begin({ path: "v1/audio/speech", body: composer.body }, composer.way);
}

function preview(voice) {
    if (!voice?.previewUrl) return;
    notice.clear();
    again = () => preview(voice);
    begin({ path: voice.previewUrl }, PREVIEW, { isPreview: true });
}

/** Reads aloud what was found; its text is fetched first, which Stop ends as well. */
function read(hit) {
    notice.clear();
    again = () => read(hit);
    const tell = (failure) => search.complain(failure, again);
    const body = async (signal) => {
        const input = speakable(await library.read(hit.id, signal));
        return { ...composer.body, input };
    };
    begin({ path: "v1/audio/speech", body }, composer.way, { hit, tell });
}

function begin(request, chosen, { isPreview = false, hit = null, tell = (failure) => notice.show(failure) } = {}) {
    stop("");
    panel.clear();
    facts.clear();
    heard = null;
    download.hidden = true;
    const utterance = new Utterance(request, chosen, byId("ear"), events());
    now = { utterance, isPreview, hit, tell, streams: chosen.streams, unheard: null, cut: null };
    facts.follow(utterance.player, isPreview || hit ? 0 : composer.guessSeconds);
    show("asking", chosen.streams ? "Asking …" : "Fetching it whole …");
    utterance.run();
}

function events() {
    let first = true;
    return {
        head: (head) => facts.head(head),
        bytes: (number) => facts.bytes(number),
        sound(ms) {
            if (first) facts.sound(ms);
            first = false;
            heed();
            sun.sing(now.utterance.player);
            const live = now.isPreview ? "A preview." : now.hit ? `Reading “${now.hit.title}”.` : "Speaking.";
            show("speaking", now.cut ? REST : live);
        },
        starved: () => show("speaking", "Waiting for more sound …"),
        blocked,
        received: () => facts.whole(),
        cut: (failure) => cut(failure),
        ended: () => end(now.cut ?? "Spoken."),
        failed(failure) {
            const { tell } = now;
            end(failure.status === 401 ? failure.message : "It did not work.");
            complain(failure, tell);
        },
    };
}

/** The browser refused, or something paused us: a person's press is needed. */
function blocked(why) {
    heed();
    sun.rest();
    const refused = "The browser does not play sound by itself. Press Play.";
    show("blocked", why === "refused" ? refused : "Paused. Press Play to go on.");
    now.unheard = setTimeout(() => {
        // What is held for nobody is given back: memory is for those who listen.
        if (!now?.utterance.receiving) return;
        stop("Nobody listened, so the stream was let go. Press Play to hear it from the start.");
        playButton.hidden = false;
    }, UNHEARD_MS);
}

/** Somebody listens: nothing is waited for any more. */
function heed() {
    clearTimeout(now?.unheard);
    playButton.hidden = true;
}

function cut(failure) {
    const after = seconds(now.utterance.player.arrived || NaN);
    now.cut = `Connection lost after ${after}: ${lower(failure.message)}`;
    show("speaking", REST);
    now.tell({ message: now.cut, retrySeconds: 0 });
}

function complain(failure, tell) {
    if (picker.open && failure.status !== 401) return picker.say(failure.message);
    if (!panel.concerns(failure)) return tell(failure);
    picker.close();
    askForKey(failure, again, true);
}

/** Asks for a key, with which `act` is done; the focus goes there where a person's own doing has led to it. */
function askForKey(failure, act, focus) {
    wanted = act;
    panel.ask(failure, { focus });
    return true;
}

function stop(message) {
    // Before the player is closed: it knows how much was heard.
    facts.stop();
    now?.utterance.stop();
    end(message);
}

/** All is still; what was heard can be kept. */
function end(message) {
    if (now) {
        heed();
        facts.stop();
        sun.rest();
        heard = now.isPreview ? null : now.utterance.recording;
        now = null;
    }
    playButton.hidden = true;
    download.hidden = !heard?.kept;
    if (heard?.bytes > 0 && !heard.whole) {
        message += " Too long to be kept here; the curl line below saves it.";
    }
    show("idle", message);
}

function show(name, message) {
    document.body.dataset.state = name;
    if (state.textContent !== message) state.textContent = message;
    stopButton.disabled = name === "idle";
    if (name === "blocked") playButton.hidden = false;
    search.reading(now?.hit ?? null, name);
}

function choose(voice) {
    composer.voice = voice;
    notice.clearField("voice");
    voiceButton.querySelector("strong").textContent = voice.name;
    const about = [voice.family, voice.gender].filter(Boolean).join(", ");
    voiceButton.querySelector("small").textContent = voice.language ? about : "";
    byId("voice-hear").disabled = !voice.previewUrl;
}

async function voices() {
    clearTimeout(relisting);
    unlisted = null;
    const { voices: all, notice: why, failure } = await loadVoices(composer.rememberedVoice);
    const chosen = firstChoice(all, composer.rememberedVoice);
    picker.fill(all, chosen);
    choose(chosen);
    byId("voices-notice").textContent = why ?? "";
    byId("voices-notice").hidden = why === null;
    unlisted = failure;
    // Without the list there is still speech, for which a key may have another scope.
    if (!failure || failure.status === 403) return;
    if (failure.status === 401 && !now) show("idle", failure.message);
    if (panel.concerns(failure)) panel.ask(failure, { focus: false });
    if (failure.status === 429 && failure.retrySeconds > 0) {
        relisting = setTimeout(voices, Math.min(failure.retrySeconds * 1000, RELIST_MS_MOST));
    }
}

function listen() {
    form.addEventListener("submit", (event) => {
        event.preventDefault();
        speak();
    });
    form.addEventListener("input", ({ target }) => {
        const param = { text: "input", speed: "speed" }[target.id] ?? target.name;
        if (param === "input" || param === "speed" || param === "response_format") {
            notice.clearField(param);
        }
    });
    stopButton.addEventListener("click", () => stop("Stopped."));
    playButton.addEventListener("click", () => (now ? now.utterance.player.resume() : again()));
    download.addEventListener("click", () => heard?.save());
    voiceButton.addEventListener("click", () => picker.show());
    byId("voice-hear").addEventListener("click", () => preview(picker.chosen));
    document.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            if (!picker.open) speak();
        } else if (event.key === "Escape" && !picker.open && now) {
            stop("Stopped.");
        }
    });
    // A page that is left or kept for later holds no stream.
    addEventListener("pagehide", () => stop("Stopped."));
}

facts.clear();
listen();
show("idle", "Ready.");
voices();
new Status({
    formats: (names) => composer.offer(names),
    search: (there) => (search.there = there),
});
