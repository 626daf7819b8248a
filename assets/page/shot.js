// One file of the gallery in a box of one shape. Invariant: only what is near the screen has an element that holds its bytes;
// what moves stands still where that is wished for, until it is asked for.

import { made } from "./node.js";
import { leading } from "./picture.js";
import { bytes } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const SIGNS = { Move: "M8 5v14l11-7z", Hold: "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z" };
/** Of a poster, at most: as large as a box on a fine screen. */
const POSTER = { width: 480, height: 360 };

/** A file of the listing. `shown(shot)` is told each time that it has come. */
export class Shot {
    #file;
    #shown;
    #frame;
    #button = null;
    #near = false;
    #still = false;
    /** Whether it was asked for while others stand. */
    #plays = false;

    constructor(file, shown) {
        this.#file = file;
        this.#shown = shown;
        const { name, kind } = file;
        // A film or a sound has controls of its own, and a link around them would take their clicks.
        this.#frame = kind === "picture" ? leading(new URL(file.href)) : made("div");
        this.#frame.className = "shot-frame";
        const about = made("p", { class: "shot-about" }, made("span", { dir: "auto", title: name }, name));
        if (file.bytes !== null) about.append(made("small", {}, bytes(file.bytes)));
        this.root = made("li", { class: "shot" }, this.#frame, about);
    }

    /** What it is called where it cannot be seen. */
    get alt() {
        const words = this.#file.name.replace(/\.[^.]+$/, "").replace(/[-_/]+/g, " ").trim();
        return `${this.#file.kind[0].toUpperCase()}${this.#file.kind.slice(1)}: ${words || this.#file.name}`;
    }

    /** Near the screen, or not any more. */
    set near(near) {
        if (near === this.#near) return;
        this.#near = near;
        this.#draw();
    }

    /** Whether what moves is to stand. */
    set still(still) {
        this.#still = still && this.#file.moves;
        this.#plays = false;
        this.#offer();
        this.#draw();
    }

    #draw() {
        this.root.classList.remove("gone");
        this.#empty();
        if (!this.#near) return;
        if (this.#file.kind === "picture") this.#picture();
        else this.#element();
    }

    /** Lets go of what is in the box: an image without an address has no bytes. */
    #empty() {
        for (const node of this.#frame.children) {
            node.pause?.();
            node.removeAttribute("src");
            if (node instanceof HTMLMediaElement) node.load();
        }
        this.#frame.replaceChildren();
    }

    #picture() {
        const image = made("img", { loading: "lazy", decoding: "async", width: "240", height: "180", alt: this.alt });
        const here = () => image.parentNode === this.#frame;
        image.addEventListener("load", () => {
            if (!here()) return;
            this.#shown(this);
            if (this.#still && !this.#plays) image.replaceWith(poster(image));
            else image.classList.add("come");
        });
        image.addEventListener("error", () => here() && this.#fail());
        this.#frame.append(image);
        image.src = this.#file.href;
    }

    #element() {
        const name = this.#file.kind === "film" ? "video" : "audio";
        const node = made(name, { controls: "", preload: "none", "aria-label": this.alt });
        node.addEventListener("loadeddata", () => this.#shown(this));
        node.addEventListener("error", () => node.parentNode === this.#frame && this.#fail());
        node.src = this.#file.href;
        this.#frame.append(node);
    }

    #fail() {
        this.root.classList.add("gone");
        this.#empty();
        this.#frame.append(made("span", {}, "It did not come."));
    }

    /** The button by which one alone moves while the others stand. */
    #offer() {
        if (!this.#still) {
            this.#button?.remove();
            this.#button = null;
            return;
        }
        if (!this.#button) {
            this.#button = made("button", { type: "button", class: "round shot-play" }, sign());
            this.#button.addEventListener("click", () => this.#toggle());
            this.root.append(this.#button);
        }
        this.#name();
    }

    #toggle() {
        this.#plays = !this.#plays;
        this.#name();
        this.#draw();
    }

    #name() {
        const word = this.#plays ? "Hold" : "Move";
        this.#button.querySelector("path").setAttribute("d", SIGNS[word]);
        for (const said of ["aria-label", "title"]) this.#button.setAttribute(said, `${word} ${this.#file.name}`);
    }
}

/** Its first frame. */
function poster(image) {
    const { naturalWidth, naturalHeight } = image;
    const scale = Math.min(1, Math.max(POSTER.width / naturalWidth, POSTER.height / naturalHeight));
    const [width, height] = [naturalWidth, naturalHeight].map((side) => Math.max(1, Math.round(side * scale)));
    const canvas = made("canvas", { width, height, role: "img", "aria-label": image.alt });
    canvas.getContext("2d").drawImage(image, 0, 0, width, height);
    image.removeAttribute("src");
    return canvas;
}

function sign() {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "solid");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.append(document.createElementNS(SVG, "path"));
    return svg;
}
