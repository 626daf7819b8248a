// The voice that speaks, for all of the page: the server's list of voices, the dialog in which one is chosen, and the buttons
// that name the chosen one.

import { VoicePicker } from "./voice-picker.js";
import { firstChoice, loadVoices } from "./voices.js";

/** However long a server says that its list is not to be had. */
const RELIST_MS_MOST = 3_600_000;

const byId = (id) => document.getElementById(id);

/** The choice. `on`: chosen(voice), preview(voice), closed(), refused(Failure) where the list is not to be had. */
export class VoiceChoice {
    #on;
    #picker;
    #remembered;
    /** Why the server's list of voices is not there, and when it is asked for again. */
    #unlisted = null;
    #relisting = null;

    constructor(remembered, on) {
        this.#on = on;
        this.#remembered = remembered;
        this.#picker = new VoicePicker({
            chosen: (voice) => this.#choose(voice),
            preview: on.preview,
            closed: on.closed,
        });
        for (const button of document.querySelectorAll("[data-voice]")) button.addEventListener("click", () => this.#picker.show());
        byId("voice-hear").addEventListener("click", () => on.preview(this.#picker.chosen));
    }

    /** The dialog. */
    get picker() {
        return this.#picker;
    }

    /** Asks for the list, unless it is there. */
    mend() {
        if (this.#unlisted) this.load();
    }

    /** Asks for the list. */
    async load() {
        clearTimeout(this.#relisting);
        this.#unlisted = null;
        const { voices: all, notice: why, failure } = await loadVoices(this.#remembered());
        const chosen = firstChoice(all, this.#remembered());
        this.#picker.fill(all, chosen);
        this.#choose(chosen);
        byId("voices-notice").textContent = why ?? "";
        byId("voices-notice").hidden = why === null;
        this.#unlisted = failure;
        // Without the list there is still speech, for which a key may have another scope.
        if (!failure || failure.status === 403) return;
        this.#on.refused(failure);
        if (failure.status === 429 && failure.retrySeconds > 0) {
            this.#relisting = setTimeout(() => this.load(), Math.min(failure.retrySeconds * 1000, RELIST_MS_MOST));
        }
    }

    #choose(voice) {
        this.#on.chosen(voice);
        const about = [voice.family, voice.gender].filter(Boolean).join(", ");
        for (const button of document.querySelectorAll("[data-voice]")) {
            button.querySelector("strong").textContent = voice.name;
            button.querySelector("small").textContent = voice.language ? about : "";
        }
        byId("voice-hear").disabled = !voice.previewUrl;
    }
}
