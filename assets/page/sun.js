// The sun on the horizon, made of bars: at rest a half disc, while something is spoken its bars
// follow the sound. Still where less motion is asked for. An ornament: nothing depends on it.

const SVG = "http://www.w3.org/2000/svg";
const BARS = 33;
const STEP = 7;
const WIDTH = 3.5;
const RADIUS = 100;
const HORIZON = 120;
/** How deep the water mirrors. */
const MIRROR = 0.34;
/** The part of a bar that stands when nothing sounds. */
const REST = 0.34;
/** Voice lives between these; the bars share the range, low in the middle. */
const [LOW_HZ, HIGH_HZ] = [90, 5_000];

/** The ornament in `svg`. */
export class Sun {
    #bars = [];
    #frame = null;
    #tap = null;
    #still = matchMedia("(prefers-reduced-motion: reduce)");

    constructor(svg) {
        const [above, below] = [".above", ".below"].map((name) => svg.querySelector(name));
        for (let i = 0; i < BARS; i += 1) {
            const from = i - (BARS - 1) / 2;
            const x = from * STEP;
            const tall = Math.sqrt(Math.max(0, RADIUS ** 2 - (from * (RADIUS / (BARS / 2))) ** 2));
            const up = bar(above, x, HORIZON - tall, tall);
            const down = bar(below, x, HORIZON, tall * MIRROR);
            this.#bars.push({ up, down, far: Math.abs(from) / (BARS / 2), now: 1 });
        }
    }

    /** Follows what a player says, until rest(). */
    sing(player) {
        this.rest();
        if (this.#still.matches) return;
        this.#tap = tap(player);
        this.#step();
    }

    /** Lets go of the sound; the disc stands again. */
    rest() {
        cancelAnimationFrame(this.#frame);
        this.#tap?.close();
        this.#tap = null;
        for (const one of this.#bars) this.#set(one, 1);
    }

    #step() {
        const levels = this.#tap?.levels() ?? null;
        const t = performance.now() / 1000;
        for (const one of this.#bars) {
            // Without ears (a browser that gives no tap) it breathes.
            const breath = 0.5 + 0.3 * Math.sin(2.2 * t - 5 * one.far);
            const level = levels ? levels(one.far) : breath;
            const aim = REST + level * (1.05 - REST * 0.6);
            one.now += (aim - one.now) * (aim > one.now ? 0.5 : 0.14);
            this.#set(one, one.now);
        }
        this.#frame = requestAnimationFrame(() => this.#step());
    }

    #set(one, part) {
        one.now = part;
        one.up.style.transform = `scaleY(${part.toFixed(3)})`;
        one.down.style.transform = `scaleY(${part.toFixed(3)})`;
    }
}

function bar(parent, x, y, height) {
    const rect = document.createElementNS(SVG, "rect");
    const place = { x: x - WIDTH / 2, y, width: WIDTH, height, rx: WIDTH / 2 };
    for (const [name, value] of Object.entries(place)) rect.setAttribute(name, value.toFixed(2));
    parent.append(rect);
    return rect;
}

/** Listens beside the sound, never in its way; null where the browser offers no such place. */
function tap(player) {
    try {
        if (player.output) return analysed(player.output.context, player.output, () => {});
        const stream = player.audio?.captureStream?.();
        if (!stream || stream.getAudioTracks().length === 0) return null;
        const context = new AudioContext();
        return analysed(context, context.createMediaStreamSource(stream), () => {
            for (const track of stream.getTracks()) track.stop();
            context.close();
        });
    } catch {
        return null;
    }
}

function analysed(context, source, done) {
    const analyser = new AnalyserNode(context, { fftSize: 1024, smoothingTimeConstant: 0.55 });
    analyser.minDecibels = -82;
    analyser.maxDecibels = -22;
    source.connect(analyser);
    const bins = new Uint8Array(analyser.frequencyBinCount);
    const binHz = context.sampleRate / analyser.fftSize;
    const level = (far) => {
        const hz = LOW_HZ * (HIGH_HZ / LOW_HZ) ** far;
        return bins[Math.min(bins.length - 1, Math.round(hz / binHz))] / 255;
    };
    return {
        levels() {
            if (context.state !== "running") return null;
            analyser.getByteFrequencyData(bins);
            return level;
        },
        close() {
            // The source may be closed already; then nothing is connected any more.
            if (context.state !== "closed") source.disconnect(analyser);
            done();
        },
    };
}
