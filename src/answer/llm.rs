//! Answers by a language model, from any server with OpenAI's `/chat/completions`: OpenAI itself, vLLM, llama.cpp's server,
//! Ollama, LocalAI. Invariants: only what the server itself calls an end is one, by `[DONE]` or by a reason to
//! finish; what the model thinks before its answer is no part of that; dropping the answer closes the connection, and the
//! server sees it.

mod chunk;
mod request;
mod thoughts;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use http::HeaderValue;
use tokio_stream::{Stream, StreamExt};

use super::{AnswerError, End, Finish, Piece, Pieces, Question, Responder, Usage};
use crate::limits::{ANSWER_BYTES, ANSWER_STREAM_BYTES, UPSTREAM_ERROR_CHARS};
use crate::upstream::events::{Event, Events};
use crate::upstream::{Ask, Body, Fault, Upstream, UpstreamError};
use chunk::Chunk;
use request::Dialect;
use thoughts::Thoughts;

/// The type of an answer that comes in pieces.
const EVENT_STREAM: &str = "text/event-stream";

/// What is asked of the model beside the question.
#[derive(Clone, Debug, PartialEq)]
pub struct LlmConfig {
    /// The model, as the server calls it.
    pub model: String,
    /// What it is told before all else; empty for nothing.
    pub system_prompt: String,
    /// The longest answer; the server's own limit where it is none.
    pub max_tokens: Option<u32>,
    /// How freely it chooses its words; as the server has it where it is none.
    pub temperature: Option<f64>,
}

/// A language model. Clones share it.
#[derive(Clone)]
pub struct Llm(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    config: LlmConfig,
    dialect: Mutex<Dialect>,
}

impl Llm {
    /// The model of that configuration at `upstream`.
    pub fn new(upstream: Upstream, config: LlmConfig) -> Self {
        Self(Arc::new(Inner { upstream, config, dialect: Mutex::default() }))
    }

    /// Asks, and once more for each part of the request that the server turns out not to know.
    async fn open(
        self,
        question: Question,
    ) -> Result<impl Stream<Item = Result<Piece, AnswerError>>, AnswerError> {
        let Inner { upstream, config, dialect } = &*self.0;
        let mut spoken = *dialect.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = loop {
            let body = request::body(config, &question, spoken);
            let owner = Arc::clone(&question.owner);
            let ask = Ask {
                accept: HeaderValue::from_static(EVENT_STREAM),
                departure: Some(question.departure.clone()),
                most_bytes: ANSWER_STREAM_BYTES,
                // It may be made twice: it writes two answers then, of which nobody saw the first.
                ..Ask::errand("/chat/completions", Some(body), owner)
            };
            match upstream.open(&ask).await {
                Err(UpstreamError { fault: Fault::Refused { message, .. }, .. })
                    if spoken.learn(config, &message) =>
                {
                    tracing::info!(upstream = upstream.name(), message, "asking in other words");
                    *dialect.lock().unwrap_or_else(PoisonError::into_inner) = spoken;
                }
                answer => break answer?,
            }
        };
        let got = answer.media_type();
        if got != EVENT_STREAM {
            let got = shortened(&got, UPSTREAM_ERROR_CHARS);
            let got = if got.is_empty() { "no type".into() } else { got };
            return Err(upstream.error(Fault::WrongType { got, wanted: EVENT_STREAM }).into());
        }
        let reading = Reading::new(upstream.clone(), answer.body);
        Ok(stream::unfold(reading, |mut reading| async {
            reading.next().await.map(|piece| (piece, reading))
        }))
    }
}

impl Responder for Llm {
    fn name(&self) -> &'static str {
        "llm"
    }

    fn answer(&self, question: Question) -> Pieces {
        Box::pin(stream::once(self.clone().open(question)).try_flatten())
    }
}

/// An answer that is being read.
struct Reading {
    upstream: Upstream,
    /// None once there is nothing more to be read.
    body: Option<Body>,
    bytes: Bytes,
    events: Events,
    finish: Option<Finish>,
    usage: Option<Usage>,
    thoughts: Thoughts,
    /// Of the answer. Thoughts are bounded by [`ANSWER_STREAM_BYTES`] alone.
    text_bytes: usize,
    /// All of it was read, and only its end is still to be told.
    is_over: bool,
}

impl Reading {
    fn new(upstream: Upstream, body: Body) -> Self {
        Self {
            upstream,
            body: Some(body),
            bytes: Bytes::new(),
            events: Events::default(),
            finish: None,
            usage: None,
            thoughts: Thoughts::default(),
            text_bytes: 0,
            is_over: false,
        }
    }

    async fn next(&mut self) -> Option<Result<Piece, AnswerError>> {
        // Taken, so that it is closed by whatever is not the next piece of a text.
        let mut body = self.body.take()?;
        let piece = self.piece(&mut body).await;
        if matches!(piece, Ok(Piece::Text(_))) {
            self.body = Some(body);
        }
        Some(piece)
    }

    async fn piece(&mut self, body: &mut Body) -> Result<Piece, AnswerError> {
        if self.is_over {
            return Ok(self.end());
        }
        loop {
            let event = self.events.next(&mut self.bytes);
            let event = event.map_err(|error| self.fault(Fault::Garbage(error.to_string())))?;
            match event {
                Some(event) => {
                    if let Some(piece) = self.hear(&event)? {
                        return Ok(piece);
                    }
                }
                None => match body.next().await {
                    Some(bytes) => self.bytes = bytes?,
                    None if self.finish.is_some() => return self.over(),
                    None => return Err(self.fault(Fault::Broke("its end did not come".into()))),
                },
            }
        }
    }

    /// What an event brings, if that is a piece.
    fn hear(&mut self, event: &Event) -> Result<Option<Piece>, AnswerError> {
        match Chunk::read(event) {
            Ok(Chunk::Part { text, finish, usage }) => {
                self.finish = finish.or(self.finish.take());
                self.usage = usage.or(self.usage);
                match self.thoughts.push(text.unwrap_or_default()) {
                    text if text.is_empty() => Ok(None),
                    text => self.text(text).map(Some),
                }
            }
            Ok(Chunk::Done) => self.over().map(Some),
            Ok(Chunk::Error) => {
                let said = self.upstream.words(event.data.as_bytes());
                Err(self.fault(Fault::GaveUp(said)))
            }
            Err(error) => Err(self.fault(Fault::Garbage(error.to_string()))),
        }
    }

    /// What comes next of the answer.
    fn text(&mut self, text: String) -> Result<Piece, AnswerError> {
        self.text_bytes += text.len();
        if self.text_bytes > ANSWER_BYTES {
            return Err(AnswerError::TooLong(self.upstream.name()));
        }
        Ok(Piece::Text(text))
    }

    /// Its last piece, or its end where there is none. An end without a word is one only if the server says why.
    fn over(&mut self) -> Result<Piece, AnswerError> {
        match self.thoughts.rest() {
            "" if self.text_bytes == 0 && self.finish.is_none() => {
                Err(self.fault(Fault::Garbage("it ends without a word or a reason".into())))
            }
            "" => Ok(self.end()),
            rest => {
                self.is_over = true;
                self.text(rest.into())
            }
        }
    }

    fn end(&mut self) -> Piece {
        let finish = self.finish.take().unwrap_or(Finish::Unsaid);
        Piece::End(End { finish, usage: self.usage })
    }

    fn fault(&self, fault: Fault) -> AnswerError {
        self.upstream.error(fault).into()
    }
}

/// The first `most` characters of what somebody else wrote, without those that would move a cursor.
fn shortened(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests;
