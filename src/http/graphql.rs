//! `POST /graphql`: what clients ask of the GraphQL server behind this one. Invariants: what is passed on was looked at
//! before, and is passed on as it came; so is the answer, but for redirects and for what says that it went well and is
//! no answer; everything that lies here for it is reserved.

mod document;
mod grammar;
mod request;
mod tokens;
mod told;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::error::{ApiError, Problem};
use super::request_id::RequestId;
use super::{Peer, Services, body};
use crate::upstream::graphql::{ACCEPT, Forward, Forwarded, Graphql};
pub use document::Refused;
use grammar::Kind;
use request::Asked;

/// Says that there are data, and errors beside them.
pub const PARTIAL: HeaderName = HeaderName::from_static("x-graphql-partial");

/// What clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Selections within selections, fragments written out.
    pub depth: usize,
    /// Whether the schema may be asked for.
    pub introspection: bool,
    /// The operations that may be asked for; all where it is empty.
    pub allow: Vec<String>,
}

/// The server that is asked, and what clients may ask of it. Clones share it.
#[derive(Clone)]
pub struct Forwarding {
    /// The server.
    pub server: Graphql,
    /// What may be asked.
    pub caps: Arc<Caps>,
}

/// Asks the GraphQL server that is configured.
///
/// What is asked, and which media types would do, is passed on as it came; status, media type and body of the answer
/// come back as they are. A redirect is not followed, and an answer that says that it went well must be an object of
/// JSON: else it is a 502. Subscriptions and batches are refused. What a query asks for is looked at before: its
/// nesting, its names, and, where the settings say so, whether it asks for the schema or is one of those that are allowed.
#[utoipa::path(
    post,
    path = "/graphql",
    tag = "Search",
    operation_id = "query_graphql",
    request_body = told::GraphqlRequest,
    responses(told::Answers),
)]
pub async fn forward(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    let Some(Forwarding { server, caps }) = services.graphql.clone() else {
        return Err(Problem::not_configured("graphql.url says which GraphQL server is asked"));
    };
    if services.readiness.is_leaving() {
        return Err(ApiError::leaving().into());
    }
    let (head, sent) = request.into_parts();
    let received = body::read(&services, &id, sent, caps.body_bytes).await?;
    let kind = look(&received.bytes, &caps)?;
    let asked = Forward {
        body: received.bytes.clone(),
        accept: accept(&head.headers),
        owner: id,
        departure: peer.departure,
        is_safe: kind == Kind::Query,
    };
    let answer = server.forward(asked, &services.budget).await.map_err(ApiError::from)?;
    // What the request's body cost was for the time until here.
    drop(received);
    Ok(passed_on(answer))
}

/// Looks at a request; its text, which may have to be unescaped for that, is let go of at once.
fn look(body: &[u8], caps: &Caps) -> Result<Kind, ApiError> {
    let asked = Asked::read(body)?;
    Ok(document::check(&asked.query, asked.operation(), caps)?)
}

/// What the client said would do, in as many fields as it took.
fn accept(headers: &HeaderMap) -> HeaderValue {
    let said: Vec<_> =
        headers.get_all(header::ACCEPT).into_iter().map(HeaderValue::as_bytes).collect();
    match said.as_slice() {
        [] => ACCEPT,
        several => HeaderValue::from_bytes(&several.join(&b", "[..])).unwrap_or(ACCEPT),
    }
}

fn passed_on(answer: Forwarded) -> Response {
    let Forwarded { status, content_type, retry_after, body, is_partial } = answer;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(kind) = content_type {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if is_partial {
        headers.insert(PARTIAL, HeaderValue::from_static("true"));
    }
    // Here these two always say when to come again.
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let seconds = retry_after.map_or(1, |wait| wait.as_secs());
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
