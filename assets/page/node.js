// Nodes of the page, made in one line each.

/** An element with its attributes and what is in it; text stays text. */
export function made(name, attributes = {}, ...inside) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...inside);
    return node;
}
