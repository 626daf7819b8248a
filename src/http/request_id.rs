//! A request's id: the client's, if it is sane, else one of ours; in every answer.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};

use crate::limits::REQUEST_ID_BYTES;

const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// The id, as an extension of the request.
#[derive(Clone, Debug)]
pub struct RequestId(pub Arc<str>);

/// Gives each request its id and each answer the same.
pub async fn layer(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(NAME).and_then(|value| value.to_str().ok());
    let id: Arc<str> = match given.filter(|id| is_sane(id)) {
        Some(id) => id.into(),
        None => random().into(),
    };
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(NAME, value);
    }
    response
}

/// Nothing that could break a line of a log or a terminal.
fn is_sane(id: &str) -> bool {
    let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/');
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES && id.chars().all(sane)
}

fn random() -> String {
    let mut bytes = [0; 12];
    // An id that repeats is a nuisance, not a danger: no secret hangs on it.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().fold(String::from("req_"), |id, byte| id + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_short_ids_are_taken_over() {
        assert!(is_sane("a1-B2_c3.d4:e/f"));
        let long = "x".repeat(REQUEST_ID_BYTES + 1);
        for bad in ["", "a b", "a\n", "\x1b[31m", "ä", &long] {
            assert!(!is_sane(bad), "{bad:?}");
        }
        assert_ne!(random(), random());
        assert!(is_sane(&random()));
    }
}
