//! Speech: who speaks, and how a text becomes audio in a client's ring. Invariants: a stream has
//! reserved its whole bound before its first job is made; a job is only started when the ring has
//! room for all that it can yield, so an engine never waits on a client.

mod audio;
pub mod clause;
pub mod encode;
mod engine;
mod espeak;
#[cfg(any(feature = "leak-guards", feature = "leak-map"))]
mod leaks;
pub mod openai;
mod output;
mod phrases;
mod piece;
pub mod process;
mod remote;
pub mod resample;
pub mod stretch;
mod tone;
mod utterance;
pub mod voices;
mod wav;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tokio_stream::StreamExt;

use crate::bounds::ring::Broken;
use crate::bounds::{Budget, Stake, log, ring};
use crate::ledger::{Departure, Kind, Ledger};
use crate::limits;
use crate::metrics::{FallbackLabel, Metrics, Refusal};
use crate::tasks::Spawner;
use crate::upstream::UpstreamError;
use encode::Format;
pub use engine::{
    Ahead, Comes, Ended, Engine, Health, Job, PieceEngine, RemoteEngine, Said, Sound, Voiced, Wish,
};
use output::{Output, Reader};
use phrases::{Found, Key, Phrases};
use remote::{Bringer, Failure, Passing};
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
    #[error("{0}")]
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

struct Parts {
    engines: Vec<Engine>,
    /// Places of those that speak when the first cannot, in this order.
    fallback: Vec<usize>,
    default_voice: Option<String>,
    first_wait: Duration,
    budget: Budget,
    phrases: Phrases,
    ledger: Ledger,
    metrics: Metrics,
    spawner: Spawner,
}

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

/// A request whose engine, voice and text are known.
struct Wanted<'a> {
    engine: &'a Engine,
    hz: u32,
    voice: Voice,
    text: String,
    utterance: Utterance,
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
        // Whoever names an engine means that one.
        let named = parts.named(utterance.model.as_deref())?;
        let engines: Vec<_> =
            named.map_or_else(|| self.answering().collect(), |engine| vec![engine]);
        let mut failed = None;
        for engine in &engines {
            let mut utterance = utterance.clone();
            if failed.is_some() {
                // Its voice may be another engine's; here, any other is better than none.
                let known = |name: &String| engine.voices().find(name).is_some();
                utterance.voice = utterance.voice.filter(known);
            }
            let first = engines[0].name();
            let beginning = parts.begin(engine, utterance, failed.is_some());
            let is_last = engines.last().is_some_and(|last| last.name() == engine.name());
            let begun = match is_last {
                true => beginning.await,
                false => timeout(parts.first_wait, beginning).await.unwrap_or_else(|_| {
                    let waited = parts.first_wait.as_millis();
                    Err(SpeechError::Failed(format!("no audio within {waited} ms")))
                }),
            };
            match begun {
                Ok(speaking) => {
                    if failed.is_some() {
                        let label = FallbackLabel { from: first, to: engine.name() };
                        parts.metrics.speech_fallbacks.get_or_create(&label).inc();
                    }
                    return Ok(speaking);
                }
                Err(error) if error.is_the_engines() && engines.len() > 1 => {
                    tracing::warn!(engine = engine.name(), %error, "another engine is to speak");
                    failed.get_or_insert(error);
                }
                Err(error) => return Err(failed.unwrap_or(error)),
            }
        }
        Err(failed.unwrap_or(SpeechError::NothingToSay))
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

impl Parts {
    /// Has `engine` speak, as far as its first audio.
    async fn begin(
        &self,
        engine: &Engine,
        utterance: Utterance,
        is_fallback: bool,
    ) -> Result<Speaking, SpeechError> {
        let hz = match engine.health() {
            Health::Ready(hz) => hz,
            // It is asked whether it is left alone, and knows for how long.
            _ if matches!(engine, Engine::Remote(_)) => limits::SPEECH_HZ,
            Health::Starting => return Err(self.unavailable(engine, "it is starting".into())),
            Health::Unavailable(reason) => return Err(self.unavailable(engine, reason)),
        };
        let asked = utterance.voice.as_deref();
        let voice = match is_fallback && asked.is_none() {
            true => engine.voices().default_voice(),
            false => self.voice(engine, asked)?,
        };
        let text = match engine {
            Engine::Pieces(_) => clause::speakable(&utterance.text),
            // As the client wrote it: such an engine has its own way with numbers and signs.
            Engine::Remote(_) if !clause::has_speech(&utterance.text) => String::new(),
            Engine::Remote(_) => utterance.text.trim().to_string(),
        };
        if text.is_empty() {
            return Err(SpeechError::NothingToSay);
        }
        let wanted = Wanted { engine, hz, voice, text, utterance };
        let is_short =
            Phrases::is_short(&wanted.text, wanted.utterance.format, wanted.utterance.speed);
        let (mut speaking, failure) = match engine {
            _ if is_short => self.phrase(wanted)?,
            Engine::Pieces(_) => (self.stream(wanted)?, Failure::default()),
            Engine::Remote(remote) => self.remote(remote, wanted).await?,
        };
        match speaking.reader.next().await {
            Some(Ok(first)) => speaking.reader.give_back(first),
            Some(Err(Broken(reason))) => {
                return Err(failure
                    .get()
                    .unwrap_or_else(|| SpeechError::Failed(reason.to_string())));
            }
            None => return Err(SpeechError::Failed("it gave no audio".into())),
        }
        Ok(speaking)
    }

