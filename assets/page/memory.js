// What was said, as the next question says it again where the server does not know. Pure. Invariant: of an answer that was
// interrupted, only what was heard is remembered.

/** Messages that are kept: twice what a server would take into account. */
const MESSAGES_MOST = 64;

/** Nothing was said. `isOurs`: the server would remember otherwise; `running`: what was cut here and runs there. */
export function empty() {
    return { history: [], isOurs: false, running: null };
}

/** An answer to `asked` was cut here: `heard` of it, or null for all; `isTold`: the server takes it for heard. */
export function cut(memory, { asked, heard, played, isTold }) {
    if (!isTold) return { ...memory, running: { asked, heard: heard ?? "", played } };
    if (heard === null) return memory;
    const history = memory.history.at(-1)?.role === "assistant" ? memory.history.slice(0, -1) : memory.history;
    return { ...memory, history: [...history, ...said("assistant", heard)], isOurs: true };
}

/** What a question must say of what was before it, in the dialogue `id` or in a new one. */
export function request({ history, isOurs, running }, id) {
    if (id === null) return history.length > 0 ? { history } : {};
    return { dialogueId: id, ...(running && { played_ms: running.played }), ...(isOurs && { history }) };
}

/** A question was taken: the server knows what was before it. */
export function asked(memory) {
    return { ...memory, isOurs: false, running: null };
}

/** The server says what was said so far; what was cut here meanwhile was not heard all the same. */
export function told(memory, history) {
    if (!Array.isArray(history)) return memory;
    const known = history.filter(({ role, text }) => typeof role === "string" && typeof text === "string").slice(-MESSAGES_MOST);
    const next = { history: known, isOurs: false, running: null };
    const { running } = memory;
    return running ? cut(next, { ...running, isTold: true }) : next;
}

/** The server knows nothing any more. */
export function alone({ history, running }) {
    if (!running) return { history, isOurs: false, running: null };
    const { asked: question, heard } = running;
    const all = [...history, ...said("user", question ?? ""), ...said("assistant", heard)];
    return { history: all.slice(-MESSAGES_MOST), isOurs: false, running: null };
}

function said(role, text) {
    return text === "" ? [] : [{ role, text }];
}
