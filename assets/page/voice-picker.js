// The dialog in which a voice is chosen: a search field that steers a list (ARIA's combobox with a
// listbox), by arrows, by touch, with a preview of the voice under the cursor.

import { grouped, matching } from "./voices.js";

/** Chooses among voices. `on.chosen(voice)`, `on.preview(voice)`, `on.closed()` are told. */
export class VoicePicker {
    #dialog = document.getElementById("voices");
    #search = document.getElementById("voice-search");
    #list = document.getElementById("voice-list");
    #found = document.getElementById("voice-found");
    #preview = document.getElementById("voice-preview");
    #voices = [];
    #shown = [];
    #active = -1;
    #on;

    constructor(on) {
        this.#on = on;
        this.chosen = null;
        this.#search.addEventListener("input", () => this.#render());
        this.#search.addEventListener("keydown", (event) => this.#key(event));
        this.#list.addEventListener("click", (event) => this.#click(event));
        this.#preview.addEventListener("click", () => this.#on.preview(this.#under()));
        this.#dialog.addEventListener("close", () => this.#on.closed());
        this.#dialog.addEventListener("click", (event) => {
            // A click on the backdrop is one on the dialog itself, not on what is in it.
            if (event.target === this.#dialog) this.#dialog.close();
        });
    }

    /** Gives the voices to choose from and the one that is chosen. */
    fill(voices, chosen) {
        this.#voices = voices;
        this.chosen = chosen;
        this.#render();
    }

    /** Whether the dialog stands open. */
    get open() {
        return this.#dialog.open;
    }

    /** Shows the dialog with the chosen voice in sight. */
    show() {
        this.#search.value = "";
        this.#dialog.showModal();
        this.#render();
        // Under a finger the field would only raise the keyboard over the list.
        if (!matchMedia("(pointer: coarse)").matches) this.#search.focus();
    }

    /** Takes the dialog away. */
    close() {
        this.#dialog.close();
    }

    /** Says something inside the dialog, since what lies behind it is out of reach. */
    say(message) {
        this.#found.textContent = message;
    }

    #key(event) {
        const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
        if (event.key in steps) {
            event.preventDefault();
            this.#move(this.#active + steps[event.key]);
        } else if (event.key === "Enter") {
            event.preventDefault();
            this.#choose(this.#under());
        }
    }

    #click(event) {
        const option = event.target.closest("[role=option]");
        if (!option) return;
        const index = [...this.#list.querySelectorAll("[role=option]")].indexOf(option);
        this.#move(index);
        this.#choose(this.#under());
    }

    #choose(voice) {
        if (!voice) return;
        this.chosen = voice;
        this.#on.chosen(voice);
        this.#dialog.close();
    }

    #under() {
        return this.#shown[this.#active];
    }

    #render() {
        const groups = grouped(matching(this.#voices, this.#search.value));
        this.#shown = groups.flatMap((group) => group.voices);
        this.#list.replaceChildren(...groups.map((group, i) => this.#group(group, i)));
        const number = this.#shown.length;
        this.#found.textContent =
            number === 0 ? "No voice has that in its name." : `${number} voice${number > 1 ? "s" : ""}`;
        const chosen = this.#shown.findIndex((voice) => voice.key === this.chosen?.key);
        this.#move(Math.max(0, chosen));
    }

    #group({ label, voices }, index) {
        const group = element("div", { role: "group", "aria-labelledby": `voice-group-${index}` });
        group.append(element("h3", { id: `voice-group-${index}`, role: "presentation" }, label));
        for (const voice of voices) group.append(this.#option(voice));
        return group;
    }

    #option(voice) {
        const selected = voice.key === this.chosen?.key;
        const option = element("div", {
            role: "option",
            id: `voice-${this.#shown.indexOf(voice)}`,
            "aria-selected": String(selected),
        });
        const tag = voice.language === voice.id ? "" : voice.language;
        const about = [tag, voice.gender, voice.engine].filter(Boolean).join(" · ");
        option.append(element("span", {}, voice.name));
        if (voice.name !== voice.id) option.append(element("code", {}, voice.id));
        if (about) option.append(element("small", {}, about));
        return option;
    }

    #move(to) {
        const options = this.#list.querySelectorAll("[role=option]");
        options[this.#active]?.classList.remove("active");
        this.#active = options.length === 0 ? -1 : Math.max(0, Math.min(to, options.length - 1));
        const option = options[this.#active];
        option?.classList.add("active");
        option?.scrollIntoView({ block: "nearest" });
        this.#search.setAttribute("aria-activedescendant", option?.id ?? "");
        this.#preview.disabled = !this.#under()?.previewUrl;
        const name = this.#under()?.name;
        this.#preview.textContent = name ? `Hear ${name}` : "Hear";
    }
}

function element(name, attributes, text = "") {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return made;
}
