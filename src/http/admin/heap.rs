//! `POST /debug/heap`: a heap profile into the configured folder.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use crate::http::Services;
use crate::http::error::Problem;

/// Writes one, and says where it is and how to read it.
pub async fn write(State(services): State<Services>) -> Result<Response, Problem> {
    let Some(profiles) = services.heap_endpoint.clone() else {
        return Err(Problem::not_configured(
            "heap profiles on request are off; set memory.heap_endpoint and memory.profile_dir",
        ));
    };
    let profile = profiles.write().await?;
    let read = format!("jeprof --text $(command -v evensong) {}", profile.file.display());
    let body = json!({"file": profile.file, "bytes": profile.bytes, "read_with": read});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
