//! A GraphQL server: asked for clients, whose answers it gets as they are, and by the server itself. Invariants: no byte
//! of an answer is read that was not reserved before; an answer for a client is whole or an error; what says of itself
//! that it went well is an object of JSON; our key stands in nothing that is passed on.

mod shape;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio_stream::StreamExt;

use super::roll::Rolled;
use super::secret::Secret;
use super::stream::{Answer, Ask, JSON, Parts, Upstream, UpstreamConfig};
use super::{Body, Fault, UpstreamError, error};
use crate::bounds::{Budget, Reservation};
use crate::ledger::{Departure, Entry, Kind, Ledger};
use crate::limits::{
    GRAPHQL_ANSWER_BYTES, GRAPHQL_FIRST_BYTES, KERNEL_SOCKET_BYTES, UPSTREAM_SIDE_BYTES,
};
use shape::Shape;

/// What its clients are called in logs.
pub const NAME: &str = "GraphQL";
/// The media types of answers that would do, where nobody said others (*GraphQL over HTTP*).
pub const ACCEPT: HeaderValue =
    HeaderValue::from_static("application/graphql-response+json, application/json;q=0.9");
/// What is said of an answer that should be one and is not.
const OBJECT: &str = "an object of JSON";

/// A GraphQL server. Clones share its clients.
#[derive(Clone)]
pub struct Graphql(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    key: Secret,
    ledger: Ledger,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphqlError {
    /// The budget has not what it would take.
    #[error("no room for an answer of {NAME} at present")]
    NoRoom,
    /// The server did not answer well.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// It answered that it cannot; the first of its reasons, shortened.
    #[error("{NAME}: it answered with errors: {0}")]
    Errors(String),
}

/// A request of a client.
#[derive(Clone, Debug)]
pub struct Forward {
    /// What it sent.
    pub body: Bytes,
    /// The media types that would do.
    pub accept: HeaderValue,
    /// The id of the request.
    pub owner: Arc<str>,
    /// The client.
    pub departure: Departure,
    /// Whether it may be made twice: it changes nothing.
    pub is_safe: bool,
}

/// The answer to one. What lies in its body is reserved as long as any slice of that lives.
#[derive(Debug)]
pub struct Forwarded {
    /// As it came, but never a redirect.
    pub status: StatusCode,
    /// As it came.
    pub content_type: Option<HeaderValue>,
    /// When to come again, if it says so in seconds, and a minute at the most.
    pub retry_after: Option<Duration>,
    /// As it came.
    pub body: Bytes,
    /// Whether there are data, and errors beside them.
    pub is_partial: bool,
}

/// The answer to a request of the server itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What was asked for; never null.
    pub data: Value,
    /// The first of the errors beside it, if there are any: then not all of the data are there.
    pub partial: Option<String>,
}

impl Graphql {
    /// Builds its first client.
    pub async fn start(config: UpstreamConfig, parts: &Parts) -> Result<Self, String> {
        let (key, ledger) = (config.key.clone(), parts.spawner.ledger().clone());
        let upstream = Upstream::start(config, parts).await?;
        Ok(Self(Arc::new(Inner { upstream, key, ledger })))
    }

    /// For the operator's roll.
    pub fn rolled(&self) -> Box<dyn Rolled> {
        self.0.upstream.rolled()
    }

    /// Asks what a client asks, and reads the answer within `budget`. Dropping the future closes the connection.
    pub async fn forward(
        &self,
        asked: Forward,
        budget: &Budget,
    ) -> Result<Forwarded, GraphqlError> {
        let upstream = &self.0.upstream;
        let its_side = budget.reserve(UPSTREAM_SIDE_BYTES as u64);
        let _its_side = its_side.ok_or(GraphqlError::NoRoom)?;
        let Forward { body, accept, owner, departure, is_safe } = asked;
        let ask = Ask {
            method: Method::POST,
            path: "".into(),
            body: Some((body, JSON.into())),
            accept,
            owner: Arc::clone(&owner),
            departure: Some(departure),
            is_safe,
            takes_any_status: true,
            most_bytes: GRAPHQL_ANSWER_BYTES as u64,
            within: None,
        };
        let answer = upstream.open(&ask).await?;
        let read = self.passable(answer, &owner, budget).await;
        if let Err(error) = &read {
            tracing::warn!(%owner, %error, "an answer cannot be passed on");
        }
        read
    }

