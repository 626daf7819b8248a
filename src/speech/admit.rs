//! Admission: from a request to a stream that speaks. Invariants: a stream has reserved its whole bound before anything
//! is made or asked for it; what is short is made once for all who ask for it; nobody gets a stream before its first
//! audio is there.

use std::sync::Arc;
use std::time::Duration;

use tokio_stream::StreamExt;

use super::output::{Output, Reader};
use super::passing::{Failure, Passing};
use super::phrases::{Found, Key, Phrases};
use super::remote::Bringer;
use super::script::Script;
use super::voices::Voice;
use super::{
    Comes, ENGINE_NAMES, Engine, Health, Made, RemoteEngine, Speaking, SpeechError, Spoken,
    Utterance, Wish, clause, utterance,
};
use crate::bounds::ring::Broken;
use crate::bounds::{Budget, Stake, log, ring};
use crate::ledger::{Departure, Kind, Ledger};
use crate::limits;
use crate::metrics::{FallbackLabel, Metrics, Refusal};
use crate::tasks::Spawner;

/// What it takes to admit a stream.
pub struct Parts {
    pub engines: Vec<Engine>,
    /// Places of those that speak when the first cannot, in this order.
    pub fallback: Vec<usize>,
    pub default_voice: Option<String>,
    pub first_wait: Duration,
    pub budget: Budget,
    pub phrases: Phrases,
    pub ledger: Ledger,
    pub metrics: Metrics,
    pub spawner: Spawner,
}

/// A request whose engine, voice and text are known.
struct Wanted<'a> {
    engine: &'a Engine,
    hz: u32,
    voice: Voice,
    text: String,
    utterance: Utterance,
}

impl Parts {
    /// Has `engine` speak, as far as its first audio.
    pub async fn begin(
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
        let voice = self.voice_of(engine, utterance.voice.as_deref(), is_fallback)?;
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

    /// What came of it where `first` was to speak, may have `failed`, and `engine` did: that is counted, and of two errors
    /// the first one is said.
    pub fn spoke_for<T>(
        &self,
        first: &Engine,
        failed: Option<SpeechError>,
        engine: &Engine,
        begun: Result<T, SpeechError>,
    ) -> Result<T, SpeechError> {
        let Some(failed) = failed else { return begun };
        let speaking = begun.map_err(|_| failed)?;
        let label = FallbackLabel { from: first.name(), to: engine.name() };
        self.metrics.speech_fallbacks.get_or_create(&label).inc();
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
        let bytes = bytes + tls_bytes(&**engine) + wanted.utterance.extra_bytes;
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
        self.check_wait(wanted.engine)?;
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
            self.check_wait(wanted.engine)?;
            let plan = wanted.utterance.format.plan();
            let upstream = match wanted.engine {
                Engine::Pieces(_) => 0,
                Engine::Remote(engine) => limits::UPSTREAM_SIDE_BYTES + tls_bytes(&**engine),
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
        let text = wanted.text.clone();
        let speaker = utterance::Speaker {
            engine,
            voice: wanted.voice.engine_name.clone(),
            speed: wanted.utterance.speed,
            owner: Arc::clone(&wanted.utterance.owner),
            hz: wanted.hz,
            format: wanted.utterance.format,
            metrics: self.metrics.clone(),
            spoken: spoken.clone(),
        };
        self.spawner.spawn_for(client, Kind::Task, owner, async move {
            speaker.run(Script::whole(text), output, scope.stopping()).await;
            drop(stake);
        });
        spoken
    }

    pub fn check_wait(&self, engine: &Engine) -> Result<(), SpeechError> {
        let wait = engine.projected_wait();
        if wait <= limits::FIRST_PIECE_WAIT_MOST {
            return Ok(());
        }
        self.metrics.refuse(Refusal::Busy);
        Err(SpeechError::Busy(wait))
    }

    pub fn reserve(
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
        super::leaks::admitted(owner, &stake);
        Ok(stake)
    }

    pub fn unavailable(&self, engine: &Engine, reason: String) -> SpeechError {
        self.metrics.refuse(Refusal::Engine);
        SpeechError::Unavailable { engine: engine.name(), reason }
    }

    /// The engine of that name; a model that is no engine's name (`tts-1`, …) means none of them.
    pub fn named(&self, model: Option<&str>) -> Result<Option<&Engine>, SpeechError> {
        let asked = ENGINE_NAMES.into_iter().find(|name| Some(*name) == model);
        let Some(asked) = asked else { return Ok(None) };
        let running = self.engines.iter().find(|engine| engine.name() == asked);
        running.map(Some).ok_or_else(|| {
            let known: Vec<_> = self.engines.iter().map(|engine| engine.name()).collect();
            SpeechError::UnknownEngine { asked, known: known.join(", ") }
        })
    }

    /// The voice of that name; where another engine was asked, any other is better than none.
    pub fn voice_of(
        &self,
        engine: &Engine,
        asked: Option<&str>,
        is_fallback: bool,
    ) -> Result<Voice, SpeechError> {
        if !is_fallback {
            return self.voice(engine, asked);
        }
        let voices = engine.voices();
        Ok(asked.and_then(|name| voices.find(name)).unwrap_or_else(|| voices.default_voice()))
    }

    pub fn voice(&self, engine: &Engine, asked: Option<&str>) -> Result<Voice, SpeechError> {
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

/// What TLS towards an engine elsewhere costs a stream.
pub fn tls_bytes(engine: &dyn RemoteEngine) -> usize {
    if engine.is_tls() { limits::TLS_BYTES } else { 0 }
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
