//! What an engine is: what it is asked, what it answers, and how urgent a job is. Invariant: whoever
//! speaks is asked for a bounded piece and says at which word it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::encode::Format;
use super::voices::Voices;
use crate::bounds::ring;
use crate::ledger::Departure;
use crate::upstream::{Body, UpstreamError};

/// What an engine is asked to speak: one piece of at most `most_samples`.
#[derive(Clone)]
pub struct Job {
    /// The text of the piece, never empty.
    pub text: String,
    /// The engine's own name of the voice.
    pub voice: String,
    /// 1.0 is the voice's natural speed.
    pub speed: f32,
    /// Engines that draw random numbers draw them from this.
    pub seed: u64,
    /// Samples after which the engine stops at the last word that fits, at its own rate.
    pub most_samples: u32,
    /// Samples at the beginning that were delivered before: of a word that is longer than a piece, or
    /// whose worker died in the middle of it.
    pub skip_samples: u32,
    /// Whether a first word that does not fit is spoken in part; else it is left for more room.
    pub cut_words: bool,
    /// The audio that the stream which asks still has; the one with the least goes first.
    pub ahead: Ahead,
    /// Who asks, for the ledger.
    pub owner: Arc<str>,
}

/// How much audio a stream has that its reader has not taken. It is asked for when a worker is free,
/// not when the job was queued: a reader that stalls needs nothing, however long its job has waited.
#[derive(Clone)]
pub enum Ahead {
    /// Always this much; a stream without a ring.
    Fixed(Duration),
    /// So much was made since the first of it; the gauge tells which part waits in the ring. What has
    /// left the ring is still ahead of a listener as long as it takes to be heard: sockets hold
    /// half a minute of a small format.
    Live {
        /// All that was made so far.
        made: Duration,
        /// When the first of it was.
        since: Instant,
        /// Of the stream's ring.
        gauge: ring::Gauge,
    },
    /// As [`Ahead::Live`], of a stream for several.
    Heard {
        /// All that was made so far.
        made: Duration,
        /// When the first of it was.
        since: Instant,
        /// Bytes written, and bytes of those that the foremost listener took; none when it is over.
        progress: Progress,
    },
}

/// See [`Ahead::Heard`].
pub type Progress = Arc<dyn Fn() -> Option<(u64, u64)> + Send + Sync>;

impl Ahead {
    /// Whether nothing was made yet: nobody has heard anything, so that nobody hears a gap.
    pub fn is_new(&self) -> bool {
        match self {
            Ahead::Fixed(ahead) => ahead.is_zero(),
            Ahead::Live { made, .. } | Ahead::Heard { made, .. } => made.is_zero(),
        }
    }

    /// At this moment; a stream that is over needs nothing.
    pub fn now(&self) -> Duration {
        let (made, since, progress) = match self {
            Ahead::Fixed(ahead) => return *ahead,
            Ahead::Live { made, since, gauge } => (*made, since, gauge.progress()),
            Ahead::Heard { made, since, progress } => (*made, since, progress()),
        };
        let in_ring = match progress {
            None => return Duration::MAX,
            Some((0, _)) => Duration::ZERO,
            Some((written, taken)) => made.mul_f64((written - taken) as f64 / written as f64),
        };
        in_ring.max(made.saturating_sub(since.elapsed()))
    }
}

/// What an engine says back. A channel that closes without [`Said::End`] is a crash.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Audio, and how much of the text it completes.
    Audio {
        /// s16 little-endian mono at the engine's rate.
        pcm: Bytes,
        /// Bytes of the job's text that are wholly spoken with this; `None` inside a word.
        spoken: Option<u32>,
    },
    /// The piece is over.
    End(Ended),
}

/// How a piece ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// All of its text was spoken.
    Done,
    /// The limit came first; go on at this byte of the job's text.
    More(u32),
    /// The engine could not speak it.
    Failed(String),
}

/// Whether an engine can speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has not answered yet.
    Starting,
    /// It speaks, at this rate in Hz.
    Ready(u32),
    /// It cannot, and this is why, with what would help.
    Unavailable(String),
}

/// What every engine says of itself.
pub trait Voiced: Send + Sync + 'static {
    /// Its name on the wire: `espeak`, `tone`, …
    fn name(&self) -> &'static str;
    /// Whether it can speak now.
    fn health(&self) -> Health;
    /// The voices that it has; empty until it is ready.
    fn voices(&self) -> Arc<Voices>;
    /// Whether those are all: the voices of an engine elsewhere are asked for while it can speak already.
    fn knows_its_voices(&self) -> bool {
        true
    }
    /// How long the job of a stream that has no audio yet would wait for its turn.
    fn projected_wait(&self) -> Duration {
        Duration::ZERO
    }
    /// The worker processes that run now, for those who watch them; none for other engines.
    fn process_ids(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// Speaks here, a bounded piece at a time. Dropping the receiver of [`PieceEngine::speak`] cancels the job.
pub trait PieceEngine: Voiced {
    /// Queues a job.
    fn speak(&self, job: Job) -> mpsc::Receiver<Said>;
}

/// What a remote engine is asked to speak.
#[derive(Clone, Debug)]
pub struct Wish {
    /// All of the text.
    pub text: String,
    /// The engine's own name of the voice.
    pub voice: String,
    /// What the client called its model, where that names no engine of ours.
    pub model: Option<String>,
    /// How it is to be spoken, in words.
    pub instructions: Option<String>,
    /// 1.0 is the voice's natural speed.
    pub speed: f32,
    /// What the client is to get.
    pub format: Format,
    /// Who asks: the request's id.
    pub owner: Arc<str>,
    /// When its client left, once it has.
    pub departure: Departure,
}

/// The audio of a whole text, as it comes from elsewhere.
pub struct Sound {
    /// The bytes.
    pub body: Body,
    /// What they are.
    pub comes: Comes,
    /// Whether its end can be told from its connection's; else it is not kept.
    pub is_framed: bool,
}

/// In which form a remote engine's audio comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comes {
    /// In the format that was wished for.
    AsWished,
    /// As s16 little-endian mono at this rate in Hz.
    Pcm(u32),
    /// In a RIFF WAVE container around such samples.
    Wav,
}

/// Speaks elsewhere, and a whole text at once. Dropping the future or the sound cancels the request.
pub trait RemoteEngine: Voiced {
    /// Whether it is asked over TLS, whose buffers are a stream's as well.
    fn is_tls(&self) -> bool;
    /// In which form the audio of a wish for `format` comes.
    fn comes(&self, format: Format) -> Comes;
    /// Asks for the audio of a text; ready with the head of the answer.
    fn ask(&self, wish: Wish) -> BoxFuture<'static, Result<Sound, UpstreamError>>;
}

/// Something that speaks, here or elsewhere.
#[derive(Clone)]
pub enum Engine {
    /// In workers of our own.
    Pieces(Arc<dyn PieceEngine>),
    /// On another server.
    Remote(Arc<dyn RemoteEngine>),
}

impl std::ops::Deref for Engine {
    type Target = dyn Voiced;

    fn deref(&self) -> &Self::Target {
        match self {
            Engine::Pieces(engine) => &**engine,
            Engine::Remote(engine) => &**engine,
        }
    }
}
