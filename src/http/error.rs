//! The only map from a module's error to a status. Under `/v1` errors have OpenAI's shape,
//! elsewhere RFC 9457's; 429 and 503 always say when to come again.

mod dialogue;
mod media;
mod realtime;

use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Denied;
use super::graphql::Refused;
use super::limit::Exceeded;
use crate::bounds::memory::profile::ProfileError;
use crate::search::{CursorError, PageError, SearchError};
use crate::speech::SpeechError;
use crate::upstream::graphql::GraphqlError;
use crate::upstream::{Fault, UpstreamError};

/// Seconds after which a refused client may try again: what is short comes back within a piece.
const RETRY_AFTER_SECONDS: u32 = 1;
/// Seconds after which an index that cannot be asked may be there: it is looked for about as often.
const RETRY_SEARCH_SECONDS: u32 = 5;
/// Seconds after which an engine that is missing may be there.
const RETRY_ENGINE_SECONDS: u32 = 15;

/// An error in OpenAI's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    param: Option<&'static str>,
    code: Option<&'static str>,
    retry_after_seconds: Option<u32>,
    /// Whether the connection ends with this answer.
    closes: bool,
}

/// An error in OpenAI's shape.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub struct Envelope<'a> {
    #[schema(inline)]
    error: Inner<'a>,
}

#[derive(Serialize, ToSchema)]
struct Inner<'a> {
    /// For people.
    message: &'a str,
    /// The kind of error, in OpenAI's words.
    r#type: &'static str,
    /// The parameter that is wrong, if it is one.
    #[schema(required)]
    param: Option<&'static str>,
    /// What went wrong, for programs: it stays the same where the message may change.
    #[schema(required)]
    code: Option<&'static str>,
}

