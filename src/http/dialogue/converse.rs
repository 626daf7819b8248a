//! Questions, posted as text or as sound. Invariants: no sound is ever in the answer to one; the same key and body again is the
//! same question; all that a client can get wrong is said by its name.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::spoken::{self, Spoken};
use super::told::{self, Conversing, Streams, ThinkingIndicator};
use crate::answer::transcriber::Recording;
use crate::answer::{AnswerError, History, Turn};
use crate::dialogue::frame::Indicator;
use crate::dialogue::twice::Digest;
use crate::dialogue::{Accepted, Asking, DialogueError};
use crate::http::error::{ApiError, Problem};
use crate::http::request_id::RequestId;
use crate::http::speech::{format_of, instructions, speed};
use crate::http::{Peer, Services, body, json, page};
use crate::limits::{CONVERSE_BODY_BYTES, HISTORY_MESSAGES, IDEMPOTENCY_KEY_BYTES, QUESTION_BYTES};
use crate::speech::encode::Format;
use crate::speech::live::LiveWish;
use crate::upstream::Fault;

const PARAMETERS: [&str; 11] = [
    "text",
    "dialogueId",
    "voice",
    "model",
    "speed",
    "format",
    "thinking",
    "resumable",
    "history",
    "instructions",
    "played_ms",
];
const KEY: &str = "idempotency-key";

/// A question, and how it is to be answered; anything else in it is ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Converse {
    #[schema(schema_with = told::question)]
    text: Option<String>,
    /// The dialogue that goes on; what it says at the moment is interrupted.
    #[schema(max_length = 64)]
    dialogue_id: Option<String>,
    /// A voice by its name; see `/v1/audio/voices`.
    #[schema(max_length = 256)]
    voice: Option<String>,
    /// An engine's name, or one of OpenAI's names for the default one.
    #[schema(max_length = 256)]
    model: Option<String>,
    #[schema(schema_with = crate::http::speech::told::speed)]
    speed: Option<f64>,
    #[schema(schema_with = crate::http::speech::told::format)]
    format: Option<String>,
    /// What tells that it is thought about: `sound` (an asset of the page), `text` or `none`. Never audio.
    #[schema(schema_with = told::thinking)]
    thinking: Option<String>,
    /// Whether a listener that is cut off may go on where it was, for a while.
    resumable: Option<bool>,
    /// What was said before, the oldest first.
    #[schema(max_items = 64)]
    history: Option<Vec<Said>>,
    /// How it is to be spoken, in words; engines that do not understand them speak as always.
    #[schema(max_length = 4096)]
    instructions: Option<String>,
    /// How much of the running turn was heard, where it is interrupted; else it is reckoned.
    #[serde(rename = "played_ms")]
    #[schema(minimum = 0)]
    played_ms: Option<u32>,
}

/// A question that is spoken.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents what is read from the form")]
struct SpokenQuestion {
    /// What is asked: a recording of at most 10 MB, as flac, m4a, mp3, ogg, wav or webm.
    #[schema(value_type = String, format = Binary)]
    audio: Vec<u8>,
    /// The rest of the question, as JSON; without `text`.
    request: Option<Converse>,
}

/// Something that was said.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = SaidBefore)]
struct Said {
    role: Role,
    /// What they said.
    text: String,
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
}