    /// For one reader, from elsewhere: passed through where it comes in the right format, else through a ring.
    async fn remote(
        &self,
        engine: &Arc<dyn RemoteEngine>,
        wanted: Wanted<'_>,
    ) -> Result<(Speaking, Failure), SpeechError> {
        let (format, failure) = (wanted.utterance.format, Failure::default());
        let passes = engine.comes(format) == Comes::AsWished;
        let bytes = if passes { limits::PASSING_BYTES } else { format.plan().recoded_bytes() };
        let departure = wanted.utterance.departure.clone();
        let bytes = bytes + wanted.utterance.extra_bytes;
        let stake = self.reserve(bytes, &wanted.utterance.owner, departure)?;
        let bound = stake.bytes();
        let sound = tokio::select! {
            biased;
            () = self.spawner.stopping() => return Err(SpeechError::Leaving),
            sound = engine.ask(wanted.wish()) => sound?,
        };
        if sound.comes == Comes::AsWished {
            let stopping = self.spawner.stopping_owned();
            let (metrics, failed) = (self.metrics.clone(), failure.clone());
            let passing = Passing::new(sound.body, stake, metrics, failed, stopping);
            let reader = Reader::passing(passing);
            return Ok((wanted.speaking(reader, Made::Miss, bound, Spoken::default()), failure));
        }
        let pages = limits::RECODED_RING_PAGES;
        let (writer, reader) = ring::pipe(limits::PAGE_BYTES, pages, Arc::clone(&stake));
        let bringer = self.bringer(engine, &wanted, &failure);
        let scope = self.spawner.clone();
        let owner = Arc::clone(&wanted.utterance.owner);
        self.spawner.spawn_for(&wanted.utterance.departure, Kind::Task, owner, async move {
            bringer.bring(sound, Output::Pipe(writer), scope.stopping()).await;
            drop(stake);
        });
        Ok((wanted.speaking(Reader::pipe(reader), Made::Miss, bound, Spoken::default()), failure))
    }

    fn bringer(
        &self,
        engine: &Arc<dyn RemoteEngine>,
        wanted: &Wanted<'_>,
        failure: &Failure,
    ) -> Bringer {
        Bringer {
            engine: Arc::clone(engine),
            format: wanted.utterance.format,
            owner: Arc::clone(&wanted.utterance.owner),
            metrics: self.metrics.clone(),
            failure: failure.clone(),
        }
    }

    /// For one reader, made here, through a ring.
    fn stream(&self, wanted: Wanted) -> Result<Speaking, SpeechError> {
        self.check_wait(&wanted)?;
        let plan = wanted.utterance.format.plan();
        let departure = wanted.utterance.departure.clone();
        let bytes = plan.stream_bytes() + wanted.utterance.extra_bytes;
        let stake = self.reserve(bytes, &wanted.utterance.owner, departure)?;
        let (writer, reader) = ring::pipe(limits::PAGE_BYTES, plan.ring_pages, Arc::clone(&stake));
        let bound = stake.bytes();
        let client = &wanted.utterance.departure;
        let failure = Failure::default();
        let spoken = self.start(&wanted, client, Output::Pipe(writer), stake, &failure);
        Ok(wanted.speaking(Reader::pipe(reader), Made::Miss, bound, spoken))
    }

