//! `GET /debug/ledger`: everything that lives, beside what the process really has.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Format;
use crate::bounds::budget::BudgetState;
use crate::http::Services;
use crate::http::error::{ApiError, Problem};
use crate::ledger::{Baseline, Census, ItemRow, Kind, KindCount};
use crate::limits::SESSIONS_SHOWN;
use crate::realtime::SessionRow;

#[derive(Serialize)]
struct View {
    idle: bool,
    #[serde(flatten)]
    census: Census,
    agrees: bool,
    /// `idle`, `busy` or `disagrees`.
    state: &'static str,
    budget: BudgetState,
    kinds: Vec<KindCount>,
    items: Vec<ItemRow>,
    /// Some of the voice sessions.
    sessions: Vec<SessionRow>,
}

/// Only the things of one kind.
#[derive(Deserialize)]
pub struct Only {
    kind: Option<String>,
}

/// The ledger as JSON, or as a table.
pub async fn show(
    State(services): State<Services>,
    Extension(baseline): Extension<Baseline>,
    Query(format): Query<Format>,
    Query(only): Query<Only>,
) -> Result<Response, Problem> {
    let as_text = format.is_text()?;
    let known = || Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    let kind =
        only.kind.map(|name| Kind::named(&name).ok_or_else(|| ApiError::query("kind", &known())));
    let view = view(&services, baseline, kind.transpose()?).await;
    Ok(if as_text { table(&view).into_response() } else { axum::Json(view).into_response() })
}

async fn view(services: &Services, baseline: Baseline, only: Option<Kind>) -> View {
    let ledger = &services.ledger;
    let census = Census::take(ledger, baseline).await;
    let (idle, agrees) = (ledger.is_idle(), census.agrees());
    let state = match (agrees, idle) {
        (false, _) => "disagrees",
        (true, true) => "idle",
        (true, false) => "busy",
    };
    View {
        idle,
        census,
        agrees,
        state,
        budget: services.budget.state(),
        kinds: ledger.kinds(),
        items: ledger.items(only),
        sessions: services.sessions.rows(SESSIONS_SHOWN),
    }
}

fn table(view: &View) -> String {
    let View { census: Census { process, expected }, budget, .. } = view;
    let mut text = format!(
        "state {}\nfds {} (expected {})   tasks {} (expected {})   threads {} (at most {})\n\
         budget: {} reserved and {} held of {} bytes\n\n{:<18}{:>9}{:>14}{:>12}\n",
        view.state,
        process.fds,
        expected.fds,
        process.tasks,
        expected.tasks,
        process.threads,
        expected.threads_most,
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
    let live: u64 = view.kinds.iter().map(|kind| kind.live).sum();
    let shown = view.items.len();
    text += &format!("* stands as long as the server\n\nthe oldest {shown} of {live}\n");
    text += &format!("{:>10}  {:<18}{:>9}  owner\n", "age", "kind", "bytes");
    for item in &view.items {
        let age = item.age_ms as f64 / 1e3;
        let left = item.left_ms.map(|ms| format!("  client left {:.1} s ago", ms as f64 / 1e3));
        let left = left.unwrap_or_default();
        text += &format!("{age:>9.1}s  {:<18}{:>9}  {}{left}\n", item.kind, item.bytes, item.owner);
    }
    text += &sessions(&view.sessions);
    text
}

/// The table of sessions; nothing where there are none.
fn sessions(rows: &[SessionRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\nsessions\n{:<11}{:>10}  {:<10}{:<14}{:>8}{:>7}  owner\n",
        "state", "ends in", "answering", "relay", "outbox", "items"
    );
    for row in rows {
        let left = row.ends_in_ms.map(|ms| format!("{:.1} s", ms as f64 / 1e3)).unwrap_or_default();
        let answers = if row.answering { "yes" } else { "" };
        let SessionRow { state, relay, outbox_bytes, items, owner, .. } = row;
        text += &format!(
            "{state:<11}{left:>10}  {answers:<10}{relay:<14}{outbox_bytes:>8}{items:>7}  {owner}\n"
        );
    }
    text
}
