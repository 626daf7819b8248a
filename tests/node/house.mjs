// Servers of a test's own, and the language model that says what it is told (tests/stubs/llm.mjs). Each is a process, and
// ends with the test file.
//
// EVENSONG_BIN names the server's binary; scripts/test sets it.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const STUB = fileURLToPath(new URL('../stubs/llm.mjs', import.meta.url));
// The server promises 5 s from SIGTERM to its end; one more for a busy machine.
const STOP_MS = 6_000;

const folder = () => mkdtempSync(join(tmpdir(), 'evensong-node-'));

// The first line that a process says, which is JSON.
async function announced(process) {
    for await (const line of createInterface({ input: process.stdout })) {
        process.stdout.resume();
        return JSON.parse(line);
    }
    throw new Error('it ended before it said where it listens');
}

// A language model; its address.
export async function model() {
    const child = spawn('node', [STUB], { stdio: ['pipe', 'pipe', 'inherit'] });
    after(() => child.stdin.end());
    return (await announced(child)).listen;
}

// Evensong with these settings, by their names in the environment without its prefix. It must have nothing left of its
// clients, and leave well.
export async function evensong(settings, arguments_ = []) {
    const { EVENSONG_BIN: binary } = process.env;
    assert(binary, 'EVENSONG_BIN must name the server; scripts/test sets it');
    const own = folder();
    // Settings of whoever runs the tests must not reach the server.
    const clean = Object.entries(process.env).filter(([name]) => !name.startsWith('EVENSONG_'));
    const named = Object.entries(settings).map(([name, value]) => [`EVENSONG_${name.toUpperCase()}`, value]);
    const env = Object.fromEntries([...clean, ['EVENSONG_DATA', join(own, 'data')], ...named]);
    const fixed = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0', '--announce'];
    const child = spawn(binary, [...fixed, ...arguments_], { cwd: own, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const said = [];
    child.stderr.on('data', (part) => said.push(part));
    const ended = once(child, 'exit');
    let server;
    after(async () => {
        try {
            if (server) await idleWithin(server, Number(settings.realtime_grace_seconds ?? 0) * 1e3 + 2_000);
            child.kill('SIGTERM');
            const [code] = await Promise.race([ended, sleep(STOP_MS, ['late'], { ref: false })]);
            assert.equal(code, 0, Buffer.concat(said).toString());
        } finally {
            child.kill('SIGKILL');
            rmSync(own, { recursive: true, force: true });
        }
    });
    const told = await announced(child);
    server = { url: told.listen[0], admin: told.admin };
    return server;
}

export async function ledger(server) {
    // Closed at once, or it would be seen in the next ledger.
    const answer = await fetch(`${server.admin}/debug/ledger`, { headers: { connection: 'close' } });
    return answer.json();
}

// Waits until nothing lives for a client any more.
export async function idleWithin(server, milliseconds) {
    const deadline = performance.now() + milliseconds;
    for (;;) {
        const { idle, kinds } = await ledger(server);
        if (idle) return;
        const alive = kinds.filter((kind) => kind.live && !kind.standing);
        assert(performance.now() < deadline, `still alive: ${JSON.stringify(alive)}`);
        await sleep(10);
    }
}

// A certificate for localhost that nobody signed: the paths of it and of its key, and itself; nothing without openssl.
export function certificate() {
    const own = folder();
    after(() => rmSync(own, { recursive: true, force: true }));
    const [cert, key] = ['cert.pem', 'key.pem'].map((name) => join(own, name));
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
    const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
    const files = ['-keyout', key, '-out', cert];
    const command = ['req', '-x509', '-nodes', ...curve, '-days', '2', ...names, ...files];
    const { error, status } = spawnSync('openssl', command, { stdio: 'ignore' });
    if (error?.code === 'ENOENT') return undefined;
    assert.equal(status, 0);
    return { cert, key, pem: readFileSync(cert) };
}
