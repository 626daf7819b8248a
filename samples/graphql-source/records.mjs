// The source's records, each made from its number alone: nothing is stored, and the same number is the same record in
// every process. Number 0 is the oldest; ten share a block, and so a time.

const SENTENCES = [
    (w) => `The ${w('trade')} of ${w('town')} says that the ${w('thing')} has been there for ${w('count')} years.`,
    (w) => `Every ${w('day')} a ${w('beast')} waits at the ${w('place')} until the ${w('thing')} is lit.`,
    (w) => `Nobody in ${w('town')} could explain how the ${w('thing')} came to the ${w('place')}.`,
    (w) => `A ${w('trade')} wrote it down in ${w('count')} lines, and the ${w('place')} has kept the page.`,
    (w) => `When the ${w('weather')} comes in from the sea, the ${w('place')} is closed and the ${w('beast')} sleeps.`,
    (w) => `It took ${w('count')} people to carry the ${w('thing')} from ${w('town')} up to the ${w('place')}.`,
    (w) => `Those who remember the old ${w('place')} speak of the ${w('weather')} and of a patient ${w('trade')}.`,
    (w) => `The ${w('beast')} by the ${w('place')} belongs to a ${w('trade')} who came here last ${w('day')}.`,
    (w) => `On the evening of the ${w('weather')} somebody sang, and the ${w('thing')} answered from the ${w('place')}.`,
    (w) => `There is a ${w('thing')} in ${w('town')} that only the ${w('trade')} knows how to mend.`,
];
const TITLES = [
    (w) => `The ${w('thing')} of ${w('town')}`,
    (w) => `A ${w('trade')} and a ${w('beast')} at the ${w('place')}`,
    (w) => `What the ${w('trade')} saw on ${w('day')}`,
    (w) => `${w('count')} years at the ${w('place')}`,
    (w) => `How the ${w('weather')} reached ${w('town')}`,
];
const WORDS = {
    trade: ['baker', 'bell ringer', 'boat builder', 'clockmaker', 'ferryman', 'gardener', 'glass blower', 'librarian',
        'organist', 'postmaster', 'sail maker', 'schoolteacher', 'shepherd', 'stonemason', 'violin maker', 'weaver'],
    town: ['Ashbourne', 'Birkenfell', 'Carrow', 'Dunmere', 'Elmstead', 'Farholm', 'Greywater', 'Hollin', 'Inverlee',
        'Kestrel Bay', 'Larkhill', 'Marrowby', 'Northwick', 'Orrin', 'Pellworth', 'Saint Aldan'],
    thing: ['almanac', 'barometer', 'bell', 'brass compass', 'copper kettle', 'lantern', 'loom', 'map', 'music box',
        'oak table', 'organ pipe', 'pendulum clock', 'signal fire', 'stained window', 'telescope', 'water wheel'],
    place: ['boathouse', 'bridge', 'chapel', 'harbour', 'library', 'lighthouse', 'market square', 'mill', 'observatory',
        'old orchard', 'quarry', 'railway station', 'sea wall', 'town hall', 'tower', 'vineyard'],
    beast: ['barn owl', 'black cat', 'carthorse', 'collie', 'donkey', 'goose', 'grey heron', 'hare', 'jackdaw', 'lamb',
        'otter', 'pigeon', 'red fox', 'seal', 'swallow', 'tortoise'],
    weather: ['cold rain', 'drizzle', 'east wind', 'first frost', 'fog', 'hail', 'heat', 'long thaw', 'mist',
        'northern lights', 'snow', 'spring tide', 'storm', 'summer lightning', 'thunder', 'west wind'],
    day: ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday', 'autumn', 'spring', 'summer',
        'winter', 'harvest day', 'market day', 'midsummer', 'Christmas', 'Easter'],
    count: ['eight', 'nine', 'eleven', 'twelve', 'thirteen', 'fifteen', 'seventeen', 'nineteen', 'twenty', 'thirty',
        'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety'],
};
const TOPICS = ['animals', 'crafts', 'folklore', 'history', 'music', 'science', 'sea', 'travel', 'weather', 'work'];
const TYPES = ['article', 'note', 'report', 'story'];
const CREATORS = 50;
const LEAST_TEXT_CHARS = 300;
const MEDIA_FILES = 24;

