//! What the operator sees, on a listener of its own that no client reaches. Invariant: looking costs
//! the clients nothing: its connections and tasks stand outside of what they are counted by.

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::header;
use serde::{Deserialize, Serialize};

use super::auth::{Access, Auth, Scope};
use super::origin::OriginConfig;
use super::routes::Routes;
use super::{Services, status};
use crate::bounds::budget::BudgetState;
use crate::ledger::{ItemRow, Kind, KindCount, Ledger};
use crate::metrics::BudgetLabel;

/// The admin routes behind their own gate. `baseline` is what the process had open before it served.
pub fn router(services: Services, baseline: Baseline, origins: OriginConfig, auth: Auth) -> Router {
    let admin = Access::Scope(Scope::Admin);
    let routes = Routes::none()
        .get(Access::Public, "/healthz", status::healthz)
        .get(Access::Public, "/readyz", status::readyz)
        .get(admin, "/metrics", metrics)
        .get(admin, "/debug/ledger", ledger);
    super::guarded(routes, services, origins, auth, None).layer(axum::Extension(baseline))
}

/// Descriptors and tasks that the process has beside those of the ledger.
#[derive(Clone, Copy, Debug, Default)]
pub struct Baseline {
    fds: u64,
}

impl Baseline {
    /// Taken once, when everything that stands is up.
    pub fn take(ledger: &Ledger) -> Self {
        Self { fds: count("/proc/self/fd").saturating_sub(ledger.fds()) }
    }

    /// One descriptor that was open when the baseline was taken belongs to a listener that enters
    /// the ledger later.
    pub fn counts_listener(&mut self) {
        self.fds = self.fds.saturating_sub(Kind::Listener.fds());
    }
}

#[derive(Serialize)]
struct View {
    idle: bool,
    process: Process,
    /// What the ledger says `process` should be.
    expected: Expected,
    agrees: bool,
    budget: BudgetState,
    kinds: Vec<KindCount>,
    items: Vec<ItemRow>,
}

#[derive(Serialize)]
struct Process {
    fds: u64,
    threads: u64,
    tasks: u64,
}

#[derive(Serialize)]
struct Expected {
    fds: u64,
    tasks: u64,
}

#[derive(Deserialize)]
struct Format {
    format: Option<String>,
}

async fn ledger(
    State(services): State<Services>,
    axum::Extension(baseline): axum::Extension<Baseline>,
    Query(query): Query<Format>,
) -> Response {
    let view = view(&services, baseline);
    match query.format.as_deref() {
        Some("text") => table(&view).into_response(),
        _ => axum::Json(view).into_response(),
    }
}

fn view(services: &Services, baseline: Baseline) -> View {
    let ledger = &services.ledger;
    let process = Process {
        fds: count("/proc/self/fd"),
        threads: count("/proc/self/task"),
        tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64,
    };
    let expected = Expected { fds: baseline.fds + ledger.fds(), tasks: ledger.tasks() };
    View {
        idle: ledger.is_idle(),
        agrees: process.fds == expected.fds && process.tasks == expected.tasks,
        process,
        expected,
        budget: services.budget.state(),
        kinds: ledger.kinds(),
        items: ledger.items(),
    }
}

fn table(view: &View) -> String {
    let View { process, expected, budget, .. } = view;
    let mut text = format!(
        "idle {}   agrees {}\nfds {} (expected {})   tasks {} (expected {})   threads {}\n\
         budget: {} reserved and {} held of {} bytes\n\n{:<18}{:>9}{:>14}{:>12}\n",
        view.idle,
        view.agrees,
        process.fds,
        expected.fds,
        process.tasks,
        expected.tasks,
        process.threads,
        budget.reserved,
        budget.held,
        budget.total,
        "kind",
        "live",
        "bytes",
        "ever"
    );
    for kind in &view.kinds {
        let mark = if kind.standing { " *" } else { "" };
        let name = format!("{}{mark}", kind.kind);
        text += &format!("{name:<18}{:>9}{:>14}{:>12}\n", kind.live, kind.bytes, kind.ever);
    }
    text += &format!(
        "* stands as long as the server\n\n{:>10}  {:<18}{:>9}  owner\n",
        "age", "kind", "bytes"
    );
    for item in &view.items {
        let age = item.age_ms as f64 / 1e3;
        text += &format!("{age:>9.1}s  {:<18}{:>9}  {}\n", item.kind, item.bytes, item.owner);
    }
    text
}

async fn metrics(State(services): State<Services>) -> Response {
    let state = services.budget.state();
    let parts = [("total", state.total), ("reserved", state.reserved), ("held", state.held)];
    for (state, bytes) in parts {
        let gauge = services.metrics.budget_bytes.get_or_create(&BudgetLabel { state });
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
    services.metrics.limit_keys.set(services.limits.remembered() as i64);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], services.metrics.render()).into_response()
}

/// Entries of a folder of `/proc`, without the one by which it is read; 0 where there is none.
fn count(folder: &str) -> u64 {
    let entries = std::fs::read_dir(folder).map_or(0, |entries| entries.count() as u64);
    if folder.ends_with("fd") { entries.saturating_sub(1) } else { entries }
}
