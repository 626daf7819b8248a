// The documents that an answer is from, beneath it: each with its picture, where it leads, and whose it is.

import * as library from "./library.js";
import { made } from "./node.js";
import { leading, picture } from "./picture.js";

/** More would be a list of what was found, for which there is the search. */
const SHOWN_MOST = 3;

/** Shows `hits`, as they stand in the event, in `root`; the first is the one that answers. */
export function show(root, hits) {
    const sources = (Array.isArray(hits) ? hits : []).map(library.source).filter(Boolean);
    root.replaceChildren(...sources.slice(0, SHOWN_MOST).map(shown));
    root.hidden = sources.length === 0;
}

function shown(source) {
    const title = source.link ? leading(source.link) : made("span");
    title.append(source.title);
    const words = made("p", { class: "source-words", dir: "auto" }, title);
    if (source.creator) words.append(made("small", {}, source.creator));
    return made("li", { class: "source" }, ...picture(source), words);
}
