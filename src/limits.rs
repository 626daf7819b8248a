//! Every limit of the program on one page, each with its unit and its reason, and the memory plan
//! that is made of them. Invariant: a thing that can grow is named here; the `const` assertions at
//! the end hold the plan to its promises (design rule 1), so a limit cannot be raised unnoticed.

mod dialogue;
mod media;
mod realtime;

use std::time::Duration;

pub use dialogue::*;
pub use media::*;
pub use realtime::*;

/// Bytes in a KiB.
pub const KIB: usize = 1024;
/// Bytes in a MiB.
pub const MIB: usize = 1024 * KIB;

// ---- The budget ---------------------------------------------------------------------------------

/// Bytes that may be promised to clients at once where no smaller memory limit is set.
pub const BUDGET_BYTES: usize = 256 * MIB;
/// The smallest budget that still carries a stream beside a few connections.
pub const BUDGET_LEAST_BYTES: usize = 4 * MIB;
/// Clients get this part of the cgroup's memory limit, when there is one.
pub const BUDGET_CGROUP_PART: u64 = 4;

// ---- The ring -----------------------------------------------------------------------------------

/// One page of a speech stream's ring. A page is what is accounted: small chunks cannot cheat.
pub const PAGE_BYTES: usize = 16 * KIB;
/// Pages of uncompressed speech: 208 KiB are 4.4 s at 24 kHz, one longest piece and a page that a
/// reader may still hold; what is missing to real-time comfort stands in the socket's buffer.
pub const PCM_RING_PAGES: usize = 13;

/// Pages of mp3 and opus: 64 KiB are 8 and 16 s; what counts there is [`AHEAD_MOST`].
pub const SMALL_RING_PAGES: usize = 4;
/// Pages of flac: it may be as large as pcm for a while, and its encoder needs room beside it.
pub const FLAC_RING_PAGES: usize = 10;

// ---- What one stream costs ----------------------------------------------------------------------

/// Resampler, encoder, worker frames in flight, the text, and the tasks of one speech stream.
pub const SPEECH_SCRATCH_BYTES: usize = 72 * KIB;
/// hyper's read buffer, and its write buffer, of an HTTP/1 connection (`max_buf_size`).
pub const HYPER_BUFFER_BYTES: usize = 16 * KIB;
/// The server's side of a client socket in the kernel: what waits to be sent (measured: 44 to 62 KiB,
/// since `TCP_NOTSENT_LOWAT` holds it below what the buffer would take), and 64 KiB that came in.
pub const KERNEL_SOCKET_BYTES: usize = 160 * KIB;
/// What each reader of a shared or kept phrase reserves: what its socket holds in the kernel.
pub const LISTENER_BYTES: usize = KERNEL_SOCKET_BYTES;
/// The upstream's side of a stream: hyper's read buffer, as much that waits behind it, and what its socket holds.
pub const UPSTREAM_SIDE_BYTES: usize =
    2 * UPSTREAM_BUFFER_BYTES + 2 * UPSTREAM_RECEIVE_BUFFER_BYTES as usize;
/// A stream that is passed through: both sides, and what is on its way between them.
pub const PASSING_BYTES: usize = UPSTREAM_SIDE_BYTES + UPSTREAM_BUFFER_BYTES + LISTENER_BYTES;
/// Resampler and task of a stream that comes from elsewhere and is encoded here.
pub const RECODE_SCRATCH_BYTES: usize = 32 * KIB;
/// Pages of its ring: what is ahead waits at the upstream.
pub const RECODED_RING_PAGES: usize = 2;
/// Events carry base64: an event and what it is made of.
pub const SSE_SCRATCH_BYTES: usize = 8 * KIB;
/// No stream that is made here may reserve more than this (promise P1, figure 4),
pub const STREAM_MOST_BYTES: usize = 448 * KIB;
/// and none that comes from elsewhere, and holds two sockets, more than this.
pub const REMOTE_STREAM_MOST_BYTES: usize = 632 * KIB;

// ---- Connections --------------------------------------------------------------------------------