/// Asks a question.
///
/// The answer comes by `streams.events` (text, sound in base64 with the times of its words, sources) or by
/// `streams.audio` (the sound alone), both of which can be had without headers. Somebody must listen within half a
/// minute, and when nobody listens any more the dialogue is over. With `dialogueId` a dialogue goes on.
///
/// A question may be spoken, where somebody is configured who writes it down: as a form, with the recording as `audio`.
/// What was understood is the answer's `text`.
///
/// With an `Idempotency-Key`, the same question again gives the same answer, and is asked once.
#[utoipa::path(
    post,
    path = "/api/voice/converse",
    tag = "Dialogues",
    operation_id = "converse",
    params(told::Idempotency),
    request_body(content(
        (Converse = "application/json"),
        (SpokenQuestion = "multipart/form-data"),
    )),
    responses(
        (status = 202, description = "It is being thought about.", body = Conversing),
        told::NotAsked,
    ),
)]
pub async fn converse(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    tracing::info!(owner = %id, "POST /api/voice/converse");
    if services.readiness.is_leaving() {
        return Err(ApiError::leaving().into());
    }
    if services.dialogues.answering().is_none() {
        return Err(ApiError::from(DialogueError::Nobody).into());
    }
    let key = idempotency_key(request.headers())?;
    let came = read(&services, &id, request).await?;
    let (thinking, format) =
        (thinking(came.converse.thinking.as_deref())?, came.converse.format.as_deref());
    let format = format_of("format", format)?;
    let (principal, digest) = (Arc::clone(&peer.principal.id), came.digest);
    let is_spoken = came.recording.is_some();
    let ask = async {
        let mut converse = came.converse;
        if let Some((recording, cost)) = came.recording {
            converse.text = Some(write_down(&services, &peer, &id, recording).await?);
            drop(cost);
        }
        ask(&services, peer, id, converse, thinking, format)
    };
    let accepted = match key {
        Some(key) => {
            let asked = services.dialogues.once(&principal, &key, digest, ask);
            asked.await.map_err(ApiError::from)?
        }
        None => {
            if services.dialogues.came_before(&principal, digest) {
                services.metrics.dialogue_duplicates.inc();
            }
            ask.await?
        }
    };
    let conversing = conversing(accepted, thinking, is_spoken);
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::ACCEPTED, no_store, axum::Json(conversing)).into_response())
}

/// A question as it came.
struct Came {
    converse: Converse,
    digest: Digest,
    /// Where it was spoken.
    recording: Option<(Recording, body::Cost)>,
}

async fn read(services: &Services, id: &str, request: Request) -> Result<Came, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().trim().to_string();
    let body = request.into_body();
    if !kind.to_ascii_lowercase().starts_with("multipart/") {
        let received = body::read(services, id, body, CONVERSE_BODY_BYTES).await?;
        let digest = *blake3::hash(&received.bytes).as_bytes();
        let converse: Converse = json::parse(&received.bytes, &PARAMETERS)?;
        return Ok(Came { converse, digest, recording: None });
    }
    let Some(transcriber) = &services.transcriber else {
        let message =
            "nobody writes down here what is said (answer.transcriber.base_url): ask with a text";
        return Err(ApiError::parameter("audio", "audio_input_unavailable", message));
    };
    let Spoken { request, digest, recording, cost } =
        spoken::read(services, transcriber, id, &kind, body).await?;
    let request = if request.is_empty() { b"{}".as_slice() } else { &request };
    let converse: Converse = json::parse(request, &PARAMETERS)?;
    if converse.text.is_some() {
        let message = "a question is asked with a text or with audio, not with both";
        return Err(ApiError::parameter("text", "text_and_audio", message));
    }
    Ok(Came { converse, digest, recording: Some((recording, cost)) })
}

/// What is said in a recording.
async fn write_down(
    services: &Services,
    peer: &Peer,
    id: &Arc<str>,
    recording: Recording,
) -> Result<String, ApiError> {
    let transcriber = services.transcriber.as_ref().ok_or_else(ApiError::leaving)?;
    let written = transcriber.write_down(recording, Arc::clone(id), peer.departure.clone()).await;
    written.map_err(|error| match error {
        // Of a recording, whoever listens to it knows best what is wrong.
        AnswerError::Upstream(error) if matches!(error.fault, Fault::Refused { .. }) => {
            ApiError::from(error).of("audio")
        }
        AnswerError::QuestionTooLong(_) => ApiError::from(error).of("audio"),
        error => error.into(),
    })
}

