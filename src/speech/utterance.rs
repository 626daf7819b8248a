//! From text to encoded bytes in the ring: the task behind one stream. Invariants: a job is asked
//! for only when the ring has room for all that it may yield; the reader's leaving is seen at every
//! wait; a worker that dies costs one piece, which goes on behind the last word that was delivered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::audio::{Audio, STEP_SAMPLES};
use super::clause::Pause;
use super::encode::Format;
use super::output::Output;
use super::script::{Passage, Script};
use super::words::{Word, spread};
use super::{Ended, Job, LEAVING, PieceEngine, Said, Spoken};
use crate::bounds::ring::Closed;
use crate::limits::{self, SPEECH_HZ};
use crate::metrics::{Metrics, StreamEnd};

/// Times that a piece is tried again after its worker was lost.
const RETRIES: u32 = 1;
/// Words of one text that may be left out because workers die of them.
const PASSED_OVER_MOST: u32 = 3;
/// Slower than this no engine is asked to speak (espeak's least is 80 of 175 words a minute); what is
/// missing is stretched.
const ENGINE_SPEED_LEAST: f32 = 0.457;

/// What it takes to speak one stream.
pub struct Speaker {
    pub engine: Arc<dyn PieceEngine>,
    pub voice: String,
    pub speed: f32,
    pub owner: Arc<str>,
    /// The engine's rate.
    pub hz: u32,
    pub format: Format,
    pub metrics: Metrics,
    pub spoken: Spoken,
}

/// Why a stream ends before its text.
enum Halt {
    ReaderGone,
    Failed(String),
    Leaving,
}

impl From<Closed> for Halt {
    fn from(_: Closed) -> Self {
        Halt::ReaderGone
    }
}

/// The stream in the making.
struct Stream {
    speaker: Speaker,
    writer: Output,
    audio: Audio,
    started: Instant,
    passed_over: u32,
    /// Where the word that is being spoken began, in samples made.
    word_began: Option<u64>,
    /// Where the last one ended, as far as that is known.
    word_ended: u64,
    /// The clause that is being spoken.
    clause: u32,
}

/// How one job went.
enum JobEnd {
    /// It went on to this byte of the job's text, and the engine said what it said.
    Ended(usize, Ended),
    /// The worker was lost behind this byte.
    Lost(usize),
}

impl Speaker {
    /// Speaks `script` to its end into `writer`, or until its reader has left or the server is `stopping`.
    pub async fn run(self, script: Script, writer: Output, stopping: impl Future<Output = ()>) {
        let metrics = self.metrics.clone();
        let factor = f64::from(ENGINE_SPEED_LEAST / self.speed).max(1.0);
        let audio = match Audio::new(self.hz, factor, self.format) {
            Ok(audio) => audio,
            Err(error) => {
                metrics.stream_ended(StreamEnd::Failed);
                return writer.fail(&error);
            }
        };
        let started = Instant::now();
        let mut stream = Stream {
            speaker: self,
            writer,
            audio,
            started,
            passed_over: 0,
            word_began: None,
            word_ended: 0,
            clause: 0,
        };
        let spoken = tokio::select! {
            biased;
            () = stopping => Err(Halt::Leaving),
            spoken = stream.speak(script) => spoken,
        };
        let end = match spoken {
            Ok(()) => {
                stream.writer.finish();
                StreamEnd::Done
            }
            Err(Halt::ReaderGone) => StreamEnd::ReaderGone,
            Err(Halt::Leaving) => {
                stream.writer.abort(LEAVING);
                StreamEnd::Failed
            }
            Err(Halt::Failed(reason)) => {
                tracing::warn!(owner = %stream.speaker.owner, reason, "a stream broke off");
                stream.writer.fail(&reason);
                StreamEnd::Failed
            }
        };
        let seconds = stream.audio.made as f64 / f64::from(SPEECH_HZ);
        let lived_ms = stream.started.elapsed().as_millis() as u64;
        tracing::debug!(owner = %stream.speaker.owner, ?end, seconds, lived_ms, "stream over");
        metrics.audio_seconds.inc_by(seconds);
        metrics.stream_ended(end);
    }
}

