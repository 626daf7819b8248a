// OpenAI's voice agents for Node (`@openai/agents-realtime`), unchanged but for their URL, talk with Evensong over a
// WebSocket: text in and sound out, an interruption, one over TLS, and sound in, which a server behind answers.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { OpenAIRealtimeWebSocket, RealtimeAgent, RealtimeSession } from '@openai/agents-realtime';
import WebSocket from 'ws';
import { certificate, evensong, model } from './house.mjs';
import { listener } from './listener.mjs';

const ANSWER =
    'The evening is quiet in the valley. Bells ring from the old tower, and a dog answers them. ' +
    'Nobody knows why it does that. Then the lights go out, one after the other.';
const PCM_BYTES_PER_SECOND = 24_000 * 2;
const PATIENCE_MS = 30_000;
const GRACE_SECONDS = 2;

const llm = await model();
const settings = {
    answer_llm_base_url: `${llm}/v1`,
    answer_llm_model: 'stub',
    realtime_grace_seconds: `${GRACE_SECONDS}`,
};
const server = await evensong(settings);
const realtime = (at) => `${at.url.replace(/^http/, 'ws')}/v1/realtime?model=gpt-realtime`;

let topics = 0;
const topic = () => (topics += 1);

// What the model did for a turn.
async function turn(number) {
    const { turns } = await (await fetch(`${llm}/stats`, { headers: { connection: 'close' } })).json();
    return turns.filter((one) => one.topic === number);
}

// A session of the SDK over `transport`, and all that it was told.
class Talk {
    constructor(transport) {
        this.events = [];
        this.pcm = [];
        this.errors = [];
        const agent = new RealtimeAgent({ name: 'ringer', instructions: 'Answer like a bell-ringer.' });
        this.session = new RealtimeSession(agent, { transport, model: 'gpt-realtime', tracingDisabled: true });
        this.session.on('error', (error) => this.errors.push(error));
        this.session.on('audio', ({ data }) => this.pcm.push(Buffer.from(data)));
        this.waiting = new Set();
        this.session.on('transport_event', (event) => {
            this.events.push(event);
            for (const look of this.waiting) look(event);
        });
    }

    async connect(apiKey = 'none') {
        await this.session.connect({ apiKey });
        return this;
    }

    // The next event of the wire by that name.
    next(name) {
        return new Promise((resolve, reject) => {
            const late = setTimeout(() => reject(new Error(`no ${name}: ${JSON.stringify(this.errors)}`)), PATIENCE_MS);
            const look = (event) => {
                if (event.type !== name) return;
                this.waiting.delete(look);
                clearTimeout(late);
                resolve(event);
            };
            this.waiting.add(look);
        });
    }

    // Asks, and waits for the end of the answer.
    async say(text) {
        const done = this.next('response.done');
        this.session.sendMessage(text);
        return (await done).response;
    }

    named(name) {
        return this.events.filter((event) => event.type === name);
    }

    get transcript() {
        const deltas = this.named('response.output_audio_transcript.delta');
        return deltas.map((event) => event.delta).join('');
    }

    // The end of the connection, as it is told.
    async close() {
        this.session.close();
        assert.deepEqual(this.errors, []);
    }
}

// A fast reader speaks 25 characters a second, a slow one 8.
function assertIsSpeechOf(text, pcm) {
    const seconds = pcm.length / PCM_BYTES_PER_SECOND;
    assert(text.length / 25 < seconds && seconds < text.length / 8 + 0.5, `${seconds} s`);
    let [squares, clipped] = [0, 0];
    for (let at = 0; at < pcm.length; at += 2) {
        const sample = pcm.readInt16LE(at);
        squares += sample ** 2;
        clipped += Math.abs(sample) >= 32_767 ? 1 : 0;
    }
    const level = 20 * Math.log10(Math.sqrt(squares / (pcm.length / 2)) / 32_768);
    assert(-32 < level && level < -9, `${level} dBFS`);
    assert(clipped < pcm.length / 2 / 1_000, `${clipped} samples are clipped`);
}

const spoken = (talk) => assertIsSpeechOf(talk.transcript, Buffer.concat(talk.pcm));
const plain = () => new OpenAIRealtimeWebSocket({ url: realtime(server) });

test('text in, sound out, and both remember what was said', async () => {
    const talk = await new Talk(plain()).connect();
    const question = `topic=${topic()} say: ${ANSWER}`;
    const response = await talk.say(question);
    assert.equal(response.status, 'completed');
    assert.equal(talk.transcript, ANSWER);
    spoken(talk);
    const history = talk.session.history.map(({ role, content: [part] }) => [role, part.text ?? part.transcript]);
    assert.deepEqual(history, [['user', question], ['assistant', ANSWER]]);
    const second = topic();
    await talk.say(`topic=${second} say: Good night.`);
    assert.equal(talk.transcript, `${ANSWER}Good night.`);
    const requests = await (await fetch(`${llm}/requests`, { headers: { connection: 'close' } })).json();
    const messages = requests.at(-1).body.messages.map(({ content }) => content);
    const [first, answer, last] = messages.slice(-3);
    assert(messages.slice(0, -2).join(' ').includes('bell-ringer'), 'what the agent is to be was not told');
    // Whatever stands before the first question may be one with it.
    assert(first.endsWith(question), first);
    assert.deepEqual([answer, last], [ANSWER, `topic=${second} say: Good night.`]);
    await talk.close();
});

