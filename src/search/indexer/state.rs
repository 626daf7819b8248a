//! How the indexer stands, for those who ask. Invariant: it is bounded, and says nothing that a source should not have said to
//! everybody.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::checkpoint::Checkpoint;
use super::cycle::Cycle;
use super::{IndexerConfig, IndexerError};
use crate::limits::INDEXER_REJECTIONS;

/// How the indexer stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct IndexerState {
    /// What it does.
    pub phase: Phase,
    /// The index that it writes to.
    pub backend: &'static str,
    /// The source that it asked last.
    #[schema(required)]
    pub source: Option<String>,
    /// Records that it brought, in all.
    pub records: u64,
    /// Of them, those that are in no index.
    pub rejected: u64,
    /// The last of those.
    pub rejections: Vec<Rejection>,
    /// Records of the cycle that runs, or ran last.
    pub cycle_records: u64,
    /// Records a second of that cycle.
    pub records_per_second: f64,
    /// The number of its pass over the source: it rises with each rebuild.
    pub pass: u64,
    /// Whether such a rebuild is under way.
    pub rebuilding: bool,
    /// The greatest height that a source has told.
    pub height: u64,
    /// When there was nothing left to bring.
    #[schema(required, format = "date-time")]
    pub caught_up_at: Option<String>,
    /// How long ago that was, or since when it tries.
    pub lag_seconds: u64,
    /// When it begins again.
    #[schema(required)]
    pub next_in_seconds: Option<f64>,
    /// From the end of a cycle to the next.
    pub interval_seconds: f64,
    /// Why it could not go on.
    #[schema(required)]
    pub last_error: Option<String>,
}

/// What the indexer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It has not begun yet.
    #[default]
    Starting,
    /// It brings records.
    Running,
    /// There are more, and it goes on soon.
    Waiting,
    /// There is nothing left to bring.
    CaughtUp,
    /// The index cannot be written to at present.
    Paused,
    /// A source or the index failed; it tries again.
    Failing,
    /// Another process does it.
    Elsewhere,
}

/// A record that is in no index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rejection {
    /// Its id, where it has one.
    #[schema(required)]
    pub id: Option<String>,
    /// Why.
    pub why: String,
}

/// What is known between two questions.
pub(super) struct Known {
    pub phase: Phase,
    pub source: Option<String>,
    pub next_at: Option<Instant>,
    pub last_error: Option<String>,
    checkpoint: Checkpoint,
    rejections: VecDeque<Rejection>,
    cycle: Cycle,
    began: Instant,
    took: Duration,
    caught_up: Option<(Instant, Timestamp)>,
    since: Instant,
}

impl Default for Known {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            phase: Phase::default(),
            source: None,
            next_at: None,
            last_error: None,
            checkpoint: Checkpoint::default(),
            rejections: VecDeque::new(),
            cycle: Cycle::default(),
            began: now,
            took: Duration::ZERO,
            caught_up: None,
            since: now,
        }
    }
}

impl Known {
    pub(super) fn begin(&mut self, checkpoint: &Checkpoint) {
        self.phase = Phase::Running;
        self.next_at = None;
        self.checkpoint = checkpoint.clone();
        (self.cycle, self.began, self.took) = (Cycle::default(), Instant::now(), Duration::ZERO);
    }

    pub(super) fn went(&mut self, checkpoint: &Checkpoint, cycle: Cycle) {
        self.checkpoint = checkpoint.clone();
        (self.cycle, self.took) = (cycle, self.began.elapsed());
    }

    pub(super) fn caught_up(&mut self, phase: Phase) {
        self.phase = phase;
        self.caught_up = Some((Instant::now(), Timestamp::now()));
    }

    pub(super) fn reject(&mut self, id: Option<String>, why: String) {
        if self.rejections.len() == INDEXER_REJECTIONS {
            self.rejections.pop_front();
        }
        let why = why.chars().take(300).collect();
        self.rejections.push_back(Rejection { id, why });
    }

    pub(super) fn state(&self, backend: &'static str, config: &IndexerConfig) -> IndexerState {
        let lag = self.caught_up.map_or(self.since, |(at, _)| at).elapsed();
        let at = self.caught_up.map(|(_, at)| at);
        let seconds = self.took.as_secs_f64();
        let rate = if seconds > 0.0 { self.cycle.records as f64 / seconds } else { 0.0 };
        let next = self.next_at.map(|at| at.saturating_duration_since(Instant::now()));
        IndexerState {
            phase: self.phase,
            backend,
            source: self.source.clone(),
            records: self.checkpoint.records,
            rejected: self.checkpoint.rejected,
            rejections: self.rejections.iter().cloned().collect(),
            cycle_records: self.cycle.records,
            records_per_second: (rate * 10.0).round() / 10.0,
            pass: self.checkpoint.pass,
            rebuilding: self.checkpoint.rebuilding,
            height: self.checkpoint.height,
            caught_up_at: at.map(|at| at.to_string()),
            lag_seconds: lag.as_secs(),
            next_in_seconds: next.map(|next| (next.as_secs_f64() * 10.0).round() / 10.0),
            interval_seconds: config.interval.as_secs_f64(),
            last_error: self.last_error.clone(),
        }
    }
}

/// The id of a record that cannot be read, as far as there is one.
pub(super) fn id_of(record: &Value) -> Option<String> {
    let id: String = record["id"].as_str()?.chars().filter(|c| !c.is_control()).take(100).collect();
    Some(id)
}

/// Under which name the end of a cycle is counted.
pub(super) fn outcome(ended: &Result<Cycle, IndexerError>) -> &'static str {
    match ended {
        Ok(cycle) if cycle.has_more => "more",
        Ok(_) => "caught_up",
        Err(IndexerError::Paused(_)) => "paused",
        Err(IndexerError::Elsewhere) => "elsewhere",
        Err(_) => "failed",
    }
}

/// Seconds since 1970.
pub(super) fn now_seconds() -> f64 {
    Timestamp::now().as_duration().as_secs_f64()
}