impl Stream {
    async fn speak(&mut self, mut script: Script) -> Result<(), Halt> {
        let mut pause = Pause::None;
        loop {
            let passage = tokio::select! {
                biased;
                () = self.writer.closed() => return Err(Halt::ReaderGone),
                passage = script.next() => passage,
            };
            let Some(passage) = passage else { break };
            self.pause(pause.duration()).await?;
            self.clause = passage.number;
            self.clause(&passage).await?;
            self.speaker.spoken.set(passage.end);
            pause = passage.pause;
        }
        self.audio.finish();
        self.write(Vec::new()).await
    }

    /// Speaks one clause in as many jobs as it needs.
    async fn clause(&mut self, passage: &Passage) -> Result<(), Halt> {
        let mut at = 0;
        let (mut losses, mut patient) = (0, false);
        while at < passage.text.len() {
            let before = self.audio.inside_word;
            let end = self.job(passage, at, patient).await?;
            let (JobEnd::Ended(came_to, _) | JobEnd::Lost(came_to)) = end;
            at += came_to;
            let came_further = came_to > 0 || self.audio.inside_word > before;
            match end {
                JobEnd::Ended(_, Ended::Done) => return Ok(()),
                JobEnd::Ended(_, Ended::Failed(reason)) => return Err(Halt::Failed(reason)),
                JobEnd::Ended(_, Ended::More(_)) if came_further => (losses, patient) = (0, false),
                // Its first word needs more room than there was just now.
                JobEnd::Ended(_, Ended::More(_)) if !patient => patient = true,
                JobEnd::Ended(_, Ended::More(_)) => {
                    return Err(Halt::Failed("a piece made no way".into()));
                }
                JobEnd::Lost(_) if came_further || losses < RETRIES => losses += 1,
                JobEnd::Lost(_) => {
                    at += self.pass_over_word(&passage.text[at..])?;
                    losses = 0;
                }
            }
        }
        Ok(())
    }

    /// Some words make a library crash each time. One that took its workers with it is left out, if
    /// it is not one of many.
    fn pass_over_word(&mut self, text: &str) -> Result<usize, Halt> {
        if self.passed_over >= PASSED_OVER_MOST {
            return Err(Halt::Failed("workers were lost again and again in this text".into()));
        }
        self.passed_over += 1;
        self.audio.inside_word = 0;
        self.word_began = None;
        let begin = text.len() - text.trim_start().len();
        let word = text[begin..].find(char::is_whitespace).map_or(text.len(), |end| begin + end);
        tracing::warn!(owner = %self.speaker.owner, bytes = word, "a word was passed over");
        Ok(word)
    }

    /// Waits for room, then speaks one job: the text of `passage` from byte `at` on. The `patient` wait for as much
    /// room as there can be.
    async fn job(&mut self, passage: &Passage, at: usize, patient: bool) -> Result<JobEnd, Halt> {
        let text = &passage.text[at..];
        let bytes = text.len();
        let piece = duration_samples(limits::PIECE_MOST, SPEECH_HZ);
        let wanted = if patient { piece } else { self.samples_for(text) };
        self.writer.lag_below(self.most_lag()).await?;
        self.writer.room(self.audio.encoder.most_bytes(wanted)).await?;
        let most = self.audio.encoder.samples_within(self.writer.room_now(), piece);
        let made = samples_duration(self.audio.made, SPEECH_HZ);
        let job = Job {
            text: passage.for_engine(at),
            voice: self.speaker.voice.clone(),
            speed: self.speaker.speed.max(ENGINE_SPEED_LEAST),
            seed: 0,
            most_samples: self.audio.input_samples(most),
            skip_samples: self.audio.inside_word as u32,
            cut_words: patient,
            ahead: self.writer.ahead(made, self.started),
            owner: Arc::clone(&self.speaker.owner),
        };
        let mut said = self.speaker.engine.speak(job);
        let mut came_to = 0;
        loop {
            let heard = tokio::select! {
                biased;
                () = self.writer.closed() => return Err(Halt::ReaderGone),
                heard = said.recv() => heard,
            };
            match heard {
                Some(Said::Audio { pcm, spoken }) => {
                    let end = spoken.map(|spoken| (spoken as usize).min(bytes));
                    let word = end.and_then(|end| text.get(came_to..end));
                    self.deliver(&pcm, word).await?;
                    came_to = end.unwrap_or(came_to);
                }
                Some(Said::End(Ended::Done)) => return Ok(JobEnd::Ended(bytes, Ended::Done)),
                Some(Said::End(Ended::More(more))) => {
                    let more = (more as usize).min(bytes);
                    return Ok(JobEnd::Ended(more, Ended::More(more as u32)));
                }
                Some(Said::End(ended)) => return Ok(JobEnd::Ended(came_to, ended)),
                None => return Ok(JobEnd::Lost(came_to)),
            }
        }
    }

