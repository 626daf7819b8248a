//! Where a stream's bytes go and come from. Invariant: the task that speaks knows only this: room,
//! bytes, an end, and whether anybody still listens; whether one reader follows a ring or several
//! share a log is decided when the stream is admitted.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::live::{Part, Sink, failure};
use super::passing::Passing;
use super::phrases::Keep;
use super::words::Word;
use super::{Ahead, SpeechError};
use crate::bounds::ring::{Broken, Closed};
use crate::bounds::{Stake, log, ring};
use crate::limits::PART_MOST_BYTES;

/// The producing end.
pub enum Output {
    /// For one reader, freed as it reads.
    Pipe(ring::Writer),
    /// For several, kept whole; at its good end it may be kept as a phrase.
    Log(log::Writer, Option<Keep>),
    /// For whoever has a place for it, who is told how it ended.
    Live(Arc<dyn Sink>, oneshot::Sender<Result<(), SpeechError>>),
}

/// The consuming end, a stream of encoded bytes.
pub struct Reader {
    /// Taken from the source already, and given back.
    first: Option<Bytes>,
    source: Source,
    /// What this reader holds beside the source: its connection's part of the plan.
    _stake: Option<Arc<Stake>>,
}

enum Source {
    Pipe(ring::Reader),
    Log(log::Reader),
    Passing(Box<Passing>),
    Phrase { chunks: Arc<super::phrases::Phrase>, next: usize },
}

impl Output {
    /// Waits until `bytes` can be written.
    pub async fn room(&mut self, bytes: usize) -> Result<(), Closed> {
        match self {
            Output::Pipe(writer) => writer.room(bytes).await,
            Output::Log(writer, _) => writer.room(bytes).await,
            Output::Live(sink, _) => poll_fn(|cx| sink.poll_room(bytes, cx)).await,
        }
    }

    /// Waits until the reader is no further behind than `bytes`; a log does not wait for anybody.
    pub async fn lag_below(&mut self, bytes: u64) -> Result<(), Closed> {
        match self {
            Output::Pipe(writer) => writer.lag_below(bytes).await,
            Output::Log(..) => Ok(()),
            Output::Live(sink, _) => poll_fn(|cx| sink.poll_lag_below(bytes, cx)).await,
        }
    }

    /// Bytes that can be written now.
    pub fn room_now(&self) -> usize {
        match self {
            Output::Pipe(writer) => writer.room_now(),
            Output::Log(writer, _) => writer.room_now(),
            Output::Live(sink, _) => sink.room_now(),
        }
    }

    /// Bytes written, and bytes of those that were taken.
    pub fn progress(&self) -> (u64, u64) {
        match self {
            Output::Pipe(writer) => writer.progress(),
            Output::Log(writer, _) => (writer.written(), writer.written()),
            Output::Live(sink, _) => sink.progress().unwrap_or_default(),
        }
    }

    /// How far the reader is behind, of `made` audio; nobody waits for the readers of a log.
    pub fn ahead(&self, made: Duration, since: Instant) -> Ahead {
        match self {
            Output::Pipe(writer) => Ahead::Live { made, since, gauge: writer.gauge() },
            Output::Log(..) => Ahead::Fixed(Duration::ZERO),
            Output::Live(sink, _) => {
                let sink = Arc::downgrade(sink);
                let progress = move || sink.upgrade()?.progress();
                Ahead::Heard { made, since, progress: Arc::new(progress) }
            }
        }
    }

    /// Whether it is told which words are spoken when, and so takes as much at once as they are long.
    pub fn takes_words(&self) -> bool {
        matches!(self, Output::Live(..))
    }