/// What an open connection owns: its task (8 KiB), hyper's two buffers, a small body, and its lines in the
/// ledger (measured: 44 KiB with one request behind it).
pub const CONNECTION_BYTES: usize = 48 * KIB;
/// File descriptors of a connection: its socket, and the watcher's dup of it.
pub const CONNECTION_FDS: u64 = 2;
/// The largest body that the connection's own bytes pay for.
pub const SMALL_BODY_BYTES: usize = 8 * KIB;
/// Open client connections; the kernel's file table and the budget are the harder walls.
pub const CONNECTIONS: usize = 4096;
/// Open connections on the admin listener: scrapers and a few people.
pub const ADMIN_CONNECTIONS: usize = 12;
/// Connections the kernel may queue before we accept them (tokio's own default is 128).
pub const LISTEN_BACKLOG: u32 = 4096;
/// `SO_SNDBUF` of client sockets; the kernel doubles it.
pub const CLIENT_SEND_BUFFER_BYTES: usize = 64 * KIB;
/// `SO_RCVBUF` of client sockets, doubled by the kernel as well: what a peer may send that nobody reads
/// yet. Left to itself the kernel grows it to megabytes.
pub const CLIENT_RECEIVE_BUFFER_BYTES: usize = 32 * KIB;
/// `TCP_NOTSENT_LOWAT`: unsent bytes after which the socket stops asking for more.
pub const CLIENT_NOT_SENT_BYTES: u32 = 32 * KIB as u32;
/// Idle seconds before keep-alive probes start, between probes, and probes before the cut.
pub const TCP_KEEPALIVE: (Duration, Duration, u32) =
    (Duration::from_secs(10), Duration::from_secs(5), 3);
/// Time that bytes sent to an upstream may stay unacknowledged (`TCP_USER_TIMEOUT`): one that is half open.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which a client's kernel must acknowledge some of what was sent. With the look that finds it out, 30 s.
pub const UNACKNOWLEDGED_MOST: Duration = Duration::from_secs(25);
/// Between two looks at what our kernel still holds.
pub const UNACKNOWLEDGED_LOOK: Duration = Duration::from_secs(5);
/// From accept to the first bytes that tell the protocol.
pub const FIRST_BYTES_DEADLINE: Duration = Duration::from_secs(5);
/// From the first byte of a request to the end of its head.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// A body must bring `BODY_LEAST_BYTES` within this time, again and again, or its end.
pub const BODY_WINDOW: Duration = Duration::from_secs(5);
/// 1 KiB/s over the window: the slowest mobile uplink is quicker.
pub const BODY_LEAST_BYTES: usize = 5 * KIB;
/// A connection that was asked to end in good order has this long to do so.
pub const CLOSING_DEADLINE: Duration = Duration::from_secs(1);
/// A server that leaves gives this to whoever has come and not asked yet.
pub const LEAVING_GRACE: Duration = Duration::from_millis(250);
/// What of an answer is ready is handed to the socket together, up to so many bytes,
pub const GATHER_BYTES: usize = 64 * KIB;
/// and in so many parts.
pub const GATHER_PARTS: usize = 16;
/// Whoever makes it may have more of it by the time that the other tasks had so many turns: on several threads,
/// one is not always enough.
pub const GATHER_TURNS: u8 = 3;
/// Frames of one answer that the protocol may hold: each costs half a KiB, however little is in it.
pub const FRAMES_MOST: usize = 16;
/// Idle time between two requests of one connection; longer than the proxies in front keep theirs.
pub const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(75);
/// A reader that takes nothing of what waits is cut after this; `SLOW_READER_BYTES` taken buy it anew.
pub const SLOW_READER_WINDOW: Duration = Duration::from_secs(20);
/// 1 KiB/s over the window: the slowest codec is six times quicker.
pub const SLOW_READER_BYTES: u64 = 20 * KIB as u64;
/// Pause after `accept` failed for want of file descriptors or memory: never a spin.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Longest target of a request; the whole head is bounded by `HYPER_BUFFER_BYTES`.
pub const TARGET_BYTES: usize = 8 * KIB;
/// Header fields of one request.
pub const HEADER_FIELDS: usize = 64;
/// Concurrent HTTP/2 streams of one connection.
pub const H2_STREAMS: u32 = 64;
/// What a request on a shared connection costs beside it: a head of up to `HYPER_BUFFER_BYTES` with its map,
/// and its stream and task (measured: 19 KiB with a full head).
pub const H2_REQUEST_BYTES: usize = 24 * KIB;
/// HTTP/2 flow-control window of a stream and of a connection.
pub const H2_WINDOW_BYTES: u32 = 64 * KIB as u32;
/// HTTP/2 bytes buffered towards the socket per stream (hyper's default is 400 KiB).
pub const H2_SEND_BUFFER_BYTES: usize = 16 * KIB;
/// HTTP/2 streams that may be reset by the peer before we have looked at them.
pub const H2_RESETS: usize = 20;
/// HTTP/2 frames that bring nothing (pings, settings, resets, empty data, window updates …) that a
/// peer may send at once,
pub const H2_CALM_BURST: f64 = 256.0;
/// and for each second,
pub const H2_CALM_A_SECOND: f64 = 32.0;
/// and one for so many bytes that it took: a reader acknowledges each frame twice.
pub const H2_CALM_SENT_BYTES: f64 = 512.0;
/// and so many for each answer, which may be smaller than that.
pub const H2_CALM_ANSWER: f64 = 2.0;
/// What a TLS connection owns beside the rest: its keys and states, and two records of 16 KiB each
/// way (RFC 8446, 5.1).
pub const TLS_BYTES: usize = 48 * KIB;
/// Plain text that TLS may keep back for a peer that does not read (rustls' default is 64 KiB).
pub const TLS_BUFFER_BYTES: usize = 16 * KIB;
/// File descriptors that are no client's: workers and their restarts, listeners, the operator, logs.
pub const SPARE_FDS: u64 = 48;
/// A door is taken for full for so long after it last had to turn somebody away.
pub const DOOR_FULL_FOR: Duration = Duration::from_secs(1);

