// When the words of an answer are heard, where nothing says so but the order in which text and sound come: a stretch of text is
// spoken over the sound that comes behind it, a word for as long as it is written. Pure. Invariant: words come in order of time.

/** How long a letter is spoken, where more of the sound is still to come. */
const LETTER_MS = 65;

/** The words of one answer, as {word, start_ms, end_ms}. */
export class Pace {
    #text = "";
    /** Where in the sound the stretch begins. */
    #from = 0;

    /** More text, when so much of the sound has come; gives the words of the stretch that this ends. */
    write(text, ms) {
        const words = ms > this.#from ? this.end(ms) : [];
        this.#text += text;
        return words;
    }

    /** The sound of the stretch ends here; gives its words. */
    end(ms) {
        return this.#spread(Math.max(ms, this.#from));
    }

    /** The sound is broken off here; gives its words as far as they can be guessed. */
    cut(ms) {
        return this.#spread(Math.max(ms, this.#from + LETTER_MS * this.#text.length));
    }

    #spread(until) {
        const [text, from] = [this.#text, this.#from];
        const each = (until - from) / Math.max(1, text.length);
        this.#text = "";
        this.#from = until;
        const when = (at) => Math.round(from + at * each);
        return [...text.matchAll(/\S+/g)].map(({ 0: word, index }) => ({
            word,
            start_ms: when(index),
            end_ms: when(index + word.length),
        }));
    }
}
