// A language model that says and does what it is asked to, behind OpenAI's `/v1/chat/completions`, streamed. For tests
// and benches, which ask it afterwards what it got, and when. Nothing but Node.js 20.
//
//     node tests/stubs/llm.mjs [PORT]
//
// Without a port it takes a free one. It says on one line of standard output where it listens, and ends with its
// standard input. What it does stands in the question as words of the form name=value, or else in the model's name:
//
//     topic=N        a number of its own, by which a turn is found in /stats
//     first=MS       silence before the first token
//     pace=MS        from one token to the next (0: all at once)
//     sentences=N    how many it makes up (3), no two alike
//     after=N        tokens before what `end` says (all)
//     end=HOW        one of ENDS
//     say: TEXT      the answer, to the question's end, instead of what it makes up
//
// GET /stats      how many requests are open, done, left by the client, died; and each of them with its times
// GET /requests   the last bodies that it got
// POST /reset     forgets them
//
// Times are milliseconds of the machine's monotonic clock, the one of Python's `time.monotonic()`.

import { once } from "node:events";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const REMEMBERED = { turns: 20_000, requests: 500 };
const DIES_AFTER_MS = 100;
const BODY_BYTES = 4 * 1024 * 1024;
const TOKEN = /\s*\S+/g;
const SENTENCE_END = /[.!?]["')]*$/;
const WORDS = (
    "evening light falls softly over quiet rivers while distant bells remember every old song that travellers carried " +
    "across the wide green hills before winter came and covered small villages with snow until morning birds returned " +
    "to build their nests under warm wooden roofs again"
).split(" ");

/** How an answer can end, and begin: each gets the answer, its plan and its record. */
const ENDS = {
    stop: (turn) => turn.finish("stop"),
    length: (turn) => turn.finish("length"),
    /** `[DONE]` with text and without a reason. */
    unsaid: (turn) => turn.whole("data: [DONE]\n\n"),
    /** Silence on an open connection. */
    stall: (turn) => turn.gone,
    /** It says the same, for as long as anybody listens. */
    endless: async (turn) => {
        while (!turn.isGone) await turn.tokens([" And", " so", " it", " goes", " on", " and", " on."]);
    },
    /** The connection is closed in the middle, without an end of the chunks. */
    die: (turn) => turn.die((socket) => socket.destroy()),
    /** The same by RST. */
    reset: (turn) => turn.die((socket) => socket.resetAndDestroy()),
    /** The answer ends well, as HTTP, without a word on whether it is whole. */
    cut: (turn) => turn.whole(""),
    /** It says that it failed. */
    error: (turn) =>
        turn.whole(
            'data: {"error":{"message":"the model ran out of patience","type":"server_error","code":500}}\n\n',
        ),
    /** What is no JSON where JSON should be. */
    broken: (turn) => turn.whole('data: {"choices":[{"delta":{"content": oh no\n\ndata: [DONE]\n\n'),
};

/** Answers that are none from their first byte on. */
const BEGINS = {
    html: (turn) => turn.instead(200, "text/html", "<!doctype html><title>It works!</title><p>It works!"),
    json: (turn) => turn.instead(200, "application/json", '{"choices":[{"message":{"content":"all at once"}}]}'),
    refused: (turn) =>
        turn.instead(
            400,
            "application/json",
            '{"error":{"message":"no such model","type":"invalid_request_error"}}',
        ),
    failed: (turn) => turn.instead(500, "text/plain", "Internal Server Error"),
    /** `[DONE]`, and not a word before it. */
    empty: (turn) => turn.head() || turn.whole("data: [DONE]\n\n"),
    /** Not even a head. */
    mute: (turn) => turn.gone,
};

const now = () => Number(process.hrtime.bigint()) / 1e6;
const turns = [];
const requests = [];
const counts = { asked: 0, open: 0, done: 0, left: 0, died: 0 };

/** What a question asks for: its last paragraph, since what was asked before and not answered stands before it. */
function plan(question, model) {
    const [words, ...said] = question
        .split("\n\n")
        .at(-1)
        .split(/\bsay: /);
    const named = Object.fromEntries(
        [...`${model} ${words}`.matchAll(/(\w+)=(\S+)/g)].map((found) => [found[1], found[2]]),
    );
    const number = (name, otherwise) => Number(named[name] ?? otherwise);
    const topic = number("topic", 0);
    const text = said.length ? said.join("say: ") : prose(topic, number("sentences", 3));
    const tokens = text.match(TOKEN) ?? [];
    const end = named.end ?? "stop";
    if (!(end in ENDS) && !(end in BEGINS))
        throw new Error(`end=${end}: there are ${Object.keys({ ...ENDS, ...BEGINS })}`);
    return {
        topic,
        first: number("first", 0),
        pace: number("pace", 0),
        tokens: tokens.slice(0, number("after", tokens.length)),
        end,
    };
}

/** Sentences of usual length, the same for the same number. */
function prose(topic, sentences) {
    let state = (topic + 1) * 2654435761;
    const dice = (sides) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor((state / 2 ** 32) * sides);
    };
    const sentence = (place) => {
        const words = Array.from({ length: 6 + dice(12) }, () => WORDS[dice(WORDS.length)]);
        return `Line ${place + 1} of ${topic} says that ${words.join(" ")}.`;
    };
    return Array.from({ length: sentences }, (_, place) => sentence(place)).join(" ");
}

