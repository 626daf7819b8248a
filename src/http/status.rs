//! Health and readiness for balancers and people.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::Services;
use super::error::Problem;
use super::openapi::bodies;
use crate::bounds::memory::{allocator, process};
use crate::ledger::Kind;
use crate::speech::encode::Format;
use crate::speech::{Engine, Health};

/// The process lives and answers.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "State",
    operation_id = "get_health",
    responses((status = 200, description = "It does.", body = bodies::Alive)),
)]
pub async fn healthz() -> Response {
    axum::Json(json!({"status": "ok"})).into_response()
}

/// `GET /api/status`: what anybody may see; no owners, no addresses.
#[utoipa::path(
    get,
    path = "/api/status",
    tag = "State",
    operation_id = "get_status",
    summary = "What anybody may see; no owners, no addresses.",
    responses((status = 200, description = "What lives, and in how much memory.", body = bodies::Status)),
)]
pub async fn status(State(services): State<Services>) -> Response {
    let live = |kind: &Kind| (kind.name().to_string(), services.ledger.live(*kind).into());
    let engine = |engine: &std::sync::Arc<dyn Engine>| {
        let (ready, detail) = match engine.health() {
            Health::Ready(_) => (true, None),
            Health::Starting => (false, Some("starting".to_string())),
            Health::Unavailable(reason) => (false, Some(reason)),
        };
        json!({"name": engine.name(), "ready": ready, "detail": detail})
    };
    let engines: Vec<_> = services.speech.engines().iter().map(engine).collect();
    let body = json!({
        "status": if services.readiness.is_leaving() { "leaving" } else { "ok" },
        "uptime_seconds": services.started.elapsed().as_secs(),
        "budget": services.budget.state(),
        "live": Value::Object(Kind::ALL.iter().map(live).collect()),
        "engines": engines,
        "formats": Format::ALL.map(Format::name),
        "memory": memory(&services),
    });
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}

/// What the watch says, and of each sample what a graph shows.
fn memory(services: &Services) -> Value {
    let report = services.watch.report();
    let samples = report.samples.iter().map(|sample| {
        json!({
            "age_ms": report.now_ms.saturating_sub(sample.at_ms),
            "rss_bytes": sample.rss,
            "allocated_bytes": sample.heap.allocated,
            "reserved_bytes": sample.reserved,
            "held_bytes": sample.held,
            "kernel_bytes": sample.kernel,
            "connections": sample.live(Kind::Connection),
            "speech_streams": sample.live(Kind::SpeechStream),
        })
    });
    json!({
        "state": report.state,
        "findings": report.findings,
        "rss_bytes": process::resident_bytes(),
        "allocated_bytes": allocator::heap().map(|heap| heap.allocated),
        "slope": report.slope,
        "interval_seconds": report.interval_seconds,
        "samples": samples.collect::<Vec<_>>(),
    })
}

/// The server can do what it is there for: it is not leaving, and its default engine speaks.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "State",
    operation_id = "get_readiness",
    responses(
        (status = 200, description = "It can.", body = bodies::Ready),
        (status = 503, description = "It cannot at present; `detail` says why."),
    ),
)]
pub async fn readyz(State(services): State<Services>) -> Response {
    let not_ready = |detail: String| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready", detail)
            .into_response()
    };
    if services.readiness.is_leaving() {
        return not_ready("the server is shutting down".into());
    }
    if services.readiness.is_full() {
        return not_ready("there is no room for more connections at present".into());
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