export const FIRST_HEIGHT = 1_340_000;
export const RECORDS_PER_BLOCK = 10;
const SECONDS_PER_BLOCK = 120;
const FIRST_TIMESTAMP = Date.UTC(2024, 0, 1) / 1000;

// Odd, so that multiplying by it can be undone: a number is scattered over 32 bits, and found again.
const SCATTER = 0x9e3779b1;
const GATHER = inverse(SCATTER);
const ID_BYTES = 32;

export const heightOf = (number) => FIRST_HEIGHT + Math.floor(number / RECORDS_PER_BLOCK);

// 43 characters, as Arweave's are; the first 32 bits lead back to the number.
export function idOf(number) {
    return digest(number, Math.imul(number, SCATTER));
}

// The number of a record's id, or null if it is nobody's.
export function numberOf(id) {
    const bytes = Buffer.from(id, 'base64url');
    if (bytes.length !== ID_BYTES) {
        return null;
    }
    const number = Math.imul(bytes.readInt32BE(0), GATHER) >>> 0;
    return idOf(number) === id ? number : null;
}

export function creatorOf(number) {
    const creator = mix(number ^ 0x5bd1e995) % CREATORS;
    return digest(0x10000 + creator, mix(creator));
}

export function recordOf(number) {
    const next = dice(number);
    const word = (kind) => WORDS[kind][next(WORDS[kind].length)];
    const title = capital(TITLES[next(TITLES.length)](word));
    let text = '';
    for (let place = next(SENTENCES.length); text.length < LEAST_TEXT_CHARS; place += 1 + next(3)) {
        text += `${text && ' '}${SENTENCES[place % SENTENCES.length](word)}`;
    }
    const media = String(next(MEDIA_FILES)).padStart(2, '0');
    const tags = [
        { name: 'Content-Type', value: 'text/plain' },
        { name: 'Type', value: TYPES[next(TYPES.length)] },
        { name: 'Title', value: title },
        { name: 'Text', value: text },
        { name: 'Media', value: `/media/sample-${media}.gif` },
    ];
    const first = next(TOPICS.length);
    for (let topic = 0, topics = 1 + next(3); topic < topics; topic++) {
        tags.push({ name: 'Topic', value: TOPICS[(first + topic * 3) % TOPICS.length] });
    }
    if (next(10) === 0) {
        tags.push({ name: 'Audio', value: `/media/reading-${media}.mp3` });
    }
    const height = heightOf(number);
    return {
        id: idOf(number),
        owner: { address: creatorOf(number) },
        block: { height, timestamp: FIRST_TIMESTAMP + (height - FIRST_HEIGHT) * SECONDS_PER_BLOCK },
        tags,
        // ASCII, so that characters are bytes.
        data: { size: text.length, type: 'text/plain' },
    };
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function digest(number, first) {
    const bytes = Buffer.allocUnsafe(ID_BYTES);
    bytes.writeInt32BE(first | 0, 0);
    for (let at = 4, state = number; at < ID_BYTES; at += 4) {
        state = mix(state + at);
        bytes.writeInt32BE(state | 0, at);
    }
    return bytes.toString('base64url');
}

// The finalizer of MurmurHash3: every bit of the input reaches every bit of the result.
function mix(value) {
    let bits = value | 0;
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    return (bits ^ (bits >>> 16)) >>> 0;
}

// Numbers below a limit, the same ones for the same seed (mulberry32).
function dice(seed) {
    let state = mix(seed + 1);
    return (below) => {
        state = (state + 0x6d2b79f5) | 0;
        let bits = Math.imul(state ^ (state >>> 15), state | 1);
        bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
        return ((bits ^ (bits >>> 14)) >>> 0) % below;
    };
}

// Modulo 2^32, by Newton: each step doubles the bits that are right, and an odd number is its own inverse in three.
function inverse(odd) {
    let found = odd;
    for (let step = 0; step < 4; step++) {
        found = Math.imul(found, 2 - Math.imul(odd, found));
    }
    return found;
}
