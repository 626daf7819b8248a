//! Speech: who speaks, and how a text becomes audio in a client's ring. Invariants: a stream has
//! reserved its whole bound before its first job is made; a job is only started when the ring has
//! room for all that it can yield, so an engine never waits on a client.

mod admit;
mod audio;
pub mod clause;
pub mod encode;
mod engine;
mod espeak;
#[cfg(any(feature = "leak-guards", feature = "leak-map"))]
mod leaks;
pub mod live;
pub mod openai;
mod output;
mod passing;
mod phrases;
mod piece;
pub mod process;
mod recite;
mod remote;
pub mod resample;
pub mod script;
pub mod stretch;
pub mod timed;
mod tone;
mod utterance;
pub mod voices;
mod wav;
pub mod words;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use crate::bounds::Budget;
use crate::ledger::Departure;
use crate::limits;
use crate::metrics::Metrics;
use crate::tasks::Spawner;
use crate::upstream::UpstreamError;
use admit::Parts;
use encode::Format;
pub use engine::{
    Ahead, Comes, Ended, Engine, Health, Job, PieceEngine, RemoteEngine, Said, Sound, Voiced, Wish,
};
use phrases::Phrases;
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
    /// How it is to be spoken, in words, for engines that understand them.
    pub instructions: Option<String>,
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
    /// The encoded bytes, header first; the first of them are there.
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
    /// The engine broke off before its first audio.
    #[error("the engine failed: {0}")]
    Failed(String),
    /// The server on which the engine runs did not do what it was asked for.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The server leaves before the first audio.
    #[error("{LEAVING}")]
    Leaving,
    /// The engine has more to do than it can.
    #[error("the engine is busy: the first sound would have to wait {} ms", .0.as_millis())]
    Busy(Duration),
}

/// The speech service: its engines, and what it takes to admit a stream. Clones share it.
#[derive(Clone)]
pub struct Speech(Arc<Parts>);

/// Why a stream breaks off when its server leaves before its end.
pub const LEAVING: &str = "the server is shutting down";

/// Who speaks, and what of that is settled before.
pub struct Voicing {
    /// Who speaks, the default first.
    pub engines: Vec<Engine>,
    /// The names of those that speak when the default cannot, in this order.
    pub fallback: Vec<&'static str>,
    /// The voice when a request names none.
    pub default_voice: Option<String>,
    /// Where another engine may speak for one, that has so long for its first audio.
    pub first_wait: Duration,
}

impl Speech {
    /// A service over the engines of `voicing`; streams run in `spawner`'s scope.
    pub fn new(voicing: Voicing, budget: Budget, metrics: Metrics, spawner: Spawner) -> Self {
        let Voicing { engines, fallback, default_voice, first_wait } = voicing;
        assert!(!engines.is_empty(), "a speech service has at least one engine");
        let place = |name| engines.iter().position(|engine| engine.name() == name);
        let fallback = fallback.into_iter().filter_map(place).filter(|place| *place > 0).collect();
        let ledger = spawner.ledger().clone();
        let phrase_bytes = budget.state().total / limits::PHRASE_BUDGET_PART;
        let phrases = Phrases::new(phrase_bytes, ledger.clone());
        let parts = Parts {
            engines,
            fallback,
            default_voice,
            first_wait,
            budget,
            phrases,
            ledger,
            metrics,
            spawner,
        };
        Self(Arc::new(parts))
    }

    /// The engines, the default first.
    pub fn engines(&self) -> &[Engine] {
        &self.0.engines
    }

    /// Those that answer a request that names none: the default, then its fallback.
    pub fn answering(&self) -> impl Iterator<Item = &Engine> {
        let parts = &*self.0;
        std::iter::once(0).chain(parts.fallback.iter().copied()).map(|place| &parts.engines[place])
    }

    /// The voice that `name` means for `model`.
    pub fn voice(&self, model: Option<&str>, name: &str) -> Result<Voice, SpeechError> {
        self.0.voice(self.0.named(model)?.unwrap_or(&self.0.engines[0]), Some(name))
    }

    /// Has a text spoken, by the first engine that can, and waits for its first audio. The stream ends with its
    /// last reader.
    pub async fn speak(&self, utterance: Utterance) -> Result<Speaking, SpeechError> {
        let parts = &*self.0;
        let model = utterance.model.clone();
        let begin = |engine: Engine, is_fallback| {
            let utterance = utterance.clone();
            async move { parts.begin(&engine, utterance, is_fallback).await }
        };
        self.first_of(model.as_deref(), begin).await
    }

    /// What comes of the first engine that can: the one that `model` names, else of the usual ones. `begin` gets an
    /// engine, and whether another one was to speak.
    async fn first_of<T, F: Future<Output = Result<T, SpeechError>>>(
        &self,
        model: Option<&str>,
        begin: impl Fn(Engine, bool) -> F,
    ) -> Result<T, SpeechError> {
        let parts = &*self.0;
        // Whoever names an engine means that one.
        let named = parts.named(model)?;
        let engines: Vec<_> =
            named.map_or_else(|| self.answering().collect(), |engine| vec![engine]);
        let (last, before) = engines.split_last().expect("there is the default one");
        let mut failed = None;
        for engine in before {
            let beginning = begin(Engine::clone(engine), failed.is_some());
            let begun = timeout(parts.first_wait, beginning).await.unwrap_or_else(|_| {
                let waited = parts.first_wait.as_millis();
                Err(SpeechError::Failed(format!("no audio within {waited} ms")))
            });
            match begun {
                Err(error) if error.is_the_engines() => {
                    tracing::warn!(engine = engine.name(), %error, "another engine is to speak");
                    failed.get_or_insert(error);
                }
                begun => return parts.spoke_for(engines[0], failed, engine, begun),
            }
        }
        let begun = begin(Engine::clone(last), failed.is_some()).await;
        parts.spoke_for(engines[0], failed, last, begun)
    }
}

impl SpeechError {
    /// Whether another engine might do better.
    fn is_the_engines(&self) -> bool {
        match self {
            SpeechError::Unavailable { .. } | SpeechError::Failed(_) => true,
            SpeechError::Upstream(error) => !error.fault.is_the_askers(),
            _ => false,
        }
    }
}
