// A document as it is read aloud: its title, its beginning up to the end of a sentence, and whose it is. Pure.
// Always less than a fifth of what one request may say.

/** About forty seconds. */
const CHARACTERS = 600;
/** The end of a sentence, with what closes behind it. */
const END = /[.!?…]["'”’»)\]]*(?=\s|$)|[。！？]["”’」』）]*/g;

/** What is said of a document {title, text, creator, url}. */
export function speakable({ title = "", text = "", creator = "", url = "" }) {
    const source = creator || host(url);
    const said = [sentence(title), beginning(text), source && `From ${sentence(source)}`];
    return said.filter(Boolean).join("\n\n");
}

/** The host of an address elsewhere; "" for one of this server, and for none. */
export function host(url) {
    if (!/^https?:/i.test(url ?? "")) return "";
    try {
        return new URL(url).host.replace(/^www\./, "");
    } catch {
        return "";
    }
}

/** As many whole sentences as fit; where the first is too long, as many words, with an ellipsis. */
function beginning(text) {
    const plain = text.replace(/\s+/g, " ").trim();
    const most = [...plain].slice(0, CHARACTERS).join("");
    if (most === plain) return sentence(plain);
    // A sentence that ends where it was cut ends for sure only if a space is next.
    const ends = [...`${most}${plain.charAt(most.length)}`.matchAll(END)];
    const last = ends.map((end) => end.index + end[0].length).filter((at) => at <= most.length).pop();
    if (last) return plain.slice(0, last);
    const words = most.lastIndexOf(" ");
    return `${words > 0 ? most.slice(0, words) : most} …`;
}

/** With a full stop, so that it is spoken as one. */
function sentence(text) {
    const plain = text.trim();
    return plain === "" || /[.!?…。！？]["'”’»)\]]*$/.test(plain) ? plain : `${plain}.`;
}