// ---- Who, and how much --------------------------------------------------------------------------

/// Keys in one file: each is compared with every key that is presented.
pub const KEYS_MOST: usize = 1024;
/// Longest name of a key.
pub const KEY_NAME_BYTES: usize = 64;
/// A ticket must be used within this.
pub const TICKET_LASTS: Duration = Duration::from_secs(30);
/// Tickets of one principal that were not used yet.
pub const TICKETS_A_PRINCIPAL: usize = 64;
/// Tickets in all.
pub const TICKETS_MOST: usize = 8192;
/// Time between two sweeps of tickets.
pub const TICKET_SWEEP_EVERY: Duration = Duration::from_secs(30);
/// A browser may remember the answer to a preflight for so long.
pub const PREFLIGHT_LASTS: Duration = Duration::from_secs(600);
/// Connections open at once from one address: a household or an office behind one, ten times over.
pub const CONNECTIONS_AN_ADDRESS: usize = 256;
/// Connections a minute from one address.
pub const CONNECTS_A_MINUTE: u32 = 6000;
/// Requests a minute, of one address and of one key.
pub const REQUESTS_A_MINUTE: u32 = 6000;
/// Streams begun a minute.
pub const STARTS_A_MINUTE: u32 = 600;
/// Streams at once of one address or key: about a quarter of the budget's.
pub const STREAMS_AT_ONCE: usize = 150;
/// Characters to be spoken a minute: 200 people who read as fast as they can.
pub const CHARACTERS_A_MINUTE: u32 = 300_000;
/// Wrong keys and tickets a minute from one address.
pub const WRONG_KEYS_A_MINUTE: u32 = 60;
/// Addresses and keys remembered by the limiter: about 100 bytes each.
pub const LIMITER_KEYS: usize = 32_768;
/// A strike is so many refusals
pub const STRIKE_REFUSALS: u32 = 10;
/// within this time: who heeds `Retry-After` has one or two, also with a few at once.
pub const STRIKE_EVERY: Duration = Duration::from_secs(1);
/// Strikes after which the log names who it is.
pub const STRIKES_TO_WARN: u32 = 3;
/// Strikes after which they are shut out.
pub const STRIKES_TO_BLOCK: u32 = 11;
/// Strikes are forgotten when none was added for so long.
pub const STRIKES_FORGOTTEN: Duration = Duration::from_secs(3600);
/// How long one is shut out.
pub const BLOCK_LASTS: Duration = Duration::from_secs(300);
/// Time between two sweeps of the limiter.
pub const SWEEP_EVERY: Duration = Duration::from_secs(60);

// ---- Requests -----------------------------------------------------------------------------------

