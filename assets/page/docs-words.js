// Nodes and prose for the documentation page. Text from the document is only ever put in as text.

/** An element with attributes and what is in it: nodes and texts. */
export function element(name, attributes, ...inside) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
}

/** Paragraphs of a text; what stands between backticks is code. */
export function prose(text) {
    const paragraphs = text.trim().split(/\n\s*\n/).filter(Boolean);
    return paragraphs.map((paragraph) => element("p", {}, ...spans(paragraph)));
}

/** The same for a single line. */
export function spans(text) {
    return text.split("`").map((piece, n) => (n % 2 === 1 ? element("code", {}, piece) : piece));
}
