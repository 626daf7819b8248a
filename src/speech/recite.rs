//! A text that is being written, spoken elsewhere: what has been written meanwhile is asked for as one, in order, and all
//! of it is encoded here as one stream. Invariants: back pressure reaches the upstream; whoever listens is looked after at
//! each wait; the words of such sound are shared out by length, and marked so.

use std::sync::Arc;

use bytes::Bytes;
use tokio_stream::StreamExt;

use super::audio::{Audio, STEP_SAMPLES};
use super::encode::Format;
use super::engine::{Comes, RemoteEngine, Wish};
use super::live::LiveWish;
use super::output::Output;
use super::passing::{garbage, no_audio};
use super::script::Script;
use super::voices::Voice;
use super::wav::WavSamples;
use super::words::{Word, spread};
use super::{ENGINE_NAMES, LEAVING};
use crate::bounds::ring::Closed;
use crate::ledger::Departure;
use crate::limits::{AHEAD_MOST, BROUGHT_LEAST_BYTES, PIECE_MOST, RECITED_CHARS, SPEECH_HZ};
use crate::metrics::{Metrics, StreamEnd};
use crate::upstream::{Body, UpstreamError};

/// What it takes.
pub struct Reciter {
    pub engine: Arc<dyn RemoteEngine>,
    pub voice: Voice,
    pub wish: LiveWish,
    pub metrics: Metrics,
    pub departure: Departure,
}

/// Why it ends before its end.
enum Halt {
    ReaderGone,
    Upstream(UpstreamError),
    Encoder(String),
}

impl From<Closed> for Halt {
    fn from(_: Closed) -> Self {
        Halt::ReaderGone
    }
}

/// The stream in the making.
struct Recital {
    reciter: Reciter,
    output: Output,
    /// Made when the first sound says at which rate it comes.
    audio: Option<(u32, Audio)>,
}

impl Reciter {
    /// Speaks `script` to its end into `output`.
    pub async fn run(self, script: Script, output: Output, stopping: impl Future<Output = ()>) {
        let metrics = self.metrics.clone();
        let mut recital = Recital { reciter: self, output, audio: None };
        let recited = tokio::select! {
            biased;
            () = stopping => {
                metrics.stream_ended(StreamEnd::Failed);
                return recital.output.abort(LEAVING);
            }
            recited = recital.recite(script) => recited,
        };
        let made = recital.audio.as_ref().map_or(0, |(_, audio)| audio.made);
        metrics.audio_seconds.inc_by(made as f64 / f64::from(SPEECH_HZ));
        let reason = match recited {
            Ok(()) => {
                recital.output.finish();
                return metrics.stream_ended(StreamEnd::Done);
            }
            Err(Halt::ReaderGone) => return metrics.stream_ended(StreamEnd::ReaderGone),
            Err(Halt::Upstream(error)) => error.to_string(),
            Err(Halt::Encoder(reason)) => reason,
        };
        tracing::warn!(owner = %recital.reciter.wish.owner, reason, "a stream broke off");
        recital.output.fail(&reason);
        metrics.stream_ended(StreamEnd::Failed);
    }
}

