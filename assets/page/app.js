// Wires the page. Invariant: one thing sounds at a time, whoever began it: the dialogue, the form, what was found, or a voice.

import { Composer } from "./composer.js";
import { DialogueCard } from "./dialogue-card.js";
import { Facts } from "./facts.js";
import { Gallery } from "./gallery.js";
import { KeyPanel } from "./key-panel.js";
import { Notice } from "./notice.js";
import { SearchCard } from "./search.js";
import { Speaker } from "./speaker.js";
import { Status } from "./status.js";
import { Sun } from "./sun.js";
import { VoiceChoice } from "./voice-choice.js";

const byId = (id) => document.getElementById(id);
const form = byId("composer");

const facts = new Facts();
const sun = new Sun(byId("sun"));
const notice = new Notice(() => speaker.again());
const composer = new Composer({ changed: () => {} });

/** What a person wanted when a key was asked for. */
let wanted = null;
const panel = new KeyPanel({
    given() {
        // One request with a new key, not two: a refused one counts against its sender.
        const act = wanted ?? (() => voices.load());
        wanted = null;
        act();
    },
    taken() {
        if (!speaker.isOn) speaker.show("idle", "The key is in use.");
        voices.mend();
        search.unlock();
    },
    changed: (held, why) => {
        composer.keyed = held;
        if (why === "forgotten" && !speaker.isOn) speaker.show("idle", "The key is forgotten.");
    },
});

const speaker = new Speaker(
    { composer, facts, sun, notice },
    {
        begins() {
            if (dialogue.isOn) dialogue.stop();
            panel.clear();
        },
        shown: (hit, state) => search?.reading(hit, state),
        complain,
    },
);

const voices = new VoiceChoice(() => composer.rememberedVoice, {
    chosen(voice) {
        composer.voice = voice;
        notice.clearField("voice");
    },
    preview: (voice) => speaker.preview(voice),
    closed: () => speaker.isPreview && speaker.stop("Stopped."),
    refused(failure) {
        if (failure.status === 401 && !speaker.isOn) speaker.show("idle", failure.message);
        if (panel.concerns(failure)) panel.ask(failure, { focus: false });
    },
});

const search = new SearchCard({
    read: (hit) => speaker.read(hit, (failure, again) => search.complain(failure, again)),
    stop: () => speaker.stop("Stopped."),
    resume: () => speaker.resume(),
    refused: (failure, act, byHand) => panel.concerns(failure) && askForKey(failure, act, byHand),
});

const dialogue = new DialogueCard({
    wish: () => composer.wish,
    begins() {
        speaker.yield();
        panel.clear();
        facts.clear();
    },
    met: (accepted) => facts.head({ ...accepted, type: accepted.format }),
    bytes: (number) => facts.bytes(number),
    sound(player, firstMs) {
        facts.sound(firstMs);
        facts.follow(player, null);
        sun.sing(player);
    },
    told: (timings) => facts.server(timings.first_audio_ms),
    quiet() {
        facts.stop();
        sun.rest();
    },
    refused: (failure, again) => panel.concerns(failure) && askForKey(failure, again, true),
});

function complain(failure, again, tell) {
    const { picker } = voices;
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

function listen() {
    form.addEventListener("submit", (event) => {
        event.preventDefault();
        speaker.speak();
    });
    form.addEventListener("input", ({ target }) => {
        const param = { text: "input", speed: "speed" }[target.id] ?? target.name;
        if (param === "input" || param === "speed" || param === "response_format") {
            notice.clearField(param);
        }
    });
    document.addEventListener("keydown", (event) => {
        if (voices.picker.open) return;
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            if (dialogue.isTyped) dialogue.submit();
            else speaker.speak();
        } else if (event.key === "Escape") {
            if (speaker.isOn) speaker.stop("Stopped.");
            if (dialogue.isOn) dialogue.stop();
        }
    });
    // A page that is left or kept for later holds no stream.
    addEventListener("pagehide", () => {
        speaker.stop("Stopped.");
        dialogue.leave();
    });
}

facts.clear();
listen();
speaker.show("idle", "Ready.");
voices.load();
new Status({
    formats: (names) => composer.offer(names),
    search: (there) => (search.there = there),
    answering: (who) => dialogue.answers(who),
});
new Gallery();
