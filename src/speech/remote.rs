//! Speech that is made elsewhere, on its way to a client. Invariants: what comes in the format that was asked for is
//! passed through as it is, without a copy and without a task; anything else is encoded here, and back
//! pressure reaches the upstream; what ends without its end never looks whole.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::audio::{Audio, STEP_SAMPLES};
use super::encode::Format;
use super::engine::{Comes, RemoteEngine, Sound, Wish};
use super::output::Output;
use super::wav::WavSamples;
use super::{LEAVING, SpeechError};
use crate::bounds::Stake;
use crate::bounds::budget::Held;
use crate::bounds::ring::{Broken, Closed};
use crate::limits::{BROUGHT_LEAST_BYTES, PAGE_BYTES, PASSED_LEAST_BYTES, SPEECH_HZ};
use crate::metrics::{Metrics, StreamEnd};
use crate::upstream::{Body, Fault, UpstreamError};

/// Why a stream had no beginning, for whoever waits for it; its reader hears of it in words alone.
#[derive(Clone, Debug, Default)]
pub struct Failure(Arc<OnceLock<SpeechError>>);

impl Failure {
    /// What it was, once it has happened.
    pub fn get(&self) -> Option<SpeechError> {
        self.0.get().cloned()
    }

    fn set(&self, error: SpeechError) {
        let _ = self.0.set(error);
    }
}

/// Bytes of an upstream, passed on as they come.
pub struct Passing {
    body: Body,
    stake: Arc<Stake>,
    metrics: Metrics,
    failure: Failure,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    begun: bool,
    ended: bool,
}

/// Bytes on their way, counted until hyper has sent them.
struct Passed {
    bytes: Bytes,
    _held: Held,
    _stake: Arc<Stake>,
}

impl AsRef<[u8]> for Passed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Passing {
    /// Passes `body` on until its server is `stopping`; all of it is held under `stake`.
    pub fn new(
        body: Body,
        stake: Arc<Stake>,
        metrics: Metrics,
        failure: Failure,
        stopping: WaitForCancellationFutureOwned,
    ) -> Self {
        let stopping = Box::pin(stopping);
        Self { body, stake, metrics, failure, stopping, begun: false, ended: false }
    }

    /// The next bytes.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.stopping.as_mut().poll(cx).is_ready() {
            self.end(StreamEnd::Failed);
            self.failure.set(SpeechError::Leaving);
            return Poll::Ready(Some(Err(Broken(LEAVING.into()))));
        }
        let next = std::task::ready!(Pin::new(&mut self.body).poll_next(cx));
        Poll::Ready(match next {
            Some(Ok(bytes)) => {
                self.begun = true;
                let held = self.stake.hold((bytes.len() as u64).max(PASSED_LEAST_BYTES));
                let passed = Passed { bytes, _held: held, _stake: Arc::clone(&self.stake) };
                Some(Ok(Bytes::from_owner(passed)))
            }
            Some(Err(error)) => Some(Err(self.fail(error))),
            None if !self.begun => Some(Err(self.fail(no_audio(&self.body)))),
            None => {
                self.end(StreamEnd::Done);
                None
            }
        })
    }

    fn fail(&mut self, error: UpstreamError) -> Broken {
        tracing::warn!(%error, "a stream broke off");
        self.end(StreamEnd::Failed);
        let broken = Broken(error.to_string().into());
        self.failure.set(SpeechError::Upstream(error));
        broken
    }

    fn end(&mut self, end: StreamEnd) {
        self.ended = true;
        self.metrics.stream_ended(end);
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if !self.ended {
            self.end(StreamEnd::ReaderGone);
        }
    }
}

/// What it takes to bring a remote engine's audio into a stream of ours.
pub struct Bringer {
    pub engine: Arc<dyn RemoteEngine>,
    pub format: Format,
    pub owner: Arc<str>,
    pub metrics: Metrics,
    pub failure: Failure,
}

/// Why it ends before its end.
enum Halt {
    ReaderGone,
    Failed(UpstreamError),
    Encoder(String),
}

impl From<Closed> for Halt {
    fn from(_: Closed) -> Self {
        Halt::ReaderGone
    }
}

impl Bringer {
    /// Asks for `wish` and brings what comes of it into `output`.
    pub async fn ask(self, wish: Wish, mut output: Output, stopping: impl Future<Output = ()>) {
        let mut stopping = std::pin::pin!(stopping);
        let asked = tokio::select! {
            biased;
            () = output.closed() => return self.metrics.stream_ended(StreamEnd::ReaderGone),
            () = stopping.as_mut() => {
                self.failure.set(SpeechError::Leaving);
                self.metrics.stream_ended(StreamEnd::Failed);
                return output.abort(LEAVING);
            }
            asked = self.engine.ask(wish) => asked,
        };
        match asked {
            Ok(sound) => self.bring(sound, output, stopping).await,
            Err(error) => self.over(output, Err(Halt::Failed(error))),
        }
    }

    /// Brings `sound` into `output`.
    pub async fn bring(self, sound: Sound, mut output: Output, stopping: impl Future<Output = ()>) {
        let is_framed = sound.is_framed;
        let brought = tokio::select! {
            biased;
            () = stopping => {
                self.failure.set(SpeechError::Leaving);
                self.metrics.stream_ended(StreamEnd::Failed);
                return output.abort(LEAVING);
            }
            brought = bring(sound, self.format, &mut output, &self.metrics) => brought,
        };
        let output = if is_framed { output } else { output.unkept() };
        self.over(output, brought);
    }

