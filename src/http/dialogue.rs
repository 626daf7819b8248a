//! Dialogues over HTTP: a question is posted, its answer is listened to elsewhere. Invariants: no sound is ever in the
//! answer to a question; who has neither the key nor the capability of a dialogue learns nothing of it, not even that it is
//! there; all that a client can get wrong is said by its name.

mod audio;
mod events;
mod told;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::error::{ApiError, Problem};
use super::extract::{Path, Query};
use super::request_id::RequestId;
use super::{Peer, Services, body, json, page};
use crate::answer::{History, Turn};
use crate::bounds::replay::Position;
use crate::dialogue::frame::Indicator;
use crate::dialogue::listen::Ear;
use crate::dialogue::{Accepted, Asking, Dialogue, DialogueError};
use crate::limits::{CONVERSE_BODY_BYTES, HISTORY_MESSAGES, IDEMPOTENCY_KEY_BYTES, QUESTION_BYTES};
use crate::speech::encode::Format;
use crate::speech::live::LiveWish;
use told::{Conversing, Heard, HeardRequest, Streams, ThinkingIndicator};

const PARAMETERS: [&str; 12] = [
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
    "epoch",
];
const KEY: &str = "idempotency-key";

/// A question, and how it is to be answered; anything else in it is ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Converse {
    #[schema(schema_with = told::question)]
    text: String,
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
    speed: Option<f32>,
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
/// With an `Idempotency-Key`, the same question again gives the same answer, and is asked once.
#[utoipa::path(
    post,
    path = "/api/voice/converse",
    tag = "Dialogues",
    operation_id = "converse",
    params(told::Idempotency),
    request_body = Converse,
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
    let key = idempotency_key(request.headers())?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind.is_some_and(|kind| kind.trim_start().starts_with("multipart/")) {
        let message = "nobody writes down here what is said: ask with a text";
        return Err(ApiError::parameter("audio", "audio_input_unavailable", message).into());
    }
    let body = request.into_body();
    let received = body::read(&services, &id, body, CONVERSE_BODY_BYTES).await?;
    let digest = *blake3::hash(&received.bytes).as_bytes();
    let converse: Converse = json::parse(&received.bytes, &PARAMETERS)?;
    drop(received);
    let (thinking, format) = (thinking(converse.thinking.as_deref())?, converse.format.clone());
    let format = super::speech::format_of("format", format.as_deref())?;
    let principal = Arc::clone(&peer.principal.id);
    let ask = || ask(&services, peer, id, converse, thinking, format);
    let accepted = match key {
        Some(key) => {
            let asked = services.dialogues.once(&principal, &key, digest, async { ask() });
            asked.await.map_err(ApiError::from)?
        }
        None => {
            if services.dialogues.came_before(&principal, digest) {
                services.metrics.dialogue_duplicates.inc();
            }
            ask()?
        }
    };
    let conversing = conversing(&services, accepted, thinking);
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::ACCEPTED, no_store, axum::Json(conversing)).into_response())
}

fn ask(
    services: &Services,
    peer: Peer,
    owner: Arc<str>,
    converse: Converse,
    thinking: Option<Indicator>,
    format: Format,
) -> Result<Accepted, ApiError> {
    let text = converse.text;
    if text.trim().is_empty() {
        return Err(ApiError::parameter("text", "empty_text", "text is empty"));
    }
    if text.len() > QUESTION_BYTES {
        let message = format!("text is longer than {QUESTION_BYTES} bytes");
        return Err(ApiError::parameter("text", "text_too_long", message));
    }
    let history = converse.history.map(history).transpose()?;
    let speed = super::speech::speed(converse.speed)?;
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
            instructions: super::speech::instructions(converse.instructions)?,
            speed,
            format,
            owner,
        },
        thinking,
        is_resumable: converse.resumable.unwrap_or(false),
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

fn conversing(services: &Services, accepted: Accepted, thinking: Option<Indicator>) -> Conversing {
    let Accepted { dialogue, capability, epoch, answering, engine, voice, format } = accepted;
    let events = format!("/api/voice/open-stream?dialogueId={dialogue}&capability={capability}");
    let audio = format!("/api/voice/dialogues/{dialogue}/audio?capability={capability}");
    Conversing {
        dialogue_id: dialogue,
        epoch,
        answering,
        engine,
        voice,
        format: format.name(),
        thinking_indicator: indicator(services, thinking),
        streams: Streams { events, audio },
    }
}

fn indicator(_services: &Services, thinking: Option<Indicator>) -> ThinkingIndicator {
    match thinking {
        Some(Indicator::Sound) => ThinkingIndicator::Sound { asset: page::thinking_sound() },
        Some(Indicator::Text) => ThinkingIndicator::Text { text: told::THINKING },
        None => ThinkingIndicator::None,
    }
}