    /// Reads an answer, if it may be passed on.
    async fn passable(
        &self,
        answer: Answer,
        owner: &Arc<str>,
        budget: &Budget,
    ) -> Result<Forwarded, GraphqlError> {
        let Inner { upstream, key, ledger } = &*self.0;
        let Answer { status, headers, body, .. } = answer;
        let Whole { bytes, cost } = Whole::read(body, length(&headers), budget).await?;
        if key.is_in(&bytes) {
            let fault = Fault::Garbage("it repeats the key that let us in".into());
            return Err(upstream.error(fault).into());
        }
        let is_partial = match Shape::read(&bytes) {
            Ok(shape) => shape.is_partial(),
            Err(error) if status.is_success() => {
                return Err(upstream.error(no_object(&headers, &error)).into());
            }
            // What a proxy in front says of its troubles is no concern of ours.
            Err(_) => false,
        };
        let entry = ledger.enter(Kind::Body, Arc::clone(owner), bytes.len() as u64);
        Ok(Forwarded {
            status,
            content_type: headers.get(header::CONTENT_TYPE).cloned(),
            retry_after: error::retry_after(&headers),
            body: Bytes::from_owner(Paid { bytes, _cost: cost, _entry: entry }),
            is_partial,
        })
    }

    /// Asks for the server itself, which is `owner` in the ledger. It must be a query: it may be asked twice.
    pub async fn query(
        &self,
        query: &str,
        variables: &Value,
        owner: Arc<str>,
    ) -> Result<Told, GraphqlError> {
        let upstream = &self.0.upstream;
        let body = json!({"query": query, "variables": variables}).to_string();
        let ask = Ask {
            accept: ACCEPT,
            most_bytes: GRAPHQL_ANSWER_BYTES as u64,
            ..Ask::errand("", Some(body.into()), owner)
        };
        let (answer, bytes) = upstream.whole(&ask).await?;
        let shape = Shape::read(&bytes)
            .map_err(|error| upstream.error(no_object(&answer.headers, &error)))?;
        let garbage = |what: String| upstream.error(Fault::Garbage(what));
        if !shape.has_data {
            return Err(match shape.has_errors {
                true => GraphqlError::Errors(upstream.words(&bytes)),
                false => garbage("there are neither data nor errors in it".into()).into(),
            });
        }
        let mut whole: Value = serde_json::from_slice(&bytes)
            .map_err(|error| garbage(format!("it is not {OBJECT}: {error}")))?;
        let partial = shape.has_errors.then(|| upstream.words(&bytes));
        Ok(Told { data: whole["data"].take(), partial })
    }
}

/// What it says of its length.
fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Something else came, as its type says or as it turned out.
fn no_object(headers: &HeaderMap, error: &serde_json::Error) -> Fault {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match said {
        Some(said) if !said.to_ascii_lowercase().contains("json") => {
            Fault::WrongType { got: said.chars().take(64).collect(), wanted: OBJECT }
        }
        _ => Fault::Garbage(format!("it is not {OBJECT}: {error}")),
    }
}

/// A body that was read whole, and what was reserved for it.
struct Whole {
    bytes: BytesMut,
    cost: Option<Reservation>,
}

impl Whole {
    /// Reads `body`, whose length is `said` if it said one.
    async fn read(
        mut body: Body,
        said: Option<usize>,
        budget: &Budget,
    ) -> Result<Self, GraphqlError> {
        let mut whole = Self { bytes: BytesMut::new(), cost: None };
        while let Some(part) = body.next().await {
            let part = part?;
            let needed = whole.bytes.len() + part.len();
            if needed > whole.bytes.capacity() {
                whole.grow(needed, said, budget)?;
            }
            whole.bytes.extend_from_slice(&part);
        }
        Ok(whole)
    }

    /// Moves to room for `needed` bytes and those that are known, or likely, to follow. Both rooms are there
    /// for a moment, and both are reserved.
    fn grow(
        &mut self,
        needed: usize,
        said: Option<usize>,
        budget: &Budget,
    ) -> Result<(), GraphqlError> {
        let likely = (self.bytes.capacity() * 2).clamp(GRAPHQL_FIRST_BYTES, GRAPHQL_ANSWER_BYTES);
        let size = said.unwrap_or(likely).min(GRAPHQL_ANSWER_BYTES).max(needed);
        // As much of it as its socket takes may be in the kernel, too, before the client has it.
        let cost = budget.reserve((size + size.min(KERNEL_SOCKET_BYTES)) as u64);
        let cost = cost.ok_or(GraphqlError::NoRoom)?;
        let mut bytes = BytesMut::with_capacity(size);
        bytes.extend_from_slice(&self.bytes);
        *self = Self { bytes, cost: Some(cost) };
        Ok(())
    }
}

/// The bytes of an answer on their way to a client.
struct Paid {
    bytes: BytesMut,
    _cost: Option<Reservation>,
    _entry: Entry,
}

impl AsRef<[u8]> for Paid {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
