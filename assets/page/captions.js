// An answer's text as it is written, with each word marked when it is heard. The words that are spoken are matched with those
// that are written, in their order; what is written and not spoken (marks of Markdown, signs) goes along with its neighbours.
// Invariants: marks only move on; whatever an answer says becomes text, never markup.

/** How far behind its place a spoken word is looked for: what was left out of the speech in between. */
const LOOK_AHEAD = 12;
/** What ends a sentence, with what closes behind it. */
const END = /[.!?…。！？]["'”’»)\]*_`]*$/;

/** The words in `root`. `on.sentence(text)`: one begins to be heard. */
export class Captions {
    #root;
    #on;
    /** What is written: {node, plain, sentence}; `plain` is what is compared. */
    #tokens = [];
    /** What is spoken: {word, start, end, token}, in order of time. */
    #words = [];
    /** The first token that no word was found for yet, and what is left of it to be spoken. */
    #next = 0;
    #left = null;
    #sentence = 0;
    #text = "";
    /** The last word that has begun, and tokens that are marked. */
    #at = -1;
    #marked = 0;

    constructor(root, on) {
        this.#root = root;
        this.#on = on;
    }

    /** All that is written so far. */
    get text() {
        return this.#text;
    }

    /** Takes what comes next of the text. */
    write(text) {
        const grows = /\S$/.test(this.#text) && /^\S/.test(text);
        const parts = text.match(/\s+|\S+/g) ?? [];
        if (grows) this.#grow(parts.shift());
        for (const part of parts) this.#add(part);
        this.#text += text;
    }

    /** Takes words that are spoken, and when: [{word, start_ms, end_ms}]. */
    time(words) {
        for (const { word, start_ms: start, end_ms: end } of words) {
            this.#words.push({ word, start, end, token: this.#find(plain(word)) });
        }
    }

    /** Marks what is heard by `ms` of the sound. */
    mark(ms) {
        let at = this.#at;
        while (at + 1 < this.#words.length && this.#words[at + 1].start <= ms) at += 1;
        if (at === this.#at) return;
        this.#tokens[this.#words[this.#at]?.token]?.node.classList.remove("now");
        this.#at = at;
        const { token } = this.#words[at];
        for (; this.#marked <= token; this.#marked += 1) {
            this.#tokens[this.#marked].node.classList.add("said");
            this.#say(this.#marked);
        }
        this.#tokens[token]?.node.classList.add("now");
    }

    /** The word that is being heard, as it stands there. */
    get now() {
        return this.#tokens[this.#words[this.#at]?.token]?.node ?? null;
    }

    /** What was heard by `ms`: a word counts when half of it was, as it does for the server. */
    heard(ms) {
        const heard = this.#words.filter(({ start, end }) => start + Math.floor((end - start) / 2) <= ms);
        return heard.map(({ word }) => word).join(" ");
    }

    /** Whether words are left to be heard behind `ms`. */
    isWhole(ms) {
        const last = this.#words.at(-1);
        return !last || last.start + (last.end - last.start) / 2 <= ms;
    }

    /** Nothing is marked any more: the text stands there as such; all of it, or what was heard. */
    settle(text = null) {
        const shown = text ?? this.#tokens.map(({ node, gap }) => gap + node.textContent).join("");
        this.#root.textContent = shown.trim();
        this.#tokens = [];
        this.#words = [];
        this.#at = -1;
    }

    #add(part) {
        if (/\s/.test(part)) return this.#gap(part);
        const node = document.createElement("span");
        const token = { node, gap: this.#space, written: "", plain: "", sentence: this.#sentence };
        this.#root.append(this.#space, node);
        this.#space = "";
        this.#tokens.push(token);
        this.#grow(part);
    }

    /** White space between two words; lines that the answer has stay lines. */
    #space = "";

    #gap(space) {
        const last = this.#tokens.at(-1);
        if (last && (END.test(last.written) || space.includes("\n"))) this.#sentence += 1;
        if (last) this.#space = space.includes("\n\n") ? "\n\n" : space.includes("\n") ? "\n" : " ";
    }

    #grow(part) {
        const token = this.#tokens.at(-1);
        token.written += part;
        token.plain = plain(token.written);
        token.node.textContent = shown(token.written);
    }

    /** The token that a word is; where none is found, the last one that was. */
    #find(word) {
        const before = Math.max(0, this.#next - 1);
        if (word === "") return Math.min(before, this.#tokens.length - 1);
        if (this.#left?.startsWith(word)) {
            this.#left = this.#left.slice(word.length) || null;
            return before;
        }
        this.#left = null;
        for (let at = this.#next; at < Math.min(this.#tokens.length, this.#next + LOOK_AHEAD); at += 1) {
            const { plain: written } = this.#tokens[at];
            // Long words are spoken in parts; what is short may merely begin alike.
            const begins = written.startsWith(word) && (word.length > 3 || at === this.#next);
            if (written === "" || !(written === word || begins)) continue;
            this.#next = at + 1;
            this.#left = written.slice(word.length) || null;
            return at;
        }
        return Math.min(before, this.#tokens.length - 1);
    }

    /** Says a sentence when its first word is heard. */
    #say(index) {
        const { sentence } = this.#tokens[index];
        if (index > 0 && this.#tokens[index - 1].sentence === sentence) return;
        const words = this.#tokens.filter((token) => token.sentence === sentence);
        this.#on.sentence(words.map(({ node }) => node.textContent).join(" "));
    }
}

/** What is compared of a word: its letters and digits. */
function plain(word) {
    return word.normalize("NFKC").toLowerCase().replace(/\]\(\S*$/, "").replace(/[^\p{L}\p{N}\p{M}]/gu, "");
}

/** A word as it is shown: without the marks of Markdown, which are not for the eye. */
function shown(written) {
    if (/^[*+-]$/.test(written)) return "•";
    if (/^(#{1,6}|>|```\w*|\*\*|__)$/.test(written)) return "";
    // A link's words may be several; what stands in brackets by itself keeps them.
    const link = written.replace(/\]\(\S*\)/, "").replace(/^([^[]*)\](?!\()/, "$1").replace(/^(["'(]*)!?\[(?=[^\]]+$)/, "$1");
    return link.replace(/^(["'(]*)[*_`]+(?=\S)/, "$1").replace(/(?<=[^*_`])[*_`]+(["'),.;:!?…]*)$/, "$1");
}
