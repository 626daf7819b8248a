//! `POST /v1/audio/speech` in OpenAI's shape, and the same in ElevenLabs'. Invariant: everything that
//! a client can get wrong is checked here, under the name of its parameter, before anything is
//! reserved for it.

mod deliver;
pub mod eleven;
pub mod timestamps;
pub mod told;
pub mod voices;

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::limit::Place;
use super::request_id::RequestId;
use super::{Peer, Services, body, json};
use crate::limits::{SPEECH_BODY_BYTES, SPEECH_INPUT_CHARS, SSE_SCRATCH_BYTES};
use crate::speech::Utterance;
use crate::speech::encode::Format;

/// Formats of OpenAI's interface that this build cannot make.
const NOT_BUILT: [&str; 1] = ["aac"];
/// OpenAI's range.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.25..=4.0;
/// The sound as it is, or in events.
const STREAM_FORMATS: [&str; 2] = ["audio", "sse"];
const PARAMETERS: [&str; 7] =
    ["input", "model", "voice", "response_format", "speed", "stream_format", "instructions"];

/// What is to be spoken, and how; anything else in it is ignored, as OpenAI does.
#[derive(Debug, Deserialize, ToSchema)]
struct SpeechRequest {
    #[schema(schema_with = told::text)]
    input: String,
    /// An engine's name, or one of OpenAI's names for the default one; see `/v1/models`.
    model: Option<String>,
    voice: Option<VoiceName>,
    #[schema(schema_with = told::format)]
    response_format: Option<String>,
    #[schema(schema_with = told::speed)]
    speed: Option<f64>,
    #[schema(schema_with = told::stream_format)]
    stream_format: Option<String>,
    /// How it is to be spoken, in words; engines that do not understand them speak as always.
    #[schema(max_length = 4096)]
    instructions: Option<String>,
}

/// A voice by its name, or as OpenAI's object with an id; see `/v1/audio/voices`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a voice's name, or an object with its id")]
enum VoiceName {
    Name(String),
    Object { id: String },
}

impl From<VoiceName> for String {
    fn from(voice: VoiceName) -> Self {
        match voice {
            VoiceName::Name(name) | VoiceName::Object { id: name } => name,
        }
    }
}

/// What a request carries beside its body.
struct Asker<'a> {
    services: &'a Services,
    peer: Peer,
    id: Arc<str>,
}

/// Speaks a text, in OpenAI's shape.
///
/// The sound is sent while it is being made: as it is, or, with `stream_format` `sse`, in events.
/// Nothing of an answer is sent before its first sound, so what fails until then is an error of its own.
/// What fails later breaks the transfer off, or ends the events with one of the type `error`.
#[utoipa::path(
    post,
    path = "/v1/audio/speech",
    tag = "Speech",
    operation_id = "create_speech",
    request_body = SpeechRequest,
    responses(told::SoundOrEvents, told::BodyRefused, told::NotSpoken),
)]
pub async fn create(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let began = Instant::now();
    let received = body::read(&services, &id, request.into_body(), SPEECH_BODY_BYTES).await?;
    let asked: SpeechRequest = json::parse(&received.bytes, &PARAMETERS)?;
    drop(received);
    let as_events = match asked.stream_format.as_deref() {
        None => false,
        Some(name) if name == STREAM_FORMATS[0] => false,
        Some(name) if name == STREAM_FORMATS[1] => true,
        Some(other) => {
            let message =
                format!("stream_format '{}' is not made; audio and sse are", short(other));
            return Err(ApiError::parameter("stream_format", "unknown_stream_format", message));
        }
    };
    let voice = asked.voice.map(String::from);
    let instructions = instructions(asked.instructions)?;
    let asker = Asker { services: &services, peer, id };
    let (mut utterance, places) = asker.utterance(asked.input, "input", asked.speed)?;
    utterance.format = format(asked.response_format.as_deref())?;
    (utterance.voice, utterance.model) = (voice, asked.model);
    utterance.instructions = instructions;
    if as_events {
        utterance.extra_bytes = SSE_SCRATCH_BYTES;
        return Ok(deliver::begin(&services, utterance, places, began).await?.events());
    }
    Ok(deliver::begin(&services, utterance, places, began).await?.bytes())
}

impl Asker<'_> {
    /// An utterance of `text`, which came as `param`, and its places among the asker's; format, voice and
    /// model are still the defaults.
    fn utterance(
        self,
        text: String,
        param: &'static str,
        speed: Option<f64>,
    ) -> Result<(Utterance, [Place; 2]), ApiError> {
        if text.trim().is_empty() {
            return Err(ApiError::parameter(param, "empty_input", format!("{param} is empty")));
        }
        let chars = text.chars().count();
        if chars > SPEECH_INPUT_CHARS {
            let message = format!("{param} is longer than {SPEECH_INPUT_CHARS} characters");
            return Err(ApiError::parameter(param, "input_too_long", message));
        }
        let speed = self::speed(speed)?;
        let Peer { client, principal, departure, .. } = self.peer;
        let places = self.services.limits.start_stream(client, &principal, chars)?;
        let utterance = Utterance {
            text,
            voice: None,
            model: None,
            instructions: None,
            speed,
            format: Format::DEFAULT,
            owner: self.id,
            principal: Arc::clone(&principal.id),
            extra_bytes: 0,
            departure,
        };
        Ok((utterance, places))
    }
}

/// How fast it is to be spoken, if that can be.
pub fn speed(asked: Option<f64>) -> Result<f32, ApiError> {
    let speed = asked.unwrap_or(1.0);
    if SPEEDS.contains(&speed) {
        return Ok(speed as f32);
    }
    let message = format!("speed {speed} is not between 0.25 and 4");
    Err(ApiError::parameter("speed", "speed_out_of_range", message))
}

/// How it is to be spoken, in words, if they are not too many.
pub fn instructions(asked: Option<String>) -> Result<Option<String>, ApiError> {
    if asked.as_ref().is_some_and(|text| text.chars().count() > SPEECH_INPUT_CHARS) {
        let message = format!("instructions is longer than {SPEECH_INPUT_CHARS} characters");
        return Err(ApiError::parameter("instructions", "instructions_too_long", message));
    }
    Ok(asked)
}

fn format(name: Option<&str>) -> Result<Format, ApiError> {
    format_of("response_format", name)
}

/// The format of that name, which came as `param`.
pub fn format_of(param: &'static str, name: Option<&str>) -> Result<Format, ApiError> {
    let Some(name) = name else { return Ok(Format::DEFAULT) };
    Format::named(name).ok_or_else(|| {
        let known = Format::ALL.map(Format::name).join(", ");
        let message = if NOT_BUILT.contains(&name) {
            format!("{param} {name} is not in this build; it makes {known}")
        } else {
            format!("unknown {param} '{}'; this build makes {known}", short(name))
        };
        ApiError::parameter(param, "unsupported_format", message)
    })
}

/// A client's word in an error message: enough to know it by.
fn short(text: &str) -> String {
    text.chars().take(32).collect()
}
