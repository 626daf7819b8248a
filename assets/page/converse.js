// A question, as it is sent: under a key of its own, so that it can be sent again by whoever does not know whether it arrived.

import { Failure, ask, unreachable } from "./api.js";

/** Sends `body` under a key; the same again is one question. Gives what the server says of it: it is being thought about. */
export async function converse(key, body) {
    const headers = { "content-type": "application/json", "idempotency-key": key };
    const response = await ask("api/voice/converse", { method: "POST", headers, body });
    try {
        const accepted = await response.json();
        if (typeof accepted.dialogueId === "string" && typeof accepted.streams?.events === "string") return accepted;
    } catch {
        throw unreachable();
    }
    throw new Failure("the server's answer cannot be read");
}

/** A key of 128 bits; randomUUID is there only on https. */
export function newKey() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