/// A JSON body of the speech route: 4,096 characters, each escaped as a surrogate pair, and room.
pub const SPEECH_BODY_BYTES: usize = 64 * KIB;
/// Deepest nesting of a JSON body; serde_json's own limit.
pub const JSON_DEPTH: usize = 128;
/// Characters of one speech request (OpenAI's own limit).
pub const SPEECH_INPUT_CHARS: usize = 4096;
/// Longest `x-request-id` taken over from a client.
pub const REQUEST_ID_BYTES: usize = 64;
/// A stream's head is held back until its first audio, its failure, or this.
pub const HEAD_HOLD: Duration = Duration::from_secs(10);

// ---- Speech -------------------------------------------------------------------------------------

/// Sample rate of everything that leaves as speech (OpenAI's `pcm`).
pub const SPEECH_HZ: u32 = 24_000;
/// What is asked for at once of an engine elsewhere, of a text that is still being written: a few sentences.
pub const RECITED_CHARS: usize = 600;
/// Speech takes about this long per character at speed 1.0; generous, since it is reserved room.
pub const SECONDS_PER_CHAR: f64 = 0.1;
/// Longest piece of one job: bounds what a worker may have to deliver without asking.
pub const PIECE_MOST: Duration = Duration::from_secs(4);
/// Shortest room for which a job is started: a shorter one could not hold a long word.
pub const PIECE_LEAST: Duration = Duration::from_millis(1500);
/// Nothing is made further ahead than this of what the client has taken.
pub const AHEAD_MOST: Duration = Duration::from_secs(10);
/// A request is refused when its first piece would have to wait longer.
pub const FIRST_PIECE_WAIT_MOST: Duration = Duration::from_millis(250);
/// A stream's next piece is made so long before its audio runs out: a piece takes milliseconds, but on a
/// machine that is asked for more than it can do they are not all its own.
pub const PIECE_MARGIN: Duration = Duration::from_millis(250);
/// Bytes of one frame between a worker and the server: most words fit into one (0.7 s), so that a
/// worker that dies does so between words.
pub const WORKER_FRAME_BYTES: usize = 32 * KIB;
/// Longest message on a worker's pipe: a job's text and its envelope, or a list of voices.
pub const WORKER_MESSAGE_BYTES: usize = 256 * KIB;
/// Frames in flight between a worker's reader and the stream that waits for them.
pub const WORKER_FRAMES_QUEUED: usize = 1;
/// Worker processes of one engine.
pub const WORKERS: usize = 2;
/// Most worker processes that can be configured.
pub const WORKERS_MOST: usize = 64;
/// Data segment of a worker (`RLIMIT_DATA`); espeak takes 8 MiB, the allocator's arenas the rest.
pub const WORKER_DATA_BYTES: u64 = 96 * MIB as u64;
/// A worker is this much nicer than the server, so that sending goes before making.
pub const WORKER_NICE: i32 = 5;
/// A cancelled job must end within this, or the worker is killed.
pub const WORKER_CANCEL_DEADLINE: Duration = Duration::from_millis(250);
/// A worker that is silent for this long inside a job is taken for dead.
pub const WORKER_SILENCE_MOST: Duration = Duration::from_secs(5);
/// A worker must have said hello within this.
pub const WORKER_START_DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two looks at whether an engine has started.
pub const ENGINE_POLL: Duration = Duration::from_millis(5);
/// First and longest pause before a worker is started again.
pub const WORKER_BACKOFF: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(15));
/// A worker is replaced after this many jobs or this long, so that what its library leaks is lost.
pub const WORKER_JOBS_MOST: u32 = 20_000;
/// See [`WORKER_JOBS_MOST`].
pub const WORKER_AGE_MOST: Duration = Duration::from_secs(3600);

// ---- Speech made once ---------------------------------------------------------------------------

/// A short stream that is kept whole while several read it.
pub const LOG_BYTES: usize = 112 * KIB;
/// Longest text that is shared and kept: greetings and answers that repeat, not articles.
pub const PHRASE_CHARS: usize = 300;
/// What the cache itself spends on a phrase.
pub const PHRASE_OVERHEAD_BYTES: usize = 512;
/// A phrase that nobody asked for in this time is dropped.
pub const PHRASE_IDLE_MOST: Duration = Duration::from_secs(3600);
/// Kept phrases get this part of what clients get: a thirtieth of the machine's share to their
/// quarter.
pub const PHRASE_BUDGET_PART: u64 = 8;

// ---- Upstream -----------------------------------------------------------------------------------

