//! Dialogues over HTTP: a question is posted (`converse`), its answer is listened to here. Invariants: who has neither the
//! key nor the capability of a dialogue learns nothing of it, not even that it is there; all that a client can get wrong is
//! said by its name.

mod audio;
pub mod converse;
mod events;
mod spoken;
mod told;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};

use super::error::{ApiError, Problem};
use super::extract::{Path, Query};
use super::request_id::RequestId;
use super::{Peer, Services, body, json, page};
use crate::bounds::replay::Position;
use crate::dialogue::listen::Ear;
use crate::dialogue::{Dialogue, is_random};
use told::{Heard, HeardRequest};

const PARAMETERS: [&str; 2] = ["played_ms", "epoch"];

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
        (status = 200, description = "The events.", body = told::StreamEvent, content_type = "text/event-stream"),
        (status = 204, description = "There is nothing more to come; `EventSource` stops."),
        told::NotHeard,
    ),
)]
pub async fn open_stream(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    Query(asked): Query<told::Opening>,
    (method, headers): (Method, HeaderMap),
) -> Result<Response, Problem> {
    let after = position(&headers)?;
    let follows = match asked.follow.as_deref() {
        None | Some("0" | "false") => false,
        Some("1" | "true") => true,
        Some(_) => return Err(ApiError::query("follow", "0 or 1").into()),
    };
    let Some(dialogue) = asked.dialogue_id.as_deref() else {
        return Err(ApiError::query("dialogueId", "the id of a dialogue").into());
    };
    let capability = asked.capability.as_deref();
    let found = find(&services, &peer, dialogue, capability);
    let answered = found.and_then(|dialogue| {
        // Who wants to know how it would be answered does not listen: nobody would be missed who leaves.
        if method == Method::HEAD {
            dialogue.could_listen(after, follows)?;
            return Ok(events::head());
        }
        let departure = peer.departure.clone();
        let ear = Ear { after, follows, knows_place: true, owner: id, departure };
        let listener = dialogue.listen(ear)?;
        Ok(events::answer(listener, page::thinking_sound(), &services))
    });
    match answered {
        Ok(answer) => Ok(answer),
        // One that comes back to what is over stops coming; what never was a dialogue is not over.
        Err(_)
            if after.is_some()
                && could_be(dialogue, capability)
                && services.dialogues.is_over(dialogue) =>
        {
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Err(error) => Err(error.into()),
    }
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
    method: Method,
) -> Result<Response, Problem> {
    let dialogue = find(&services, &peer, &dialogue, asked.capability.as_deref())?;
    if method == Method::HEAD {
        dialogue.could_listen(None, false).map_err(ApiError::from)?;
        return Ok(audio::head(dialogue.format()));
    }
    let departure = peer.departure.clone();
    let ear = Ear { after: None, follows: false, knows_place: false, owner: id, departure };
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
/// Of a turn that is over, that is what is remembered.
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

/// Whether they can have been given to somebody once.
fn could_be(id: &str, capability: Option<&str>) -> bool {
    is_random(id) && capability.is_none_or(is_random)
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

/// Behind which event a listener goes on.
fn position(headers: &HeaderMap) -> Result<Option<Position>, ApiError> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let parsed = id.to_str().ok().and_then(|id| {
        let (epoch, number) = id.split_once('.')?;
        let (epoch, number) = (epoch.parse().ok()?, number.parse().ok()?);
        // As it was written here, and no other way.
        let is_ours = epoch > 0 && number > 0 && id == format!("{epoch}.{number}");
        is_ours.then_some(Position { epoch, number })
    });
    // A browser sends what it was given; nothing else was.
    let message = "Last-Event-ID must be the id of an event";
    parsed
        .map(Some)
        .ok_or_else(|| ApiError::parameter("Last-Event-ID", "invalid_event_id", message))
}
