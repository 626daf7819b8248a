//! Speech: who speaks, and how a text becomes audio in a client's ring. Invariants: a stream has
//! reserved its whole bound before its first job is made; a job is only started when the ring has
//! room for all that it can yield, so an engine never waits on a client.

pub mod clause;
pub mod encode;
mod espeak;
mod piece;
pub mod process;
pub mod resample;
mod tone;
mod utterance;
pub mod voices;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::bounds::{Budget, Departure, Stake, ring};
use crate::ledger::{Kind, Ledger};
use crate::limits;
use crate::metrics::{Metrics, Refusal};
use crate::tasks::Spawner;
use encode::Format;
use voices::{Voice, Voices};

/// What an engine is asked to speak: one piece of at most `most_samples`.
#[derive(Clone, Debug, PartialEq)]
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
    /// When the stream that asks runs out of audio; the earliest goes first.
    pub due: Instant,
    /// Who asks, for the ledger.
    pub owner: Arc<str>,
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

/// Something that speaks. Dropping the receiver of [`Engine::speak`] cancels the job.
pub trait Engine: Send + Sync + 'static {
    /// Its name on the wire: `espeak`, `tone`, …
    fn name(&self) -> &'static str;
    /// Whether it can speak now.
    fn health(&self) -> Health;
    /// The voices that it has; empty until it is ready.
    fn voices(&self) -> Arc<Voices>;
    /// How long a job that is due now would wait for its turn.
    fn projected_wait(&self) -> Duration;
    /// The worker processes that run now, for those who watch them; none for other engines.
    fn process_ids(&self) -> Vec<u32> {
        Vec::new()
    }
    /// Queues a job.
    fn speak(&self, job: Job) -> mpsc::Receiver<Said>;
}

/// What a client asks for, its text already checked for length.
#[derive(Clone, Debug)]
pub struct Utterance {
    /// The text as the client sent it.
    pub text: String,
    /// `None` takes the configured voice.
    pub voice: Option<String>,
    /// The name of an engine, or any other model name for the default one.
    pub model: Option<String>,
    /// 0.25–4.
    pub speed: f32,
    /// The container and codec.
    pub format: Format,
    /// Who asks, for the ledger: the request's id.
    pub owner: Arc<str>,
    /// When the client's connection ended, once it has.
    pub departure: Departure,
}

/// A stream that was admitted.
pub struct Speaking {
    /// The encoded bytes, header first.
    pub reader: ring::Reader,
    /// The id of the voice that speaks.
    pub voice: String,
    /// The name of the engine.
    pub engine: &'static str,
    /// The most bytes that this stream can ever hold.
    pub bound_bytes: u64,
    /// How far it has come.
    pub spoken: Spoken,
}

/// How much of a text was spoken. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Spoken(Arc<AtomicUsize>);

impl Spoken {
    /// Bytes of the text, as it is spoken.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Why a request was not admitted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpeechError {
    /// No letter, digit or sign that an engine reads.
    #[error("the input has nothing that can be spoken")]
    NothingToSay,
    /// See the message.
    #[error("unknown voice '{voice}'; {engine} has {}", .known.join(", "))]
    UnknownVoice {
        /// What was asked for.
        voice: String,
        /// The engine that was asked.
        engine: &'static str,
        /// Some that would do.
        known: Vec<String>,
    },
    /// The engine cannot speak at present.
    #[error("the engine {engine} cannot speak: {reason}")]
    Unavailable {
        /// The engine.
        engine: &'static str,
        /// Why, and what would help.
        reason: String,
    },
    /// Every byte is promised to other clients.
    #[error("no room: a stream needs {wanted} bytes and the budget has {free} of {total} left")]
    OverBudget {
        /// The stream's bound.
        wanted: u64,
        /// Bytes that are not promised.
        free: u64,
        /// The budget.
        total: u64,
    },
    /// The engine has more to do than it can.
    #[error("the engine is busy: the first sound would have to wait {} ms", .0.as_millis())]
    Busy(Duration),
}

/// The speech service: its engines, and what it takes to admit a stream. Clones share it.
#[derive(Clone)]
pub struct Speech(Arc<Parts>);

struct Parts {
    engines: Vec<Arc<dyn Engine>>,
    default_voice: Option<String>,
    budget: Budget,
    ledger: Ledger,
    metrics: Metrics,
    spawner: Spawner,
}

