// Server-sent events out of bytes that may be cut anywhere. Invariant: what is held of an event that has not ended is
// bounded; a stream that passes it is none of ours.

/** The longest event has a quarter of a minute of samples in it; none of ours comes near. */
const CHARACTERS_MOST = 2 * 1024 * 1024;

/** The events of one stream. */
export class Events {
    #decoder = new TextDecoder();
    #rest = "";
    #id = null;

    /** Takes bytes; yields the events that end in them: {id, name, data}, where data is parsed. */
    *push(bytes) {
        this.#rest += this.#decoder.decode(bytes, { stream: true });
        if (this.#rest.includes("\r")) this.#rest = this.#rest.replaceAll("\r\n", "\n");
        for (;;) {
            const end = this.#rest.indexOf("\n\n");
            if (end < 0) break;
            const event = this.#event(this.#rest.slice(0, end));
            this.#rest = this.#rest.slice(end + 2);
            if (event) yield event;
        }
        if (this.#rest.length > CHARACTERS_MOST) throw new Error("an event has no end");
    }

    /** What has no data is none: a comment, or how soon to come back. */
    #event(text) {
        let name = "message";
        const data = [];
        for (const line of text.split("\n")) {
            const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
            if (field === "event") name = value;
            else if (field === "id") this.#id = value;
            else if (field === "data") data.push(value);
        }
        return data.length === 0 ? null : { id: this.#id, name, data: JSON.parse(data.join("\n")) };
    }
}
