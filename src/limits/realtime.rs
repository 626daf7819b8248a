//! Limits of voice sessions and of the sockets that they are held by.

use std::time::Duration;

use super::{ANSWER_BYTES, CLIENT_SEND_BUFFER_BYTES, HISTORY_BYTES, KIB, QUESTION_BYTES};

// ---- Sockets ------------------------------------------------------------------------------------

/// What is read of a client's socket at once, which has room for that even when nothing comes.
pub const SOCKET_READ_BYTES: usize = 2 * KIB;
/// What is read at once of the socket of a server that was asked for one.
pub const SOCKET_ASKED_READ_BYTES: usize = 8 * KIB;
/// What may wait to be written: one message with its head, and an answer to a sign of life.
pub const SOCKET_WRITE_BYTES: usize = 257 * KIB;
/// The largest message.
pub const SOCKET_MESSAGE_BYTES: u64 = 256 * KIB as u64;
/// What of one its connection pays for; a larger one reserves [`SOCKET_MESSAGE_BYTES`] before it is read, or
pub const SOCKET_MESSAGE_FREE_BYTES: u64 = 16 * KIB as u64;
/// this where it comes in pieces, which are there beside what is put together of them.
pub const SOCKET_PIECES_BYTES: u64 = 2 * SOCKET_MESSAGE_BYTES;

// ---- Sessions -----------------------------------------------------------------------------------

/// Sessions at once of one key, and
pub const SESSIONS_A_PRINCIPAL: usize = 8192;
/// in all; the budget is the harder wall.
pub const SESSIONS_MOST: usize = 8192;
/// What a session holds while it is idle: its settings, and what was said.
pub const SESSION_BYTES: usize = 8 * KIB + SESSION_ITEMS_BYTES;
/// Texts of a conversation's items: of those that are asked about no more is remembered elsewhere.
pub const SESSION_ITEMS_BYTES: usize = HISTORY_BYTES + QUESTION_BYTES;
/// Items of a conversation; the oldest are forgotten first.
pub const SESSION_ITEMS: usize = 128;
/// Longest name that a client gives to an event or a model.
pub const SESSION_NAME_BYTES: usize = 64;
/// Longest name that it gives to an item: as long as servers take one that it is passed on to.
pub const SESSION_ITEM_NAME_BYTES: usize = 32;
/// How the model is to behave, in words.
pub const SESSION_INSTRUCTIONS_BYTES: usize = 4 * KIB;
/// Events that the client did not confirm yet: what its socket, ours and the wire can hold, and four seconds of sound.
pub const OUTBOX_BYTES: usize = CLIENT_SEND_BUFFER_BYTES * 2 + 128 * KIB;
/// Events that have come to its machine, and that whoever reads there may not have seen yet: clients in Python have sixteen in a
/// queue before they stop reading, of 7 KiB where they are sound.
pub const OUTBOX_BEHIND_BYTES: usize = 128 * KIB;
/// What an event takes beside its text.
pub const OUTBOX_PLACE_BYTES: usize = 64;
/// What a session holds beside, from a question until all of its answer was confirmed: those events, one more of each kind,
/// the answer, when its words are heard, and what turns its sound into a telephone's.
pub const RESPONSE_BYTES: usize =
    OUTBOX_BYTES + OUTBOX_BEHIND_BYTES + 32 * KIB + 3 * ANSWER_BYTES + TELEPHONE_BYTES;
/// What it takes to bring sound to the rate of a telephone, or back.
pub const TELEPHONE_BYTES: usize = 16 * KIB;
/// So much is sent before another sign is asked for that it came.
pub const CONFIRM_EVERY_BYTES: usize = 32 * KIB;
/// From the device's leaving to its coming back.
pub const SESSION_GRACE: Duration = Duration::from_secs(60);
/// A session in which nothing is asked for so long is ended.
pub const SESSION_IDLE: Duration = Duration::from_secs(30 * 60);
/// Time between two signs of life that are asked for.
pub const PING_EVERY: Duration = Duration::from_secs(10);
/// Without an answer to two of them, the device is gone; to the first, there never was one.
pub const PONG_WITHIN: Duration = Duration::from_secs(20);
/// Events that a client may send: so many a second on the average, and
pub const SESSION_EVENTS_A_SECOND: u32 = 20;
/// at once.
pub const SESSION_EVENTS_BURST: u32 = 100;
/// Events that are wrong, in [`SESSION_ERRORS_WITHIN`]; with one more the session is ended.
pub const SESSION_ERRORS: u32 = 20;
/// See [`SESSION_ERRORS`].
pub const SESSION_ERRORS_WITHIN: Duration = Duration::from_secs(60);
/// Sessions that are shown to the operator at once.
pub const SESSIONS_SHOWN: usize = 100;
/// Time between two sweeps for sessions that were forgotten, of which there should be none.
pub const SESSION_SWEEP_EVERY: Duration = Duration::from_secs(60);
/// A session whose deadline passed so long ago was forgotten.
pub const SESSION_STALE_AFTER: Duration = Duration::from_secs(60);
/// The longest token.
pub const SESSION_TOKEN_BYTES: usize = 256;
/// How long a token is good for resuming.
pub const SESSION_TOKEN_LASTS: Duration = Duration::from_secs(24 * 3600);

// ---- Sound that is passed on ----------------------------------------------------------------------

/// Name lookup, connection and handshakes with the server that listens.
pub const RELAY_CONNECT: Duration = Duration::from_secs(10);
/// From its loss to another connection.
pub const RELAY_GRACE: Duration = Duration::from_secs(5);
/// Connections in a row that fail before they are left until somebody speaks again.
pub const RELAY_TRIES: u32 = 3;
/// One that lasted so long did not fail.
pub const RELAY_STEADY: Duration = Duration::from_secs(30);
/// Sound in base64 of a second: pcm of 16 bits at 24 kHz.
pub const RELAY_SECOND_BYTES: u32 = 64_000;
/// As so much each event of sound counts at least: 20 ms of it.
pub const RELAY_EVENT_BYTES: usize = RELAY_SECOND_BYTES as usize / 50;
/// Sound that a client may send at once, in seconds, and
pub const RELAY_BURST_SECONDS: u32 = 5;
/// what of it comes back in one.
pub const RELAY_SECONDS_A_SECOND: u32 = 2;
/// What may wait to be passed on: a burst of sound, and what is asked beside.
pub const RELAY_QUEUE_BYTES: usize = 384 * KIB;
/// What a session wants of the server that listens: what its client asked for, in all.
pub const RELAY_WISHES_BYTES: usize = 16 * KIB;
/// Sound that is heard at once where a transcriber writes it down: a minute, as a WAV.
pub const HEARING_BYTES: usize = 60 * 48_000 + 44;
/// Sound that is too short to be anything: a tenth of a second.
pub const HEARING_LEAST_BYTES: usize = 4_800;
/// What a session holds while sound is passed on: what waits, one message on its way out, and one on its way in, as it came, as it
/// is read, and as it is told.
pub const RELAY_BYTES: usize = RELAY_QUEUE_BYTES
    + RELAY_WISHES_BYTES
    + SESSION_ITEMS_BYTES
    + 4 * SOCKET_MESSAGE_BYTES as usize;

const _: () = {
    assert!(RELAY_QUEUE_BYTES > (RELAY_BURST_SECONDS * RELAY_SECOND_BYTES) as usize);
    assert!(SOCKET_WRITE_BYTES as u64 > SOCKET_MESSAGE_BYTES);
    assert!(OUTBOX_BYTES > 2 * CONFIRM_EVERY_BYTES);
};
