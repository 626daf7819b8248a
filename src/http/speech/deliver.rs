//! From an admitted stream to an answer: bytes as they are, or events. Invariant: the head is held
//! back until the first audio, so a failure before it is a proper status; behind it bytes break off
//! and events end with an error, and neither ever looks finished when it is not.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use serde_json::json;
use tokio_stream::{Stream, StreamExt};

use crate::bounds::ring::Broken;
use crate::http::Services;
use crate::http::error::ApiError;
use crate::http::limit::Place;
use crate::limits::HEAD_HOLD;
use crate::metrics::Metrics;
use crate::speech::encode::Format;
use crate::speech::{LEAVING, Made, Speaking, SpeechError, Utterance};

/// Bytes of audio in one event: a multiple of three, so that base64 needs no padding inside.
const EVENT_AUDIO_BYTES: usize = 3 * 1024;
/// Estimates, since no model counts tokens here: four characters of text, 50 ms of audio.
const CHARS_PER_TOKEN: usize = 4;
const AUDIO_TOKENS_PER_SECOND: usize = 20;

/// What `x-cache` says: it was kept, somebody else hears it too, it was made.
pub const CACHE_WORDS: [&str; 3] = ["hit", "shared", "miss"];

/// A stream whose first audio is there.
pub struct Begun {
    speaking: Speaking,
    format: Format,
    chars: usize,
    timing: String,
    metrics: Metrics,
    places: [Place; 2],
}

/// Has `utterance` spoken and waits for its first audio. `began` is when the request came in.
pub async fn begin(
    services: &Services,
    utterance: Utterance,
    places: [Place; 2],
    began: Instant,
) -> Result<Begun, ApiError> {
    let (format, chars) = (utterance.format, utterance.text.chars().count());
    let (speaking, timing) = first(services, began, services.speech.speak(utterance)).await?;
    let metrics = services.metrics.clone();
    Ok(Begun { speaking, format, chars, timing, metrics, places })
}

/// What `speaks`, with its first audio, and how long that took as a header says it.
pub async fn first<T>(
    services: &Services,
    began: Instant,
    speaks: impl Future<Output = Result<T, SpeechError>>,
) -> Result<(T, String), ApiError> {
    if services.readiness.is_leaving() {
        return Err(ApiError::leaving());
    }
    let waited = tokio::time::timeout(HEAD_HOLD, speaks).await;
    let speaking = waited.map_err(|_| ApiError::no_audio_in_time())??;
    let took = began.elapsed();
    services.metrics.first_audio.observe(took);
    Ok((speaking, format!("first;dur={:.2}", took.as_secs_f64() * 1e3)))
}

impl Begun {
    /// The audio as it is.
    pub fn bytes(self) -> Response {
        let content_type = self.format.content_type();
        let (head, audio) = self.split();
        head.answer(content_type, Body::from_stream(audio))
    }

    /// The audio in `speech.audio.delta` events, then `speech.audio.done`.
    pub fn events(self) -> Response {
        let (chars, rate) = (self.chars, self.format.bytes_per_second());
        let (head, audio) = self.split();
        let events = Events {
            audio: Box::pin(audio),
            rest: Bytes::new(),
            sent: 0,
            chars,
            rate,
            over: false,
        };
        head.answer("text/event-stream", Body::from_stream(events))
    }

    fn split(self) -> (Head, impl Stream<Item = Result<Bytes, Broken>> + Send + use<>) {
        let Begun { speaking, timing, metrics, places, .. } = self;
        let Speaking { reader, made, voice, engine, bound_bytes, .. } = speaking;
        let counter = metrics.audio_bytes.clone();
        let audio = reader.map(move |chunk| {
            // They are given back when the stream is.
            let _ = &places;
            if let Ok(bytes) = &chunk {
                counter.inc_by(bytes.len() as u64);
            }
            chunk
        });
        (Head { made, voice, engine, bound_bytes, timing }, audio)
    }
}

/// What the head of an answer says of its stream.
pub struct Head {
    pub made: Made,
    pub voice: String,
    pub engine: &'static str,
    pub bound_bytes: u64,
    pub timing: String,
}

impl Head {
    /// An answer with this head.
    pub fn answer(self, content_type: &'static str, body: Body) -> Response {
        let [hit, shared, miss] = CACHE_WORDS;
        let cache = match self.made {
            Made::Hit => hit,
            Made::Shared => shared,
            Made::Miss => miss,
        };
        let mut response = body.into_response();
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, "no-store, no-transform"),
            (HeaderName::from_static("x-accel-buffering"), "no"),
            (HeaderName::from_static("x-engine"), self.engine),
            (HeaderName::from_static("x-cache"), cache),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert("x-stream-max-bytes", HeaderValue::from(self.bound_bytes));
        for (name, value) in [("x-voice", self.voice), ("server-timing", self.timing)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Audio as server-sent events.
struct Events<S> {
    audio: Pin<Box<S>>,
    /// Of the chunk that is being sent.
    rest: Bytes,
    sent: usize,
    chars: usize,
    rate: usize,
    over: bool,
}

impl<S: Stream<Item = Result<Bytes, Broken>>> Stream for Events<S> {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        if self.rest.is_empty() {
            match ready!(self.audio.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => self.rest = chunk,
                Some(Err(Broken(reason))) => {
                    self.over = true;
                    let leaving = *reason == *LEAVING;
                    let code = if leaving { "shutting_down" } else { "engine_failed" };
                    let message = match leaving {
                        true => reason.to_string(),
                        false => format!("the engine failed: {reason}"),
                    };
                    return event(&json!({"type": "error", "error": {
                        "message": message, "type": "server_error", "code": code,
                    }}));
                }
                None => {
                    self.over = true;
                    let usage = usage(self.chars, self.sent, self.rate);
                    return event(&json!({"type": "speech.audio.done", "usage": usage}));
                }
            }
        }
        let count = self.rest.len().min(EVENT_AUDIO_BYTES);
        let part = self.rest.split_to(count);
        self.sent += count;
        event(&json!({"type": "speech.audio.delta", "audio": STANDARD.encode(part)}))
    }
}

/// What so many characters and bytes of audio, at so many a second, come to.
pub fn usage(chars: usize, audio_bytes: usize, bytes_per_second: usize) -> serde_json::Value {
    let input = chars.div_ceil(CHARS_PER_TOKEN);
    let output = (audio_bytes * AUDIO_TOKENS_PER_SECOND).div_ceil(bytes_per_second);
    json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output})
}

fn event(data: &serde_json::Value) -> Poll<Option<Result<Bytes, Broken>>> {
    Poll::Ready(Some(Ok(Bytes::from(format!("data: {data}\n\n")))))
}
