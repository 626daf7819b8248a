// The server's snippets, which are HTML with no element but <em>, taken apart by hand. Whatever else stands in one is text:
// nothing from an index is ever parsed as HTML by the browser.

const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'" };

/** [{text, fits}]: its pieces in order; those that fit what was looked for. */
export function pieces(html) {
    const found = [];
    let fits = false;
    for (const part of html.split(/(<\/?em>)/)) {
        if (part === "<em>" || part === "</em>") fits = part === "<em>";
        else if (part !== "") found.push({ text: plain(part), fits });
    }
    return found;
}

/** The nodes of a snippet: text, and <em> with text in it. */
export function nodes(html) {
    return pieces(html).map(({ text, fits }) => {
        if (!fits) return document.createTextNode(text);
        const em = document.createElement("em");
        em.textContent = text;
        return em;
    });
}

function plain(html) {
    return html.replace(/&(?:amp|lt|gt|quot|#39);/g, (entity) => ENTITIES[entity]);
}
