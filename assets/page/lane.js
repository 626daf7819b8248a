// One lane of a graph over the last minutes, in SVG: areas and lines over one scale. Holds a bounded number
// of points; what was not seen stays a gap, never a guess.

/** What the graph looks back on. */
export const WINDOW_MS = 300_000;
/** Five minutes at one point a second, and those that the server remembered. */
const POINTS_MOST = 400;
const WIDTH = 300;
const HEIGHT = 48;
/** Room for the stroke at the top. */
const TOP = 3;

/**
 * Draws into `svg`, which has a path for each of `series`: {name: {line: selector, area: selector?, steps: bool?}}.
 * `least` is the smallest scale: a little would otherwise look like a flood.
 */
export class Lane {
    #points = [];
    #svg;
    #series;
    #least;

    constructor(svg, series, least) {
        this.#svg = svg;
        this.#series = series;
        this.#least = least;
        svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    }

    /** Adds {at, …values} in order of time; a value that is no number is a gap. */
    push(point) {
        this.#points.push(point);
        if (this.#points.length > POINTS_MOST) this.#points.shift();
    }

    /** The largest value of one series, or of all, in the window. */
    most(name) {
        return this.#extreme(Math.max, name);
    }

    /** The smallest value of one series in the window. */
    least(name) {
        return this.#extreme(Math.min, name);
    }

    /** Draws the window that ends `now`; points further apart than `gap` are no line. */
    draw(now, gap) {
        this.#points = this.#points.filter((point) => point.at >= now - WINDOW_MS);
        const top = Math.max(this.#least, this.most() ?? 0);
        for (const [name, { line, area, steps }] of Object.entries(this.#series)) {
            const runs = this.#runs(name, now, top, gap);
            this.#set(line, runs.map((run) => path(run, steps)).join(" "));
            if (area) this.#set(area, runs.map((run) => closed(run, steps)).join(" "));
        }
    }

    #extreme(choose, name) {
        const names = name ? [name] : Object.keys(this.#series);
        const values = this.#points.flatMap((point) => names.map((one) => point[one])).filter(Number.isFinite);
        return values.length > 0 ? choose(...values) : undefined;
    }

    /** Runs of points without gaps; now stands at the right. */
    #runs(name, now, top, gap) {
        const runs = [[]];
        let before;
        for (const point of this.#points) {
            const value = point[name];
            if (before !== undefined && point.at - before > gap) runs.push([]);
            before = point.at;
            if (!Number.isFinite(value)) {
                runs.push([]);
                continue;
            }
            const x = WIDTH * (1 - (now - point.at) / WINDOW_MS);
            const y = HEIGHT - 1 - (Math.max(0, value) / top) * (HEIGHT - 1 - TOP);
            runs[runs.length - 1].push([x.toFixed(1), y.toFixed(1)]);
        }
        return runs.filter((run) => run.length > 0);
    }

    #set(selector, d) {
        this.#svg.querySelector(selector).setAttribute("d", d);
    }
}

function path(run, steps) {
    return run
        .map(([x, y], i) => {
            if (i === 0) return `M${x},${y}`;
            return steps ? `H${x} V${y}` : `L${x},${y}`;
        })
        .join(" ");
}

function closed(run, steps) {
    const [first, last] = [run[0][0], run[run.length - 1][0]];
    return `${path(run, steps)} L${last},${HEIGHT} L${first},${HEIGHT} Z`;
}
