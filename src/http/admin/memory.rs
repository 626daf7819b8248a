//! `GET /debug/memory`: what the memory watch has seen, and what it makes of it.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};

use super::Format;
use crate::bounds::memory::Report;
use crate::http::Services;
use crate::http::error::Problem;

/// The samples as JSON, or as a table.
pub async fn show(
    State(services): State<Services>,
    Query(format): Query<Format>,
) -> Result<Response, Problem> {
    let as_text = format.is_text()?;
    let report = services.watch.report();
    Ok(if as_text { table(&report).into_response() } else { Json(report).into_response() })
}

/// Megabytes in columns, the newest sample last.
fn table(report: &Report) -> String {
    let mut text = format!("state {}\n", report.state.name());
    for finding in &report.findings {
        text += &format!("  {finding}\n");
    }
    if let Some(slope) = report.slope {
        text += &format!(
            "allocated: {:+.3} MB a minute (95 % above {:+.3}, 95 % below {:+.3})\n",
            slope.bytes_per_minute / 1e6,
            slope.low / 1e6,
            slope.high / 1e6
        );
    }
    text += &format!(
        "{} of {} samples, every {} s; MB\n\n",
        report.samples.len(),
        report.samples_most,
        report.interval_seconds
    );
    let columns =
        ["age", "rss", "workers", "alloc", "active", "resid", "retain", "reserv", "held", "kernel"];
    text += &columns.map(|name| format!("{name:>9}")).concat();
    text += &["tasks", "fds"].map(|name| format!("{name:>12}")).concat();
    text.push('\n');
    for s in &report.samples {
        let age = report.now_ms.saturating_sub(s.at_ms) as f64 / 1e3;
        let heap = &s.heap;
        let bytes = [
            s.rss,
            s.workers,
            heap.allocated,
            heap.active,
            heap.resident,
            heap.retained,
            s.reserved,
            s.held,
            s.kernel,
        ];
        text += &format!("{age:>8.0}s");
        text += &bytes.map(|bytes| format!("{:>9.2}", bytes as f64 / 1e6)).concat();
        let (process, expected) = (&s.census.process, &s.census.expected);
        let pairs = [(process.tasks, expected.tasks), (process.fds, expected.fds)];
        text += &pairs.map(|(there, known)| format!("{:>12}", format!("{there}/{known}"))).concat();
        text.push('\n');
    }
    text
}