test('who interrupts hears nothing of the old answer, and the model is let go', async () => {
    const talk = await new Talk(plain()).connect();
    const first = topic();
    const interrupted = once(talk.session, 'audio_interrupted', { signal: AbortSignal.timeout(PATIENCE_MS) });
    const audio = once(talk.session, 'audio', { signal: AbortSignal.timeout(PATIENCE_MS) });
    const done = talk.next('response.done');
    talk.session.sendMessage(`topic=${first} pace=30 say: ${ANSWER} ${ANSWER} ${ANSWER}`);
    await audio;
    const truncated = talk.next('conversation.item.truncated');
    talk.session.interrupt();
    await interrupted;
    const { response } = await done;
    assert.equal(response.status, 'cancelled');
    const [item] = response.output;
    assert.equal((await truncated).item_id, item.id);
    const [{ state }] = await turn(first);
    assert.equal(state, 'left');
    const seen = talk.events.length;
    talk.pcm.length = 0;
    assert.equal((await talk.say(`topic=${topic()} say: ${ANSWER}`)).status, 'completed');
    const behind = talk.events.slice(seen);
    assert(!behind.some((event) => event.response_id === response.id), 'it went on');
    assertIsSpeechOf(ANSWER, Buffer.concat(talk.pcm));
    await talk.close();
});

test('a key can come as a subprotocol, as browsers have to send it', async () => {
    let socket;
    const transport = new OpenAIRealtimeWebSocket({
        url: realtime(server),
        useInsecureApiKey: true,
        createWebSocket: ({ url, apiKey }) => {
            socket = new WebSocket(url, ['realtime', `openai-insecure-api-key.${apiKey}`]);
            return socket;
        },
    });
    const talk = await new Talk(transport).connect();
    assert.equal(socket.protocol, 'realtime');
    await talk.say(`topic=${topic()} say: ${ANSWER}`);
    assert.equal(talk.transcript, ANSWER);
    spoken(talk);
    await talk.close();
});

test('over TLS it is the same', async (t) => {
    const made = certificate();
    if (!made) return t.skip('openssl is not installed');
    const { cert, key, pem } = made;
    const guarded = await evensong(settings, ['--tls-cert', cert, '--tls-key', key]);
    const transport = new OpenAIRealtimeWebSocket({
        url: realtime(guarded),
        createWebSocket: ({ url, apiKey }) =>
            new WebSocket(url, { ca: pem, headers: { Authorization: `Bearer ${apiKey}` } }),
    });
    assert.match(realtime(guarded), /^wss:/);
    const talk = await new Talk(transport).connect();
    await talk.say(`topic=${topic()} say: ${ANSWER}`);
    assert.equal(talk.transcript, ANSWER);
    spoken(talk);
    await talk.close();
});

test('sound in and sound out, by a server behind that listens', async () => {
    const [said, answer] = ['What is the ring of a stream?', 'It never ends.'];
    const behind = await listener(said, answer);
    const relay = await evensong({
        ...settings,
        realtime_upstream_base_url: behind.url,
        realtime_upstream_api_key: 'sk-behind',
        realtime_upstream_model: 'gpt-behind',
    });
    const talk = await new Talk(new OpenAIRealtimeWebSocket({ url: realtime(relay) })).connect();
    const pcm = Buffer.from(Int16Array.from({ length: 24_000 }, (_, at) => 9_000 * Math.sin(at / 9)).buffer);
    for (let at = 0; at < pcm.length; at += 4_800) {
        const part = Uint8Array.from(pcm.subarray(at, at + 4_800)).buffer;
        talk.session.sendAudio(part, { commit: at + 4_800 >= pcm.length });
    }
    assert.equal((await talk.next('response.done')).response.status, 'completed');
    assert.equal(talk.transcript, answer);
    assert(Buffer.concat(talk.pcm).equals(pcm), 'it is the sound that was said, to the last sample');
    const history = talk.session.history.map(({ role, content: [part] }) => [role, part.transcript]);
    assert.deepEqual(history, [['user', said], ['assistant', answer]]);
    const [link] = behind.links;
    assert.deepEqual([link.url, link.key], ['/v1/realtime?model=gpt-behind', 'Bearer sk-behind']);
    assert(Buffer.concat(link.sound).equals(pcm));
    assert.equal(link.events[0].session.instructions, 'Answer like a bell-ringer.');
    await talk.close();
    assert.equal(behind.links.length, 1);
});
