// An Arweave-like GraphQL source for trying and testing an indexer: deterministic records, and faults on demand.
//
//     node server.mjs [--port 4000] [--host 127.0.0.1] [--count 2000] [--grow 0] [--height N]
//
// The same names in upper case are read from the environment (PORT, HOST, COUNT, GROW, HEIGHT); a flag wins. Port 0
// picks one. When it listens it prints one line of JSON on stdout: {"url":"http://…/graphql"}.
//   --grow    records a second that are added while it runs
//   --height  what it says its newest block is; by default the newest record's
//
// Beside /graphql: GET /healthz, GET /stats, and POST /faults, which changes the faults that its JSON names and answers
// with all of them; DELETE /faults ends them. Faults are for the machine itself: others than loopback are refused.
//
// Invariant: nothing grows with the requests. Records are made when asked for and forgotten.

import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { createYoga } from 'graphql-yoga';
import { makeSchema } from './schema.mjs';

const MOST_FAULTS_BYTES = 4096;
const NO_FAULTS = {
    stall: false,
    status: null,
    retry_after: null,
    repeat_cursor: false,
    partial: false,
    html: false,
    broken_record_every: 0,
    duplicate_every: 0,
    height: null,
};
const HTML = '<!doctype html><title>Maintenance</title><h1>We will be back soon</h1>\n';

const options = readOptions();
const faults = { ...NO_FAULTS };
const stats = { requests: 0, pages: 0, records: 0 };
// Answers that the fault "stall" holds back; each leaves the set when it goes on or its client has left.
const stalled = new Set();
const began = process.hrtime.bigint();

function count() {
    const seconds = Number(process.hrtime.bigint() - began) / 1e9;
    return options.count + Math.floor(options.grow * seconds);
}

const schema = makeSchema({ count, height: () => options.height, faults, stats });
// `logging` off: a fault that was asked for is no news.
const yoga = createYoga({ schema, logging: false, graphiql: false, landingPage: false });

const server = createServer((request, response) => {
    const [path] = request.url.split('?');
    if (path === '/graphql') {
        graphql(request, response);
    } else if (path === '/healthz' && request.method === 'GET') {
        json(response, 200, { status: 'ok', records: count() });
    } else if (path === '/stats' && request.method === 'GET') {
        server.getConnections((_, connections) => json(response, 200, { ...stats, connections, stalled: stalled.size }));
    } else if (path === '/faults') {
        changeFaults(request, response);
    } else {
        json(response, 404, { error: `nothing at ${path}` });
    }
});

function graphql(request, response) {
    stats.requests++;
    if (faults.stall) {
        const goOn = () => graphqlNow(request, response);
        stalled.add(goOn);
        response.once('close', () => stalled.delete(goOn));
        return;
    }
    graphqlNow(request, response);
}

function graphqlNow(request, response) {
    if (faults.status) {
        if (faults.retry_after !== null) {
            response.setHeader('retry-after', String(faults.retry_after));
        }
        json(response, faults.status, { error: 'a fault, as asked for' });
    } else if (faults.html) {
        response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(HTML);
    } else {
        yoga(request, response);
    }
}

async function changeFaults(request, response) {
    const { remoteAddress } = request.socket;
    if (!/^(::ffff:)?127\.|^::1$/.test(remoteAddress)) {
        json(response, 403, { error: 'faults are switched from this machine only' });
        return;
    }
    if (request.method === 'DELETE') {
        Object.assign(faults, NO_FAULTS);
    } else if (request.method === 'POST') {
        const wrong = await read(request, MOST_FAULTS_BYTES).then(applyFaults).catch((error) => error.message);
        if (wrong) {
            json(response, 400, { error: wrong });
            return;
        }
    }
    if (!faults.stall) {
        const waiting = [...stalled];
        stalled.clear();
        waiting.forEach((goOn) => goOn());
    }
    json(response, 200, faults);
}

// What is wrong with them, or nothing; then they are in force.
function applyFaults(text) {
    const given = JSON.parse(text);
    for (const [name, value] of Object.entries(given)) {
        if (!(name in NO_FAULTS)) {
            return `${name}: no such fault; there are ${Object.keys(NO_FAULTS).join(', ')}`;
        }
        const isSwitch = typeof NO_FAULTS[name] === 'boolean';
        const isNumber = Number.isInteger(value) && value >= 0;
        if (isSwitch ? typeof value !== 'boolean' : !(isNumber || value === NO_FAULTS[name])) {
            return `${name}: ${isSwitch ? 'true or false' : 'a whole number'}, not ${JSON.stringify(value)}`;
        }
    }
    if (given.status && (given.status < 400 || given.status > 599)) {
        return 'status: from 400 to 599';
    }
    Object.assign(faults, given);
    return null;
}

async function read(request, most) {
    let text = '';
    for await (const chunk of request.setEncoding('utf8')) {
        text += chunk;
        if (text.length > most) {
            throw new Error(`at most ${most} bytes`);
        }
    }
    return text;
}

function json(response, status, body) {
    const text = `${JSON.stringify(body)}\n`;
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
    response.end(text);
}

function readOptions() {
    const names = { port: '4000', host: '127.0.0.1', count: '2000', grow: '0', height: '' };
    const flags = Object.keys(names).map((name) => [name, { type: 'string' }]);
    const { values } = parsed(Object.fromEntries(flags));
    const text = (name) => values[name] ?? process.env[name.toUpperCase()] ?? names[name];
    const number = (name, pattern, most) => {
        if (!pattern.test(text(name)) || Number(text(name)) > most) {
            console.error(`--${name}: ${text(name)} is no number from 0 to ${most}`);
            process.exit(2);
        }
        return Number(text(name));
    };
    return {
        host: text('host'),
        port: number('port', /^\d+$/, 65_535),
        count: number('count', /^\d+$/, 10_000_000),
        grow: number('grow', /^\d+(\.\d+)?$/, 1_000_000),
        height: text('height') === '' ? null : number('height', /^\d+$/, 2_000_000_000),
    };
}

function parsed(options) {
    try {
        return parseArgs({ options });
    } catch (error) {
        console.error(error.message);
        process.exit(2);
    }
}

server.on('error', (error) => {
    console.error(`cannot listen: ${error.message}`);
    process.exit(1);
});
server.listen(options.port, options.host, () => {
    const { address, port, family } = server.address();
    const host = family === 'IPv6' ? `[${address}]` : address;
    console.log(JSON.stringify({ url: `http://${host}:${port}/graphql` }));
});
for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, () => {
        server.close();
        server.closeAllConnections();
    });
}
