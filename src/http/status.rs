//! Health and readiness for balancers and people.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use super::Services;
use super::error::Problem;
use crate::speech::Health;

/// The process lives and answers.
pub async fn healthz() -> Response {
    axum::Json(json!({"status": "ok"})).into_response()
}

/// The server can do what it is there for: it is not leaving, and its default engine speaks.
pub async fn readyz(State(services): State<Services>) -> Response {
    let not_ready = |detail: String| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready", detail)
            .into_response()
    };
    if services.readiness.is_leaving() {
        return not_ready("the server is shutting down".into());
    }
    let engines = services.speech.engines();
    let default = &engines[0];
    match default.health() {
        Health::Ready(_) => {
            let names: Vec<_> = engines.iter().map(|engine| engine.name()).collect();
            axum::Json(json!({"status": "ready", "engines": names})).into_response()
        }
        Health::Starting => not_ready(format!("the engine {} is starting", default.name())),
        Health::Unavailable(reason) => {
            not_ready(format!("the engine {} cannot speak: {reason}", default.name()))
        }
    }
}
