//! Voice sessions over a socket: who may open one, and how. Invariant: a session that no socket ever took is not kept.

pub mod line;
mod signs;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::connection::onward::Onward;
use super::error::ApiError;
use super::extract::Pairs;
use super::request_id::RequestId;
use super::websocket;
use super::{Peer, Services, media, page};
use crate::bounds::websocket::Room;
use crate::dialogue::DialogueError;
use crate::dialogue::frame::{Source, TurnError};
use crate::ledger::Departure;
use crate::limits::{SESSION_NAME_BYTES, SESSION_TOKEN_BYTES};
use crate::realtime::{Asker, Refused};

/// The subprotocol that is spoken, where the client names one.
const PROTOCOLS: [&str; 1] = ["realtime"];
/// What a session is opened for where nothing is named.
const MODEL: &str = "evensong";

/// Opens a voice session.
///
/// A WebSocket, by OpenAI's realtime events: `conversation.item.create` and `response.create` ask, `response.*` answers, in text and in
/// pcm at 24 kHz. Behind `session.created` comes `evensong.resume_token`: with it (`resume`), and with the id of the last event
/// (`after`), a device that was cut off goes on within a minute, and misses nothing.
///
/// A browser, which can set no header, brings its key as the subprotocol `openai-insecure-api-key.<key>`, beside `realtime`.
#[utoipa::path(
    get,
    path = "/v1/realtime",
    tag = "Sessions",
    operation_id = "open_session",
    params(
        ("model" = Option<String>, Query, description = "What it is called; whoever answers here answers.", max_length = 64),
        ("resume" = Option<String>, Query, description = "The token of a session that goes on.", max_length = 256),
        ("after" = Option<String>, Query, description = "The id of the last event that came.", example = "event_12"),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on."),
        (status = 400, description = "`after` is no id of an event, `model` is no name, or `resume` no token."),
        (status = 426, description = "It wants a WebSocket, over HTTP/1.1."),
        (status = 503, description = "There is no room for another session."),
    ),
)]
pub async fn open(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    Pairs(pairs): Pairs,
    request: Request,
) -> Result<Response, ApiError> {
    let said = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
    let after = said("after").map(number).transpose()?;
    let model = said("model").unwrap_or(MODEL);
    if model.len() > SESSION_NAME_BYTES {
        return Err(ApiError::query("model", "at most 64 bytes long"));
    }
    if said("resume").is_some_and(|token| token.len() > SESSION_TOKEN_BYTES) {
        return Err(ApiError::query("resume", "a token of a session: at most 256 bytes long"));
    }
    let no_handshake = |why: websocket::NoHandshake| ApiError::no_websocket(why.0);
    let response = websocket::handshake(&request, &PROTOCOLS).map_err(no_handshake)?;
    let onward = request.extensions().get::<Onward>().cloned();
    let onward =
        onward.ok_or_else(|| ApiError::no_websocket("it wants a WebSocket over HTTP/1.1"))?;
    if services.readiness.is_leaving() {
        return Err(ApiError::leaving());
    }
    let (budget, ledger) = (services.budget.clone(), services.ledger.clone());
    let room = Room { budget, ledger, owner: Arc::clone(&id) };
    let patience = services.sessions.patience();
    let sessions = services.sessions.clone();
    let asker = Arc::new(Caller { services, peer, id });
    let attached = match said("resume") {
        None => Ok(sessions.open(asker, model).map_err(ApiError::from)?),
        Some(token) => sessions.resume(asker, token, after),
    };
    onward.lead(Box::new(move |stream, leaves| match attached {
        Ok(attachment) => Box::pin(line::run(stream, attachment, patience, room, leaves)),
        Err(refused) => Box::pin(line::refuse(stream, room, told(refused))),
    }));
    Ok(response)
}

/// The number of an event by its id.
fn number(id: &str) -> Result<u64, ApiError> {
    let number = id.strip_prefix("event_").and_then(|number| number.parse().ok());
    number.ok_or_else(|| ApiError::query("after", "the id of an event, as event_12"))
}

/// Why nothing is resumed, as an event.
fn told(refused: Refused) -> String {
    let code = match refused {
        Refused::Unknown => "unknown_session",
        Refused::Lost => "session_lost",
    };
    let error = json!({"type": "invalid_request_error", "code": code, "message": refused.to_string(), "param": "resume"});
    json!({"type": "error", "event_id": "event_0", "error": error}).to_string()
}

/// Who opened a socket.
struct Caller {
    services: Services,
    peer: Peer,
    id: Arc<str>,
}

impl Asker for Caller {
    fn principal(&self) -> Arc<str> {
        Arc::clone(&self.peer.principal.id)
    }

    fn owner(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    fn departure(&self) -> Departure {
        self.peer.departure.clone()
    }

    fn admit(&self, characters: usize) -> Result<Box<dyn Send + Sync>, Value> {
        let Peer { client, principal, .. } = &self.peer;
        match self.services.limits.start_stream(*client, principal, characters) {
            Ok(places) => Ok(Box::new(places)),
            Err(exceeded) => Err(ApiError::from(exceeded).told()),
        }
    }

    fn asset(&self) -> &'static str {
        page::thinking_sound()
    }

    fn sources(&self, sources: &[Source]) -> Vec<Source> {
        let mut sources = sources.to_vec();
        let media = self.services.media.as_ref();
        sources.iter_mut().for_each(|source| media::last(media, &mut source.media));
        sources
    }

    fn refused(&self, error: DialogueError) -> Value {
        ApiError::from(error).told()
    }

    fn failed(&self, error: &TurnError) -> Value {
        ApiError::from(error.clone()).told()
    }
}