/// An error in RFC 9457's shape.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// What went wrong, for programs; relative to the documentation.
    r#type: &'static str,
    /// The same for people, in a few words.
    title: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What went wrong this time.
    detail: String,
    /// The parameter that is wrong, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    param: Option<&'static str>,
    /// As the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after_seconds: Option<u32>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message, param: None, code: None, retry_after_seconds: None, closes: false }
    }

    fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// 400 for the parameter `param`.
    pub fn parameter(param: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, message).code(code);
        error.param = Some(param);
        error
    }

    /// 400 for a part of the query.
    pub fn query(param: &'static str, would_do: &str) -> Self {
        let message = format!("{param} in the query must be {would_do}");
        Self::parameter(param, "invalid_parameter", message)
    }

    /// 400 for a body that is no JSON.
    pub fn json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message).code("invalid_json")
    }

    /// The same, for the parameter `param`.
    pub fn of(mut self, param: &'static str) -> Self {
        self.param = Some(param);
        self
    }

    /// The same under another code.
    pub fn coded(self, code: &'static str) -> Self {
        self.code(code)
    }

    /// 404 for a model that is not offered.
    pub fn no_model(name: &str) -> Self {
        let message = format!("there is no model {}", printable(name));
        Self::new(StatusCode::NOT_FOUND, message).code("model_not_found")
    }

    /// 413.
    pub fn too_large(cap: usize) -> Self {
        let message = format!("the body is larger than {cap} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("body_too_large")
    }

    /// 400 for a path or query that cannot be read.
    pub fn target(code: &'static str, message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, printable(message)).code(code)
    }

    /// 406: the client refuses each form that there is, the plain one included.
    pub fn not_acceptable(forms: &[&str]) -> Self {
        let message =
            format!("Accept-Encoding refuses every form that there is: {}", forms.join(", "));
        Self::new(StatusCode::NOT_ACCEPTABLE, message).code("not_acceptable")
    }

    /// 414.
    pub fn target_too_long() -> Self {
        let most = crate::limits::TARGET_BYTES;
        let message = format!("the path and query are longer than {most} bytes");
        Self::new(StatusCode::URI_TOO_LONG, message).code("target_too_long")
    }

    /// 431, where the parser did not see to it.
    pub fn too_many_fields() -> Self {
        let message = format!("more than {} header fields", crate::limits::HEADER_FIELDS);
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message).code("too_many_fields")
    }

    /// 408.
    pub fn slow_body() -> Self {
        let (least, window) = (crate::limits::BODY_LEAST_BYTES, crate::limits::BODY_WINDOW);
        let seconds = window.as_secs();
        let message = format!("the body came slower than {least} bytes in {seconds} s");
        Self::new(StatusCode::REQUEST_TIMEOUT, message).code("body_timeout")
    }

    /// 400 for a body that broke off or was not framed well.
    pub fn broken_body() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the body broke off").code("broken_body")
    }

    /// 503: the budget has no room for a body.
    pub fn no_room() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no room for the body at present")
            .code("over_budget")
            .retry_after(RETRY_AFTER_SECONDS)
    }

    /// 413: more lines than are taken at once.
    pub fn too_many_lines(most: usize) -> Self {
        let message = format!("the body has more than {most} lines; send it in parts");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("too_many_lines")
    }

    /// 404 for a document that is not there.
    pub fn no_document(id: &str) -> Self {
        let message = format!("there is no document {}", printable(id));
        Self::new(StatusCode::NOT_FOUND, message).code("document_not_found")
    }

    /// 503: the budget has no room for what a search may find.
    pub fn no_room_to_search() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no room for an answer at present")
            .code("over_budget")
            .retry_after(RETRY_AFTER_SECONDS)
    }

    /// 503: the server is leaving.
    pub fn leaving() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down")
            .code("shutting_down")
            .retry_after(RETRY_AFTER_SECONDS)
    }

    /// 504: nothing came of it within the time that a head may be held back.
    pub fn no_audio_in_time() -> Self {
        let seconds = crate::limits::HEAD_HOLD.as_secs();
        let message = format!("the engine gave no audio within {seconds} s");
        Self::new(StatusCode::GATEWAY_TIMEOUT, message).code("first_audio_timeout")
    }

    /// 400: RFC 9112, 3.2.
    pub fn bad_host(what: &str) -> Self {
        let message = format!("the request has {what}; it must name one host");
        let mut error = Self::new(StatusCode::BAD_REQUEST, message).code("bad_host");
        // Where one reader saw another host, the next request may be another's as well.
        error.closes = true;
        error
    }

    /// 421: without keys, only names that no web site can make its own.
    pub fn foreign_host(host: &str) -> Self {
        let message = format!(
            "this server has no keys, so it answers only as localhost or under a name of \
             allowed_hosts, not as {}",
            printable(host)
        );
        Self::new(StatusCode::MISDIRECTED_REQUEST, message).code("foreign_host")
    }

    /// 403: without keys, pages of other sites may not ask for work.
    pub fn foreign_origin(origin: &HeaderValue) -> Self {
        let origin = printable(&String::from_utf8_lossy(origin.as_bytes()));
        let message = format!("pages of {origin} may not use this server; see allowed_origins");
        Self::new(StatusCode::FORBIDDEN, message).code("foreign_origin")
    }

    /// 401: no key came.
    pub fn unauthorized() -> Self {
        let message = "this needs an API key, as `Authorization: Bearer <key>`";
        Self::new(StatusCode::UNAUTHORIZED, message).code("missing_api_key")
    }

    /// 429: more than a limit allows.
    pub fn rate_limited(what: &str, retry_after: std::time::Duration) -> Self {
        let seconds = u32::try_from(retry_after.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        Self::new(StatusCode::TOO_MANY_REQUESTS, what)
            .code("rate_limited")
            .retry_after(seconds.max(1))
    }

    /// The `type` that OpenAI's clients expect for a status.
    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NoKey => Self::unauthorized(),
            Denied::WrongKey => {
                let message = "this API key or ticket is not, or no longer, one of this server's";
                Self::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key")
            }
            Denied::Scope(scope) => {
                let message = format!("this API key has not the scope '{}'", scope.name());
                Self::new(StatusCode::FORBIDDEN, message).code("missing_scope")
            }
            Denied::Keyless => {
                let message = "without keys nobody may do this, unless insecure_admin is set";
                Self::new(StatusCode::FORBIDDEN, message).code("admin_only")
            }
        }
    }
}

impl From<Exceeded> for ApiError {
    fn from(exceeded: Exceeded) -> Self {
        let error = Self::rate_limited(&exceeded.what, exceeded.retry_after);
        if exceeded.blocked { error.code("blocked") } else { error }
    }
}

