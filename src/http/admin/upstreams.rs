//! `GET /debug/upstreams`: how old the clients of each upstream are, and what is in flight;
//! `POST /debug/upstreams/rotate`: a new generation of every one, now.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::json;

use crate::http::Services;

/// Shows them.
pub async fn show(State(services): State<Services>) -> Response {
    answer(&services).into_response()
}

/// Asks each for a new generation, which is in use as soon as it is built.
pub async fn rotate(State(services): State<Services>) -> Response {
    services.roll.rotate();
    (StatusCode::ACCEPTED, answer(&services)).into_response()
}

fn answer(services: &Services) -> impl IntoResponse + use<> {
    let body = Json(json!({"upstreams": services.roll.rows()}));
    ([(header::CACHE_CONTROL, "no-store")], body)
}