    /// Encodes what an engine said, with the `word` or words that it completes. In small steps, so that the buffers
    /// between a frame and a ring stay small as well; who listens to parts gets one of them.
    async fn deliver(&mut self, pcm: &[u8], word: Option<&str>) -> Result<(), Halt> {
        let made = self.audio.made.max(self.word_ended);
        let began = *self.word_began.get_or_insert(made);
        let mut words = Vec::new();
        if let Some(word) = word {
            self.word_began = None;
            if self.writer.takes_words() {
                // An estimate by some samples: what is in the resampler comes with the next word.
                self.word_ended =
                    made.max(self.audio.made + self.audio.output_samples(pcm.len() / 2));
                words = spread(word, began, self.word_ended);
            }
        }
        let mut chunks = pcm.chunks(STEP_SAMPLES * 2).peekable();
        while let Some(chunk) = chunks.next() {
            let is_last = chunks.peek().is_none();
            self.audio.push(chunk, word.is_some() && is_last);
            if is_last || !self.writer.takes_words() {
                self.write(std::mem::take(&mut words)).await?;
            }
        }
        Ok(())
    }

    async fn pause(&mut self, pause: Duration) -> Result<(), Halt> {
        let speed = self.speaker.speed.max(ENGINE_SPEED_LEAST);
        let mut left = duration_samples(pause.div_f32(speed), self.speaker.hz);
        while left > 0 {
            let step = left.min(STEP_SAMPLES);
            self.audio.silence(step);
            // A part of silence would be one of nothing else: it goes with the sound behind it.
            if !self.writer.takes_words() {
                self.write(Vec::new()).await?;
            }
            left -= step;
        }
        Ok(())
    }

    async fn write(&mut self, words: Vec<Word>) -> Result<(), Halt> {
        let bytes = self.audio.take();
        let result = self.writer.write_part(&bytes, self.clause, words, self.audio.made_ms()).await;
        self.audio.give_back(bytes);
        Ok(result?)
    }

    /// Room to ask for: what the text may take, between the least and the longest piece.
    fn samples_for(&self, text: &str) -> usize {
        let seconds =
            text.chars().count() as f64 * limits::SECONDS_PER_CHAR / f64::from(self.speaker.speed);
        let least = limits::PIECE_LEAST.as_secs_f64();
        let piece = Duration::from_secs_f64(seconds.clamp(least, limits::PIECE_MOST.as_secs_f64()));
        duration_samples(piece, SPEECH_HZ)
    }

    /// Bytes that may wait for the reader when a job is begun, so that its end is not further ahead
    /// than anything may be: a small format's ring holds more seconds than that.
    fn most_lag(&self) -> u64 {
        let (written, _) = self.writer.progress();
        let ahead = limits::AHEAD_MOST - limits::PIECE_MOST;
        let samples = duration_samples(ahead, SPEECH_HZ) as u64;
        (written * samples).checked_div(self.audio.made).map_or(u64::MAX, |lag| lag.max(1))
    }
}

fn duration_samples(duration: Duration, hz: u32) -> usize {
    (duration.as_secs_f64() * f64::from(hz)) as usize
}

fn samples_duration(samples: u64, hz: u32) -> Duration {
    Duration::from_secs_f64(samples as f64 / f64::from(hz))
}
