//! Speech for a text that is still being written, to whoever has a place for it. Invariants: what it costs is reserved by
//! whoever asks, before it begins; it ends with the script, with a failure, or when nobody wants it any more.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::admit::Parts;
use super::encode::Format;
use super::output::Output;
use super::recite::Reciter;
use super::script::Script;
use super::voices::Voice;
use super::words::Word;
use super::{Engine, Health, LEAVING, Speech, SpeechError, Spoken, utterance};
use crate::bounds::replay::{Lane, Replay};
use crate::bounds::ring::Closed;
use crate::ledger::{Departure, Kind};
use crate::limits;

/// Encoded sound, and what is said in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes of one stream in its format, at most [`limits::PART_MOST_BYTES`]; the first begin with its header.
    pub audio: Bytes,
    /// The number of the clause.
    pub clause: u32,
    /// The words that end in it.
    pub words: Vec<Word>,
    /// When it ends, or the parts that came with it do, from the first sample of the stream.
    pub ends_ms: u64,
}

/// Where the parts of a live stream go.
pub trait Sink: Send + Sync + 'static {
    /// Ready when there is room for `bytes` of audio, or as much as there ever is.
    fn poll_room(&self, bytes: usize, cx: &Context<'_>) -> Poll<Result<(), Closed>>;
    /// Bytes of audio that there is room for now.
    fn room_now(&self) -> usize;
    /// Ready when the foremost listener is no further behind than `bytes`.
    fn poll_lag_below(&self, bytes: u64, cx: &Context<'_>) -> Poll<Result<(), Closed>>;
    /// Ready when nobody wants it any more.
    fn poll_closed(&self, cx: &Context<'_>) -> Poll<()>;
    /// Bytes of audio written, and how many the foremost listener took; none when nobody wants it any more.
    fn progress(&self) -> Option<(u64, u64)>;
    /// Takes a part.
    fn write(&self, part: Part) -> Result<(), Closed>;
}

/// One epoch of a [`Replay`], as a place for parts.
pub struct ReplaySink<T> {
    /// Where they go.
    pub replay: Replay<T>,
    /// Of the stream.
    pub epoch: u32,
    /// What is made of a part.
    pub wrap: fn(Part) -> T,
}

impl<T: Clone + Send + Sync + 'static> Sink for ReplaySink<T> {
    fn poll_room(&self, bytes: usize, cx: &Context<'_>) -> Poll<Result<(), Closed>> {
        self.replay.poll_room(self.epoch, Lane::Audio, bytes, cx)
    }

    fn room_now(&self) -> usize {
        self.replay.room_now(Lane::Audio)
    }

    fn poll_lag_below(&self, bytes: u64, cx: &Context<'_>) -> Poll<Result<(), Closed>> {
        self.replay.poll_lag_below(self.epoch, bytes, cx)
    }

    fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        self.replay.poll_closed(self.epoch, cx)
    }

    fn progress(&self) -> Option<(u64, u64)> {
        self.replay.progress(self.epoch)
    }

    fn write(&self, part: Part) -> Result<(), Closed> {
        let bytes = part.audio.len();
        self.replay.push(self.epoch, Lane::Audio, (self.wrap)(part), bytes)
    }
}

/// How a live stream is to be spoken.
#[derive(Clone, Debug)]
pub struct LiveWish {
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
    /// Who asks, for the ledger.
    pub owner: Arc<str>,
}

/// Somebody who will speak.
pub struct Live {
    speech: Speech,
    engine: Engine,
    hz: u32,
    voice: Voice,
    wish: LiveWish,
}

impl Speech {
    /// Finds who speaks `wish`: the engine that it names, else the first of the usual ones that can.
    pub fn live(&self, wish: LiveWish) -> Result<Live, SpeechError> {
        let parts = &*self.0;
        let named = parts.named(wish.model.as_deref())?;
        let mut refused = None;
        let first = named.unwrap_or(&parts.engines[0]);
        let others = self.answering().skip(1).filter(|_| named.is_none());
        for (place, engine) in std::iter::once(first).chain(others).enumerate() {
            match self.live_by(engine, &wish, place > 0) {
                Err(error) if error.is_the_engines() => drop(refused.get_or_insert(error)),
                found => return found,
            }
        }
        Err(refused.expect("there was one to be asked"))
    }

    pub(super) fn live_by(
        &self,
        engine: &Engine,
        wish: &LiveWish,
        is_fallback: bool,
    ) -> Result<Live, SpeechError> {
        let parts = &*self.0;
        let hz = match engine.health() {
            Health::Ready(hz) => hz,
            _ if matches!(engine, Engine::Remote(_)) => limits::SPEECH_HZ,
            Health::Starting => return Err(parts.unavailable(engine, "it is starting".into())),
            Health::Unavailable(reason) => return Err(parts.unavailable(engine, reason)),
        };
        let voice = parts.voice_of(engine, wish.voice.as_deref(), is_fallback)?;
        parts.check_wait(engine)?;
        Ok(Live { speech: self.clone(), engine: engine.clone(), hz, voice, wish: wish.clone() })
    }
}

impl Live {
    /// Who speaks.
    pub fn engine(&self) -> &'static str {
        self.engine.name()
    }

    /// With which voice.
    pub fn voice(&self) -> &Voice {
        &self.voice
    }

    /// What it holds beside what it has written: resampler, encoder, frames on their way, and an upstream's side.
    pub fn scratch_bytes(&self) -> usize {
        let plan = self.wish.format.plan();
        match &self.engine {
            Engine::Pieces(_) => plan.scratch_bytes,
            Engine::Remote(remote) => {
                let own = limits::RECODE_SCRATCH_BYTES + plan.encoder_bytes();
                own + limits::UPSTREAM_SIDE_BYTES + super::admit::tls_bytes(&**remote)
            }
        }
    }

    /// Speaks what comes by `script` into `sink`, for `client`, holding `held` as long. What is received is how it ended;
    /// nothing, where nobody wanted it any more.
    pub fn start(
        self,
        script: Script,
        sink: impl Sink,
        client: &Departure,
        held: impl Send + 'static,
    ) -> oneshot::Receiver<Result<(), SpeechError>> {
        let (over, ended) = oneshot::channel();
        let Self { speech, engine, hz, voice, wish } = self;
        let parts: &Parts = &speech.0;
        let scope = parts.spawner.clone();
        let owner = Arc::clone(&wish.owner);
        let output = Output::Live(Arc::new(sink), over);
        match engine {
            Engine::Pieces(engine) => {
                let speaker = utterance::Speaker {
                    engine,
                    voice: voice.engine_name,
                    speed: wish.speed,
                    owner: wish.owner,
                    hz,
                    format: wish.format,
                    metrics: parts.metrics.clone(),
                    spoken: Spoken::default(),
                };
                parts.spawner.spawn_for(client, Kind::Task, owner, async move {
                    speaker.run(script, output, scope.stopping()).await;
                    drop(held);
                });
            }
            Engine::Remote(engine) => {
                let reciter = Reciter {
                    engine,
                    voice,
                    wish,
                    metrics: parts.metrics.clone(),
                    departure: client.clone(),
                };
                parts.spawner.spawn_for(client, Kind::Task, owner, async move {
                    reciter.run(script, output, scope.stopping()).await;
                    drop(held);
                });
            }
        }
        ended
    }
}

/// What went wrong, as whoever waits for the end is told.
pub fn failure(reason: &str) -> SpeechError {
    if reason == LEAVING { SpeechError::Leaving } else { SpeechError::Failed(reason.to_string()) }
}
