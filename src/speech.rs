//! Speech: who speaks, and how a text becomes audio in a client's ring. Invariants: a stream has
//! reserved its whole bound before its first job is made; a job is only started when the ring has
//! room for all that it can yield, so an engine never waits on a client.

pub mod clause;
pub mod encode;
mod engine;
mod espeak;
#[cfg(any(feature = "leak-guards", feature = "leak-map"))]
mod leaks;
mod output;
mod phrases;
mod piece;
pub mod process;
pub mod resample;
pub mod stretch;
mod tone;
mod utterance;
pub mod voices;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::bounds::{Budget, Stake, log, ring};
use crate::ledger::{Departure, Kind, Ledger};
use crate::limits;
use crate::metrics::{Metrics, Refusal};
use crate::tasks::Spawner;
use encode::Format;
pub use engine::{Ahead, Ended, Engine, Health, Job, Said};
use output::{Output, Reader};
use phrases::{Found, Key, Phrases};
use voices::Voice;

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
    /// Whose speech it is; none of it is ever shared with another.
    pub principal: Arc<str>,
    /// Bytes that the caller holds beside the stream, as for base64; part of its bound.
    pub extra_bytes: usize,
    /// When the client's connection ended, once it has.
    pub departure: Departure,
}

/// A stream that was admitted.
pub struct Speaking {
    /// The encoded bytes, header first.
    pub reader: output::Reader,
    /// Whether it had to be made.
    pub made: Made,
    /// The id of the voice that speaks.
    pub voice: String,
    /// The name of the engine.
    pub engine: &'static str,
    /// The most bytes that this stream can ever hold.
    pub bound_bytes: u64,
    /// How far it has come.
    pub spoken: Spoken,
}

/// Where the bytes of a stream come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Kept from before.
    Hit,
    /// Made at this moment for another request that is equal.
    Shared,
    /// For this request.
    Miss,
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

/// The names of engines, whether they run here or not: a model of such a name means that engine and
/// no other.
const ENGINE_NAMES: [&str; 5] = ["espeak", "piper", "openai", "elevenlabs", "tone"];

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
    /// The model names an engine that is not configured.
    #[error("the engine {asked} is not configured here; there is {known}")]
    UnknownEngine {
        /// What was asked for.
        asked: &'static str,
        /// The engines that run.
        known: String,
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
    phrases: Phrases,
    ledger: Ledger,
    metrics: Metrics,
    spawner: Spawner,
}

/// Why a stream breaks off when its server leaves before its end.
pub const LEAVING: &str = "the server is shutting down";

/// A request whose engine, voice and text are known.
struct Wanted<'a> {
    engine: &'a Arc<dyn Engine>,
    hz: u32,
    voice: Voice,
    text: String,
    utterance: Utterance,
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
        let phrase_bytes = budget.state().total / limits::PHRASE_BUDGET_PART;
        let phrases = Phrases::new(phrase_bytes, ledger.clone());
        Self(Arc::new(Parts { engines, default_voice, budget, phrases, ledger, metrics, spawner }))
    }

    /// The engines, the default first.
    pub fn engines(&self) -> &[Arc<dyn Engine>] {
        &self.0.engines
    }

    /// The voice that `name` means for `model`.
    pub fn voice(&self, model: Option<&str>, name: &str) -> Result<Voice, SpeechError> {
        self.0.voice(self.0.engine(model)?, Some(name))
    }

    /// Admits a stream and starts it, or says why not. The stream ends with its last reader.
    pub fn speak(&self, utterance: Utterance) -> Result<Speaking, SpeechError> {
        let parts = &*self.0;
        let engine = parts.engine(utterance.model.as_deref())?;
        let hz = match engine.health() {
            Health::Ready(hz) => hz,
            Health::Starting => return Err(parts.unavailable(engine, "it is starting".into())),
            Health::Unavailable(reason) => return Err(parts.unavailable(engine, reason)),
        };
        let voice = parts.voice(engine, utterance.voice.as_deref())?;
        let text = clause::speakable(&utterance.text);
        if text.is_empty() {
            return Err(SpeechError::NothingToSay);
        }
        let wanted = Wanted { engine, hz, voice, text, utterance };
        if Phrases::is_short(&wanted.text, wanted.utterance.format, wanted.utterance.speed) {
            parts.phrase(wanted)
        } else {
            parts.stream(wanted)
        }
    }
}

impl Parts {
    /// For one reader, through a ring.
    fn stream(&self, wanted: Wanted) -> Result<Speaking, SpeechError> {
        self.check_wait(&wanted)?;
        let plan = wanted.utterance.format.plan();
        let departure = wanted.utterance.departure.clone();
        let bytes = plan.stream_bytes() + wanted.utterance.extra_bytes;
        let stake = self.reserve(bytes, &wanted.utterance.owner, departure)?;
        let (writer, reader) = ring::pipe(limits::PAGE_BYTES, plan.ring_pages, Arc::clone(&stake));
        let bound = stake.bytes();
        let client = &wanted.utterance.departure;
        let spoken = self.start(&wanted, client, Output::Pipe(writer), stake);
        Ok(wanted.speaking(Reader::pipe(reader), Made::Miss, bound, spoken))
    }