impl Speech {
    /// A service over `engines`, the first of which is the default; streams run in `spawner`'s scope.
    pub fn new(
        engines: Vec<Arc<dyn Engine>>,
        default_voice: Option<String>,
        budget: Budget,
        metrics: Metrics,
        spawner: Spawner,
    ) -> Self {
        assert!(!engines.is_empty(), "a speech service has at least one engine");
        let ledger = spawner.ledger().clone();
        Self(Arc::new(Parts { engines, default_voice, budget, ledger, metrics, spawner }))
    }

    /// The engines, the default first.
    pub fn engines(&self) -> &[Arc<dyn Engine>] {
        &self.0.engines
    }

    /// Admits a stream and starts it, or says why not. The stream ends with its reader.
    pub fn speak(&self, utterance: Utterance) -> Result<Speaking, SpeechError> {
        let parts = &*self.0;
        let engine = parts.engine(utterance.model.as_deref());
        let hz = match engine.health() {
            Health::Ready(hz) => hz,
            Health::Starting => return Err(self.unavailable(engine, "it is still starting".into())),
            Health::Unavailable(reason) => return Err(self.unavailable(engine, reason)),
        };
        let voice = parts.voice(engine, utterance.voice.as_deref())?;
        let text = clause::speakable(&utterance.text);
        if text.is_empty() {
            return Err(SpeechError::NothingToSay);
        }
        let wait = engine.projected_wait();
        if wait > limits::FIRST_PIECE_WAIT_MOST {
            parts.metrics.refuse(Refusal::Busy);
            return Err(SpeechError::Busy(wait));
        }
        let plan = utterance.format.plan();
        let stake = self.reserve(plan.stream_bytes as u64, &utterance)?;
        let bound_bytes = stake.bytes();
        let (writer, reader) = ring::pipe(limits::PAGE_BYTES, plan.ring_pages, Arc::clone(&stake));
        let owner = Arc::clone(&utterance.owner);
        let spoken = Spoken::default();
        let speaker = utterance::Speaker {
            engine: Arc::clone(engine),
            text,
            voice: voice.engine_name.clone(),
            speed: utterance.speed,
            owner: Arc::clone(&owner),
            hz,
            format: utterance.format,
            metrics: parts.metrics.clone(),
            spoken: spoken.clone(),
        };
        parts.spawner.spawn(Kind::Task, owner, async move {
            speaker.run(writer).await;
            drop(stake);
        });
        Ok(Speaking { reader, voice: voice.id, engine: engine.name(), bound_bytes, spoken })
    }

    fn reserve(&self, bytes: u64, utterance: &Utterance) -> Result<Arc<Stake>, SpeechError> {
        let parts = &*self.0;
        let Some(reservation) = parts.budget.reserve(bytes) else {
            parts.metrics.refuse(Refusal::Budget);
            let state = parts.budget.state();
            let free = state.total.saturating_sub(state.reserved);
            return Err(SpeechError::OverBudget { wanted: bytes, free, total: state.total });
        };
        let owner = Arc::clone(&utterance.owner);
        let entry = parts.ledger.enter(Kind::SpeechStream, owner, bytes);
        Ok(Stake::new(reservation, entry, utterance.departure.clone(), parts.metrics.clone()))
    }

    fn unavailable(&self, engine: &Arc<dyn Engine>, reason: String) -> SpeechError {
        self.0.metrics.refuse(Refusal::Engine);
        SpeechError::Unavailable { engine: engine.name(), reason }
    }
}

impl Parts {
    /// A model that is no engine's name (`tts-1`, …) means the default engine.
    fn engine(&self, model: Option<&str>) -> &Arc<dyn Engine> {
        let named = model.and_then(|model| self.engines.iter().find(|e| e.name() == model));
        named.unwrap_or(&self.engines[0])
    }

    fn voice(&self, engine: &Arc<dyn Engine>, asked: Option<&str>) -> Result<Voice, SpeechError> {
        let voices = engine.voices();
        let asked = asked.or(self.default_voice.as_deref());
        let Some(name) = asked else { return Ok(voices.default_voice()) };
        voices.find(name).ok_or_else(|| SpeechError::UnknownVoice {
            voice: name.chars().take(64).collect(),
            engine: engine.name(),
            known: voices.examples(),
        })
    }
}