/// Replaced generations of one client on which something may still be in flight; where there are so many, the
/// next one waits until one of them is over.
pub const DRAINING_MOST: usize = 32;
/// How soon that is seen.
pub const DRAINING_POLL: Duration = Duration::from_millis(50);
/// Pause before a client that could not be built is tried again; the old one stays until then.
pub const REBUILD_PAUSE: Duration = Duration::from_secs(5);
/// `SO_RCVBUF` of upstream sockets, doubled by the kernel: what an upstream may send that nobody reads yet.
pub const UPSTREAM_RECEIVE_BUFFER_BYTES: u32 = 64 * KIB as u32;
/// hyper's read buffer of an upstream's connection (`http1_max_buf_size`). As much may wait behind it for
/// the stream that reads it, and as much be on its way to the client.
pub const UPSTREAM_BUFFER_BYTES: usize = 64 * KIB;
/// Connections of one upstream that are kept for the next request.
pub const UPSTREAM_IDLE_MOST: usize = 8;
/// How long they are.
pub const UPSTREAM_IDLE: Duration = Duration::from_secs(10);
/// Requests to one upstream at once that can be configured.
pub const UPSTREAM_IN_FLIGHT_MOST: usize = 100_000;
/// A request waits so long for its turn where too many are in flight.
pub const UPSTREAM_TURN_WAIT: Duration = Duration::from_millis(250);
/// Names of one upstream that are looked up at once: each blocks a thread.
pub const LOOKUPS_AT_ONCE: usize = 4;
/// Where a name has several addresses, each but the last is given this long.
pub const ADDRESS_PATIENCE: Duration = Duration::from_millis(500);
/// Failures in a row after which an upstream is left alone,
pub const BREAKER_FAILURES: u32 = 5;
/// for this long at first, and at most.
pub const BREAKER_OPEN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// The longest `Retry-After` of an upstream that is believed and passed on.
pub const RETRY_AFTER_MOST: Duration = Duration::from_secs(60);
/// Time from asking an upstream for its voices to asking again.
pub const VOICES_EVERY: Duration = Duration::from_secs(300);
/// Voices of one upstream that are listed.
pub const VOICES_MOST: usize = 2000;
/// Longest name of one.
pub const VOICE_NAME_CHARS: usize = 64;
/// What the books count for a piece of an upstream's audio at the least: what it costs to hand it on.
pub const PASSED_LEAST_BYTES: u64 = 512;
/// Audio from elsewhere is written on in pieces of so many bytes at the least, but for the first and the last: a
/// piece that is kept costs a hundred bytes beside its own.
pub const BROUGHT_LEAST_BYTES: usize = KIB;
/// Where another engine may speak for one, that has so long for its first audio; what is left of
/// [`HEAD_HOLD`] is the other's.
pub const FIRST_ENGINE_WAIT: Duration = Duration::from_millis(8500);
/// From the head of an upstream's answer to its first audio, where another engine may speak instead.
pub const FIRST_AUDIO_AFTER_HEAD: Duration = Duration::from_millis(500);
/// Time from failing to hear of an upstream's voices to asking again.
pub const VOICES_RETRY: Duration = Duration::from_secs(15);
/// Of an upstream's error, so much is read,
pub const UPSTREAM_ERROR_BYTES: usize = 64 * KIB;
/// and so much of what it says is passed on.
pub const UPSTREAM_ERROR_CHARS: usize = 300;
/// The longest answer of a short exchange.
pub const UPSTREAM_JSON_BYTES: usize = MIB;
/// A line of server-sent events, and the data of one event: a piece of a text in its envelope has 300 bytes.
pub const EVENT_BYTES: usize = 64 * KIB;

// ---- GraphQL ------------------------------------------------------------------------------------

/// The longest body of a request that can be configured: more is no query, but data.
pub const GRAPHQL_BODY_MOST_BYTES: usize = MIB;
/// The longest answer: it is read whole before it is passed on, since what stands in it tells a part from all.
pub const GRAPHQL_ANSWER_BYTES: usize = MIB;
/// What is reserved first for an answer that does not say how long it is; then twice as much, and so on.
pub const GRAPHQL_FIRST_BYTES: usize = 8 * KIB;
/// From the request to the last byte of its answer: whoever asked a page for it has gone by then.
pub const GRAPHQL_TOTAL: Duration = Duration::from_secs(30);
/// Nesting of whatever may be nested in a query, and the deepest that can be configured for selections: it is
/// read by functions that call themselves.
pub const GRAPHQL_NESTING: usize = 64;
/// Operations and fragments in one document, and
pub const GRAPHQL_DEFINITIONS: usize = 256;
/// places in it where fragments are spread: 24 bytes each while it is looked at.
pub const GRAPHQL_SPREADS: usize = 2048;