/** One request, from its body to its end, and what is remembered of it. */
class Turn {
    constructor(request, response, asked) {
        this.response = response;
        this.plan = asked;
        this.isGone = false;
        this.record = {
            topic: asked.topic,
            state: "open",
            asked_ms: now(),
            first_ms: null,
            clause_ms: null,
            last_ms: null,
            ended_ms: null,
            tokens: 0,
        };
        turns.push(this.record);
        if (turns.length > REMEMBERED.turns) turns.shift();
        counts.asked += 1;
        counts.open += 1;
        // The client's end of the connection, or all of it, whichever is seen first.
        this.gone = new Promise((resolve) => {
            const leave = () => {
                request.socket.off("end", leave);
                this.close("left");
                resolve();
            };
            request.socket.once("end", leave);
            response.once("close", leave);
        });
    }

    /** Once, however it ended. */
    close(state) {
        if (this.record.state !== "open") return;
        this.isGone = state !== "done";
        this.record.state = state;
        this.record.ended_ms = now();
        counts.open -= 1;
        counts[state] += 1;
    }

    async run() {
        if (this.plan.end in BEGINS) return BEGINS[this.plan.end](this);
        this.head();
        await this.pause(this.plan.first);
        await this.tokens(this.plan.tokens);
        if (!this.isGone) await ENDS[this.plan.end](this);
    }

    head() {
        this.response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
        this.response.flushHeaders();
    }

    async tokens(tokens) {
        for (const token of tokens) {
            if (this.record.tokens) await this.pause(this.plan.pace);
            if (this.isGone) return;
            this.note(token);
            await this.write(chunk({ delta: { content: token } }));
        }
    }

    /** Before it is sent, so that whoever gets it cannot have got it earlier. */
    note(token) {
        this.record.last_ms = now();
        this.record.first_ms ??= this.record.last_ms;
        // A sentence is over for sure when the next one has begun.
        if (this.sentenceEnded) this.record.clause_ms ??= this.record.last_ms;
        this.sentenceEnded = SENTENCE_END.test(token);
        this.record.tokens += 1;
    }

    async write(text) {
        if (!this.response.write(text) && !this.isGone)
            await Promise.race([once(this.response, "drain"), this.gone]);
    }

    async pause(ms) {
        if (ms > 0) await Promise.race([sleep(ms), this.gone]);
    }

    finish(reason) {
        const count = this.record.tokens;
        const usage = { prompt_tokens: 1, completion_tokens: count, total_tokens: count + 1 };
        this.record.clause_ms ??= now();
        this.whole(
            `${chunk({ delta: {}, finish_reason: reason })}data: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`,
        );
    }

    /** The last that comes, and the end of the answer as HTTP has it. */
    whole(text) {
        this.close("done");
        this.response.end(text);
    }

    instead(status, type, text) {
        this.close("done");
        this.response.writeHead(status, { "content-type": type });
        this.response.end(text);
    }

    async die(how) {
        // What was said has been taken by then: a reset takes along what was not.
        await this.pause(DIES_AFTER_MS);
        if (this.isGone) return;
        this.close("died");
        how(this.response.socket);
    }
}

function chunk(choice) {
    const wire = {
        id: "chatcmpl-1",
        object: "chat.completion.chunk",
        created: 0,
        model: "stub",
        choices: [{ index: 0, ...choice }],
    };
    return `data: ${JSON.stringify(wire)}\n\n`;
}

async function body(request) {
    const parts = [];
    let bytes = 0;
    for await (const part of request) {
        bytes += part.length;
        if (bytes > BODY_BYTES) throw new Error(`a body of more than ${BODY_BYTES} bytes`);
        parts.push(part);
    }
    return JSON.parse(Buffer.concat(parts).toString());
}

async function complete(request, response) {
    const at_ms = now();
    const asked = await body(request);
    requests.push({ at_ms, authorization: request.headers.authorization ?? null, body: asked });
    if (requests.length > REMEMBERED.requests) requests.shift();
    const question = asked.messages.findLast((message) => message.role === "user")?.content ?? "";
    await new Turn(request, response, plan(question, asked.model)).run();
}

function told(response, what) {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(what));
}

const routes = {
    "POST /v1/chat/completions": complete,
    "GET /v1/models": (_, response) => told(response, { object: "list", data: [{ id: "stub", object: "model" }] }),
    "GET /stats": (_, response) => told(response, { now_ms: now(), ...counts, turns }),
    "GET /requests": (_, response) => told(response, requests),
    "POST /reset": (_, response) => {
        turns.length = requests.length = 0;
        told(response, {});
    },
};

const server = createServer(async (request, response) => {
    const route = routes[`${request.method} ${request.url}`];
    try {
        if (route) await route(request, response);
        else response.writeHead(404).end();
    } catch (error) {
        process.stderr.write(`${request.method} ${request.url}: ${error}\n`);
        if (!response.headersSent) response.writeHead(400, { "content-type": "text/plain" });
        response.end(`${error}`);
    }
});
server.keepAliveTimeout = 120_000;
server.requestTimeout = 0;
server.listen({ port: Number(process.argv[2] ?? 0), host: "127.0.0.1", backlog: 4096 }, () => {
    console.log(JSON.stringify({ listen: `http://127.0.0.1:${server.address().port}` }));
});
process.stdin.on("end", () => process.exit(0)).resume();