impl Recital {
    async fn recite(&mut self, mut script: Script) -> Result<(), Halt> {
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(passage) => passage,
                None => {
                    let passage = tokio::select! {
                        biased;
                        () = self.output.closed() => return Err(Halt::ReaderGone),
                        passage = script.next() => passage,
                    };
                    let Some(passage) = passage else { break };
                    passage
                }
            };
            let clause = first.number;
            let mut text = first.text;
            // What is there by now is asked for together: such engines phrase better what they see whole.
            while let Some(passage) = script.next_now() {
                if text.len() + passage.text.len() > RECITED_CHARS {
                    next = Some(passage);
                    break;
                }
                text.push(' ');
                text += &passage.text;
            }
            self.say(&text, clause).await?;
        }
        if let Some((_, audio)) = &mut self.audio {
            audio.finish();
        }
        self.pass(0, Vec::new(), true).await
    }

    /// Has one text spoken.
    async fn say(&mut self, text: &str, clause: u32) -> Result<(), Halt> {
        let LiveWish { model, instructions, speed, owner, .. } = &self.reciter.wish;
        let wish = Wish {
            text: text.to_string(),
            voice: self.reciter.voice.engine_name.clone(),
            model: model.clone().filter(|name| !ENGINE_NAMES.contains(&name.as_str())),
            instructions: instructions.clone(),
            speed: *speed,
            format: Format::Pcm,
            owner: Arc::clone(owner),
            departure: self.reciter.departure.clone(),
        };
        let asked = tokio::select! {
            biased;
            () = self.output.closed() => return Err(Halt::ReaderGone),
            asked = self.reciter.engine.ask(wish) => asked,
        };
        let mut sound = asked.map_err(Halt::Upstream)?;
        let began = self.made();
        let mut samples = Samples::new(sound.comes);
        while let Some(bytes) = self.next(&mut sound.body).await? {
            let upstream = sound.body.upstream();
            let read =
                samples.push(&bytes).map_err(|why| Halt::Upstream(garbage(upstream, why)))?;
            let Some((hz, pcm)) = read else { continue };
            self.take(hz, &pcm, clause).await?;
        }
        samples.end().map_err(|why| Halt::Upstream(garbage(sound.body.upstream(), why)))?;
        if self.made() == began {
            return Err(Halt::Upstream(no_audio(&sound.body)));
        }
        let mut words = spread(text, began, self.made());
        words.iter_mut().for_each(|word| word.proportional = true);
        self.pass(clause, words, true).await
    }

    fn made(&self) -> u64 {
        self.audio.as_ref().map_or(0, |(_, audio)| audio.made)
    }

    /// The next bytes of `body`, once there is room for them, and as long as somebody listens.
    async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>, Halt> {
        self.output.room(BROUGHT_LEAST_BYTES).await?;
        let next = tokio::select! {
            biased;
            () = self.output.closed() => return Err(Halt::ReaderGone),
            next = body.next() => next,
        };
        next.transpose().map_err(Halt::Upstream)
    }

    async fn take(&mut self, hz: u32, pcm: &[u8], clause: u32) -> Result<(), Halt> {
        match &self.audio {
            None => {
                let audio = Audio::new(hz, 1.0, self.reciter.wish.format).map_err(Halt::Encoder)?;
                self.audio = Some((hz, audio));
            }
            Some((before, _)) if *before != hz => {
                return Err(Halt::Encoder(format!("it went over from {before} to {hz} Hz")));
            }
            Some(_) => {}
        }
        for step in pcm.chunks(STEP_SAMPLES * 2) {
            if let Some((_, audio)) = &mut self.audio {
                audio.push(step, true);
            }
            self.pass(clause, Vec::new(), false).await?;
        }
        Ok(())
    }

    /// Writes what is encoded, if that is worth a part of its own; all of it where it `must` be.
    async fn pass(&mut self, clause: u32, words: Vec<Word>, must: bool) -> Result<(), Halt> {
        let Some((_, audio)) = &mut self.audio else { return Ok(()) };
        let is_first = self.output.progress().0 == 0;
        if !must && !is_first && audio.encoded() < BROUGHT_LEAST_BYTES {
            return Ok(());
        }
        let bytes = audio.take();
        self.output.room(bytes.len()).await?;
        // Nothing further ahead than anything may be.
        let made = audio.made.max(1);
        let ahead = (AHEAD_MOST - PIECE_MOST).as_secs() * u64::from(SPEECH_HZ);
        let (written, _) = self.output.progress();
        self.output.lag_below((written * ahead / made).max(bytes.len() as u64)).await?;
        let result = self.output.write_part(&bytes, clause, words, audio.made_ms()).await;
        audio.give_back(bytes);
        Ok(result?)
    }
}

/// Samples out of what an upstream sends.
struct Samples {
    comes: Comes,
    wav: WavSamples,
    /// Half a sample, where a chunk ended within one.
    half: Option<u8>,
}

impl Samples {
    fn new(comes: Comes) -> Self {
        Self { comes, wav: WavSamples::default(), half: None }
    }

    /// Whole samples, s16 little-endian, and their rate; none while there are none.
    fn push(&mut self, bytes: &Bytes) -> Result<Option<(u32, Vec<u8>)>, String> {
        let (hz, bytes) = match self.comes {
            Comes::AsWished => (SPEECH_HZ, bytes.clone()),
            Comes::Pcm(hz) => (hz, bytes.clone()),
            Comes::Wav => match self.wav.push(bytes)? {
                Some((hz, samples)) => (hz, samples.into()),
                None => return Ok(None),
            },
        };
        let mut pcm = Vec::with_capacity(bytes.len() + 1);
        pcm.extend(self.half.take());
        pcm.extend_from_slice(&bytes);
        if pcm.len() % 2 == 1 {
            self.half = pcm.pop();
        }
        Ok((!pcm.is_empty()).then_some((hz, pcm)))
    }

    fn end(&self) -> Result<(), String> {
        if self.half.is_some() {
            return Err("it ended within a sample".into());
        }
        if matches!(self.comes, Comes::Wav) { self.wav.end() } else { Ok(()) }
    }
}
