//! A text that is there, spoken with the times of its words, for one listener. Invariants: it has reserved its whole bound
//! before it begins; it ends with its listener; behind a failure there is no end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio_stream::{Stream, StreamExt};

use super::live::{LiveWish, Part, ReplaySink};
use super::script::Script;
use super::{Engine, Speech, SpeechError, Utterance, clause};
use crate::bounds::replay::{Reader, Replay, Terms};
use crate::limits::{PAGE_BYTES, TIMED_LISTENER_BYTES};

/// A stream of parts, each with the words that are heard in it; the first is there.
pub struct Timed {
    first: Option<Arc<Part>>,
    reader: Reader<Arc<Part>>,
    replay: Replay<Arc<Part>>,
    ending: oneshot::Receiver<Result<(), SpeechError>>,
    /// How it ended, once it has; what was made before is still to come.
    ended: Option<Result<(), SpeechError>>,
    /// The id of the voice that speaks.
    pub voice: String,
    /// The name of the engine.
    pub engine: &'static str,
    /// The most bytes that this stream can ever hold.
    pub bound_bytes: u64,
}

/// There is one turn, and it is the first.
const EPOCH: u32 = 1;

impl Speech {
    /// Has a text spoken with the times of its words, by the first engine that can, and waits for its first audio.
    pub async fn speak_timed(&self, utterance: Utterance) -> Result<Timed, SpeechError> {
        let model = utterance.model.clone();
        let begin = |engine: Engine, is_fallback| {
            let utterance = utterance.clone();
            async move { self.begin_timed(&engine, utterance, is_fallback).await }
        };
        self.first_of(model.as_deref(), begin).await
    }

    async fn begin_timed(
        &self,
        engine: &Engine,
        utterance: Utterance,
        is_fallback: bool,
    ) -> Result<Timed, SpeechError> {
        let Utterance { text, voice, model, instructions, speed, format, owner, departure, .. } =
            utterance;
        let text = match engine {
            Engine::Pieces(_) => clause::speakable(&text),
            Engine::Remote(_) if !clause::has_speech(&text) => String::new(),
            Engine::Remote(_) => text.trim().to_string(),
        };
        if text.is_empty() {
            return Err(SpeechError::NothingToSay);
        }
        let wish = LiveWish { voice, model, instructions, speed, format, owner: owner.clone() };
        let live = self.live_by(engine, &wish, is_fallback)?;
        let audio_bytes = format.plan().ring_pages * PAGE_BYTES;
        let bytes = live.scratch_bytes() + audio_bytes + TIMED_LISTENER_BYTES;
        let stake = self.0.reserve(bytes, &owner, departure.clone())?;
        let terms = Terms { audio_bytes, text_bytes: 0, behind_bytes: 0, lost_bytes: 0 };
        let replay = Replay::new(terms, EPOCH, Arc::clone(&stake));
        let reader = replay.reader(None).expect("from the beginning");
        let sink = ReplaySink { replay: replay.clone(), epoch: EPOCH, wrap: Arc::new };
        let (voice, engine) = (live.voice().id.clone(), live.engine());
        let bound_bytes = stake.bytes();
        let ending = live.start(Script::whole(text), sink, &departure, stake);
        let mut timed =
            Timed { first: None, reader, replay, ending, ended: None, voice, engine, bound_bytes };
        match timed.next().await {
            Some(first) => timed.first = Some(first?),
            None => return Err(SpeechError::Failed("it gave no audio".into())),
        }
        Ok(timed)
    }
}

impl Stream for Timed {
    type Item = Result<Arc<Part>, SpeechError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if this.ended.is_none()
            && let Poll::Ready(ended) = Pin::new(&mut this.ending).poll(cx)
        {
            // Whoever does not say how it ended was not wanted any more, which cannot be while this is here.
            let lost = || Err(SpeechError::Failed("it was lost".into()));
            this.ended = Some(ended.unwrap_or_else(|_| lost()));
            this.replay.seal();
        }
        match std::task::ready!(this.reader.poll_next(cx)) {
            Some(Ok((_, part))) => Poll::Ready(Some(Ok(part))),
            Some(Err(slow)) => Poll::Ready(Some(Err(SpeechError::Failed(slow.to_string())))),
            None => match this.ended.replace(Ok(())) {
                Some(Err(error)) => Poll::Ready(Some(Err(error))),
                _ => Poll::Ready(None),
            },
        }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.replay.close();
    }
}
