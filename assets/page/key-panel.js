// Where a key is asked for, and where it can be forgotten. Nothing of it is seen on a server that
// asks for none. The key itself stands in the field while it is typed and nowhere else.

import { Countdown } from "./countdown.js";
import { say } from "./fields.js";
import * as key from "./key.js";

const NO_KEY = "Enter the key: letters, digits and signs, without spaces in between.";
const KEPT = {
    tab: "It is kept for this tab only, and gone when the tab is closed.",
    device: "It is kept in this browser until you forget it. Not for a device that others use.",
};

/** The panel. `on.given()`: a key is there to go on with; `on.taken()`; `on.changed(held, why)`. */
export class KeyPanel {
    #panel = document.getElementById("key-panel");
    #field = document.getElementById("key");
    #eye = document.getElementById("key-show");
    #remember = document.getElementById("key-remember");
    #error = document.getElementById("key-error");
    #dropHere = document.getElementById("key-drop");
    #inUse = document.getElementById("key-used");
    #use = new Countdown(document.getElementById("key-use"), "Use key");
    /** Where the focus came from. */
    #opener = null;
    /** Whether the last key was refused, also one that was not typed here. */
    #refused = false;
    #on;

    constructor(on) {
        this.#on = on;
        document.getElementById("key-form").addEventListener("submit", (event) => {
            event.preventDefault();
            this.#submit();
        });
        this.#field.addEventListener("input", () => this.#complain(""));
        this.#eye.addEventListener("click", () => this.#reveal(this.#field.type === "password"));
        this.#remember.addEventListener("change", () => this.#explain());
        for (const button of [this.#dropHere, document.getElementById("key-forget")]) {
            button.addEventListener("click", () => key.forget());
        }
        key.watch((now, why) => this.#changed(now, why));
        this.#changed(key.state());
    }

    /** Whether a failure is told here: a key is missing, refused or too weak, or being tried in vain. */
    concerns({ status, code }) {
        if (status === 401 || code === "missing_scope") return true;
        return status === 429 && this.#open;
    }

    /** Asks for a key, with what is wrong; `focus` where a person's own doing has led here. */
    ask({ status, message, retrySeconds }, { focus }) {
        const inside = this.#panel.contains(document.activeElement);
        if (!inside) this.#opener = document.activeElement;
        if (!this.#open) {
            this.#remember.checked = key.state().onDevice;
            this.#explain();
        }
        this.#panel.hidden = false;
        this.#use.start(status === 429 ? (retrySeconds ?? 0) : 0);
        // A first 401 is no one's mistake: the headline says all.
        const first = status === 401 && !this.#field.value && !this.#refused;
        this.#complain(first ? "" : message);
        if (!focus && !inside) return;
        this.#field.focus();
        this.#field.select();
    }

    /** A new attempt tells anew what is wrong; not on somebody who types, or while there is no key. */
    clear() {
        if (this.#open && key.state().taken && !this.#field.value) this.#close();
    }

    get #open() {
        return !this.#panel.hidden;
    }

    #submit() {
        if (this.#use.waiting) return;
        this.#reveal(false);
        if (key.use(this.#field.value, this.#remember.checked)) return this.#on.given();
        this.#complain(NO_KEY);
        this.#field.focus();
    }

    #changed(now, why) {
        const leaving = [this.#inUse, this.#dropHere].some((n) => n.contains(document.activeElement));
        this.#refused = why === "refused";
        this.#inUse.hidden = !now.taken;
        this.#dropHere.hidden = !now.taken;
        say(this.#inUse.querySelector("p"), now.taken ? inUse(now) : "");
        if (why === "taken") this.#close();
        if (why === "forgotten") this.#forgotten(leaving);
        this.#on.changed(now.held, why);
        if (why === "taken") this.#on.taken();
    }

    /** `leaving`: the button that was pressed here is no more; another tab presses none. */
    #forgotten(leaving) {
        this.#field.value = "";
        this.#complain("");
        if (!leaving) return;
        if (this.#open) this.#field.focus();
        else this.#giveBack(null);
    }

    /** The key has served: the panel goes, and the focus with it, to where it came from. */
    #close() {
        const inside = this.#panel.contains(document.activeElement);
        this.#field.value = "";
        this.#complain("");
        this.#use.stop();
        this.#panel.hidden = true;
        if (inside) this.#giveBack(this.#opener);
        this.#opener = null;
    }

    #giveBack(to) {
        const good = to?.isConnected && to !== document.body && to.checkVisibility();
        // Where nobody answers, there is nothing to be asked.
        const others = ["question", "speak"].map((id) => document.getElementById(id));
        (good ? to : others.find((one) => one.checkVisibility()))?.focus({ preventScroll: !good });
    }

    #complain(message) {
        say(this.#error, message);
        this.#error.hidden = message === "";
        if (message) this.#field.setAttribute("aria-invalid", "true");
        else this.#field.removeAttribute("aria-invalid");
    }

    #reveal(seen) {
        this.#field.type = seen ? "text" : "password";
        this.#eye.setAttribute("aria-pressed", String(seen));
    }

    #explain() {
        const kept = this.#remember.checked ? KEPT.device : KEPT.tab;
        say(document.getElementById("key-kept"), kept);
    }
}

function inUse({ onDevice }) {
    return onDevice ? "A key is in use, remembered on this device." : "A key is in use, for this tab only.";
}
