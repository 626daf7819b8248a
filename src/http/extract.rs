//! What a path and a query say, for handlers. Invariant: what cannot be read is refused in the shape
//! of the place, as every other error is; axum's own extractors would answer in plain text.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::response::Response;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::{self, ApiError};

/// What varies in the path.
pub struct Path<T>(pub T);

/// The query.
pub struct Query<T>(pub T);

/// The query, pair by pair: a parameter may be said more than once.
pub struct Pairs(pub Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Pairs {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect()))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(said)) => Ok(Self(said)),
            Err(fault) => Err(refused(parts, "invalid_path", fault.body_text())),
        }
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(said)) => Ok(Self(said)),
            Err(fault) => Err(refused(parts, "invalid_query", fault.body_text())),
        }
    }
}

fn refused(parts: &Parts, code: &'static str, message: String) -> Response {
    error::shaped(parts.uri.path(), ApiError::target(code, &message))
}
