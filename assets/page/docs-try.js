// A form that sends an operation and shows what came back: text as text, sound as something to play.
// The key is the one that was given on the page for speaking.

import { Failure, ask, at } from "./api.js";
import { example } from "./docs-schema.js";
import { element } from "./docs-words.js";

/** More text than this is not shown: a browser would take seconds to lay it out. */
const SHOWN_CHARS = 20_000;
let count = 0;

/** The form for one operation. */
export function trial(api, { path, method, operation }) {
    const inputs = (operation.parameters ?? []).map((parameter) => ({ parameter, input: inputFor(parameter) }));
    const sent = operation.requestBody?.content["application/json"];
    const body = sent && element("textarea", { rows: 7, spellcheck: "false", "aria-label": "Body" });
    if (body) body.value = JSON.stringify(example(api, sent.schema), null, 2);
    const send = element("button", { type: "submit", class: "send" }, "Send");
    const copy = element("button", { type: "button" }, "Copy as curl");
    const result = element("div", { class: "result", role: "status" });
    const labels = inputs.map(({ parameter, input }) => element("label", {}, element("span", {}, parameter.name), input));
    const form = element("form", { class: "trial" }, ...labels, ...(body ? [body] : []), element("div", { class: "trial-row" }, send, copy), result);
    const request = () => ({ target: target(path, inputs), method: method.toUpperCase(), body: body?.value });
    let shown = null;
    form.addEventListener("submit", async (event) => {
        event.preventDefault();
        shown?.close();
        send.disabled = true;
        result.replaceChildren("Asking …");
        shown = await answer(request());
        result.replaceChildren(...shown.nodes);
        send.disabled = false;
    });
    copy.addEventListener("click", async () => {
        const command = asCurl(request());
        try {
            await navigator.clipboard.writeText(command);
            result.replaceChildren("Copied.");
        } catch {
            // No clipboard without TLS or a gesture: then it can be marked by hand.
            result.replaceChildren(element("pre", {}, command));
        }
    });
    return form;
}

function inputFor(parameter) {
    const id = `try-${(count += 1)}`;
    const values = parameter.schema.enum;
    if (values) {
        const none = parameter.required ? [] : [element("option", { value: "" }, "–")];
        return element("select", { id }, ...none, ...values.map((value) => element("option", { value }, value)));
    }
    const needed = parameter.required ? { required: "" } : {};
    return element("input", { id, autocomplete: "off", autocapitalize: "off", spellcheck: "false", ...needed });
}

/** Path and query, relative to the server's root. */
function target(path, inputs) {
    const query = new URLSearchParams();
    let filled = path.slice(1);
    for (const { parameter, input } of inputs) {
        if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
        else if (input.value !== "") query.set(parameter.name, input.value);
    }
    return query.size > 0 ? `${filled}?${query}` : filled;
}

/** What came back, as nodes; `close` gives back what they hold. */
async function answer({ target: where, method, body }) {
    const began = performance.now();
    const json = body === undefined ? {} : { "content-type": "application/json" };
    let url = null;
    const close = () => url && URL.revokeObjectURL(url);
    try {
        const response = await ask(where, { method, body, headers: json });
        const kind = response.headers.get("content-type") ?? "";
        const blob = await response.blob();
        const took = Math.round(performance.now() - began);
        const line = element("p", {}, `${response.status} · ${kind} · ${blob.size} bytes · ${took} ms`);
        if (kind.startsWith("audio/") && !kind.startsWith("audio/pcm")) {
            url = URL.createObjectURL(blob);
            return { close, nodes: [line, element("audio", { controls: "", src: url })] };
        }
        return { close, nodes: kind.startsWith("audio/") ? [line] : [line, element("pre", { tabindex: "0" }, inShort(kind, await blob.text()))] };
    } catch (error) {
        const status = error instanceof Failure && error.status > 0 ? `${error.status} · ` : "";
        return { close, nodes: [element("p", { class: "error" }, `${status}${error.message}`)] };
    }
}

function inShort(kind, text) {
    const pretty = kind.startsWith("application/json") ? JSON.stringify(JSON.parse(text), null, 2) : text;
    return pretty.length > SHOWN_CHARS ? `${pretty.slice(0, SHOWN_CHARS)}\n…` : pretty;
}

function asCurl({ target: where, method, body }) {
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const parts = ["curl", quoted(at(where).href)];
    if (method !== "GET") parts.push("-X", method);
    if (body !== undefined) parts.push("-H", quoted("content-type: application/json"), "-d", quoted(body));
    return parts.join(" ");
}