impl From<SpeechError> for ApiError {
    fn from(error: SpeechError) -> Self {
        let message = error.to_string();
        let unavailable = || Self::new(StatusCode::SERVICE_UNAVAILABLE, message.as_str());
        match error {
            SpeechError::NothingToSay => Self::parameter("input", "nothing_to_say", message),
            SpeechError::UnknownVoice { .. } => Self::parameter("voice", "unknown_voice", message),
            SpeechError::UnknownEngine { .. } => {
                Self::parameter("model", "unknown_engine", message)
            }
            SpeechError::Unavailable { .. } => {
                unavailable().code("engine_unavailable").retry_after(RETRY_ENGINE_SECONDS)
            }
            SpeechError::OverBudget { .. } => {
                unavailable().code("over_budget").retry_after(RETRY_AFTER_SECONDS)
            }
            SpeechError::Busy(_) => unavailable().code("busy").retry_after(RETRY_AFTER_SECONDS),
            SpeechError::Failed(_) => {
                Self::new(StatusCode::BAD_GATEWAY, message).code("engine_failed")
            }
            SpeechError::Leaving => Self::leaving(),
            SpeechError::Upstream(error) => error.into(),
        }
    }
}

impl From<UpstreamError> for ApiError {
    fn from(error: UpstreamError) -> Self {
        let message = error.to_string();
        let with = |status| Self::new(status, message.as_str());
        let later = |after: Option<Duration>| {
            let seconds =
                after.map_or(RETRY_AFTER_SECONDS, |after| after.as_millis().div_ceil(1000) as u32);
            with(StatusCode::SERVICE_UNAVAILABLE).retry_after(seconds.max(RETRY_AFTER_SECONDS))
        };
        match error.fault {
            Fault::Saturated { .. } => later(None).code("upstream_saturated"),
            Fault::Open { retry_after } => later(Some(retry_after)).code("upstream_down"),
            Fault::Busy { retry_after, .. } => later(retry_after).code("upstream_busy"),
            Fault::Refused { .. } => with(StatusCode::BAD_REQUEST).code("upstream_refused"),
            Fault::NotConnected(_) | Fault::NoAnswer(_) | Fault::Stalled(_) | Fault::Endless(_) => {
                with(StatusCode::GATEWAY_TIMEOUT).code("upstream_timeout")
            }
            Fault::Unreachable(_) => with(StatusCode::BAD_GATEWAY).code("upstream_unreachable"),
            Fault::Denied(_) => with(StatusCode::BAD_GATEWAY).code("upstream_denied"),
            _ => with(StatusCode::BAD_GATEWAY).code("upstream_failed"),
        }
    }
}

impl From<SearchError> for ApiError {
    fn from(error: SearchError) -> Self {
        let message = error.to_string();
        let with = |status| Self::new(status, message.as_str());
        let later =
            |code, seconds| with(StatusCode::SERVICE_UNAVAILABLE).code(code).retry_after(seconds);
        match error {
            SearchError::Upstream(error) => match error.fault {
                // Whoever searches is not told of connections: it is not there, and may be again.
                Fault::Unreachable(_)
                | Fault::Open { .. }
                | Fault::NotConnected(_)
                | Fault::NoAnswer(_)
                | Fault::Stalled(_)
                | Fault::Endless(_)
                | Fault::Broke(_)
                | Fault::Cut => later("search_unavailable", RETRY_SEARCH_SECONDS),
                _ => error.into(),
            },
            SearchError::Unavailable(_) => later("search_unavailable", RETRY_SEARCH_SECONDS),
            SearchError::Locked => later("index_locked", RETRY_SEARCH_SECONDS),
            SearchError::Busy(_) => later("busy", RETRY_AFTER_SECONDS),
            SearchError::Slow(_) => later("search_timeout", RETRY_AFTER_SECONDS),
            SearchError::Expired => with(StatusCode::GONE).code("cursor_expired"),
            SearchError::Full => with(StatusCode::INSUFFICIENT_STORAGE).code("disk_full"),
            SearchError::Broken(_) => later("index_broken", RETRY_ENGINE_SECONDS),
            SearchError::Leaving => Self::leaving(),
        }
    }
}

impl From<PageError> for ApiError {
    fn from(error: PageError) -> Self {
        let message = error.to_string();
        match error {
            PageError::Search(error) => error.into(),
            PageError::Cursor(CursorError::Expired) => {
                Self::new(StatusCode::GONE, message).code("cursor_expired")
            }
            PageError::Cursor(CursorError::Unknown | CursorError::OtherQuestion) => {
                Self::parameter("cursor", "invalid_cursor", message)
            }
        }
    }
}

