// A search service as one would write it in Node: node:http, Elastic's own client, one query in, one answer out, in the
// shape of Evensong's. It is what the bench compares CPU time with, so it does nothing that is not needed.
//
//     ENGINE=http://127.0.0.1:9200 REQUEST=request.json node server.mjs
//
// REQUEST names a file with the request that Evensong itself sends: {"index", "query": {…}, "body": "…"}, in which
// qqone and qqtwo stand for the two words that are asked for. It prints {"url":…} when it listens.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Client } from '@elastic/elasticsearch';

const { index, query, body } = JSON.parse(readFileSync(process.env.REQUEST, 'utf8'));
const client = new Client({ node: process.env.ENGINE });

async function search(words) {
    const [one, two = one] = words.split(' ');
    const quoted = (word) => JSON.stringify(word).slice(1, -1);
    const request = JSON.parse(body.replaceAll('qqone', quoted(one)).replaceAll('qqtwo', quoted(two)));
    const began = performance.now();
    const found = await client.search({ index, ...query, ...request });
    const hits = (found.hits.hits ?? []).map(({ _id, _score, _source, highlight }) => ({
        id: _id,
        score: _score ?? null,
        type: _source?.type,
        title: _source?.title,
        snippet: highlight?.text?.[0] ?? highlight?.title?.[0] ?? '',
        url: _source?.url,
        media: _source?.media,
        created_at: _source?.created_at,
        tags: _source?.tags ?? [],
        creator: _source?.creator,
    }));
    const total = found.hits.total ?? { value: hits.length, relation: 'gte' };
    return { took_ms: performance.now() - began, total, hits, next_cursor: null, backend: 'elasticsearch' };
}

const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://localhost');
    let status = 200;
    let answer;
    try {
        answer = await search(url.searchParams.get('q') ?? '');
    } catch (error) {
        status = 502;
        answer = { error: error.message };
    }
    const text = JSON.stringify(answer);
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
    response.end(text);
});

server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));
process.once('SIGTERM', () => {
    server.close();
    server.closeAllConnections();
    client.close();
});