// ---- Answers ------------------------------------------------------------------------------------

/// The longest question: 4,096 characters, as many as one request may have spoken.
pub const QUESTION_BYTES: usize = 16 * KIB;
/// Turns before the question that whoever answers is told of,
pub const HISTORY_TURNS: usize = 16;
/// and bytes of them.
pub const HISTORY_BYTES: usize = 16 * KIB;
/// The longest system prompt that can be configured.
pub const SYSTEM_PROMPT_BYTES: usize = 16 * KIB;
/// The longest answer: half an hour of speech.
pub const ANSWER_BYTES: usize = 32 * KIB;
/// And the events in which it comes: read and let go of, but each word has 300 bytes around it, and a model
/// may think ten times as long as it speaks.
pub const ANSWER_STREAM_BYTES: u64 = 16 * MIB as u64;
/// How much of a reason that nobody knows is passed on.
pub const FINISH_CHARS: usize = 32;

// ---- Leaving ------------------------------------------------------------------------------------

/// From the signal to the exit.
pub const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
/// The part of the deadline kept for the hard stop.
pub const SHUTDOWN_HARD_STOP: Duration = Duration::from_secs(1);
/// After SIGTERM new clients are still let in for so long, while readiness says that we leave, so
/// that a balancer that asks once or twice a second sends none into a closed door.
pub const SHUTDOWN_BALANCER: Duration = Duration::from_millis(500);
/// Streams that are left are told so this long before they are cut: a reader at the pace of speech has
/// to take first what stands in its socket.
pub const SHUTDOWN_LAST_WORD: Duration = Duration::from_secs(1);
/// What is left of blocking work when all else has ended is not waited for any longer.
pub const SHUTDOWN_RUNTIME: Duration = Duration::from_millis(250);

// ---- Visibility ---------------------------------------------------------------------------------

/// Things listed one by one by `/debug/ledger`; the counts by kind are always whole.
pub const LEDGER_ITEMS_SHOWN: usize = 1000;
/// Threads that the runtime may start for work that blocks: files, and what the operator asks for.
pub const BLOCKING_THREADS: usize = 16;
/// Samples that the memory watch keeps: five minutes of them.
pub const WATCH_SAMPLES: usize = 30;
/// Most samples that can be configured: one is 600 bytes.
pub const WATCH_SAMPLES_MOST: usize = 360;
/// Time from one sample to the next.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(10);
/// Samples over which something must hold before it is called a leak or a disagreement.
pub const LEAK_SAMPLES: usize = 3;
/// Growth that no account explains and that is called a leak: what the incident reports alarmed at.
pub const LEAK_BYTES_A_MINUTE: f64 = 50e6;
/// Growth of what is allocated that is worth saying.
pub const GROWING_BYTES_A_MINUTE: f64 = 1e6;
/// Growth that came to less than this within the samples is the warming-up of caches and pools.
pub const GROWTH_LEAST_BYTES: f64 = 4e6;
/// Things of a kind that became so many more, while connections did not, are worth saying.
pub const MULTIPLIED_LEAST: u64 = 8;
/// What is still there so long after its client left was forgotten: freeing takes milliseconds.
pub const LINGER_MOST: Duration = Duration::from_secs(5);
/// Resident bytes above which the allocator is purged, where no smaller memory limit is set,
pub const PURGE_ABOVE_BYTES: u64 = 10_000_000_000;
/// or so many hundredths of the cgroup's limit.
pub const PURGE_CGROUP_PERCENT: u64 = 80;
/// Samples from one purge to the next: what did not help is not done all the time.
pub const PURGE_PAUSE_SAMPLES: usize = 6;
/// Heap profiles in the folder for them.
pub const PROFILES_KEPT: usize = 16;
/// Ledger shards: registering on one core must not wait for another.
pub const LEDGER_SHARDS: usize = 16;

