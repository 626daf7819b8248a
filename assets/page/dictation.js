// A question that is spoken, by the browser's own recognition of speech, where it has one: held down while one speaks, or
// tapped once to begin and once to end. Invariants: it listens only after a press, and no longer than it takes; what it heard
// comes once, or why there is nothing.

const Recognition = globalThis.SpeechRecognition ?? globalThis.webkitSpeechRecognition;

/** A press that is shorter is a tap: the next one ends it. */
const TAP_MS = 350;
/** Nobody asks for longer. */
const LISTENS_MS_MOST = 60_000;
/** What a person can do about it. */
const TROUBLE = {
    "not-allowed": "The browser may not use the microphone here. Allow it beside the address, or type.",
    "service-not-allowed": "This browser does not let pages turn speech into text. Type instead.",
    "audio-capture": "No microphone is to be had. Type instead.",
    network: "The browser's recognition of speech cannot be reached. Type instead.",
    "language-not-supported": "The browser does not understand this language. Type instead.",
    "no-speech": "Nothing was heard. Hold the button while you speak.",
};

/** Whether this browser can. */
export function supported() {
    return Boolean(Recognition);
}

/** The button. `on`: begins(), text(what is heard so far), heard(question), nothing(why, "" if it was given up). */
export class Dictation {
    #button;
    #on;
    #recognition = null;
    #pressedAt = 0;
    #isHeld = false;
    #timer = null;
    #text = "";
    #trouble = "";

    constructor(button, on) {
        this.#button = button;
        this.#on = on;
        button.hidden = !supported();
        button.addEventListener("pointerdown", ({ button: which, pointerId }) => {
            if (which !== 0) return;
            // What is said beneath may move the button away from under the pointer.
            button.setPointerCapture(pointerId);
            this.#press();
        });
        button.addEventListener("keydown", (event) => this.#key(event, () => this.#press()));
        button.addEventListener("keyup", (event) => this.#key(event, () => this.#release()));
        for (const type of ["pointerup", "pointercancel", "blur"]) button.addEventListener(type, () => this.#release());
        // A touch that is held is no wish for a menu.
        button.addEventListener("contextmenu", (event) => event.preventDefault());
    }

    /** Whether it listens. */
    get isOn() {
        return this.#recognition !== null;
    }

    /** Listens no more, and wants nothing of it. */
    give() {
        if (!this.isOn) return;
        this.#text = "";
        this.#trouble = "";
        this.#recognition.abort();
    }

    #key(event, act) {
        if (event.key !== " " && event.key !== "Enter") return;
        event.preventDefault();
        if (!event.repeat) act();
    }

    #press() {
        this.#isHeld = true;
        this.#pressedAt = performance.now();
        if (this.isOn) return this.#recognition.stop();
        this.#listen();
    }

    #release() {
        if (!this.#isHeld) return;
        this.#isHeld = false;
        if (performance.now() - this.#pressedAt > TAP_MS) this.#recognition?.stop();
    }

    #listen() {
        const recognition = new Recognition();
        Object.assign(recognition, { lang: navigator.language, interimResults: true, continuous: false, maxAlternatives: 1 });
        recognition.onresult = ({ results }) => {
            this.#text = [...results].map(([best]) => best.transcript).join("").trim();
            this.#on.text(this.#text);
        };
        recognition.onerror = ({ error }) => (this.#trouble = error === "aborted" ? "" : (TROUBLE[error] ?? TROUBLE["no-speech"]));
        recognition.onend = () => this.#end();
        [this.#text, this.#trouble] = ["", TROUBLE["no-speech"]];
        this.#recognition = recognition;
        this.#timer = setTimeout(() => recognition.stop(), LISTENS_MS_MOST);
        this.#show(true);
        this.#on.begins();
        try {
            recognition.start();
        } catch (error) {
            this.#trouble = error.message;
            this.#end();
        }
    }

    #end() {
        clearTimeout(this.#timer);
        const recognition = this.#recognition;
        if (!recognition) return;
        recognition.onresult = recognition.onerror = recognition.onend = null;
        this.#recognition = null;
        this.#show(false);
        if (this.#text) this.#on.heard(this.#text);
        else this.#on.nothing(this.#trouble);
    }

    #show(listens) {
        this.#button.setAttribute("aria-pressed", String(listens));
        this.#button.classList.toggle("listens", listens);
    }
}
