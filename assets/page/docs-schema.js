// Schemas of the document in words, as rows of fields, and as an example to begin with.

import { element, spans } from "./docs-words.js";

/** How deep fields are shown within fields. */
const DEEPEST = 4;
const KINDS = { string: "text", integer: "whole number", number: "number", boolean: "true or false", array: "list", object: "object" };

/** What a reference leads to; anything else is itself. */
export function resolve(api, node) {
    if (!node?.$ref) return node;
    const found = node.$ref.slice(2).split("/").reduce((at, key) => at[key.replaceAll("~1", "/").replaceAll("~0", "~")], api);
    // What stands beside a reference is closer to the place.
    const { $ref, ...beside } = node;
    return { ...resolve(api, found), ...beside };
}

/** Rows for fields of {name, schema, required, note}. */
export function fields(api, rows, depth = 1) {
    const nodes = rows.flatMap(({ name, schema, required, note }) => {
        const own = settle(api, schema);
        const words = [required && "required", note, inWords(api, own)].filter(Boolean).join(" · ");
        const said = element("dd", {});
        if (own.description) said.append(element("p", {}, ...spans(own.description)));
        const inner = inside(api, own);
        if (inner.length > 0 && depth < DEEPEST) said.append(fields(api, inner, depth + 1));
        return [element("dt", {}, element("code", {}, name), element("span", { class: "kind" }, words)), said];
    });
    return element("dl", { class: "fields" }, ...nodes);
}

/** A schema without references and without "or nothing". */
function settle(api, schema) {
    const own = resolve(api, schema) ?? {};
    const choices = (own.oneOf ?? own.anyOf ?? []).filter(({ type }) => type !== "null");
    if (choices.length === 1) return { ...settle(api, choices[0]), ...(own.description && { description: own.description }) };
    return choices.length > 1 ? { ...own, choices: choices.map((one) => settle(api, one)) } : own;
}

function inside(api, own) {
    const { properties = {}, required = [] } = own.type === "array" ? settle(api, own.items) : own;
    const of = Object.entries(properties).map(([name, schema]) => ({ name, schema, required: required.includes(name) }));
    return of.length > 0 ? of : (own.choices ?? []).flatMap((choice) => inside(api, choice));
}

/** What a value may be, in a few words. */
export function inWords(api, own) {
    if (own.choices) return own.choices.map((one) => inWords(api, one)).join(", or ");
    const values = own.enum?.filter((value) => value !== null);
    const types = [own.type ?? []].flat().filter((type) => type !== "null");
    const words = values ? [values.join(", ")] : types.map((type) => KINDS[type] ?? type);
    if (own.type === "array" && own.items) words[0] = `list of ${inWords(api, settle(api, own.items))}`;
    if (own.maxLength) words.push(`${own.minLength ?? 0} to ${own.maxLength} characters`);
    const { minimum, maximum } = own;
    if (maximum !== undefined) words.push(`${minimum} to ${maximum}`);
    if (own.default !== undefined) words.push(`else ${own.default}`);
    if (own.examples?.length > 1) words.push(`as ${own.examples.join(", ")}`);
    return words.join(", ");
}

/** A value to begin with: what must be there, and what is worth a change. */
export function example(api, schema) {
    const own = settle(api, schema);
    if (own.examples) return own.examples[0];
    if (own.properties) {
        const entries = Object.entries(own.properties).filter(([name, value]) => own.required?.includes(name) || settle(api, value).default !== undefined);
        return Object.fromEntries(entries.map(([name, value]) => [name, example(api, value)]));
    }
    if (own.default !== undefined) return own.default;
    return own.enum?.[0] ?? { string: "", integer: 0, number: 0, boolean: false }[own.type] ?? null;
}