    /// A short text: kept, joined, or made for all who ask for it at this moment.
    fn phrase(&self, wanted: Wanted) -> Result<(Speaking, Failure), SpeechError> {
        let owner = &wanted.utterance.owner;
        let departure = wanted.utterance.departure.clone();
        let bytes = limits::LISTENER_BYTES + wanted.utterance.extra_bytes;
        let listener = self.reserve(bytes, owner, departure)?;
        let mut bound = listener.bytes();
        let mut stake = None;
        let mut failure = Failure::default();
        let found = self.phrases.find(wanted.key(), &failure, || -> Result<_, SpeechError> {
            self.check_wait(&wanted)?;
            let plan = wanted.utterance.format.plan();
            let upstream = match wanted.engine {
                Engine::Pieces(_) => 0,
                Engine::Remote(_) => limits::UPSTREAM_SIDE_BYTES,
            };
            // No connection's departure: it may outlive the one that began it.
            let bytes = plan.shared_bytes() + upstream;
            let shared = self.reserve(bytes, owner, Departure::default())?;
            let log = log::log(plan.log_bytes(), Arc::clone(&shared));
            stake = Some(shared);
            Ok(log)
        })?;
        let (reader, made, spoken) = match found {
            Found::Kept(phrase) => (Reader::phrase(phrase, listener), Made::Hit, Spoken::default()),
            Found::Running(log, theirs) => {
                failure = theirs;
                (Reader::log(log, listener), Made::Shared, Spoken::default())
            }
            Found::Begun(writer, log, keep) => {
                let stake = stake.expect("what begins has reserved");
                bound += stake.bytes();
                let nobodys = Departure::default();
                let output = Output::Log(writer, Some(keep));
                let spoken = self.start(&wanted, &nobodys, output, stake, &failure);
                (Reader::log(log, listener), Made::Miss, spoken)
            }
        };
        Ok((wanted.speaking(reader, made, bound, spoken), failure))
    }

    /// Starts the task that speaks into `output` for `client`.
    fn start(
        &self,
        wanted: &Wanted,
        client: &Departure,
        output: Output,
        stake: Arc<Stake>,
        failure: &Failure,
    ) -> Spoken {
        let spoken = Spoken::default();
        let scope = self.spawner.clone();
        let owner = Arc::clone(&wanted.utterance.owner);
        let engine = match wanted.engine {
            Engine::Pieces(engine) => Arc::clone(engine),
            Engine::Remote(engine) => {
                let bringer = self.bringer(engine, wanted, failure);
                let wish = Wish { departure: client.clone(), ..wanted.wish() };
                self.spawner.spawn_for(client, Kind::Task, owner, async move {
                    bringer.ask(wish, output, scope.stopping()).await;
                    drop(stake);
                });
                return spoken;
            }
        };
        let speaker = utterance::Speaker {
            engine,
            text: wanted.text.clone(),
            voice: wanted.voice.engine_name.clone(),
            speed: wanted.utterance.speed,
            owner: Arc::clone(&wanted.utterance.owner),
            hz: wanted.hz,
            format: wanted.utterance.format,
            metrics: self.metrics.clone(),
            spoken: spoken.clone(),
        };
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

    fn unavailable(&self, engine: &Engine, reason: String) -> SpeechError {
        self.metrics.refuse(Refusal::Engine);
        SpeechError::Unavailable { engine: engine.name(), reason }
    }

    /// The engine of that name; a model that is no engine's name (`tts-1`, …) means none of them.
    fn named(&self, model: Option<&str>) -> Result<Option<&Engine>, SpeechError> {
        let asked = ENGINE_NAMES.into_iter().find(|name| Some(*name) == model);
        let Some(asked) = asked else { return Ok(None) };
        let running = self.engines.iter().find(|engine| engine.name() == asked);
        running.map(Some).ok_or_else(|| {
            let known: Vec<_> = self.engines.iter().map(|engine| engine.name()).collect();
            SpeechError::UnknownEngine { asked, known: known.join(", ") }
        })
    }

    fn voice(&self, engine: &Engine, asked: Option<&str>) -> Result<Voice, SpeechError> {
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
    /// The whole of it, as a remote engine gets it: in the client's own words.
    fn wish(&self) -> Wish {
        let Utterance { model, instructions, speed, format, owner, departure, .. } =
            &self.utterance;
        Wish {
            text: self.text.clone(),
            voice: self.voice.engine_name.clone(),
            model: model.clone().filter(|name| !ENGINE_NAMES.contains(&name.as_str())),
            instructions: instructions.clone(),
            speed: *speed,
            format: *format,
            owner: Arc::clone(owner),
            departure: departure.clone(),
        }
    }

    fn key(&self) -> Key {
        Key {
            principal: Arc::clone(&self.utterance.principal),
            engine: self.engine.name(),
            voice: self.voice.engine_name.clone(),
            speed: self.utterance.speed.to_bits(),
            format: self.utterance.format,
            told: match self.engine {
                Engine::Pieces(_) => None,
                Engine::Remote(_) => {
                    Some((self.utterance.model.clone(), self.utterance.instructions.clone()))
                }
            },
            text: self.text.clone(),
        }
    }

    fn speaking(self, reader: Reader, made: Made, bound_bytes: u64, spoken: Spoken) -> Speaking {
        let (voice, engine) = (self.voice.id, self.engine.name());
        Speaking { reader, made, voice, engine, bound_bytes, spoken }
    }
}