    /// Appends `data`, in which `words` of `clause` end, and which ends `ends_ms` after the stream's first sample. Who
    /// listens to parts gets as many as it takes, the last of them with the words.
    pub async fn write_part(
        &mut self,
        data: &[u8],
        clause: u32,
        words: Vec<Word>,
        ends_ms: u64,
    ) -> Result<(), Closed> {
        match self {
            Output::Live(..) if data.is_empty() && words.is_empty() => Ok(()),
            Output::Live(sink, _) => {
                let mut words = Some(words);
                let mut rest = data;
                loop {
                    let (audio, behind) = rest.split_at(rest.len().min(PART_MOST_BYTES));
                    rest = behind;
                    let words = words.take_if(|_| rest.is_empty()).unwrap_or_default();
                    let audio = Bytes::copy_from_slice(audio);
                    sink.write(Part { audio, clause, words, ends_ms })?;
                    if rest.is_empty() {
                        return Ok(());
                    }
                }
            }
            _ => self.write(data).await,
        }
    }

    /// Appends `data`.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), Closed> {
        match self {
            Output::Pipe(writer) => writer.write(data).await,
            Output::Log(writer, _) => writer.write(data).await,
            Output::Live(..) => Box::pin(self.write_part(data, 0, Vec::new(), 0)).await,
        }
    }

    /// Waits until nobody listens any more.
    pub async fn closed(&mut self) {
        match self {
            Output::Pipe(writer) => writer.closed().await,
            Output::Log(writer, _) => writer.closed().await,
            Output::Live(sink, _) => poll_fn(|cx| sink.poll_closed(cx)).await,
        }
    }

    /// The same, whose bytes are not to be kept for others.
    pub fn unkept(self) -> Self {
        match self {
            Output::Log(writer, _) => Output::Log(writer, None),
            pipe => pipe,
        }
    }

    /// Ends the stream well.
    pub fn finish(self) {
        match self {
            Output::Pipe(writer) => writer.finish(),
            Output::Log(writer, keep) => {
                if let Some(keep) = keep {
                    keep.done(writer.content());
                }
                writer.finish();
            }
            // Whoever waited for it may have left just now.
            Output::Live(_, over) => drop(over.send(Ok(()))),
        }
    }

    /// Ends the stream with a reason.
    pub fn fail(self, reason: &str) {
        match self {
            Output::Pipe(writer) => writer.fail(reason),
            Output::Log(writer, _) => writer.fail(reason),
            Output::Live(_, over) => drop(over.send(Err(failure(reason)))),
        }
    }

    /// As [`Output::fail`], at once: nobody waits for what is queued.
    pub fn abort(self, reason: &str) {
        match self {
            Output::Pipe(writer) => writer.abort(reason),
            Output::Log(writer, _) => writer.fail(reason),
            live @ Output::Live(..) => live.fail(reason),
        }
    }
}

impl Reader {
    /// Of a ring, whose pages hold the stream's stake.
    pub fn pipe(reader: ring::Reader) -> Self {
        Self::of(Source::Pipe(reader), None)
    }

    /// Of a log, with the reader's own stake.
    pub fn log(reader: log::Reader, stake: Arc<Stake>) -> Self {
        Self::of(Source::Log(reader), Some(stake))
    }

    /// Of a phrase that was kept, with the reader's own stake.
    pub fn phrase(chunks: Arc<super::phrases::Phrase>, stake: Arc<Stake>) -> Self {
        Self::of(Source::Phrase { chunks, next: 0 }, Some(stake))
    }

    /// Of an upstream's answer, which holds the stream's stake.
    pub fn passing(passing: Passing) -> Self {
        Self::of(Source::Passing(Box::new(passing)), None)
    }

    fn of(source: Source, stake: Option<Arc<Stake>>) -> Self {
        Self { first: None, source, _stake: stake }
    }

    /// Gives `bytes` back, which were the last that it gave.
    pub fn give_back(&mut self, bytes: Bytes) {
        self.first = Some(bytes);
    }
}

impl tokio_stream::Stream for Reader {
    type Item = Result<Bytes, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        match &mut this.source {
            Source::Pipe(reader) => reader.poll_next(cx),
            Source::Log(reader) => reader.poll_next(cx),
            Source::Passing(passing) => passing.poll_next(cx),
            Source::Phrase { chunks, next } => {
                let chunk = chunks.chunk(*next);
                *next += 1;
                Poll::Ready(chunk.map(Ok))
            }
        }
    }
}