fn ask(
    services: &Services,
    peer: Peer,
    owner: Arc<str>,
    converse: Converse,
    thinking: Option<Indicator>,
    format: Format,
) -> Result<Accepted, ApiError> {
    let Some(text) = converse.text else {
        return Err(ApiError::parameter("text", "invalid_parameter", "text is missing"));
    };
    if text.trim().is_empty() {
        return Err(ApiError::parameter("text", "empty_text", "text is empty"));
    }
    if text.len() > QUESTION_BYTES {
        let message = format!("text is longer than {QUESTION_BYTES} bytes");
        return Err(ApiError::parameter("text", "text_too_long", message));
    }
    let history = converse.history.map(history).transpose()?;
    let speed = speed(converse.speed)?;
    let principal = &peer.principal;
    let places = services.limits.start_stream(peer.client, principal, text.chars().count())?;
    let asking = Asking {
        text,
        dialogue: converse.dialogue_id,
        history,
        played_ms: converse.played_ms,
        voice: LiveWish {
            voice: converse.voice,
            model: converse.model,
            instructions: instructions(converse.instructions)?,
            speed,
            format,
            owner,
        },
        thinking,
        is_resumable: converse.resumable.unwrap_or(false),
        grace: None,
        is_silent: false,
        instructions: String::new(),
        principal: Arc::clone(&principal.id),
        places: Box::new(places),
    };
    let accepted = services.dialogues.converse(asking).map_err(|error| match error {
        DialogueError::NotFound => ApiError::from(error).of("dialogueId"),
        error => error.into(),
    })?;
    if thinking == Some(Indicator::Sound) {
        tracing::info!("Client will play local thinking sound (0 bytes transferred)");
    }
    Ok(accepted)
}

fn conversing(accepted: Accepted, thinking: Option<Indicator>, is_spoken: bool) -> Conversing {
    let Accepted { dialogue, capability, epoch, text, answering, engine, voice, format } = accepted;
    let events = format!("/api/voice/open-stream?dialogueId={dialogue}&capability={capability}");
    let audio = format!("/api/voice/dialogues/{dialogue}/audio?capability={capability}");
    Conversing {
        dialogue_id: dialogue,
        epoch,
        text: is_spoken.then_some(text),
        answering,
        engine,
        voice,
        format: format.name(),
        thinking_indicator: indicator(thinking),
        streams: Streams { events, audio },
    }
}

fn indicator(thinking: Option<Indicator>) -> ThinkingIndicator {
    match thinking {
        Some(Indicator::Sound) => ThinkingIndicator::Sound { asset: page::thinking_sound() },
        Some(Indicator::Text) => ThinkingIndicator::Text { text: told::THINKING },
        None => ThinkingIndicator::None,
    }
}

/// Turns of what was said; a message that has no other beside it is half of one.
fn history(said: Vec<Said>) -> Result<History, ApiError> {
    if said.len() > HISTORY_MESSAGES {
        let message = format!("history has more than {HISTORY_MESSAGES} messages");
        return Err(ApiError::parameter("history", "history_too_long", message));
    }
    let mut turns: Vec<Turn> = Vec::new();
    for Said { role, text } in said {
        match (role, turns.last_mut()) {
            (Role::Assistant, Some(turn)) if turn.answered.is_empty() => turn.answered = text,
            (Role::Assistant, _) => turns.push(Turn { asked: String::new(), answered: text }),
            (Role::User, _) => turns.push(Turn { asked: text, answered: String::new() }),
        }
    }
    Ok(turns.into_iter().collect())
}

fn thinking(name: Option<&str>) -> Result<Option<Indicator>, ApiError> {
    match name {
        None | Some("sound") => Ok(Some(Indicator::Sound)),
        Some("text") => Ok(Some(Indicator::Text)),
        Some("none") => Ok(None),
        Some(_) => {
            let message = "thinking must be sound, text or none";
            Err(ApiError::parameter("thinking", "unknown_indicator", message))
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut keys = headers.get_all(KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=IDEMPOTENCY_KEY_BYTES).contains(&key.len()));
    match key.filter(|_| keys.next().is_none()) {
        Some(key) => Ok(Some(key.to_string())),
        None => {
            let message =
                format!("Idempotency-Key must be one text of 1 to {IDEMPOTENCY_KEY_BYTES} letters");
            Err(ApiError::parameter("Idempotency-Key", "invalid_key", message))
        }
    }
}
