// The switch that says which way questions go: by two calls, or over one socket. Invariant: it stays as it was left, and cannot be
// set where the browser could not play what comes over a socket.

import { supported } from "./player-pcm.js";

const NAME = "evensong.socket";

/** The switch in `box`; `changed()` is told when somebody sets it. */
export class SocketSwitch {
    #box;

    constructor(box, changed) {
        this.#box = box;
        box.disabled = !supported();
        if (box.disabled) box.closest("label").title = "This browser plays no bare samples here: it wants https, or localhost.";
        box.checked = !box.disabled && kept();
        box.addEventListener("change", () => {
            keep(box.checked);
            changed();
        });
    }

    /** Whether questions go over one socket. */
    get isOn() {
        return this.#box.checked;
    }

    /** For this visit only. */
    set isOn(isOn) {
        this.#box.checked = isOn;
    }
}

function kept() {
    try {
        return localStorage.getItem(NAME) === "on";
    } catch {
        return false;
    }
}

function keep(isOn) {
    try {
        if (isOn) localStorage.setItem(NAME, "on");
        else localStorage.removeItem(NAME);
    } catch {
        // Storage is a convenience.
    }
}