impl From<GraphqlError> for ApiError {
    fn from(error: GraphqlError) -> Self {
        match error {
            GraphqlError::Upstream(error) => error.into(),
            GraphqlError::NoRoom => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
                .code("over_budget")
                .retry_after(RETRY_AFTER_SECONDS),
            GraphqlError::Errors(_) => {
                Self::new(StatusCode::BAD_GATEWAY, error.to_string()).code("upstream_failed")
            }
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let (status, param, code) = match refused {
            Refused::Syntax { .. } => (StatusCode::BAD_REQUEST, "query", "graphql_syntax"),
            Refused::TooDeep { .. } => (StatusCode::BAD_REQUEST, "query", "query_too_deep"),
            Refused::Cycle(_) | Refused::Twice(..) | Refused::NoOperation => {
                (StatusCode::BAD_REQUEST, "query", "invalid_query")
            }
            Refused::Subscription => (StatusCode::BAD_REQUEST, "query", "no_subscriptions"),
            Refused::Introspection { .. } => (StatusCode::FORBIDDEN, "query", "no_introspection"),
            Refused::WhichOne | Refused::NoSuch(_) => {
                (StatusCode::BAD_REQUEST, "operationName", "unknown_operation")
            }
            Refused::NotAllowed(_) | Refused::Nameless => {
                (StatusCode::FORBIDDEN, "operationName", "operation_not_allowed")
            }
        };
        let mut error = Self::parameter(param, code, refused.to_string());
        error.status = status;
        error
    }
}

impl ApiError {
    /// As it stands in an event, where there is no status.
    pub fn told(&self) -> serde_json::Value {
        serde_json::json!({"message": self.message, "type": self.kind(), "code": self.code})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (param, code) = (self.param, self.code);
        let inner = Inner { message: &self.message, r#type: self.kind(), param, code };
        let body = axum::Json(Envelope { error: inner });
        with_retry(self.status, self.retry_after_seconds, body.into_response())
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let kind = error.code.unwrap_or("about:blank");
        let title = error.status.canonical_reason().unwrap_or("Error");
        let mut problem = Self::new(error.status, kind, title, error.message);
        problem.param = error.param;
        problem.retry_after_seconds = error.retry_after_seconds.or(problem.retry_after_seconds);
        problem
    }
}

impl Problem {
    /// 404 for a part of the server that its settings leave out; `detail` says which would bring it.
    pub fn not_configured(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_configured", "Not configured", detail)
    }

    /// A problem; its `type` is stable and relative to the documentation.
    pub fn new(
        status: StatusCode,
        r#type: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let retry = status == StatusCode::SERVICE_UNAVAILABLE;
        let retry_after_seconds = retry.then_some(RETRY_AFTER_SECONDS);
        let (status, detail) = (status.as_u16(), detail.into());
        Self { r#type, title, status, detail, param: None, retry_after_seconds }
    }
}

impl From<ProfileError> for Problem {
    fn from(error: ProfileError) -> Self {
        let detail = error.to_string();
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match error {
            ProfileError::NoFolder | ProfileError::NotSampling => Self::not_configured(detail),
            ProfileError::Busy => Self::new(unavailable, "busy", "Busy", detail),
            ProfileError::Io { .. } => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                Self::new(status, "not_written", "Not written", detail)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = axum::Json(&self).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        with_retry(status, self.retry_after_seconds, response)
    }
}

fn with_retry(status: StatusCode, seconds: Option<u32>, mut response: Response) -> Response {
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// 404 in the shape of the place.
pub async fn no_route(request: Request) -> Response {
    let path = request.uri().path();
    let message = format!("there is nothing at {}", printable(path));
    shaped(path, ApiError::new(StatusCode::NOT_FOUND, message).code("not_found"))
}

/// 405 in the shape of the place.
pub async fn no_method(request: Request) -> Response {
    let path = request.uri().path();
    let message = format!("{} does not answer {}", printable(path), request.method());
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).code("method_not_allowed");
    shaped(path, error)
}

/// `error` in the shape of the place: OpenAI's under `/v1`, else RFC 9457's.
pub fn shaped(path: &str, error: ApiError) -> Response {
    let closes = error.closes;
    let mut response = match is_openai(path) {
        true => error.into_response(),
        false => Problem::from(error).into_response(),
    };
    if closes {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether errors have OpenAI's shape there.
pub fn is_openai(path: &str) -> bool {
    path.starts_with("/v1/")
}

/// What a client sent, short and without anything that acts on a terminal.
fn printable(text: &str) -> String {
    text.chars().take(128).map(|c| if c.is_control() { '?' } else { c }).collect()
}
