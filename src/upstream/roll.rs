//! All upstreams of a server, for the operator: how old their clients are, what is in flight, and a new generation now.

use std::sync::Arc;

use serde::Serialize;

use super::address::Base;
use super::aged::AgedState;
use super::policy::Policy;

/// What the operator may see of an upstream, and ask of it.
pub trait Rolled: Send + Sync {
    /// What there is to be seen.
    fn row(&self) -> UpstreamRow;
    /// Asks for a new generation of its client.
    fn rotate(&self);
}

/// See the module. Clones share it.
#[derive(Clone, Default)]
pub struct Roll(Arc<[Arc<dyn Rolled>]>);

/// An upstream as it is shown.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamRow {
    /// What it is called.
    pub name: &'static str,
    /// Where it is.
    pub address: String,
    /// Whether its breaker is open: it is not asked at present.
    pub open: bool,
    /// Its clients.
    #[serde(flatten)]
    pub state: AgedState,
}

impl UpstreamRow {
    /// Of the upstream at `base`.
    pub(super) fn new(base: &Base, policy: &Policy, state: AgedState) -> Self {
        let (name, open) = (policy.upstream(), policy.open_for().is_some());
        Self { name, address: base.to_string(), open, state }
    }
}

impl Roll {
    /// Of these.
    pub fn new(upstreams: Vec<Box<dyn Rolled>>) -> Self {
        Self(upstreams.into_iter().map(Arc::from).collect())
    }

    /// Of all of these, and of `more`.
    pub fn and(&self, more: impl IntoIterator<Item = Box<dyn Rolled>>) -> Self {
        Self(self.0.iter().cloned().chain(more.into_iter().map(Arc::from)).collect())
    }

    /// All of them.
    pub fn rows(&self) -> Vec<UpstreamRow> {
        self.0.iter().map(|upstream| upstream.row()).collect()
    }

    /// Asks each of them for a new generation.
    pub fn rotate(&self) {
        self.0.iter().for_each(|upstream| upstream.rotate());
    }
}
