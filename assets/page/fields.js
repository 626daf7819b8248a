// The places of a panel that show values: the nodes with data-field, by name. Only what has changed
// is touched, so that layout and screen readers are left in peace.

/** The fields beneath one node. */
export class Fields {
    #named = new Map();

    constructor(root) {
        for (const node of root.querySelectorAll("[data-field]")) {
            const { field } = node.dataset;
            this.#named.set(field, [...(this.#named.get(field) ?? []), node]);
        }
    }

    /** Shows a value wherever it has a place. */
    put(name, text) {
        for (const node of this.#named.get(name) ?? []) say(node, text);
    }

    /** Shows that no value is known. */
    clear() {
        for (const name of this.#named.keys()) this.put(name, "–");
    }
}

/** Sets a node's words if they are not the same already. */
export function say(node, text) {
    if (node.textContent !== text) node.textContent = text;
}
