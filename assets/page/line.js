// The way to one dialogue of the server: its id, its events, and how it is let go of. Invariant: a dialogue that was begun here
// is ended when nobody here wants it any more, unless somebody else may be listening.

import { ask } from "./api.js";
import { Follow } from "./follow.js";

/** A dialogue {id, events, format, isGuest}; a guest listens to one that was begun elsewhere. `on` as for Follow. */
export class Line {
    /** Whether its address was given away. */
    isShared = false;
    /** The newest turn that was heard of. */
    epoch = 0;
    #follow;

    constructor({ id, events, format, isGuest = false }, on) {
        this.id = id;
        this.events = events;
        this.format = format;
        this.isGuest = isGuest;
        this.#follow = new Follow(through(events), on);
        this.#follow.run();
    }

    /** Listens no more; `end`: and nobody shall. The server is told also by a page that is being left. */
    close({ end }) {
        this.#follow.close();
        if (end && !this.isGuest) hangUp(this.id);
    }

    /** The part of a page's address by which another one listens. */
    get fragment() {
        const { searchParams: given } = new URL(this.events, location.href);
        const parts = new URLSearchParams({ dialogue: this.id, capability: given.get("capability") ?? "" });
        if (this.format !== "mp3") parts.set("format", this.format);
        return `#${parts}`;
    }
}

/** What `fragment` says: {id, events, format, isGuest}; null where it is no such one. */
export function fromFragment(fragment) {
    const parts = new URLSearchParams(fragment.replace(/^#/, ""));
    const [id, capability] = [parts.get("dialogue"), parts.get("capability")];
    if (!id || !capability) return null;
    const asked = new URLSearchParams({ dialogueId: id, capability });
    return { id, events: `api/voice/open-stream?${asked}`, format: parts.get("format") ?? "mp3", isGuest: true };
}

/** Ends a dialogue; one that is over already is over. */
export async function hangUp(id) {
    try {
        await ask(`api/voice/dialogues/${encodeURIComponent(id)}`, { method: "DELETE", keepalive: true });
    } catch {
        // Then it ends by itself, when its time is over.
    }
}

/** The same events, through later turns as well; a path is one of this server, also beneath a proxy's. */
function through(events) {
    return `${events.replace(/^\//, "")}&follow=1`;
}
