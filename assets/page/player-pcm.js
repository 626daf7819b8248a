// Plays pcm and wav while they arrive, through an AudioWorklet with a bounded ring. The worklet
// tells what was played; nothing is sent that the ring could not hold (back pressure).

import { next } from "./element.js";
import { parse } from "./wav.js";

/** What the server's `pcm` is: 16-bit mono at this rate. */
const PCM_HZ = 24_000;
/** What may lie ready, as in player-mse.js. */
const AHEAD_SECONDS = 30;
/** One message to the worklet. */
const MESSAGE_SAMPLES = 8192;
/** A context that a person's gesture has allowed runs well within this. */
const ALLOWED_WITHIN_MS = 500;
/** A processor that runs at all has ended well within this when it is told to. */
const ENDED_WITHIN_MS = 250;

/** Whether this browser can; AudioWorklet wants https or localhost. */
export function supported() {
    return Boolean(globalThis.isSecureContext && globalThis.AudioWorkletNode);
}

/** One utterance; `wav` says that the samples come behind a WAV's head. */
export class PcmPlayer {
    #gone = new AbortController();
    /** Aborted when the processor has ended as well. */
    #freed = new AbortController();
    #context = context();
    #node = null;
    #on;
    /** Bytes that wait for the rest of a header or for their sample's other half. */
    #rest = new Uint8Array(0);
    #headed;
    #hz = PCM_HZ;
    #sent = 0;
    #played = 0;
    /** Until the processor has ended, which is not waited for longer. */
    #ending = null;
    #isEnded = false;

    constructor(on, { wav = false } = {}) {
        this.#on = on;
        this.#headed = !wav;
        // Asked for here, inside the gesture that made this player.
        this.#context.resume();
    }

    /** Seconds heard; what the device still holds is not. */
    get played() {
        const waiting = this.#context.outputLatency || 0;
        return Math.max(0, this.#played / this.#hz - waiting);
    }

    /** Seconds that have arrived. */
    get arrived() {
        return this.#sent / this.#hz;
    }

    /** The node that sounds, for who wants to see what it sounds like. */
    get output() {
        return this.#node;
    }

    /** Resolves when bytes may be written. */
    async open() {
        await this.#context.audioWorklet.addModule(new URL("./pcm-worklet.js", import.meta.url));
        if (this.#signal.aborted) return;
        this.#node = new AudioWorkletNode(this.#context, "pcm-speaker", {
            numberOfInputs: 0,
            outputChannelCount: [1],
            processorOptions: { samples: (AHEAD_SECONDS + 1) * PCM_HZ, hz: PCM_HZ },
        });
        this.#node.port.addEventListener("message", ({ data }) => this.#hear(data), { signal: this.#freed.signal });
        this.#node.port.start();
        this.#node.connect(this.#context.destination);
        this.#context.addEventListener("statechange", () => this.#changed(), {
            signal: this.#signal,
        });
    }

    /** Takes bytes; resolves when there is room for more. */
    async write(bytes) {
        const samples = this.#samples(bytes);
        if (this.#sent === 0 && samples.length > 0) this.#allowed();
        for (let at = 0; at < samples.length; at += MESSAGE_SAMPLES) {
            await this.#room();
            if (this.#signal.aborted) return;
            const pcm = samples.slice(at, at + MESSAGE_SAMPLES);
            this.#sent += pcm.length;
            this.#node.port.postMessage({ pcm }, [pcm.buffer]);
        }
    }

    /** No more will come: what is here is played to its end. */
    async end() {
        if (this.#signal.aborted) return;
        if (this.#sent === 0) this.#on.ended();
        else this.#node.port.postMessage({ end: true });
    }

    /** Plays after a refusal or a pause; called from a person's gesture. */
    async resume() {
        this.#context.resume();
        await this.#allowed();
    }

    /** Silence, and everything is freed. A context that is closed while its processor runs is kept by Chromium, with the ring. */
    close() {
        if (this.#signal.aborted) return;
        this.#gone.abort();
        if (this.#node === null || this.#isEnded || this.#context.state !== "running") return this.#free();
        this.#node.port.postMessage({ close: true });
        this.#ending = setTimeout(() => this.#free(), ENDED_WITHIN_MS);
    }

    #free() {
        clearTimeout(this.#ending);
        this.#freed.abort();
        this.#node?.port.postMessage({ close: true });
        this.#node?.port.close();
        this.#node?.disconnect();
        this.#context.close();
    }

    get #signal() {
        return this.#gone.signal;
    }

    async #room() {
        const ahead = () => (this.#sent - this.#played) / PCM_HZ;
        while (!this.#signal.aborted && ahead() > AHEAD_SECONDS) {
            await next(this.#node.port, ["message"], this.#signal);
        }
    }

    /** Little-endian samples out of bytes that may be cut anywhere. */
    #samples(bytes) {
        let all = bytes;
        if (this.#rest.length > 0) {
            all = new Uint8Array(this.#rest.length + bytes.length);
            all.set(this.#rest);
            all.set(bytes, this.#rest.length);
        }
        let from = 0;
        if (!this.#headed) {
            const head = parse(all);
            if (!head) {
                this.#rest = all.slice();
                return new Int16Array(0);
            }
            this.#begin(head);
            from = head.dataAt;
        }
        const samples = new Int16Array((all.length - from) >> 1);
        const view = new DataView(all.buffer, all.byteOffset + from);
        for (let i = 0; i < samples.length; i += 1) samples[i] = view.getInt16(2 * i, true);
        this.#rest = all.slice(from + 2 * samples.length);
        return samples;
    }

    #begin({ hz, channels, bits }) {
        if (channels !== 1 || bits !== 16) throw new Error("only 16-bit mono can be played so");
        this.#headed = true;
        this.#hz = hz;
        this.#node.port.postMessage({ hz });
    }

    #hear({ played, sound, starved, ended, overrun, closed }) {
        if (closed && this.#ending !== null) return this.#free();
        if (ended) this.#isEnded = true;
        if (this.#signal.aborted) return;
        if (played !== undefined) this.#played = played;
        if (sound) this.#on.sound();
        if (starved) this.#on.starved();
        if (overrun) this.#on.failed("the sound came faster than it was asked for");
        if (ended) this.#on.ended();
    }

    #changed() {
        if (this.#context.state === "suspended" || this.#context.state === "interrupted") {
            this.#on.blocked("paused");
        } else if (this.#context.state === "running" && this.#played > 0) {
            this.#on.sound();
        }
    }

    /** Says so if the browser does not let the context run. */
    async #allowed() {
        if (this.#context.state === "running") return;
        const patience = AbortSignal.any([this.#signal, AbortSignal.timeout(ALLOWED_WITHIN_MS)]);
        await next(this.#context, ["statechange"], patience);
        if (!this.#signal.aborted && this.#context.state !== "running") this.#on.blocked("refused");
    }
}

/** A context at the server's rate, so that the browser resamples; else at the device's own. */
function context() {
    try {
        return new AudioContext({ sampleRate: PCM_HZ, latencyHint: "interactive" });
    } catch {
        return new AudioContext({ latencyHint: "interactive" });
    }
}
