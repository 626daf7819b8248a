// A realtime server of another make, as small as can be, on the `ws` package: it hears what is committed and says the same again.

import { once } from 'node:events';
import { after } from 'node:test';
import { WebSocketServer } from 'ws';

const DELTA_BYTES = 4_800;

// One that listens: where it is, and for each connection what it was asked for and heard.
export async function listener(heard, answer) {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    await once(server, 'listening');
    const links = [];
    server.on('connection', (socket, request) => {
        const link = { url: request.url, key: request.headers.authorization, events: [], sound: [] };
        links.push(link);
        let [named, waiting] = [0, []];
        const id = (kind) => `${kind}_${(named += 1)}`;
        const tell = (type, fields) => socket.send(JSON.stringify({ type, event_id: id('event'), ...fields }));
        const does = {
            'session.update': ({ session }) => tell('session.updated', { session }),
            'input_audio_buffer.append': ({ audio }) => {
                link.sound.push(Buffer.from(audio, 'base64'));
                waiting.push(link.sound.at(-1));
            },
            'input_audio_buffer.commit': () => {
                hear(tell, id, heard);
                say(tell, id, answer, Buffer.concat(waiting));
                waiting = [];
            },
        };
        tell('session.created', { session: { type: 'realtime', id: id('sess') } });
        socket.on('message', (message) => {
            const event = JSON.parse(message);
            link.events.push(event);
            does[event.type]?.(event);
        });
    });
    after(() => {
        for (const socket of server.clients) socket.terminate();
        server.close();
    });
    return { url: `http://127.0.0.1:${server.address().port}/v1`, links };
}

function hear(tell, id, transcript) {
    const content = [{ type: 'input_audio', transcript: null }];
    const item = { id: id('item'), type: 'message', role: 'user', status: 'completed', content };
    tell('input_audio_buffer.committed', { previous_item_id: null, item_id: item.id });
    tell('conversation.item.added', { previous_item_id: null, item });
    tell('conversation.item.done', { previous_item_id: null, item });
    const usage = { type: 'duration', seconds: 1 };
    const name = 'conversation.item.input_audio_transcription.completed';
    tell(name, { item_id: item.id, content_index: 0, transcript, usage });
}

function say(tell, id, transcript, pcm) {
    const item = { id: id('item'), type: 'message', role: 'assistant', status: 'in_progress', content: [] };
    const whole = { ...item, status: 'completed', content: [{ type: 'output_audio', transcript }] };
    const response = { id: id('resp'), object: 'realtime.response', status: 'in_progress', output: [] };
    const there = { response_id: response.id, output_index: 0 };
    const here = { ...there, item_id: item.id, content_index: 0 };
    tell('response.created', { response });
    tell('response.output_item.added', { ...there, item });
    tell('conversation.item.added', { previous_item_id: null, item });
    tell('response.content_part.added', { ...here, part: { type: 'audio', transcript: '' } });
    tell('response.output_audio_transcript.delta', { ...here, delta: transcript });
    for (let at = 0; at < pcm.length; at += DELTA_BYTES) {
        const delta = pcm.subarray(at, at + DELTA_BYTES).toString('base64');
        tell('response.output_audio.delta', { ...here, delta });
    }
    tell('response.output_audio.done', here);
    tell('response.output_audio_transcript.done', { ...here, transcript });
    tell('response.content_part.done', { ...here, part: { type: 'audio', transcript } });
    tell('conversation.item.done', { previous_item_id: null, item: whole });
    tell('response.output_item.done', { ...there, item: whole });
    const usage = { total_tokens: 2, input_tokens: 1, output_tokens: 1 };
    tell('response.done', { response: { ...response, status: 'completed', output: [whole], usage } });
}
