//! Speech that is made elsewhere, brought into a stream of ours: kept as a phrase, or encoded here. Invariants: back
//! pressure reaches the upstream; whoever listens is looked after at each wait; what ends without its end never looks
//! whole.

use std::sync::Arc;

use bytes::Bytes;
use tokio_stream::StreamExt;

use super::audio::{Audio, STEP_SAMPLES};
use super::encode::Format;
use super::engine::{Comes, RemoteEngine, Sound, Wish};
use super::output::Output;
use super::passing::{Failure, garbage, no_audio};
use super::wav::WavSamples;
use super::{LEAVING, SpeechError};
use crate::bounds::ring::Closed;
use crate::limits::{BROUGHT_LEAST_BYTES, PAGE_BYTES, SPEECH_HZ};
use crate::metrics::{Metrics, StreamEnd};
use crate::upstream::{Body, UpstreamError};

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
