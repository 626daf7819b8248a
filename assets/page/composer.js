// The form: text with its count, samples, speed, format and their memory. It knows what is to be
// said and checks what can be checked here; what the server finds is put at the same fields.

import { at } from "./api.js";
import { FORMATS, way } from "./ways.js";
import { characters, count } from "./words.js";

/** OpenAI's limit, and the server's. */
const CHARACTERS_MOST = 4096;
/** The speeds of the slider: fine around 1, coarse at the ends, 1 near the middle. */
const SPEEDS = [
    0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2,
    1.25, 1.3, 1.4, 1.5, 1.6, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.5, 4,
];
const SETTINGS_NAME = "evensong.settings";

const SAMPLES = {
    evening:
        "Good evening. The lamps are lit, the kettle sings, and the last train has found its way " +
        "home. Sit down for a moment. There is nothing left to do but listen.",
    numbers:
        "On 21 March 2026, at 6:45 p.m., the hill stood 312.5 metres high, the air was 7 degrees, " +
        "and a loaf of bread cost £3.20. Call 555 0199 if you remember it differently.",
    list:
        "First, the harbour: fog until nine. Second, the hills: clear, with a light wind from the " +
        "north. Third, the night: no moon, many stars. That is all for today; sleep well.",
    long:
        "The bell in the tower rang for evensong at six, as it had done for longer than anybody " +
        "could say. Down by the river the ferryman tied up his boat, counted the day's coins, and " +
        "listened. He knew every stroke of that bell. He knew the small crack in its voice, which " +
        "came in a winter so cold that the ducks walked home, and he knew how the sound went out " +
        "across the water, touched the far bank, and came back a little softer, as if the hills had " +
        "thought about it first.\n\nTonight there was something new in it. Between the third stroke " +
        "and the fourth he heard a voice, and then another, and then so many that he could no longer " +
        "tell them apart. They were singing from the meadow behind the church, where nobody had sung " +
        "for years. The ferryman put his coins away. He stepped ashore, left the lantern burning, " +
        "and walked towards the song without asking himself who it was for.",
};

/** The form. `on.changed()` is told when anything is changed. */
export class Composer {
    #form = document.getElementById("composer");
    #text = document.getElementById("text");
    #count = document.getElementById("count");
    #speed = document.getElementById("speed");
    #speedValue = document.getElementById("speed-value");
    #way = document.getElementById("way");
    #curl = document.getElementById("curl");
    #settings = settings();
    #on;
    #voice = null;
    #keyed = false;

    constructor(on) {
        this.#on = on;
        if (this.#text.value === "") this.#text.value = SAMPLES.evening;
        this.#speed.max = SPEEDS.length - 1;
        this.#speed.value = Math.max(0, SPEEDS.indexOf(this.#settings.speed ?? 1));
        const format = this.#radio(this.#settings.format) ?? this.#radio(FORMATS[0]);
        format.checked = true;
        this.#form.addEventListener("input", () => this.#changed());
        for (const button of this.#form.querySelectorAll("[data-sample]")) {
            button.addEventListener("click", () => this.#take(SAMPLES[button.dataset.sample]));
        }
        this.#changed();
    }

    /** Seconds that the sound may take, until they are known: about 15 characters are one. */
    get guessSeconds() {
        return characters(this.#text.value) / 15 / this.#speedNow;
    }

    /** The key of the voice that was chosen last time. */
    get rememberedVoice() {
        return this.#settings.voice;
    }

    /** The voice to speak with. */
    set voice(voice) {
        this.#voice = voice;
        this.#changed();
    }

    /** Whether a key is sent; the line for a terminal then says where it goes. */
    set keyed(keyed) {
        this.#keyed = keyed;
        this.#curl.textContent = curl(this.body, keyed);
    }

    /** How the chosen format is played here. */
    get way() {
        return way(this.#format);
    }

    /** What is wrong with the form as it stands: {param, message}, or null. */
    get flaw() {
        const input = this.#text.value;
        if (input.trim() === "") {
            return { param: "input", message: "Write something to be said." };
        }
        const over = characters(input) - CHARACTERS_MOST;
        if (over <= 0) return null;
        return { param: "input", message: `${count(over)} characters too many: 4,096 is the most.` };
    }

    /** How anything is to be spoken: {voice, model, speed}. */
    get wish() {
        const { voice, model, speed } = this.body;
        return { voice, model, speed };
    }

    /** The request's body. */
    get body() {
        return {
            model: this.#voice?.model ?? "tts-1",
            input: this.#text.value,
            voice: this.#voice?.id ?? "alloy",
            response_format: this.way.asks,
            speed: this.#speedNow,
        };
    }

    /** Marks what this build cannot make; the chosen one is kept among those it can. */
    offer(formats) {
        for (const name of FORMATS) {
            const radio = this.#radio(name);
            const missing = !formats.includes(way(name).asks);
            if (radio.disabled === missing) continue;
            radio.disabled = missing;
            radio.closest("label").title = missing ? `${name} is not in this build` : "";
        }
        const can = FORMATS.find((name) => !this.#radio(name).disabled);
        if (this.#radio(this.#format).disabled && can) {
            this.#radio(can).checked = true;
            this.#changed();
        }
    }

    get #format() {
        return this.#form.elements.response_format.value;
    }

    get #speedNow() {
        return SPEEDS[Number(this.#speed.value)];
    }

    #radio(name) {
        return this.#form.querySelector(`[name=response_format][value="${CSS.escape(name ?? "")}"]`);
    }

    #take(text) {
        this.#text.value = text;
        this.#text.scrollTop = 0;
        this.#changed();
    }

    #changed() {
        const number = characters(this.#text.value);
        this.#count.textContent = `${count(number)} / ${count(CHARACTERS_MOST)}`;
        this.#count.dataset.over = number > CHARACTERS_MOST;
        const speed = this.#speedNow;
        this.#speedValue.textContent = `${speed}×`;
        this.#speed.setAttribute("aria-valuetext", `${speed} times`);
        const { note } = this.way;
        if (this.#way.textContent !== note) this.#way.textContent = note;
        this.#curl.textContent = curl(this.body, this.#keyed);
        this.#settings = { voice: this.#voice?.key ?? this.#settings.voice, speed, format: this.#format };
        try {
            localStorage.setItem(SETTINGS_NAME, JSON.stringify(this.#settings));
        } catch {
            // Storage is a convenience.
        }
        this.#on.changed();
    }
}

/** The same request for a terminal, quoted for a shell; the key itself is never part of it. */
function curl(body, keyed) {
    const json = JSON.stringify(body).replaceAll("'", "'\\''");
    const ending = body.response_format;
    const key = keyed ? `-H "authorization: Bearer $EVENSONG_KEY" \\\n  ` : "";
    return `curl ${at("v1/audio/speech")} ${key}-H 'content-type: application/json' \\\n  -d '${json}' \\\n  -o evensong.${ending}`;
}

function settings() {
    try {
        return JSON.parse(localStorage.getItem(SETTINGS_NAME)) ?? {};
    } catch {
        return {};
    }
}
