// The gallery: this server's media, a page at a time as one scrolls, with what they cost. Invariant: one listing is under way
// at most; however many are scrolled past, only those near the screen hold bytes; nothing jumps when they come.

import { Failure } from "./api.js";
import { Countdown } from "./countdown.js";
import { Fields, say } from "./fields.js";
import { PAGE, list } from "./media.js";
import { Moved } from "./moved.js";
import { Shot } from "./shot.js";
import { Trouble } from "./trouble.js";
import * as words from "./words.js";

/** How far from the screen pictures are fetched, and kept. */
const NEAR = "120% 0px";
/** How far from its end the list goes on. */
const AHEAD = "600px 0px";
/** Files may still be being made: looked for soon, then less often, and no more once nothing has come for so many times. */
const AGAIN_SECONDS = 3;
const AGAIN_MOST_SECONDS = 60;
const AGAIN_TIMES = 4;
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

const byId = (id) => document.getElementById(id);

/** The card. It asks for nothing until it is nearly in sight. */
export class Gallery {
    #card = byId("gallery");
    #list = byId("gallery-list");
    #more = byId("gallery-more");
    #still = byId("gallery-still");
    #none = byId("gallery-none");
    #again = byId("gallery-again");
    #status = byId("gallery-status");
    #fields = new Fields(this.#card);
    #trouble = new Trouble(byId("gallery-trouble"));
    #countdown = new Countdown(this.#again, "Look again");
    /** Those in the list, by address. */
    #shots = new Map();
    /** Those of them that have come. */
    #seen = new Set();
    #next = null;
    #asking = false;
    /** How often in a row nothing new was found. */
    #quiet = 0;
    /** Whether it was time to look again while nobody looked. */
    #due = false;
    #moved = null;
    #byRoot = new WeakMap();
    #near = watcher(NEAR, (node, near) => (this.#byRoot.get(node).near = near));
    #end = watcher(AHEAD, (_, near) => near && this.#onward());

    constructor() {
        const arrival = watcher(AHEAD, (card, near) => {
            if (!near) return;
            arrival.unobserve(card);
            this.#begin();
        });
        arrival.observe(this.#card);
        this.#more.addEventListener("click", () => this.#onward());
        this.#again.addEventListener("click", () => this.#countdown.waiting || this.#look());
        this.#still.addEventListener("click", () => this.#hold(!this.#isStill));
        STILL.addEventListener("change", () => this.#hold(STILL.matches));
        // What was due while nobody looked is done when somebody does.
        document.addEventListener("visibilitychange", () => this.#due && !document.hidden && this.#look());
        this.#hold(STILL.matches);
    }

    get #isStill() {
        return this.#still.getAttribute("aria-pressed") === "true";
    }

    #begin() {
        this.#moved = new Moved((href) => this.#shots.has(href), () => this.#tell());
        this.#look();
    }

    /** The first page, again: what is new takes its place among the others, what is gone goes. */
    #look() {
        this.#due = false;
        this.#ask(null, () => this.#look(), ({ files, next }) => {
            const news = this.#place(files);
            this.#quiet = news ? 0 : this.#quiet + 1;
            this.#go(next);
        });
    }

    /** The page behind those that are shown. */
    #onward() {
        if (this.#next === null || this.#trouble.waiting) return;
        this.#ask(this.#next, () => this.#onward(), ({ files, next }) => {
            for (const file of files) this.#add(file, null);
            this.#go(next);
        });
    }

    async #ask(after, again, then) {
        if (this.#asking) return;
        this.#asking = true;
        this.#countdown.stop();
        try {
            const page = await list(after, new AbortController().signal);
            this.#asking = false;
            this.#trouble.clear();
            then(page);
        } catch (error) {
            this.#asking = false;
            if (!(error instanceof Failure)) throw error;
            this.#failed(error, again);
        }
    }

    #failed(failure, again) {
        // No media here at all: then there is no gallery either.
        if (failure.status === 404) return (this.#card.hidden = true);
        this.#more.hidden = true;
        this.#none.hidden = true;
        this.#trouble.show(failure, { act: again, itself: [0, 429, 503].includes(failure.status) });
    }

    #add(file, before) {
        if (this.#shots.has(file.href)) return;
        const shot = new Shot(file, () => {
            this.#seen.add(file.href);
            this.#tell();
        });
        shot.still = this.#isStill;
        this.#shots.set(file.href, shot);
        this.#byRoot.set(shot.root, shot);
        this.#list.insertBefore(shot.root, before);
        this.#near.observe(shot.root);
    }

    /** Makes the list these; whether one of them is new. */
    #place(files) {
        const before = this.#shots.size;
        const wanted = new Set(files.map(({ href }) => href));
        for (const [href, shot] of this.#shots) {
            if (!wanted.has(href)) this.#drop(href, shot);
        }
        const kept = this.#shots.size;
        let at = this.#list.firstElementChild;
        for (const file of files) {
            // Those that stay are never moved, so that the focus stays on them.
            if (this.#shots.get(file.href)?.root === at) at = at?.nextElementSibling ?? null;
            else this.#add(file, at);
        }
        return this.#shots.size > kept || kept < before;
    }

    #drop(href, shot) {
        this.#near.unobserve(shot.root);
        shot.near = false;
        shot.root.remove();
        this.#shots.delete(href);
        this.#seen.delete(href);
    }

    /** How it goes on behind a page. */
    #go(next) {
        this.#next = next;
        const empty = this.#shots.size === 0;
        this.#list.hidden = empty;
        this.#still.hidden = empty;
        this.#more.hidden = next === null;
        // Seen again, it is told anew, also where it never left the screen.
        this.#end.unobserve(this.#more);
        if (next !== null) this.#end.observe(this.#more);
        // What has several pages was made long ago.
        this.#none.hidden = next !== null || this.#shots.size > PAGE;
        if (!this.#none.hidden) this.#wait(empty);
        this.#tell();
    }

    #wait(empty) {
        say(this.#none.querySelector("p"), empty ? "There are no pictures yet. They may still be being made." : "That is all there is now.");
        if (this.#quiet >= AGAIN_TIMES && !empty) return this.#countdown.stop();
        const seconds = Math.min(AGAIN_SECONDS * 2 ** this.#quiet, AGAIN_MOST_SECONDS);
        this.#countdown.start(seconds, () => {
            if (document.hidden) this.#due = true;
            else this.#look();
        });
    }

    #hold(still) {
        this.#still.setAttribute("aria-pressed", String(still));
        for (const shot of this.#shots.values()) shot.still = still;
    }

    #tell() {
        const all = this.#shots.size;
        say(this.#status, all === 0 ? "" : `${words.count(all)} ${this.#next === null ? "in all" : "and more"}.`);
        this.#fields.put("shown", words.count(this.#seen.size));
        this.#fields.put("moved", words.bytes(this.#moved.bytes));
        this.#fields.put("cached", words.bytes(this.#moved.cached));
    }
}

/** Tells `on(node, near)` when an observed node comes within `margin` of the screen, or leaves. */
function watcher(margin, on) {
    const tell = (entries) => entries.forEach(({ target, isIntersecting }) => on(target, isIntersecting));
    return new IntersectionObserver(tell, { rootMargin: margin });
}
