// A small line of the last samples, in SVG: bytes reserved as an area, bytes held as a line above
// it. Holds a fixed number of samples; the oldest goes when a new one comes.

/** A minute and a half at one sample a second. */
const SAMPLES = 90;
const WIDTH = 300;
const HEIGHT = 64;
/** Room for the stroke at the top. */
const TOP = 3;
/** The smallest scale: one connection would otherwise look like a flood. */
const SCALE_BYTES_LEAST = 512 * 1024;

/** Draws into `svg`, which has the paths .reserved, .reserved-edge and .held. */
export class Sparkline {
    #samples = [];
    #svg;

    constructor(svg) {
        this.#svg = svg;
        svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    }

    /** The top of the scale in bytes. */
    get top() {
        return Math.max(SCALE_BYTES_LEAST, ...this.#samples.map((sample) => sample.reserved || 0));
    }

    /** Adds a sample {reserved, held}, or null where none could be had: a gap, not a guess. */
    push(sample) {
        this.#samples.push(sample ?? { reserved: NaN, held: NaN });
        if (this.#samples.length > SAMPLES) this.#samples.shift();
        this.#draw();
    }

    #draw() {
        const reserved = this.#line("reserved");
        const area = reserved.map((run) => {
            const [first, last] = [run[0][0], run[run.length - 1][0]];
            return `M${first},${HEIGHT} ${path(run).replace("M", "L")} L${last},${HEIGHT} Z`;
        });
        this.#set(".reserved", area.join(" "));
        this.#set(".reserved-edge", reserved.map(path).join(" "));
        this.#set(".held", this.#line("held").map(path).join(" "));
    }

    /** Runs of points without gaps; the newest sample stands at the right. */
    #line(name) {
        const top = this.top;
        const step = WIDTH / (SAMPLES - 1);
        const offset = SAMPLES - this.#samples.length;
        const runs = [[]];
        this.#samples.forEach((sample, i) => {
            const value = sample[name];
            if (!Number.isFinite(value)) return runs.push([]);
            const y = HEIGHT - 1 - (value / top) * (HEIGHT - 1 - TOP);
            runs[runs.length - 1].push([((offset + i) * step).toFixed(1), y.toFixed(1)]);
        });
        return runs.filter((run) => run.length > 0);
    }

    #set(selector, d) {
        this.#svg.querySelector(selector).setAttribute("d", d);
    }
}

function path(run) {
    return run.map(([x, y], i) => `${i === 0 ? "M" : "L"}${x},${y}`).join(" ");
}
