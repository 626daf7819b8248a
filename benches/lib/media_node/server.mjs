// Express's static files as its documentation has them, told what Evensong and nginx are told. A peer of benches/media.py.
//
//     node server.mjs FOLDER
//
// It prints {"url":…} when it listens.

import { createServer } from 'node:http';
import express from 'express';

const app = express();
app.disable('x-powered-by');
app.use(
    '/media',
    express.static(process.argv[2], {
        immutable: true,
        maxAge: '1y',
        setHeaders: (response) => response.setHeader('X-Content-Type-Options', 'nosniff'),
    }),
);

const server = createServer(app);
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));
process.once('SIGTERM', () => {
    server.close();
    server.closeAllConnections();
});
