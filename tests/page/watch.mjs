// A server's answers about itself, for the page's tests: as /api/status gives them, in any state.

import * as the from "./harness.mjs";

export const MIB = 2 ** 20;

/** An answer of /api/status; `streams(n)` of the n-th of its thirty samples. */
export function status({ state = "flat", findings = [], streams = () => 0, ...memory } = {}) {
    const samples = Array.from({ length: 30 }, (_, n) => ({
        age_ms: (30 - n) * 10_000 - 5_000,
        rss_bytes: 30 * MIB,
        allocated_bytes: 9 * MIB,
        reserved_bytes: 40_960 + streams(n) * 440 * 1024,
        held_bytes: streams(n) * 90_000,
        kernel_bytes: 0,
        connections: 1,
        speech_streams: streams(n),
    }));
    return {
        status: "ok",
        uptime_seconds: 400,
        budget: { total: 256 * MIB, reserved: 40_960, held: 0 },
        live: { connection: 1, speech_stream: 0, worker: 2 },
        engines: [{ name: "espeak", ready: true, detail: null }],
        formats: ["mp3", "wav"],
        memory: {
            state,
            findings,
            rss_bytes: 30 * MIB,
            allocated_bytes: 9 * MIB,
            slope: { bytes_per_minute: 120_000, low: -300_000, high: 540_000 },
            interval_seconds: 10,
            samples,
            ...memory,
        },
    };
}

/** A page whose server answers with what `answers(n)` gives for the n-th time; a number is a refusal. */
export async function told(browser, answers, { before = async () => {}, ...options } = {}) {
    let asked = 0;
    const opened = await the.open(browser, {
        ...options,
        async before(page) {
            await before(page);
            await page.route("**/api/status", (route) => {
                const answer = answers(asked++);
                if (typeof answer === "number") return route.fulfill({ status: answer, body: "" });
                return route.fulfill({ contentType: "application/json", body: JSON.stringify(answer) });
            });
        },
    });
    await the.until("the status was asked", () => asked > 0);
    return { ...opened, asked: () => asked };
}

/** Makes the page believe that its tab is hidden, or seen again. */
export function hide(page, hidden) {
    return page.evaluate((value) => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => value });
        document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
}
