// The audio thread's side of player-pcm.js: a ring of 16-bit samples, read at the context's rate.
// The ring never grows: who writes must know how much was played, which is told 20 times a second.

/** How often the writer is told what was played. */
const REPORTS_PER_SECOND = 20;

class PcmSpeaker extends AudioWorkletProcessor {
    #ring;
    /** Samples ever written and, with a fraction, read; their difference lies in the ring. */
    #written = 0;
    #read = 0;
    #step;
    #ending = false;
    #over = false;
    #starved = true;
    #sinceReport = 0;

    constructor({ processorOptions: { samples, hz } }) {
        super();
        this.#ring = new Int16Array(samples);
        this.#step = hz / sampleRate;
        this.port.onmessage = ({ data }) => this.#take(data);
    }

    #take({ pcm, hz, end, close }) {
        if (hz) this.#step = hz / sampleRate;
        if (pcm) this.#write(pcm);
        if (end) this.#ending = true;
        if (close) this.#over = true;
    }

    #write(pcm) {
        const size = this.#ring.length;
        if (this.#written + pcm.length - Math.floor(this.#read) > size) {
            // Sound would be lost unheard; the writer broke its promise, so it is told.
            this.port.postMessage({ overrun: true });
            return;
        }
        const at = this.#written % size;
        const fits = Math.min(pcm.length, size - at);
        this.#ring.set(pcm.subarray(0, fits), at);
        this.#ring.set(pcm.subarray(fits), 0);
        this.#written += pcm.length;
    }

    process(_, outputs) {
        if (this.#over) return this.#close();
        const out = outputs[0];
        const frames = out[0].length;
        const made = this.#fill(out[0], frames);
        for (let channel = 1; channel < out.length; channel += 1) out[channel].set(out[0]);
        this.#tell(made, frames);
        return !this.#over;
    }

    #close() {
        this.port.postMessage({ closed: true });
        return false;
    }

    /** Fills the block from the ring, interpolating where the rates differ; returns the frames. */
    #fill(block, frames) {
        const size = this.#ring.length;
        // Between two samples both are needed; the very last one may stand alone.
        const until = this.#ending ? this.#written : this.#written - 1;
        let made = 0;
        while (made < frames && this.#read < until) {
            const whole = Math.floor(this.#read);
            const part = this.#read - whole;
            const here = this.#ring[whole % size];
            const after = whole + 1 < this.#written ? this.#ring[(whole + 1) % size] : here;
            block[made] = (here + (after - here) * part) / 32768;
            this.#read += this.#step;
            made += 1;
        }
        return made;
    }

    #tell(made, frames) {
        const played = Math.min(this.#read, this.#written);
        if (this.#starved && made > 0) this.port.postMessage({ sound: true, played });
        this.#sinceReport += frames;
        if (this.#sinceReport >= sampleRate / REPORTS_PER_SECOND) {
            this.#sinceReport = 0;
            this.port.postMessage({ played });
        }
        const starved = made < frames;
        if (starved && this.#ending) {
            this.#over = true;
            this.port.postMessage({ ended: true, played });
        } else if (starved && !this.#starved && this.#written > 0) {
            this.port.postMessage({ starved: true, played });
        }
        this.#starved = starved;
    }
}

registerProcessor("pcm-speaker", PcmSpeaker);
