// One hit as it is shown: picture, title, snippet, what is known of it, and the button that reads it aloud.
// Invariant: whatever an index says becomes text, never markup.

import { say } from "./fields.js";
import { made } from "./node.js";
import { leading, picture } from "./picture.js";
import { nodes } from "./snippet.js";

const DAY = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
/** The button's words and sign, by what the page is doing with this hit. */
const READING = {
    idle: ["Read it to me", "M5 10v4M9 7v10M13 4v16M17 8v8M21 11v2"],
    asking: ["Stop", "M7 7h10v10H7z"],
    speaking: ["Stop", "M7 7h10v10H7z"],
    blocked: ["Play", "M8 5v14l11-7z"],
};
const SVG = "http://www.w3.org/2000/svg";

/** Names for those that are shown, so that a button can say which title it reads. */
let number = 0;

/** A hit of the library. `press(hit, state)` is told of its button. */
export class Hit {
    #button = made("button", { type: "button", class: "hit-read" });
    #label = made("span");
    #sign = document.createElementNS(SVG, "path");
    #title;
    #state;

    constructor(hit, press) {
        this.hit = hit;
        number += 1;
        const name = `hit-${number}`;
        this.root = made("li", { class: "hit" });
        this.#title = hit.link ? leading(hit.link) : made("span");
        this.#title.append(hit.title);
        const title = made("h3", { id: name, dir: "auto" });
        title.append(this.#title);
        this.#button.id = `${name}-read`;
        this.#label.id = `${name}-label`;
        this.#button.setAttribute("aria-labelledby", `${this.#label.id} ${name}`);
        this.#button.append(signed(this.#sign), this.#label);
        this.#button.addEventListener("click", () => press(hit, this.#state));
        const words = made("div", { class: "hit-words" });
        words.append(title, ...snippet(hit.snippet), about(hit), this.#button);
        this.root.append(...picture(hit), words);
        this.reading("idle");
    }

    /** Where the keyboard goes: what Enter opens, or else reads. */
    get focusable() {
        return this.hit.link ? this.#title : this.#button;
    }

    /** Shows what is being done with it: idle, asking, speaking or blocked. */
    reading(state) {
        if (state === this.#state) return;
        this.#state = state;
        const [label, sign] = READING[state];
        say(this.#label, label);
        this.#sign.setAttribute("d", sign);
        this.#sign.parentNode.classList.toggle("solid", state !== "idle");
        this.root.classList.toggle("reading", state !== "idle");
    }
}

function snippet(html) {
    if (html === "") return [];
    const shown = made("p", { class: "hit-snippet", dir: "auto" });
    shown.append(...nodes(html));
    return [shown];
}

/** Its type, whose it is, when it was made, where it leads, what it is about. */
function about({ type, creator, made: when, link, hasAudio, tags }) {
    const away = link && link.origin !== location.origin;
    const words = [type, creator, time(when), away && link.host, hasAudio && "with sound", ...tags.map((t) => `#${t}`)];
    const line = made("p", { class: "hit-about" });
    for (const word of words.filter(Boolean)) {
        const node = word instanceof Node ? word : made("span", { dir: "auto" });
        if (node !== word) node.append(word);
        line.append(...(line.childNodes.length > 0 ? [" · "] : []), node);
    }
    return line;
}

function time(when) {
    if (Number.isNaN(when.getTime())) return null;
    const shown = made("time", { datetime: when.toISOString() });
    shown.append(DAY.format(when));
    return shown;
}

function signed(path) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.append(path);
    return svg;
}
