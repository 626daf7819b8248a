// What the browser itself says that pictures have cost: bytes that came over the wire in this visit, and bytes that it had.
// Invariant: only what the gallery shows is counted, once for each time that the browser fetched it or looked it up.

/** Counts what `ours(href)` knows; `changed()` is told when there is more. */
export class Moved {
    /** Bytes over the wire, heads of answers included. */
    bytes = 0;
    /** Bytes of bodies that the browser's cache gave. */
    cached = 0;
    #ours;
    #changed;

    constructor(ours, changed) {
        this.#ours = ours;
        this.#changed = changed;
        // An observer is told of every one; the browser's own list ends at 250.
        new PerformanceObserver((seen) => this.#count(seen.getEntries())).observe({ type: "resource", buffered: true });
    }

    #count(entries) {
        for (const { name, transferSize, encodedBodySize } of entries) {
            if (!this.#ours(name)) continue;
            this.bytes += transferSize;
            // After a 304 a head came, and no body (Resource Timing, 4.3).
            if (transferSize < encodedBodySize) this.cached += encodedBodySize;
        }
        this.#changed();
    }
}
