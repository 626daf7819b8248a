// What was heard, kept so that it can be saved: chunks up to a cap, no address until one is wanted.

import { HEADER_BYTES, header, parse } from "./wav.js";

/** Past this a recording is dropped: a browser tab is not the place for it. */
export const KEPT_BYTES_MOST = 32 * 1024 * 1024;
/** How long a saved file's address stays good: browsers read it after the click has returned. */
const SAVE_MS = 10_000;
const PCM_HZ = 24_000;

const TYPES = { mp3: "audio/mpeg", opus: "audio/ogg", flac: "audio/flac", wav: "audio/wav" };
const ENDINGS = { mp3: "mp3", opus: "opus", flac: "flac", wav: "wav", pcm: "wav" };

/** The bytes of one utterance in one format. */
export class Recording {
    #chunks = [];
    #format;

    constructor(format) {
        this.#format = format;
        this.bytes = 0;
        this.whole = true;
    }

    /** Keeps a chunk. */
    push(chunk) {
        this.bytes += chunk.length;
        if (this.bytes > KEPT_BYTES_MOST) {
            this.whole = false;
            this.#chunks = [];
        } else {
            this.#chunks.push(chunk);
        }
    }

    /** Whether there is something to save. */
    get kept() {
        return this.whole && this.bytes > 0;
    }

    /** The file's ending: raw pcm is saved as WAV, since nothing opens it otherwise. */
    get ending() {
        return ENDINGS[this.#format];
    }

    /** A file that other programs open. */
    blob() {
        const type = TYPES[this.ending];
        if (this.#format === "pcm") {
            return new Blob([header(this.bytes, PCM_HZ), ...this.#chunks], { type });
        }
        const sound = new Blob(this.#chunks, { type });
        if (this.#format !== "wav") return sound;
        // Ours has its sound behind 44 bytes; the true length replaces the streamed one.
        const head = parse(firstBytes(this.#chunks));
        if (head?.dataAt !== HEADER_BYTES) return sound;
        return new Blob([header(this.bytes - HEADER_BYTES, head.hz), sound.slice(HEADER_BYTES)], {
            type,
        });
    }

    /** Saves it under a name that says when. */
    save() {
        const url = URL.createObjectURL(this.blob());
        const link = document.createElement("a");
        link.href = url;
        const now = new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
        link.download = `evensong-${now}.${this.ending}`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(url), SAVE_MS);
    }
}

function firstBytes(chunks) {
    const head = new Uint8Array(HEADER_BYTES);
    let at = 0;
    for (const chunk of chunks) {
        if (at >= HEADER_BYTES) break;
        head.set(chunk.subarray(0, HEADER_BYTES - at), at);
        at += Math.min(chunk.length, HEADER_BYTES - at);
    }
    return head.subarray(0, at);
}
