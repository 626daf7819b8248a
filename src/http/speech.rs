//! `POST /v1/audio/speech`, OpenAI's conventions. Invariant: the head of an answer is held back until
//! the first audio, so a failure before it is a proper status and one behind it a broken transfer.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use serde::Deserialize;
use tokio_stream::StreamExt;

use super::error::ApiError;
use super::request_id::RequestId;
use super::{Peer, Services, body};
use crate::bounds::ring::Broken;
use crate::limits::{HEAD_HOLD, JSON_DEPTH, SPEECH_BODY_BYTES, SPEECH_INPUT_CHARS};
use crate::speech::encode::Format;
use crate::speech::{Speaking, Utterance};

/// Formats of OpenAI's interface that this build cannot make.
const NOT_BUILT: [&str; 4] = ["mp3", "opus", "aac", "flac"];
/// OpenAI's range.
const SPEEDS: std::ops::RangeInclusive<f32> = 0.25..=4.0;

/// The body; what it does not name is ignored, as OpenAI does.
#[derive(Debug, Deserialize)]
struct SpeechRequest {
    input: String,
    model: Option<String>,
    voice: Option<VoiceName>,
    response_format: Option<String>,
    speed: Option<f32>,
    stream_format: Option<String>,
}

/// A voice by its name, or as OpenAI's object with an id.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a voice's name, or an object with its id")]
enum VoiceName {
    Name(String),
    Object { id: String },
}

/// Speaks the input.
pub async fn create(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let began = Instant::now();
    if services.readiness.is_leaving() {
        return Err(ApiError::leaving());
    }
    let received = body::read(&services, &id, request.into_body(), SPEECH_BODY_BYTES).await?;
    let utterance = utterance(&received.bytes, id, peer)?;
    drop(received);
    let format = utterance.format;
    let mut speaking = services.speech.speak(utterance)?;
    let first = match tokio::time::timeout(HEAD_HOLD, speaking.reader.next()).await {
        Ok(Some(Ok(first))) => first,
        Ok(Some(Err(Broken(reason)))) => return Err(ApiError::engine_failed(&reason)),
        Ok(None) => return Err(ApiError::engine_failed("it gave no audio")),
        Err(_) => return Err(ApiError::no_audio_in_time()),
    };
    let took = began.elapsed();
    services.metrics.first_audio.observe(took);
    let timing = format!("first;dur={:.2}", took.as_secs_f64() * 1e3);
    Ok(answer(&services, speaking, first, format, &timing))
}

/// Checks everything that a client can get wrong, each under its parameter's name.
fn utterance(bytes: &[u8], owner: Arc<str>, peer: Peer) -> Result<Utterance, ApiError> {
    let request: SpeechRequest = parse(bytes)?;
    let chars = request.input.chars().take(SPEECH_INPUT_CHARS + 1).count();
    if request.input.trim().is_empty() {
        return Err(ApiError::parameter("input", "empty_input", "input is empty"));
    }
    if chars > SPEECH_INPUT_CHARS {
        let message = format!("input is longer than {SPEECH_INPUT_CHARS} characters");
        return Err(ApiError::parameter("input", "input_too_long", message));
    }
    let speed = request.speed.unwrap_or(1.0);
    if !SPEEDS.contains(&speed) {
        let message = format!("speed {speed} is not between 0.25 and 4");
        return Err(ApiError::parameter("speed", "speed_out_of_range", message));
    }
    if let Some(stream_format) = request.stream_format.filter(|name| name != "audio") {
        let message = format!("stream_format '{}' is not made; audio is", short(&stream_format));
        return Err(ApiError::parameter("stream_format", "unknown_stream_format", message));
    }
    let voice = request.voice.map(|voice| match voice {
        VoiceName::Name(name) | VoiceName::Object { id: name } => name,
    });
    let format = format(request.response_format.as_deref())?;
    let (text, departure) = (request.input, peer.departure);
    Ok(Utterance { text, voice, model: request.model, speed, format, owner, departure })
}

fn parse(bytes: &[u8]) -> Result<SpeechRequest, ApiError> {
    if depth(bytes) > JSON_DEPTH {
        return Err(ApiError::json(format!("the body is nested deeper than {JSON_DEPTH} levels")));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let request = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        let named = PARAMETERS.iter().find(|name| {
            path == **name || inner.to_string().starts_with(&format!("missing field `{name}`"))
        });
        match named.filter(|_| inner.is_data()) {
            Some(name) => {
                ApiError::parameter(name, "invalid_parameter", format!("{name}: {inner}"))
            }
            None => ApiError::json(format!("the body is not the JSON expected here: {inner}")),
        }
    })?;
    json.end()
        .map_err(|error| ApiError::json(format!("the body goes on behind its end: {error}")))?;
    Ok(request)
}

const PARAMETERS: [&str; 6] =
    ["input", "model", "voice", "response_format", "speed", "stream_format"];

/// Deepest nesting of a JSON text. What a request does not name is passed over by the parser without
/// a look, so its own limit does not see it.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn format(name: Option<&str>) -> Result<Format, ApiError> {
    let Some(name) = name else { return Ok(Format::Wav) };
    Format::named(name).ok_or_else(|| {
        let known = Format::ALL.map(Format::name).join(", ");
        let message = if NOT_BUILT.contains(&name) {
            format!("response_format {name} is not in this build; it makes {known}")
        } else {
            format!("unknown response_format '{}'; this build makes {known}", short(name))
        };
        ApiError::parameter("response_format", "unsupported_format", message)
    })
}

fn answer(
    services: &Services,
    speaking: Speaking,
    first: Bytes,
    format: Format,
    timing: &str,
) -> Response {
    let bytes_out = services.metrics.audio_bytes.clone();
    let stream = tokio_stream::once(Ok(first)).chain(speaking.reader).map(move |chunk| {
        if let Ok(bytes) = &chunk {
            bytes_out.inc_by(bytes.len() as u64);
        }
        chunk
    });
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (HeaderName::from_static("x-engine"), speaking.engine),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("x-stream-max-bytes", HeaderValue::from(speaking.bound_bytes));
    for (name, value) in [("x-voice", speaking.voice.as_str()), ("server-timing", timing)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    response
}

/// A client's word in an error message: enough to know it by.
fn short(text: &str) -> String {
    text.chars().take(32).collect()
}
