// WebSockets of the ws package as its documentation has them: whoever answers no ping is gone. A peer of benches/realtime.py.
//
//     node server.mjs
//
// It prints {"url":…} when it listens.

import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const PING_MS = 10_000;

const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 256 * 1024 });
sockets.on('connection', (socket) => {
    socket.isAlive = true;
    socket.on('error', () => {});
    socket.on('pong', () => {
        socket.isAlive = true;
    });
});

setInterval(() => {
    for (const socket of sockets.clients) {
        if (!socket.isAlive) {
            socket.terminate();
            continue;
        }
        socket.isAlive = false;
        socket.ping();
    }
}, PING_MS);

server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
    console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` }));
});
process.once('SIGTERM', () => process.exit(0));
