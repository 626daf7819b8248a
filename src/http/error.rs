//! The only map from a module's error to a status. Under `/v1` errors have OpenAI's shape,
//! elsewhere RFC 9457's; 429 and 503 always say when to come again.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::speech::SpeechError;

/// Seconds after which a refused client may try again: what is short comes back within a piece.
const RETRY_AFTER_SECONDS: u32 = 1;
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
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

/// An error in RFC 9457's shape.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u32>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, message, param: None, code: None, retry_after_seconds: None }
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

    /// 400 for a body that is no JSON.
    pub fn json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message).code("invalid_json")
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

    /// 408.
    pub fn slow_body() -> Self {
        let seconds = crate::limits::BODY_DEADLINE.as_secs();
        let message = format!("the body did not arrive within {seconds} s");
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

    /// 502: the engine failed before its first audio.
    pub fn engine_failed(reason: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, format!("the engine failed: {reason}"))
            .code("engine_failed")
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
        }
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

impl Problem {
    /// A problem; its `type` is stable and relative to the documentation.
    pub fn new(
        status: StatusCode,
        r#type: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let retry = status == StatusCode::SERVICE_UNAVAILABLE;
        let retry_after_seconds = retry.then_some(RETRY_AFTER_SECONDS);
        Self { r#type, title, status: status.as_u16(), detail: detail.into(), retry_after_seconds }
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
    response
}

/// 404 in the shape of the place.
pub async fn no_route(request: Request) -> Response {
    let path = request.uri().path();
    let detail = format!("there is nothing at {}", printable(path));
    answer(path, StatusCode::NOT_FOUND, "not_found", "Not found", detail)
}

/// 405 in the shape of the place.
pub async fn no_method(request: Request) -> Response {
    let path = request.uri().path();
    let detail = format!("{} does not answer {}", printable(path), request.method());
    let (status, kind) = (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    answer(path, status, kind, "Method not allowed", detail)
}

fn answer(
    path: &str,
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
) -> Response {
    if path.starts_with("/v1/") {
        ApiError::new(status, detail).code(kind).into_response()
    } else {
        Problem::new(status, kind, title, detail).into_response()
    }
}

/// What a client sent, short and without anything that acts on a terminal.
fn printable(text: &str) -> String {
    text.chars().take(128).map(|c| if c.is_control() { '?' } else { c }).collect()
}