/// Documents that are looked at for an answer,
pub const FOUND_HITS: usize = 5;
/// and characters of one that is said: about twenty seconds.
pub const FOUND_CHARS: usize = 320;
/// Bytes of what may be small talk: two greetings and a question after one's health. What is longer is looked up.
pub const SMALL_TALK_BYTES: usize = 96;

// ---- The indexer --------------------------------------------------------------------------------

/// Between two cycles, where the source has more: long enough to be asked something else.
pub const INDEXER_PAUSE: Duration = Duration::from_millis(200);
/// After a failure: so long at first, so long at most; and so often where somebody waits for it.
pub const INDEXER_RETRY: (Duration, Duration, u32) =
    (Duration::from_secs(1), Duration::from_secs(60), 5);
/// What was read waits no longer to be written, however slowly the source gives.
pub const INDEXER_LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Cursors of a cycle that are remembered, to know when one comes again: 8 bytes each.
pub const INDEXER_CURSORS: usize = 65_536;
/// Records that are in no index which are shown.
pub const INDEXER_REJECTIONS: usize = 16;
/// Bytes of a query of its settings.
pub const INDEXER_QUERY_BYTES: usize = 16 * KIB;

// ---- Search -------------------------------------------------------------------------------------

/// Characters of a question: a long sentence, and not a document.
pub const QUERY_CHARS: usize = 512;
/// Words and phrases of one: each is looked up by itself, in two fields.
pub const QUERY_WORDS: usize = 32;
/// Beginnings of words in one: each may stand for a large part of all words.
pub const QUERY_PREFIXES: usize = 4;
/// How many filters of a kind, and characters of each.
pub const QUERY_FILTERS: (usize, usize) = (16, 256);
/// Hits on a page, where nothing is said,
pub const HITS: usize = 20;
/// and the most.
pub const HITS_MOST: usize = 100;
/// What is found lies in memory as it came, as it was read, and as it goes.
pub const SEARCH_COPIES: usize = 3;
/// Titles that are suggested, where nothing is said; the most is twice that.
pub const SUGGESTIONS: usize = 10;
/// A cursor carries the name of a snapshot, which of a search engine is up to some hundred bytes a shard.
pub const CURSOR_BYTES: usize = 4 * KIB;
/// The order of hits by relevance is kept so long for the next page.
pub const SNAPSHOT_KEPT: Duration = Duration::from_secs(60);
/// Snapshots that are kept at once: the index as it was after each of so many commits, two a second for a minute,
pub const SNAPSHOTS: usize = 128;
/// and one is used for so long, before a new one is made for those who come now.
pub const SNAPSHOT_SHARED: Duration = Duration::from_secs(2);
/// The most bytes of a document's id: what Elasticsearch takes.
pub const DOCUMENT_ID_BYTES: usize = 512;
/// Characters of its title, its type, a tag, whoever made it.
pub const DOCUMENT_NAME_CHARS: usize = 256;
/// Its tags, and characters of each.
pub const DOCUMENT_TAGS: (usize, usize) = (32, 64);
/// Its text: some forty pages; a longer one is found better in parts.
pub const DOCUMENT_TEXT_BYTES: usize = 64 * KIB;
/// An address in it.
pub const DOCUMENT_URL_BYTES: usize = 2 * KIB;
/// A line of a bulk: a text in which every second character is escaped, and the rest.
pub const DOCUMENT_LINE_BYTES: usize = 3 * DOCUMENT_TEXT_BYTES;
/// Lines of a bulk: so many results fit an answer that is still read.
pub const BULK_LINES: usize = 1000;
/// Bytes of a bulk's body.
pub const BULK_BYTES: usize = 8 * MIB;
/// Characters of why a document was refused, and of the field that is wrong.
pub const REJECTED_CHARS: (usize, usize) = (300, 64);
/// Documents, and bytes of them, that are written at once: between two looks at whether to go on.
pub const BATCH: (usize, usize) = (1000, 2 * MIB);
/// Of a word, what is longer is no word.
pub const WORD_BYTES: usize = 100;
/// Characters of a snippet: two lines on a page,
pub const SNIPPET_CHARS: usize = 200;
/// of which so many stand before the first word that fits.
pub const SNIPPET_LEAD_CHARS: usize = 40;
/// Words that fit which are looked at in one text.
pub const SNIPPET_MATCHES: usize = 256;
/// Searches of the embedded index at once: they use processors and nothing else.
pub const SEARCHES: usize = 4;
/// One waits so long for its turn.
pub const SEARCH_TURN_WAIT: Duration = Duration::from_millis(500);
/// A search takes no longer, wherever it is made.
pub const SEARCH_WITHIN: Duration = Duration::from_secs(2);
/// Memory in which the index's writer gathers documents: the least that it takes.
pub const INDEX_WRITER_BYTES: usize = 15 * MIB;
/// A segment of so many documents is merged into no larger one: merging takes memory for each of them.
pub const INDEX_SEGMENT_MOST: usize = 100_000;
/// The writer is closed, and its memory free, when nobody has written for so long.
pub const INDEX_WRITER_IDLE: Duration = Duration::from_secs(4);
/// Where another process writes, so long is waited for it to be idle.
pub const INDEX_LOCK_WAIT: Duration = Duration::from_secs(8);
/// Blocks of 16 KiB of documents that are kept unpacked, for each segment.
pub const INDEX_STORE_BLOCKS: usize = 8;
/// Changes by another process are looked for so often.
pub const INDEX_LOOK: Duration = Duration::from_millis(500);
/// Files that the writer may have open: of a segment that is written, and of one that is merged.
pub const INDEX_WRITER_FDS: u64 = 48;
/// Its threads: one adds, one commits, one merges, and one of each packs documents.
pub const INDEX_WRITER_THREADS: u64 = 8;
/// The longest answer of a search engine: a hundred whole documents fit.
pub const ENGINE_ANSWER_BYTES: u64 = 8 * MIB as u64;
/// Requests to it at once.
pub const ENGINE_IN_FLIGHT: usize = 64;
/// Of that, a page of `limit` hits gets this: the largest document without its text, of characters of four bytes, is
/// 20 KiB with its snippet; and as much more as a text takes where texts are wanted.
pub const fn found_bytes(limit: usize, wants_text: bool) -> usize {
    let text = if wants_text { 2 * DOCUMENT_TEXT_BYTES } else { 0 };
    32 * KIB + limit * (20 * KIB + text)
}
/// As an engine writes it, it may be longer: one has six letters for half a character that needs four bytes.
pub const fn engine_found_bytes(limit: usize, wants_text: bool) -> u64 {
    let bytes = (found_bytes(limit, wants_text) * 5 / 2) as u64;
    if bytes < ENGINE_ANSWER_BYTES { bytes } else { ENGINE_ANSWER_BYTES }
}
/// What is written at once may take so long there,
pub const ENGINE_WRITE_WITHIN: Duration = Duration::from_secs(30);
/// what it has no room for is sent again so often,
pub const ENGINE_WRITE_TRIES: u32 = 8;
/// and its health is asked for so often.
pub const ENGINE_LOOK: Duration = Duration::from_secs(5);

