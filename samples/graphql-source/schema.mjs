// What can be asked: the part of Arweave's schema that an indexer uses. Resolvers are plain properties and synchronous,
// since a page of 100 records has some 3,000 fields.

import { createSchema } from 'graphql-yoga';
import { GraphQLError } from 'graphql';
import { FIRST_HEIGHT, heightOf, idOf, numberOf, recordOf, RECORDS_PER_BLOCK } from './records.mjs';

// As many as Arweave's gateways give.
const MOST_A_PAGE = 100;
const DEFAULT_A_PAGE = 10;
// With the fault "partial", each record whose number is a multiple of this lacks a part.
const PARTIAL_EVERY = 10;

const typeDefs = /* GraphQL */ `
    enum SortOrder { HEIGHT_ASC HEIGHT_DESC }
    input BlockFilter { min: Int, max: Int }
    type Query {
        transactions(first: Int, after: String, sort: SortOrder = HEIGHT_DESC, block: BlockFilter, ids: [ID!]):
            TransactionConnection!
        transaction(id: ID!): Transaction
        blocks(first: Int): BlockConnection!
    }
    type TransactionConnection { pageInfo: PageInfo! edges: [TransactionEdge!]! }
    type PageInfo { hasNextPage: Boolean! }
    type TransactionEdge { cursor: String! node: Transaction! }
    type Transaction { id: ID! owner: Owner! block: Block tags: [Tag!]! data: MetaData }
    type Owner { address: String! }
    type Block { height: Int! timestamp: Int }
    type Tag { name: String! value: String! }
    type MetaData { size: Int! type: String }
    type BlockConnection { edges: [BlockEdge!]! }
    type BlockEdge { node: Block! }
`;

// `count` says how many records there are now; `faults` and `stats` are read and written at each request.
export function makeSchema({ count, height, faults, stats }) {
    const served = (number) => {
        stats.records++;
        const record = recordOf(number);
        if (faults.broken_record_every && number % faults.broken_record_every === 0) {
            record.block.timestamp = null;
        }
        if (faults.partial && number % PARTIAL_EVERY === 0) {
            record.data = lacking;
        }
        return record;
    };
    const known = (id) => {
        const number = numberOf(id);
        return number !== null && number < count() ? number : null;
    };
    const Query = {
        transactions: (_, given) => {
            stats.pages++;
            const first = Math.max(1, Math.min(given.first ?? DEFAULT_A_PAGE, MOST_A_PAGE));
            if (given.ids) {
                const numbers = [...new Set(given.ids)].slice(0, first).map(known).filter((number) => number !== null);
                return { pageInfo: { hasNextPage: false }, edges: numbers.map((number) => edge(number, number)) };
            }
            return page(given, first);
        },
        transaction: (_, { id }) => {
            const number = known(id);
            return number === null ? null : served(number);
        },
        blocks: (_, { first }) => {
            const top = faults.height ?? height() ?? heightOf(Math.max(0, count() - 1));
            const blocks = Math.max(1, Math.min(first ?? 1, MOST_A_PAGE));
            return { edges: Array.from({ length: blocks }, (_, down) => blockEdge(top - down)) };
        },
    };
    const edge = (position, number) => ({ cursor: cursorOf(position), node: served(number) });

    function page({ after, sort, block }, first) {
        const upwards = sort === 'HEIGHT_ASC';
        const from = Math.max(0, ((block?.min ?? FIRST_HEIGHT) - FIRST_HEIGHT) * RECORDS_PER_BLOCK);
        const last = ((block?.max ?? Infinity) - FIRST_HEIGHT + 1) * RECORDS_PER_BLOCK - 1;
        const to = Math.min(count() - 1, last);
        const step = upwards ? 1 : -1;
        let position = upwards ? from : to;
        if (after) {
            position = positionOf(after) + step;
            if (faults.repeat_cursor) {
                // The page that ended with this cursor, once more.
                position -= step * first;
            }
        }
        position = upwards ? Math.max(position, from) : Math.min(position, to);
        const edges = [];
        for (; position >= from && position <= to && edges.length < first; position += step) {
            const again = repeated(position, step);
            if (again >= from && again <= to && edges.length + 2 <= first) {
                edges.push(edge(position - step, again));
            }
            edges.push(edge(position, position));
        }
        const hasNextPage = faults.repeat_cursor || (position >= from && position <= to);
        return { pageInfo: { hasNextPage }, edges };
    }

    // The record that is given again before this one, or none. It came `duplicate_every` records earlier, which is on
    // another page if that is as long as one.
    function repeated(position, step) {
        const every = faults.duplicate_every;
        return every && position % every === 0 ? position - step * every : -1;
    }
    return createSchema({ typeDefs, resolvers: { Query } });
}

const cursorOf = (position) => Buffer.from(`record:${position}`).toString('base64url');

function positionOf(cursor) {
    const found = /^record:(\d{1,10})$/.exec(Buffer.from(cursor, 'base64url').toString());
    if (!found) {
        throw new GraphQLError('after: no cursor of this source');
    }
    return Number(found[1]);
}

const blockEdge = (height) => ({
    node: { height, timestamp: recordOf(Math.max(0, height - FIRST_HEIGHT) * RECORDS_PER_BLOCK).block.timestamp },
});

function lacking() {
    throw new GraphQLError('data: not available at this moment');
}