    /// A short text: kept, joined, or made for all who ask for it at this moment.
    fn phrase(&self, wanted: Wanted) -> Result<Speaking, SpeechError> {
        let owner = &wanted.utterance.owner;
        let departure = wanted.utterance.departure.clone();
        let bytes = limits::LISTENER_BYTES + wanted.utterance.extra_bytes;
        let listener = self.reserve(bytes, owner, departure)?;
        let mut bound = listener.bytes();
        let mut stake = None;
        let found = self.phrases.find(wanted.key(), || {
            self.check_wait(&wanted)?;
            let plan = wanted.utterance.format.plan();
            // No connection's departure: it may outlive the one that began it.
            let shared = self.reserve(plan.shared_bytes(), owner, Departure::default())?;
            let log = log::log(plan.log_bytes(), Arc::clone(&shared));
            stake = Some(shared);
            Ok(log)
        })?;
        let (reader, made, spoken) = match found {
            Found::Kept(phrase) => (Reader::phrase(phrase, listener), Made::Hit, Spoken::default()),
            Found::Running(log) => (Reader::log(log, listener), Made::Shared, Spoken::default()),
            Found::Begun(writer, log, keep) => {
                let stake = stake.expect("what begins has reserved");
                bound += stake.bytes();
                let nobodys = Departure::default();
                let spoken = self.start(&wanted, &nobodys, Output::Log(writer, keep), stake);
                (Reader::log(log, listener), Made::Miss, spoken)
            }
        };
        Ok(wanted.speaking(reader, made, bound, spoken))
    }

    /// Starts the task that speaks into `output` for `client`.
    fn start(
        &self,
        wanted: &Wanted,
        client: &Departure,
        output: Output,
        stake: Arc<Stake>,
    ) -> Spoken {
        let spoken = Spoken::default();
        let speaker = utterance::Speaker {
            engine: Arc::clone(wanted.engine),
            text: wanted.text.clone(),
            voice: wanted.voice.engine_name.clone(),
            speed: wanted.utterance.speed,
            owner: Arc::clone(&wanted.utterance.owner),
            hz: wanted.hz,
            format: wanted.utterance.format,
            metrics: self.metrics.clone(),
            spoken: spoken.clone(),
        };
        let scope = self.spawner.clone();
        let owner = Arc::clone(&wanted.utterance.owner);
        self.spawner.spawn_for(client, Kind::Task, owner, async move {
            speaker.run(output, scope.stopping()).await;
            drop(stake);
        });
        spoken
    }

    fn check_wait(&self, wanted: &Wanted) -> Result<(), SpeechError> {
        let wait = wanted.engine.projected_wait();
        if wait <= limits::FIRST_PIECE_WAIT_MOST {
            return Ok(());
        }
        self.metrics.refuse(Refusal::Busy);
        Err(SpeechError::Busy(wait))
    }

    fn reserve(
        &self,
        bytes: usize,
        owner: &Arc<str>,
        departure: Departure,
    ) -> Result<Arc<Stake>, SpeechError> {
        let bytes = bytes as u64;
        let Some(reservation) = self.budget.reserve(bytes) else {
            self.metrics.refuse(Refusal::Budget);
            let state = self.budget.state();
            let free = state.total.saturating_sub(state.reserved);
            return Err(SpeechError::OverBudget { wanted: bytes, free, total: state.total });
        };
        let entry = self.ledger.enter(Kind::SpeechStream, Arc::clone(owner), bytes);
        let stake = Stake::new(reservation, entry, departure, self.metrics.clone());
        #[cfg(any(feature = "leak-guards", feature = "leak-map"))]
        leaks::admitted(owner, &stake);
        Ok(stake)
    }

    fn unavailable(&self, engine: &Arc<dyn Engine>, reason: String) -> SpeechError {
        self.metrics.refuse(Refusal::Engine);
        SpeechError::Unavailable { engine: engine.name(), reason }
    }

    /// A model that is no engine's name (`tts-1`, …) means the default engine.
    fn engine(&self, model: Option<&str>) -> Result<&Arc<dyn Engine>, SpeechError> {
        let asked = ENGINE_NAMES.into_iter().find(|name| Some(*name) == model);
        let Some(asked) = asked else { return Ok(&self.engines[0]) };
        let running = self.engines.iter().find(|engine| engine.name() == asked);
        running.ok_or_else(|| {
            let known: Vec<_> = self.engines.iter().map(|engine| engine.name()).collect();
            SpeechError::UnknownEngine { asked, known: known.join(", ") }
        })
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

impl Wanted<'_> {
    fn key(&self) -> Key {
        Key {
            principal: Arc::clone(&self.utterance.principal),
            engine: self.engine.name(),
            voice: self.voice.engine_name.clone(),
            speed: self.utterance.speed.to_bits(),
            format: self.utterance.format,
            text: self.text.clone(),
        }
    }

    fn speaking(self, reader: Reader, made: Made, bound_bytes: u64, spoken: Spoken) -> Speaking {
        let (voice, engine) = (self.voice.id, self.engine.name());
        Speaking { reader, made, voice, engine, bound_bytes, spoken }
    }
}