const _: () = {
    // What comes from elsewhere holds two sockets.
    assert!(PASSING_BYTES <= 480 * KIB);
    // That each format's stream keeps within STREAM_MOST_BYTES is asserted where its plan is made.
    // A whole piece must fit the ring, or a job could never be started.
    assert!(
        PIECE_MOST.as_secs() as usize * SPEECH_HZ as usize * 2 <= (PCM_RING_PAGES - 1) * PAGE_BYTES
    );
    assert!(PIECE_LEAST.as_millis() <= PIECE_MOST.as_millis());
    assert!(BUDGET_LEAST_BYTES >= STREAM_MOST_BYTES + CONNECTION_BYTES);
    assert!(CONNECTIONS * CONNECTION_BYTES <= BUDGET_BYTES);
    // The operator's connections leave half of the spare descriptors to the rest.
    assert!(ADMIN_CONNECTIONS as u64 * CONNECTION_FDS <= SPARE_FDS / 2);
    assert!(LEAK_SAMPLES >= 3 && WATCH_SAMPLES >= LEAK_SAMPLES);
    assert!(SHUTDOWN_HARD_STOP.as_secs() < SHUTDOWN_DEADLINE.as_secs());
    // Searches leave threads to files and to what the operator asks for.
    assert!(SEARCHES * 2 <= BLOCKING_THREADS);
    assert!(found_bytes(HITS_MOST, false) as u64 <= ENGINE_ANSWER_BYTES);
    // Every batch has room for a document of the largest kind.
    assert!(DOCUMENT_LINE_BYTES < BATCH.1 && BATCH.1 <= BULK_BYTES);
};
