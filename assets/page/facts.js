// What is known of the current utterance: how soon it sounded, what has come, what was heard, and
// what the server said about it. Updated ten times a second while it sounds, and not after.

import { Fields } from "./fields.js";
import * as words from "./words.js";

const PERIOD_MS = 100;

/** The panel of facts and the thin line beneath the text. */
export class Facts {
    #fields = new Fields(document.getElementById("facts"));
    #list = document.getElementById("facts-list");
    #none = document.getElementById("facts-none");
    #line = document.getElementById("progress");
    #timer = null;
    #player = null;
    #guess = 0;

    /** Nothing is known yet. */
    clear() {
        this.stop();
        this.#fields.clear();
        this.#guess = 0;
        this.#draw(0, 0);
    }

    /** Follows a player until stop(); the guess is for the line, until the length is known; null draws none. */
    follow(player, guessSeconds) {
        this.stop();
        this.#player = player;
        this.#guess = guessSeconds;
        this.#timer = setInterval(() => this.#show(), PERIOD_MS);
    }

    /** All has arrived: the guess has served. */
    whole() {
        this.#guess = 0;
    }

    /** Shows the last state and lets go of the player. */
    stop() {
        clearInterval(this.#timer);
        if (this.#player) this.#show();
        this.#player = null;
    }

    /** What the answer's head said. */
    head({ voice, engine, cache, boundBytes, serverMs, type }) {
        this.#list.hidden = false;
        this.#none.hidden = true;
        this.#fields.put("voice", voice ?? "–");
        this.#fields.put("engine", engine ?? "–");
        this.#fields.put("cache", cache ?? "–");
        this.#fields.put("type", type?.split(";")[0] ?? "–");
        this.#fields.put("bound", words.bytes(boundBytes));
        this.#fields.put("server", words.milliseconds(serverMs));
    }

    /** From the gesture to the first sound. */
    sound(ms) {
        this.#fields.put("first", words.milliseconds(ms));
    }

    /** How long of that the server took, where it says so afterwards. */
    server(ms) {
        this.#fields.put("server", words.milliseconds(ms));
    }

    /** Bytes received so far. */
    bytes(number) {
        this.#fields.put("bytes", words.bytes(number));
    }

    #show() {
        const { played, arrived } = this.#player;
        this.#fields.put("played", words.seconds(played));
        this.#fields.put("arrived", words.seconds(arrived));
        this.#draw(played, arrived);
    }

    #draw(played, arrived) {
        if (this.#guess === null) return;
        const most = Math.max(arrived, played, this.#guess, 1);
        this.#line.style.setProperty("--played", (played / most).toFixed(4));
        this.#line.style.setProperty("--arrived", (arrived / most).toFixed(4));
    }
}
