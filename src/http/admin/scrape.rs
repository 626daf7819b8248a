//! `GET /metrics`: what others count is looked up when somebody asks, and all of it rendered.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};

use crate::bounds::memory::process::{Process, children_resident_bytes};
use crate::bounds::memory::{State as Memory, allocator};
use crate::http::Services;
use crate::ledger::{Baseline, Census};
use crate::metrics::{
    BoundLabel, BuildLabel, Exposition, KindLabel, MemoryLabel, Metrics, StateLabel, UpstreamLabel,
    WhatLabel, set, set_seconds, set_total,
};

/// In the format that the client asks for: OpenMetrics, or Prometheus' own.
pub async fn metrics(
    State(services): State<Services>,
    Extension(baseline): Extension<Baseline>,
    headers: HeaderMap,
) -> Response {
    let metrics = &services.metrics;
    ledger(&services, metrics);
    upstreams(&services, metrics);
    let process = Process::read();
    memory(&services, metrics, process.resident_bytes);
    let census = Census::take(&services.ledger, baseline).await;
    process_and_runtime(metrics, &process, census.process.fds);
    let (process, expected) = (census.process, census.expected);
    for (of, there, known) in
        [("tasks", process.tasks, expected.tasks), ("fds", process.fds, expected.fds)]
    {
        let gauge = metrics.ledger_disagreement.get_or_create(&WhatLabel { of });
        gauge.set(there as i64 - known as i64);
    }
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let open = accepts.is_some_and(|accepts| accepts.contains("application/openmetrics-text"));
    let exposition = if open { Exposition::OpenMetrics } else { Exposition::Prometheus };
    ([(header::CONTENT_TYPE, exposition.content_type())], metrics.render(exposition))
        .into_response()
}

fn ledger(services: &Services, metrics: &Metrics) {
    let budget = services.budget.state();
    let parts = [("total", budget.total), ("reserved", budget.reserved), ("held", budget.held)];
    for (state, bytes) in parts {
        set(&metrics.budget_bytes.get_or_create(&StateLabel { state }), bytes);
    }
    let (live, detached) = services.sessions.standing();
    for (state, count) in [("live", live), ("detached", detached)] {
        set(&metrics.sessions.get_or_create(&StateLabel { state }), count);
    }
    for row in services.ledger.kinds() {
        let label = KindLabel { kind: row.kind };
        set(&metrics.ledger_live.get_or_create(&label), row.live);
        set(&metrics.ledger_bytes.get_or_create(&label), row.bytes);
        set_total(&metrics.ledger_entries.get_or_create(&label), row.ever);
    }
    metrics.ledger_idle.set(i64::from(services.ledger.is_idle()));
    set(&metrics.limit_keys, services.limits.remembered() as u64);
}

fn upstreams(services: &Services, metrics: &Metrics) {
    for row in services.roll.rows() {
        let (label, state) = (UpstreamLabel { upstream: row.name }, row.state);
        set(&metrics.upstream_generation.get_or_create(&label), state.generation);
        metrics.upstream_age.get_or_create(&label).set(state.age_ms as f64 / 1e3);
        set(&metrics.upstream_draining.get_or_create(&label), state.draining as u64);
        set(&metrics.upstream_in_flight.get_or_create(&label), state.in_flight as u64);
        set(&metrics.upstream_open.get_or_create(&label), u64::from(row.open));
        set_total(&metrics.upstream_cut.get_or_create(&label), state.cut);
    }
}

fn memory(services: &Services, metrics: &Metrics, rss: u64) {
    let heap = allocator::heap().unwrap_or_default();
    for (kind, bytes) in [
        ("rss", rss),
        ("allocated", heap.allocated),
        ("active", heap.active),
        ("resident", heap.resident),
        ("retained", heap.retained),
        ("workers", children_resident_bytes()),
        // Looking at thousands of sockets costs too much for each scrape.
        ("kernel_sockets", services.watch.newest().map_or(0, |sample| sample.kernel)),
    ] {
        set(&metrics.memory_bytes.get_or_create(&MemoryLabel { kind }), bytes);
    }
    let report = services.watch.verdict();
    for state in Memory::ALL {
        let gauge = metrics.memory_state.get_or_create(&StateLabel { state: state.name() });
        gauge.set(i64::from(state == report.state));
    }
    let slope = report.slope.unwrap_or_default();
    let bounds = [("low", slope.low), ("estimate", slope.bytes_per_minute), ("high", slope.high)];
    for (bound, per_minute) in bounds {
        metrics.memory_slope.get_or_create(&BoundLabel { bound }).set(per_minute / 60.0);
    }
}

fn process_and_runtime(metrics: &Metrics, process: &Process, open_fds: u64) {
    set_seconds(&metrics.process_cpu, process.cpu_seconds);
    set(&metrics.process_resident, process.resident_bytes);
    set(&metrics.process_virtual, process.virtual_bytes);
    set(&metrics.process_open_fds, open_fds);
    set(&metrics.process_max_fds, process.max_fds);
    set(&metrics.process_threads, process.threads);
    metrics.process_start.set(process.start_seconds);
    let runtime = tokio::runtime::Handle::current().metrics();
    set(&metrics.runtime_tasks, runtime.num_alive_tasks() as u64);
    set(&metrics.runtime_queue, runtime.global_queue_depth() as u64);
    let busy = (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker));
    set_seconds(&metrics.runtime_busy, busy.sum::<std::time::Duration>().as_secs_f64());
    let label = BuildLabel {
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("EVENSONG_REVISION"),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" },
    };
    metrics.build_info.get_or_create(&label).set(1);
}
