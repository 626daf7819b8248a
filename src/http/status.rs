//! Health and readiness for balancers and people.

mod body;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::Services;
use super::error::Problem;
use crate::bounds::memory::{Sample, allocator, process};
use crate::ledger::Kind;
use crate::search;
use crate::speech::encode::Format;
use crate::speech::{Engine, Health};

/// The process lives and answers.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "State",
    operation_id = "get_health",
    responses((status = 200, description = "It does.", body = body::Alive)),
)]
pub async fn healthz() -> Response {
    Json(body::Alive { status: "ok" }).into_response()
}

/// `GET /api/status`: what anybody may see; no owners, no addresses.
#[utoipa::path(
    get,
    path = "/api/status",
    tag = "State",
    operation_id = "get_status",
    summary = "What anybody may see; no owners, no addresses.",
    responses((status = 200, description = "What lives, and in how much memory.", body = body::Status)),
)]
pub async fn status(State(services): State<Services>) -> Response {
    let engine = |engine: &Engine| {
        let (ready, detail) = match engine.health() {
            Health::Ready(_) => (true, None),
            Health::Starting => (false, Some("starting".to_string())),
            Health::Unavailable(reason) => (false, Some(reason)),
        };
        body::EngineState { name: engine.name(), ready, detail }
    };
    let engines: Vec<_> = services.speech.engines().iter().map(engine).collect();
    let budget = services.budget.state();
    let live = |kind: &Kind| (kind.name().to_string(), services.ledger.live(*kind));
    let body = body::Status {
        status: if services.readiness.is_leaving() { "leaving" } else { "ok" },
        uptime_seconds: services.started.elapsed().as_secs(),
        budget: body::BudgetBytes {
            total: budget.total,
            reserved: budget.reserved,
            held: budget.held,
        },
        live: Kind::ALL.iter().map(live).collect(),
        engines,
        search: search(&services),
        answering: services.dialogues.answering(),
        transcribing: services.transcriber.is_some(),
        formats: Format::ALL.map(Format::name),
        memory: memory(&services),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Of a search engine: as it was a few seconds ago.
fn search(services: &Services) -> Option<body::SearchState> {
    let index = services.search.as_ref()?.index();
    let (ready, detail) = match index.health() {
        search::Health::Ready => (true, None),
        search::Health::Starting => (false, Some("starting".to_string())),
        search::Health::Unavailable(why) => (false, Some(why)),
    };
    Some(body::SearchState { backend: index.name(), ready, detail })
}

/// What the watch says, and of each sample what a graph shows.
fn memory(services: &Services) -> body::Memory {
    let report = services.watch.report();
    let sample = |sample: &Sample| body::Sample {
        age_ms: report.now_ms.saturating_sub(sample.at_ms),
        rss_bytes: sample.rss,
        allocated_bytes: sample.heap.allocated,
        reserved_bytes: sample.reserved,
        held_bytes: sample.held,
        kernel_bytes: sample.kernel,
        connections: sample.live(Kind::Connection),
        speech_streams: sample.live(Kind::SpeechStream),
    };
    body::Memory {
        state: report.state.name(),
        rss_bytes: process::resident_bytes(),
        allocated_bytes: allocator::heap().map(|heap| heap.allocated),
        slope: report.slope.map(|slope| body::Slope {
            bytes_per_minute: slope.bytes_per_minute,
            low: slope.low,
            high: slope.high,
        }),
        interval_seconds: report.interval_seconds,
        samples: report.samples.iter().map(sample).collect(),
        findings: report.findings,
    }
}

/// The server can do what it is there for: it is not leaving, and its default engine speaks.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "State",
    operation_id = "get_readiness",
    responses(
        (status = 200, description = "It can.", body = body::Ready),
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
    // The default engine, or one that speaks for it; if none can, what is wrong with the default.
    let answering = services.speech.answering().map(|engine| (engine.name(), engine.health()));
    let answering: Vec<_> = answering.collect();
    let able = answering.iter().find(|(_, health)| matches!(health, Health::Ready(_)));
    match able.unwrap_or(&answering[0]) {
        (name, Health::Starting) => not_ready(format!("the engine {name} is starting")),
        (name, Health::Unavailable(reason)) => {
            not_ready(format!("the engine {name} cannot speak: {reason}"))
        }
        _ => {
            let engines = services.speech.engines().iter().map(|engine| engine.name()).collect();
            let search = search(&services);
            Json(body::Ready { status: "ready", engines, search }).into_response()
        }
    }
}
