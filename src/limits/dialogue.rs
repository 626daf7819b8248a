//! The limits of dialogues, a page of their own behind [`super`]'s. Invariant: as there.

use std::time::Duration;

use super::{
    ANSWER_BYTES, CLIENT_SEND_BUFFER_BYTES, HISTORY_BYTES, HISTORY_TURNS, KIB, LISTENER_BYTES,
};

// ---- Dialogues ----------------------------------------------------------------------------------

/// Dialogues at once of one key, and
pub const DIALOGUES_A_PRINCIPAL: usize = 1024;
/// in all; the budget is the harder wall.
pub const DIALOGUES_MOST: usize = 4096;
/// Sound that a dialogue keeps for its listeners, where its format's ring is no larger: 12 s of mp3.
pub const DIALOGUE_AUDIO_BYTES: usize = 96 * KIB;
/// Text that it keeps for them, with some hundred bytes a piece.
pub const DIALOGUE_TEXT_BYTES: usize = 24 * KIB;
/// What it must be able to say whatever room there is: the last frame of a turn, with all that was said, and of the one
/// that it interrupts; and what it remembers.
pub const DIALOGUE_LAST_BYTES: usize = 3 * HISTORY_BYTES + 8 * KIB;
/// What is spoken of an answer: numbers and formulas grow when they are said.
pub const SPOKEN_BYTES: usize = ANSWER_BYTES + 8 * KIB;
/// A turn's own text: as it is written, what of it waits to be told, as it is spoken, and when.
pub const TURN_TEXT_BYTES: usize = 2 * ANSWER_BYTES + SPOKEN_BYTES + 8 * HEARD_WORDS;
/// Places for the times of a turn's words, 8 bytes each.
pub const HEARD_WORDS: usize = 1024;
/// Who was cut off may have so much sound on its way, in the server's socket and its own.
pub const RESUME_BEHIND_BYTES: usize = CLIENT_SEND_BUFFER_BYTES * 2 + 64 * KIB;
/// And the text that lies between.
pub const RESUME_TEXT_BYTES: usize = 2 * ANSWER_BYTES;
/// Listeners of one dialogue.
pub const LISTENERS: usize = 8;
/// Sound that is told at once, with the words that end in it.
pub const PART_MOST_BYTES: usize = 12 * KIB;
/// What each may hold: its socket's part, and an event in base64 (16 KiB) with what it is made of.
pub const DIALOGUE_LISTENER_BYTES: usize = LISTENER_BYTES + 48 * KIB;
/// The listener of speech with the times of its words: the same, and the words that wait.
pub const TIMED_LISTENER_BYTES: usize = DIALOGUE_LISTENER_BYTES + 48 * KIB;
/// A listener beside others must take `LISTENER_PACE_BYTES` a second of what waits, on the average of this: its neighbours'
/// own buffers carry them over so long.
pub const LISTENER_WINDOW: Duration = Duration::from_secs(5);
/// See [`LISTENER_WINDOW`].
pub const LISTENER_PACE_BYTES: u64 = KIB as u64;
/// Where no more fits in, those who are there wait so long for one that was cut off and may come back. At the pace of
/// speech, pcm is full of it 4 s after it left, and lasts 4 s more.
pub const LOST_WINDOW: Duration = Duration::from_secs(3);
/// Time between two looks at listeners.
pub const LISTENERS_LOOKED_AT: Duration = Duration::from_secs(1);
/// From a question to the first listener.
pub const DIALOGUE_ATTACH: Duration = Duration::from_secs(30);
/// From the last listener's leaving to its coming back, where a turn can be resumed.
pub const DIALOGUE_GRACE: Duration = Duration::from_secs(10);
/// While nothing is written yet, listeners are told so as often.
pub const THINKING_EVERY: Duration = Duration::from_secs(5);
/// An event stream with nothing to say says that it lives.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Time between two sweeps for dialogues that were forgotten, of which there should be none.
pub const DIALOGUE_SWEEP_EVERY: Duration = Duration::from_secs(30 * 60);
/// A dialogue whose deadline passed so long ago was forgotten.
pub const DIALOGUE_STALE_AFTER: Duration = Duration::from_secs(60);
/// Keys of requests that one principal may have in use, and
pub const IDEMPOTENCY_KEYS: usize = 256;
/// all together.
pub const IDEMPOTENCY_MOST: usize = 16_384;
/// They are remembered for so long after their dialogue.
pub const IDEMPOTENCY_AFTER: Duration = Duration::from_secs(60);
/// Longest key.
pub const IDEMPOTENCY_KEY_BYTES: usize = 255;
/// Messages of a history that may be sent: more than are kept.
pub const HISTORY_MESSAGES: usize = 4 * HISTORY_TURNS;
/// The body of a question: its text, a history, each character escaped, and room.
pub const CONVERSE_BODY_BYTES: usize = 256 * KIB;
/// A question that is spoken: its recording,
pub const RECORDING_BYTES: usize = 10_000_000;
/// and all that is sent with it.
pub const SPOKEN_QUESTION_BYTES: usize = RECORDING_BYTES + CONVERSE_BODY_BYTES + 4 * KIB;
/// Until it is written down.
pub const TRANSCRIBE_WITHIN: Duration = Duration::from_secs(30);
// ---- What is said of an answer ------------------------------------------------------------------

/// Bytes of an answer that are held back until it is clear what they are: the longest link, formula,
/// comment or row of a table. What has not turned out to be one within that is text.
pub const PLAIN_HELD_BYTES: usize = 2 * KIB;
/// The same for what stands in a sentence and would delay it: a link's text, `$x$`, a tag.
pub const PLAIN_SPAN_BYTES: usize = 512;
/// An answer is taken in steps of this, however large its pieces are.
pub const PLAIN_STEP_BYTES: usize = KIB;
/// What is said is at most so many times as long as what was written, and a sentence: "$5" are
/// 5 dollars, and a fence of 3 bytes is a sentence about code.
pub const PLAIN_GROWTH: usize = 8;