/// Listens to a dialogue, in events.
///
/// Each event has an `id` (`epoch.number`), by which `Last-Event-ID` goes on behind it. `thinking` says that it is
/// thought about; `text` brings the answer as it is written, `audio` its sound in base64 with the times of its words,
/// `sources` what it is from; one of `done`, `interrupted` and `error` is the last of a turn. Without `follow` the
/// stream ends behind that.
#[utoipa::path(
    get,
    path = "/api/voice/open-stream",
    tag = "Dialogues",
    operation_id = "open_stream",
    params(told::OpenStream, told::LastEventId),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream"),
        (status = 204, description = "There is nothing more to come; `EventSource` stops."),
        told::NotHeard,
    ),
)]
pub async fn open_stream(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    Query(asked): Query<told::Opening>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = position(&headers)?;
    let follows = match asked.follow.as_deref() {
        None | Some("0" | "false" | "") => false,
        Some("1" | "true") => true,
        Some(_) => return Err(ApiError::query("follow", "0 or 1").into()),
    };
    let Some(dialogue) = asked.dialogue_id.as_deref() else {
        return Err(ApiError::query("dialogueId", "the id of a dialogue").into());
    };
    let capability = asked.capability.as_deref();
    let ear = Ear { after, follows, owner: id, departure: peer.departure.clone() };
    let found = find(&services, &peer, dialogue, capability);
    let listener = match found.and_then(|dialogue| Ok(dialogue.listen(ear)?)) {
        Ok(listener) => listener,
        // One that comes back to what is over stops coming.
        Err(_) if after.is_some() && services.dialogues.is_over(dialogue) => {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Err(error) => return Err(error.into()),
    };
    Ok(events::answer(listener, page::thinking_sound(), services.metrics.clone()))
}

/// Listens to the turn of a dialogue, as sound and nothing else.
///
/// The head is held back until the first sound. Who comes late gets what is still kept, behind the format's header.
/// A turn that is interrupted or fails breaks the transfer off.
#[utoipa::path(
    get,
    path = "/api/voice/dialogues/{id}/audio",
    tag = "Dialogues",
    operation_id = "get_dialogue_audio",
    params(("id" = String, Path, description = "The dialogue's id."), told::Capability),
    responses(
        told::DialogueSound,
        (status = 204, description = "There is nothing in the answer that is spoken."),
        told::NotHeard,
        (status = 502, description = "The turn failed before its first sound."),
        (status = 504, description = "Whoever answers did not do so in time."),
    ),
)]
pub async fn audio(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    Path(dialogue): Path<String>,
    Query(asked): Query<told::Opening>,
) -> Result<Response, Problem> {
    let dialogue = find(&services, &peer, &dialogue, asked.capability.as_deref())?;
    let departure = peer.departure.clone();
    let ear = Ear { after: None, follows: false, owner: id, departure };
    let listener = dialogue.listen(ear).map_err(ApiError::from)?;
    Ok(audio::answer(listener, services.metrics.clone()).await?)
}

/// Ends a dialogue: what it says is interrupted, and nothing of it is kept.
#[utoipa::path(
    delete,
    path = "/api/voice/dialogues/{id}",
    tag = "Dialogues",
    operation_id = "delete_dialogue",
    params(("id" = String, Path, description = "The dialogue's id.")),
    responses(
        (status = 204, description = "It is over."),
        (status = 404, description = "There is no such dialogue, or it was over."),
    ),
)]
pub async fn delete(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Path(dialogue): Path<String>,
) -> Result<Response, Problem> {
    find(&services, &peer, &dialogue, None)?.delete(None);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Says how much of a turn was played, and learns what was heard of it.
///
/// Of a turn that was interrupted, that is what is remembered.
#[utoipa::path(
    post,
    path = "/api/voice/dialogues/{id}/heard",
    tag = "Dialogues",
    operation_id = "heard",
    params(("id" = String, Path, description = "The dialogue's id.")),
    request_body = HeardRequest,
    responses(
        (status = 200, description = "What was heard.", body = Heard),
        (status = 400, description = "The body is not what is expected."),
        (status = 404, description = "There is no such dialogue, or it is over."),
        (status = 408, description = "The body came too slowly."),
        (status = 409, description = "That turn is no longer known."),
        (status = 413, description = "The body is too large."),
    ),
)]
pub async fn heard(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    Path(dialogue): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let received = body::read(&services, &id, request.into_body(), 1024).await?;
    let asked: HeardRequest = json::parse(&received.bytes, &PARAMETERS)?;
    let dialogue = find(&services, &peer, &dialogue, None)?;
    let heard = dialogue.heard(asked.played_ms, asked.epoch).map_err(ApiError::from)?;
    let (heard_text, history) = heard;
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((no_store, axum::Json(Heard { heard_text, history })).into_response())
}

/// The dialogue of that id, if it is the asker's, or if they know its capability.
fn find(
    services: &Services,
    peer: &Peer,
    id: &str,
    capability: Option<&str>,
) -> Result<Arc<Dialogue>, ApiError> {
    let Some(capability) = capability else {
        return Ok(services.dialogues.find(id, &peer.principal.id)?);
    };
    services.dialogues.find_by_capability(id, capability).map_err(|error| {
        // Who guesses is slowed down as who tries keys is.
        match services.limits.wrong_key(peer.client) {
            Ok(()) => error.into(),
            Err(exceeded) => exceeded.into(),
        }
    })
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

/// Behind which event a listener goes on.
fn position(headers: &HeaderMap) -> Result<Option<Position>, ApiError> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let parsed = id.to_str().ok().and_then(|id| {
        let (epoch, number) = id.split_once('.')?;
        Some(Position { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
    });
    // A browser sends what it was given; nothing else was.
    let message = "Last-Event-ID must be the id of an event";
    parsed
        .map(Some)
        .ok_or_else(|| ApiError::parameter("Last-Event-ID", "invalid_event_id", message))
}
