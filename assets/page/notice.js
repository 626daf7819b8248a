// Says what went wrong: at the field it belongs to, or in one place for the whole page, with a
// button that tries again as soon as the server has said that it may.

import { Countdown } from "./countdown.js";

/** The fields a server's `param` may name, and where their errors stand. */
const FIELDS = {
    input: ["text", "text-error"],
    voice: ["voice", "voice-error"],
    speed: ["speed", "speed-error"],
    response_format: ["formats", "format-error"],
};

/** The page's errors. */
export class Notice {
    #box = document.getElementById("notice");
    #words = document.getElementById("notice-text");
    #retry = document.getElementById("retry");
    #countdown = new Countdown(this.#retry, "Try again");

    constructor(retry) {
        this.#retry.addEventListener("click", () => {
            if (!this.#countdown.waiting) retry();
        });
    }

    /** Nothing is wrong any more. */
    clear() {
        this.#countdown.stop();
        this.#box.hidden = true;
        this.#words.textContent = "";
        for (const param of Object.keys(FIELDS)) this.clearField(param);
    }

    /** A field was changed: what was said of it no longer holds. */
    clearField(param) {
        const [field, error] = place(param);
        if (error.hidden) return;
        error.hidden = true;
        error.textContent = "";
        field.removeAttribute("aria-invalid");
    }

    /** Shows a failure where it belongs; `retrySeconds` null means that trying again is no use. */
    show({ message, param = null, retrySeconds = null }) {
        if (param in FIELDS) this.#atField(param, message);
        else this.#atPage(message, retrySeconds);
    }

    #atField(param, message) {
        const [field, error] = place(param);
        error.textContent = message;
        error.hidden = false;
        field.setAttribute("aria-invalid", "true");
        (field.matches("fieldset") ? field.querySelector(":checked") : field)?.focus();
    }

    #atPage(message, retrySeconds) {
        this.#words.textContent = message;
        this.#box.hidden = false;
        this.#retry.hidden = retrySeconds === null;
        this.#countdown.start(retrySeconds ?? 0);
    }
}

function place(param) {
    return FIELDS[param].map((id) => document.getElementById(id));
}