    fn over(self, output: Output, brought: Result<(), Halt>) {
        let (owner, failure) = (&self.owner, &self.failure);
        let fail = |output: Output, error: SpeechError| {
            tracing::warn!(%owner, %error, "a stream broke off");
            let reason = error.to_string();
            failure.set(error);
            output.fail(&reason);
            StreamEnd::Failed
        };
        let end = match brought {
            Ok(()) => {
                output.finish();
                StreamEnd::Done
            }
            Err(Halt::ReaderGone) => StreamEnd::ReaderGone,
            Err(Halt::Failed(error)) => fail(output, SpeechError::Upstream(error)),
            Err(Halt::Encoder(reason)) => fail(output, SpeechError::Failed(reason)),
        };
        self.metrics.stream_ended(end);
    }
}

async fn bring(
    mut sound: Sound,
    format: Format,
    output: &mut Output,
    metrics: &Metrics,
) -> Result<(), Halt> {
    match sound.comes {
        Comes::AsWished => copy(&mut sound.body, output).await?,
        Comes::Pcm(hz) => {
            let mut recoder = Recoder::new(hz, format).map_err(Halt::Encoder)?;
            while let Some(bytes) = next(&mut sound.body, output).await? {
                recoder.write(&bytes, output).await?;
            }
            recoder.finish(&sound.body, output, metrics).await?;
        }
        Comes::Wav => {
            let upstream = sound.body.upstream();
            let garbage = |why| Halt::Failed(garbage(upstream, why));
            let mut wav = WavSamples::default();
            let mut recoder = None;
            while let Some(bytes) = next(&mut sound.body, output).await? {
                let Some((hz, samples)) = wav.push(&bytes).map_err(garbage)? else { continue };
                let recoder = match &mut recoder {
                    Some(recoder) => recoder,
                    none => none.insert(Recoder::new(hz, format).map_err(Halt::Encoder)?),
                };
                recoder.write(&samples, output).await?;
            }
            wav.end().map_err(garbage)?;
            if let Some(mut recoder) = recoder {
                recoder.finish(&sound.body, output, metrics).await?;
            }
        }
    }
    match output.progress() {
        (0, _) => Err(Halt::Failed(no_audio(&sound.body))),
        _ => Ok(()),
    }
}

/// The next bytes of `body`, as long as somebody listens to `output`.
async fn next(body: &mut Body, output: &mut Output) -> Result<Option<Bytes>, Halt> {
    let next = tokio::select! {
        biased;
        () = output.closed() => return Err(Halt::ReaderGone),
        next = body.next() => next,
    };
    next.transpose().map_err(Halt::Failed)
}

/// Brings what comes as it is, in pieces that are worth being kept.
async fn copy(body: &mut Body, output: &mut Output) -> Result<(), Halt> {
    let mut small = Vec::new();
    while let Some(bytes) = next(body, output).await? {
        let is_first = output.progress().0 == 0;
        if small.is_empty() && (is_first || bytes.len() >= BROUGHT_LEAST_BYTES) {
            for part in bytes.chunks(PAGE_BYTES) {
                output.write(part).await?;
            }
            continue;
        }
        for part in bytes.chunks(PAGE_BYTES) {
            small.extend_from_slice(part);
            if small.len() >= BROUGHT_LEAST_BYTES {
                output.write(&small).await?;
                small.clear();
            }
        }
    }
    Ok(output.write(&small).await?)
}

fn garbage(upstream: &'static str, why: String) -> UpstreamError {
    UpstreamError { upstream, fault: Fault::Garbage(why) }
}

fn no_audio(body: &Body) -> UpstreamError {
    garbage(body.upstream(), "there is no audio in it".into())
}

/// Samples into a format of ours, in pieces that are worth being kept.
struct Recoder {
    audio: Audio,
    /// Half a sample, where a chunk ended within one.
    half: Option<u8>,
}

impl Recoder {
    fn new(hz: u32, format: Format) -> Result<Self, String> {
        Ok(Self { audio: Audio::new(hz, 1.0, format)?, half: None })
    }

    async fn write(&mut self, bytes: &[u8], output: &mut Output) -> Result<(), Closed> {
        let mut rest = bytes;
        if let (Some(low), [high, behind @ ..]) = (self.half, rest) {
            self.half = None;
            rest = behind;
            self.audio.push(&[low, *high], true);
            self.pass(output, false).await?;
        }
        if let (1, Some(last)) = (rest.len() % 2, rest.last()) {
            self.half = Some(*last);
        }
        for step in rest[..rest.len() & !1].chunks(STEP_SAMPLES * 2) {
            self.audio.push(step, true);
            self.pass(output, false).await?;
        }
        Ok(())
    }

    /// At the end of `body`.
    async fn finish(
        &mut self,
        body: &Body,
        output: &mut Output,
        metrics: &Metrics,
    ) -> Result<(), Halt> {
        if self.half.is_some() {
            let why = "it ended within a sample".into();
            return Err(Halt::Failed(garbage(body.upstream(), why)));
        }
        self.audio.finish();
        self.pass(output, true).await?;
        metrics.audio_seconds.inc_by(self.audio.made as f64 / f64::from(SPEECH_HZ));
        Ok(())
    }

    /// Writes what is encoded, if that is worth a piece of its own, or the first or the last.
    async fn pass(&mut self, output: &mut Output, is_last: bool) -> Result<(), Closed> {
        let is_first = output.progress().0 == 0;
        if !is_last && !is_first && self.audio.encoded() < BROUGHT_LEAST_BYTES {
            return Ok(());
        }
        let bytes = self.audio.take();
        let result = output.write(&bytes).await;
        self.audio.give_back(bytes);
        result
    }
}
