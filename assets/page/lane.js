// One lane of a graph over the last minutes, in SVG: areas and lines over one scale. Holds a bounded number
// of points; what was not seen stays a gap, never a guess.

import { say } from "./fields.js";
import { isAmount } from "./words.js";

/** What the graph looks back on. */
export const WINDOW_MS = 300_000;
/** Five minutes at one point a second, and those that the server remembered. */
const POINTS_MOST = 400;
const WIDTH = 300;
const HEIGHT = 48;
/** Room for the stroke at the top. */
const TOP = 3;

/**
 * Draws into the svg beneath `root`, which has a path for each of `series`: {name: {line: selector, area: selector?,
 * steps: bool?}}; the top of the scale stands in its <b>, in `words`. `least` is the smallest scale: a little would
 * otherwise look like a flood.
 */
export class Lane {
    #points = [];
    #svg;
    #label;
    #series;
    #least;
    #words;

    constructor(root, series, least, words) {
        this.#svg = root.querySelector("svg");
        this.#label = root.querySelector("b");
        this.#series = series;
        this.#least = least;
        this.#words = words;
        this.#svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    }

    /** Adds {at, …values} in order of time; a value that is no amount is a gap. */
    push(point) {
        this.#points.push(point);
        if (this.#points.length > POINTS_MOST) this.#points.shift();
    }

    /** The smallest and the largest value of a series in the window; null if there is none. */
    range(...names) {
        const values = this.#points.flatMap((point) => names.map((name) => point[name])).filter(isAmount);
        return values.length > 0 ? [Math.min(...values), Math.max(...values)] : null;
    }

    /** Draws the window that ends `now`; points further apart than `gap` are no line. */
    draw(now, gap) {
        this.#forget(now - WINDOW_MS, gap);
        const top = round(Math.max(this.#least, this.range(...Object.keys(this.#series))?.[1] ?? 0));
        say(this.#label, this.#words(top));
        for (const [name, { line, area, steps }] of Object.entries(this.#series)) {
            const runs = this.#runs(name, now, top, gap);
            this.#set(line, runs.map((run) => path(run, steps)).join(" "));
            if (area) this.#set(area, runs.map((run) => closed(run, steps)).join(" "));
        }
    }

    /** Lets go of what is older, but for one point from which a line leads into the window. */
    #forget(oldest, gap) {
        const first = this.#points.findIndex((point) => point.at >= oldest);
        const leads = first > 0 && this.#points[first].at - this.#points[first - 1].at <= gap;
        this.#points.splice(0, first < 0 ? this.#points.length : first - (leads ? 1 : 0));
    }

    /** Runs of points without gaps; now stands at the right. */
    #runs(name, now, top, gap) {
        const runs = [[]];
        let before;
        for (const point of this.#points) {
            const value = point[name];
            if (before !== undefined && point.at - before > gap) runs.push([]);
            before = point.at;
            if (!isAmount(value)) {
                runs.push([]);
                continue;
            }
            const x = WIDTH * (1 - (now - point.at) / WINDOW_MS);
            const y = HEIGHT - 1 - (value / top) * (HEIGHT - 1 - TOP);
            runs[runs.length - 1].push([x.toFixed(1), y.toFixed(1)]);
        }
        return runs.filter((run) => run.length > 0);
    }

    #set(selector, d) {
        this.#svg.querySelector(selector).setAttribute("d", d);
    }
}

/** The next of 4, 6, 8, 12, 16, 24 and so on: a scale that stays while a value trembles. */
function round(value) {
    const power = 2 ** Math.ceil(Math.log2(value));
    return value <= power * 0.75 ? power * 0.75 : power;
}

/** A single point is a dot: its line has no length, but round ends. */
function path(run, steps) {
    const [[x, y], ...rest] = run;
    const lines = rest.map(([x, y]) => (steps ? `H${x} V${y}` : `L${x},${y}`));
    return [`M${x},${y}`, ...(rest.length > 0 ? lines : ["h0"])].join(" ");
}

function closed(run, steps) {
    const [first, last] = [run[0][0], run[run.length - 1][0]];
    return `${path(run, steps)} L${last},${HEIGHT} L${first},${HEIGHT} Z`;
}
