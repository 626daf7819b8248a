//! `POST /v1/audio/speech/timestamps`: speech together with the times of its words, line by line. Invariant: the head is held
//! back until the first sound; the last line is `done` or `error`, and there is always one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::Stream;
use utoipa::ToSchema;

use super::deliver::{Head, first, usage};
use super::{Asker, PARAMETERS, VoiceName, format, instructions, short, told};
use crate::http::error::ApiError;
use crate::http::limit::Place;
use crate::http::request_id::RequestId;
use crate::http::{Peer, Services, body, json as parsed};
use crate::limits::SPEECH_BODY_BYTES;
use crate::metrics::Metrics;
use crate::speech::Made;
use crate::speech::live::Part;
use crate::speech::timed::Timed;

/// What is to be spoken, and how; anything else in it is ignored.
#[derive(Debug, Deserialize, ToSchema)]
struct TimestampsRequest {
    #[schema(schema_with = told::text)]
    input: String,
    /// An engine's name, or one of OpenAI's names for the default one; see `/v1/models`.
    model: Option<String>,
    voice: Option<VoiceName>,
    #[schema(schema_with = told::format)]
    response_format: Option<String>,
    #[schema(schema_with = told::speed)]
    speed: Option<f64>,
    #[schema(schema_with = told::line_format)]
    stream_format: Option<String>,
    /// How it is to be spoken, in words; engines that do not understand them speak as always.
    #[schema(max_length = 4096)]
    instructions: Option<String>,
}

/// How lines come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    Json,
    Events,
}

/// What a line may be: the first is the default.
pub const LINE_FORMATS: [&str; 2] = ["ndjson", "sse"];

/// Speaks a text, and says when which word is heard.
///
/// Each line is an object with a `type`: `audio` has a piece of the sound in base64 (`audio`) and the words that are heard
/// in it (`words`, in milliseconds from the first sample; `proportional` where the engine gives no times and they are
/// shared out by length), `done` has `usage`, and `error` is the last one of what broke off.
#[utoipa::path(
    post,
    path = "/v1/audio/speech/timestamps",
    tag = "Speech",
    operation_id = "create_speech_with_timestamps",
    request_body = TimestampsRequest,
    responses(told::SpokenLines, told::BodyRefused, told::NotSpoken),
)]
pub async fn create(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let began = Instant::now();
    let received = body::read(&services, &id, request.into_body(), SPEECH_BODY_BYTES).await?;
    let asked: TimestampsRequest = parsed::parse(&received.bytes, &PARAMETERS)?;
    drop(received);
    let lines = lines(asked.stream_format.as_deref())?;
    let instructions = instructions(asked.instructions)?;
    let asker = Asker { services: &services, peer, id };
    let (mut utterance, places) = asker.utterance(asked.input, "input", asked.speed)?;
    utterance.format = format(asked.response_format.as_deref())?;
    (utterance.voice, utterance.model) = (asked.voice.map(String::from), asked.model);
    utterance.instructions = instructions;
    let (chars, rate) = (utterance.text.chars().count(), utterance.format.bytes_per_second());
    let speaks = services.speech.speak_timed(utterance);
    let (timed, timing) = first(&services, began, speaks).await?;
    let head = Head {
        made: Made::Miss,
        voice: timed.voice.clone(),
        engine: timed.engine,
        bound_bytes: timed.bound_bytes,
        timing,
    };
    let metrics = services.metrics.clone();
    let told =
        Told { timed, lines, chars, rate, sent: 0, is_over: false, metrics, _places: places };
    let content_type = match lines {
        Lines::Json => "application/x-ndjson",
        Lines::Events => "text/event-stream",
    };
    Ok(head.answer(content_type, Body::from_stream(told)))
}

fn lines(name: Option<&str>) -> Result<Lines, ApiError> {
    let [json, events] = LINE_FORMATS;
    match name {
        None => Ok(Lines::Json),
        Some(name) if name == json => Ok(Lines::Json),
        Some(name) if name == events => Ok(Lines::Events),
        Some(other) => {
            let message = format!(
                "stream_format '{}' is not made here; {json} and {events} are",
                short(other)
            );
            Err(ApiError::parameter("stream_format", "unknown_stream_format", message))
        }
    }
}

/// Parts as lines.
struct Told {
    timed: Timed,
    lines: Lines,
    chars: usize,
    rate: usize,
    sent: usize,
    is_over: bool,
    metrics: Metrics,
    _places: [Place; 2],
}

impl Stream for Told {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let line = match ready!(Pin::new(&mut self.timed).poll_next(cx)) {
            Some(Ok(part)) => self.part(&part),
            Some(Err(error)) => {
                self.is_over = true;
                json!({"type": "error", "error": ApiError::from(error).told()})
            }
            None => {
                self.is_over = true;
                json!({"type": "done", "usage": usage(self.chars, self.sent, self.rate)})
            }
        };
        Poll::Ready(Some(Ok(match self.lines {
            Lines::Json => format!("{line}\n").into(),
            Lines::Events => format!("data: {line}\n\n").into(),
        })))
    }
}

impl Told {
    fn part(&mut self, part: &Arc<Part>) -> Value {
        self.sent += part.audio.len();
        self.metrics.audio_bytes.inc_by(part.audio.len() as u64);
        json!({"type": "audio", "audio": STANDARD.encode(&part.audio), "words": part.words})
    }
}
