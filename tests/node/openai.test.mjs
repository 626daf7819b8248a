// OpenAI's own SDK for Node, unchanged but for its base URL, speaks through Evensong.
//
// EVENSONG_URL and EVENSONG_ADMIN name a running server; scripts/test starts one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI, { BadRequestError } from 'openai';

const { EVENSONG_URL: url, EVENSONG_ADMIN: admin } = process.env;
assert(url && admin, 'EVENSONG_URL and EVENSONG_ADMIN must name a server; scripts/test sets them');

const SENTENCE =
    'The quick brown fox jumps over the lazy dog, while five boxing wizards look on ' +
    'and wonder what it means.';
// The longest input there is: more than four minutes, far more than any buffer on the way holds.
const LONGEST = `${SENTENCE} `.repeat(40).slice(0, 4095) + '.';
const FORMATS = ['mp3', 'opus', 'flac', 'wav', 'pcm'];
const MP3_BYTES_PER_SECOND = 64_000 / 8;
const PCM_BYTES_PER_SECOND = 24_000 * 2;

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 30_000 });

const speech = (changes) => ({ model: 'tts-1', voice: 'alloy', input: SENTENCE, ...changes });

// A fast reader speaks 25 characters a second, a slow one 8.
function assertLastsLike(text, seconds) {
    assert(text.length / 25 < seconds && seconds < text.length / 8 + 0.5, `${seconds} s`);
}

async function ledger() {
    // Closed at once, or it would be seen in the next ledger.
    const answer = await fetch(`${admin}/debug/ledger`, { headers: { connection: 'close' } });
    return answer.json();
}

// Waits until nothing is held for a client but idle connections, which are the SDK's to keep.
async function freedWithin(milliseconds) {
    const deadline = performance.now() + milliseconds;
    for (;;) {
        const { kinds } = await ledger();
        const alive = kinds.filter((kind) => kind.live && !kind.standing);
        if (alive.every(({ kind }) => ['connection', 'socket', 'task'].includes(kind))) return;
        assert(performance.now() < deadline, `still alive: ${JSON.stringify(alive)}`);
        await sleep(10);
    }
}

test('create: mp3 to a buffer', async () => {
    const answer = await client.audio.speech.create(speech());
    assert.equal(answer.headers.get('content-type'), 'audio/mpeg');
    const mp3 = Buffer.from(await answer.arrayBuffer());
    // The sync word of MPEG-2 Layer III, at once: no tag stands before it.
    assert.equal(mp3.readUInt16BE(0) & 0xfffe, 0xfff2);
    assertLastsLike(SENTENCE, mp3.length / MP3_BYTES_PER_SECOND);
});

for (const format of FORMATS) {
    test(`streaming ${format}: it begins before the end, and an abort frees everything`, async () => {
        const abort = new AbortController();
        const answer = await client.audio.speech.create(
            speech({ input: LONGEST, response_format: format }),
            { signal: abort.signal },
        );
        const reader = answer.body.getReader();
        assert((await reader.read()).value.length > 0);
        const { kinds } = await ledger();
        const running = kinds.some(({ kind, live }) => kind === 'speech_stream' && live);
        assert(running, 'the stream was over before its first chunk was read');
        abort.abort();
        await assert.rejects(async () => {
            while (!(await reader.read()).done);
        }, { name: 'AbortError' });
        await freedWithin(1_000);
    });
}

test('sse: events carry the sound', async () => {
    const answer = await client.audio.speech.create(
        speech({ model: 'gpt-4o-mini-tts', response_format: 'pcm', stream_format: 'sse' }),
    );
    assert.equal(answer.headers.get('content-type'), 'text/event-stream');
    const text = await answer.text();
    assert(text.endsWith('\n\n'));
    const events = text.trimEnd().split('\n\n').map((event) => {
        assert(event.startsWith('data: '), event);
        return JSON.parse(event.slice('data: '.length));
    });
    const done = events.pop();
    assert.equal(done.type, 'speech.audio.done');
    assert(done.usage.total_tokens > 0);
    assert(events.length > 1, 'one event is no stream');
    assert(events.every((event) => event.type === 'speech.audio.delta'));
    const pcm = Buffer.concat(events.map((event) => Buffer.from(event.audio, 'base64')));
    assertLastsLike(SENTENCE, pcm.length / PCM_BYTES_PER_SECOND);
    let squares = 0;
    for (let at = 0; at < pcm.length; at += 2) squares += pcm.readInt16LE(at) ** 2;
    const level = 20 * Math.log10(Math.sqrt(squares / (pcm.length / 2)) / 32_768);
    assert(-32 < level && level < -9, `${level} dBFS`);
});

test('aac is refused, with what can be had', async () => {
    const asked = client.audio.speech.create(speech({ response_format: 'aac' }));
    await assert.rejects(asked, (error) => {
        assert(error instanceof BadRequestError);
        assert.equal(error.param, 'response_format');
        for (const format of FORMATS) assert(error.message.includes(format), error.message);
        return true;
    });
});
