//! Sessions as the operator sees them. Invariant: nothing of what was said in one is shown.

use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use super::Sessions;
use super::life::Stage;
use super::relay::link;
use super::session::Session;

/// A session, as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct SessionRow {
    /// Its name.
    pub session: String,
    /// Who opened it: the id of a request.
    pub owner: Arc<str>,
    /// `connecting`, `live` or `detached`.
    pub state: &'static str,
    /// When it is over if nobody comes; none while its device is there.
    pub ends_in_ms: Option<u64>,
    /// Whether something is being answered.
    pub answering: bool,
    /// How it stands with the server that listens: `apart`, `connecting`, `running`, `grace` or `disconnected`.
    pub relay: &'static str,
    /// What was told and is not known to have come, and what came just now.
    pub outbox_bytes: usize,
    /// Items of its conversation.
    pub items: usize,
}

impl Sessions {
    /// So many of them, in no order.
    pub fn rows(&self, most: usize) -> Vec<SessionRow> {
        let sessions = self.0.live.all();
        sessions.iter().filter_map(|session| session.row()).take(most).collect()
    }
}

impl Session {
    fn row(&self) -> Option<SessionRow> {
        let state = self.lock();
        let stage = match state.life.stage() {
            Stage::Connecting(_) => "connecting",
            Stage::Live(_) => "live",
            Stage::Detached(_) => "detached",
            Stage::Ended => return None,
        };
        let until = state.life.until();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        Some(SessionRow {
            session: format!("sess_{}", self.id()),
            owner: Arc::clone(self.owner()),
            state: stage,
            ends_in_ms: left.map(|left| left.as_millis() as u64),
            answering: state.running.is_some(),
            relay: relayed(state.relay.link.stage()),
            outbox_bytes: state.outbox.bytes(),
            items: state.items.iter().count(),
        })
    }
}

fn relayed(stage: link::Stage) -> &'static str {
    match stage {
        link::Stage::Apart => "apart",
        link::Stage::Connecting => "connecting",
        link::Stage::Running(_) => "running",
        link::Stage::Grace(_) => "grace",
        link::Stage::Disconnected | link::Stage::Over => "disconnected",
    }
}
