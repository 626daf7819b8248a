// Which way sound takes in this browser: for each format what is asked for and which player plays
// it, with a sentence that says so. Nothing falls back in silence.

import * as mse from "./player-mse.js";
import * as pcm from "./player-pcm.js";
import { WholePlayer } from "./player-whole.js";

/** Every format there is, in the order shown. */
export const FORMATS = ["mp3", "opus", "flac", "wav", "pcm"];

/** For a voice's preview: its format is the server's choice and it is short. */
export const PREVIEW = whole("mp3", "");

const WHILE_MADE = "plays while it is still being made";
const CONTAINERS = { opus: "audio/ogg; codecs=opus", flac: "audio/flac" };

/** The way of a format: {asks, streams, note, player(host, on)}. */
export function way(format) {
    if (format === "mp3" && mse.supported()) return throughMediaSource();
    if (format === "mp3" && pcm.supported()) {
        return throughWorklet("pcm", "No MediaSource for mp3 in this browser: pcm is asked for and");
    }
    if ((format === "pcm" || format === "wav") && pcm.supported()) {
        return throughWorklet(format, `${format}:`);
    }
    if (format === "pcm") {
        // Nothing but a worklet plays bare samples.
        return whole("wav", "No AudioWorklet here: wav is fetched whole, then played.");
    }
    const named = CONTAINERS[format];
    if (named && document.createElement("audio").canPlayType(named) === "") {
        return silent(format);
    }
    return whole(format, `${format} cannot be played piece by piece: fetched whole, then played.`);
}

/** How a stream of this format is played that somebody else has asked for. */
export function hearing(format) {
    const usual = way(format);
    return usual.asks === format ? usual : whole(format, "");
}

function throughMediaSource() {
    return {
        asks: "mp3",
        streams: true,
        note: `mp3: ${WHILE_MADE}, through MediaSource.`,
        player: (host, on) => new mse.MsePlayer(host, on),
    };
}

function throughWorklet(asks, why) {
    return {
        asks,
        streams: true,
        note: `${why} ${WHILE_MADE}, through an AudioWorklet.`,
        player: (_, on) => new pcm.PcmPlayer(on, { wav: asks === "wav" }),
    };
}

function whole(asks, note) {
    return { asks, streams: false, note, player: (host, on) => new WholePlayer(host, on, asks) };
}

function silent(asks) {
    const note = `This browser cannot play ${asks}: it is fetched for download only.`;
    return { asks, streams: false, note, player: (_, on) => new Mute(on) };
}

/** Takes bytes and plays none. */
class Mute {
    played = 0;
    arrived = 0;
    #on;

    constructor(on) {
        this.#on = on;
    }

    async open() {}
    async write() {}
    async resume() {}
    close() {}

    async end() {
        this.#on.ended();
    }
}
