// The documentation page: reads openapi.json, and shows each operation with what it takes, what it
// answers, and a way to try it. Everything that is shown comes from the document.

import { at } from "./api.js";
import { element, prose } from "./docs-words.js";
import { fields, resolve } from "./docs-schema.js";
import { trial } from "./docs-try.js";

/** The order in which a path's methods are shown. */
const METHODS = ["get", "post", "put", "patch", "delete"];

const about = document.getElementById("about");

try {
    const response = await fetch(at("openapi.json"));
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    show(await response.json());
} catch (error) {
    about.replaceChildren(element("p", { class: "error" }, `The document cannot be read: ${error.message}.`));
}

function show(api) {
    document.getElementById("version").textContent = `${api.info.version} · OpenAPI ${api.openapi}`;
    about.replaceChildren(...prose(api.info.description));
    const contents = document.getElementById("contents");
    const main = document.getElementById("operations");
    for (const tag of api.tags) {
        const own = operations(api).filter(({ operation }) => operation.tags.includes(tag.name));
        if (own.length === 0) continue;
        const id = tag.name.toLowerCase().replaceAll(" ", "-");
        const title = element("h2", { id: `${id}-title` }, tag.name);
        const cards = own.map((one) => card(api, one));
        main.append(element("section", { "aria-labelledby": title.id }, title, element("p", { class: "hint" }, tag.description), ...cards));
        const links = own.map(({ operation, path }) => element("li", {}, element("a", { href: `#${operation.operationId}` }, breakable(path))));
        contents.append(element("div", {}, element("p", {}, tag.name), element("ul", {}, ...links)));
    }
    addEventListener("hashchange", open);
    open();
}

/** Opens the operation that the address names. */
function open() {
    const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!(named instanceof HTMLDetailsElement)) return;
    named.open = true;
    named.scrollIntoView();
}

function operations(api) {
    return Object.entries(api.paths).flatMap(([path, item]) =>
        METHODS.filter((method) => item[method]).map((method) => ({ path, method, operation: item[method] })),
    );
}

function card(api, { path, method, operation }) {
    const summary = element(
        "summary",
        {},
        element("span", { class: `method ${method}` }, method.toUpperCase()),
        element("code", { class: "path" }, breakable(path)),
        element("span", { class: "gist" }, operation.summary),
    );
    const details = element("details", { class: "card operation", id: operation.operationId }, summary);
    // Filled when it is first looked at: most are not.
    const fill = () => details.append(...body(api, { path, method, operation }));
    details.addEventListener("toggle", fill, { once: true });
    return details;
}

function body(api, { path, method, operation }) {
    const parts = prose(operation.description ?? "");
    if (operation.security.length > 0) parts.push(keys(api, operation.security));
    const parameters = operation.parameters ?? [];
    if (parameters.length > 0) parts.push(part("Parameters", fields(api, parameters.map(asField))));
    const sent = resolve(api, operation.requestBody)?.content["application/json"];
    if (sent) parts.push(part("Body, as JSON", fields(api, properties(api, sent.schema))));
    parts.push(part("Try it", trial(api, { path, method, operation })));
    const answers = Object.entries(operation.responses);
    const good = answers.filter(([status]) => status < 400);
    const bad = answers.filter(([status]) => status >= 400);
    parts.push(part("Answers", element("dl", { class: "answers" }, ...good.flatMap((one) => answer(api, one)))));
    const wrong = element("dl", { class: "answers" }, ...bad.flatMap(([status, said]) => line(status, prose(said.description))));
    parts.push(part("What can go wrong", wrong));
    return parts;
}

function keys(api, ways) {
    const names = ways.flatMap((way) => Object.keys(way));
    const told = names.map((name) => {
        const scheme = api.components.securitySchemes[name];
        if (scheme.type === "http") return "`Authorization: Bearer …`";
        return scheme.in === "query" ? `\`?${scheme.name}=…\`` : `\`${scheme.name}: …\``;
    });
    const [paragraph] = prose(`The key is sent as ${told.join(" or ")}.`);
    paragraph.className = "hint";
    return paragraph;
}

function asField(parameter) {
    const { name, required, description, schema } = parameter;
    return { name, required, schema: { ...schema, description }, note: parameter.in === "path" ? "in the path" : "in the query" };
}

function properties(api, schema) {
    const { properties: own = {}, required = [] } = resolve(api, schema);
    const each = Object.entries(own).map(([name, value]) => ({ name, schema: value, required: required.includes(name) }));
    // What must be there comes first.
    return each.sort((a, b) => Number(b.required) - Number(a.required));
}

function answer(api, [status, said]) {
    const kinds = Object.entries(said.content ?? {});
    const parts = prose(said.description);
    const chips = kinds.map(([kind]) => element("code", { class: "chip" }, kind.replaceAll(";", "; ")));
    if (chips.length > 0) parts.push(element("p", { class: "chips" }, ...chips));
    for (const [, { schema }] of kinds) {
        if (resolve(api, schema)?.properties) parts.push(fields(api, properties(api, schema)));
    }
    const headers = Object.entries(said.headers ?? {}).map(([name, header]) => {
        const { description, schema } = resolve(api, header);
        return { name, schema: { ...schema, description } };
    });
    if (headers.length > 0) parts.push(element("h4", {}, "Headers"), fields(api, headers));
    return line(status, parts);
}

function line(status, parts) {
    return [element("dt", {}, status), element("dd", {}, ...parts)];
}

function part(title, ...inside) {
    return element("section", {}, element("h3", {}, title), ...inside);
}

/** A path that may break behind its slashes. */
function breakable(path) {
    const pieces = path.split(/(?<=\/)/);
    const span = element("span", {});
    for (const piece of pieces) span.append(piece, element("wbr", {}));
    return span;
}
