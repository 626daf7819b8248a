//! Moves records of a GraphQL source into the index, page by page. Invariants: how far it has come is kept with what it
//! brought, and never before that; what is brought twice is there once; what is held of it is one batch, whatever
//! the source gives; it can be left at any point, and goes on where it was; there is never a second one at work
//! on the same data.

mod checkpoint;
mod cycle;
mod fields;
mod lock;
mod page;
mod source;
mod state;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Asker, Health, Index, SearchError};
use crate::ledger::Kind;
use crate::limits::{ENGINE_LOOK, INDEXER_PAUSE, INDEXER_RETRY};
use crate::metrics::Metrics;
use crate::tasks::Spawner;
use crate::upstream::graphql::GraphqlError;
use crate::upstream::retry;
pub use cycle::Progress;
pub use fields::{BadTemplate, FieldMap, Template};
pub use source::Source;
pub use state::{IndexerState, Phase};

use checkpoint::Checkpoint;
use state::Known;

/// What it is called in the ledger and the logs.
const NAME: &str = "indexer";

/// How records are moved.
#[derive(Clone, Debug)]
pub struct IndexerConfig {
    /// From the end of a cycle to the beginning of the next.
    pub interval: Duration,
    /// From the start of the server to the first.
    pub start_delay: Duration,
    /// Records asked for at once.
    pub page_size: usize,
    /// Records of a cycle; what is left is for the next one, which comes soon.
    pub records: usize,
    /// Asked for a page, with `$first` and `$after`.
    pub query: String,
    /// Where in the data of the answer the page is.
    pub connection: String,
    /// Asked for the newest height; empty: sources are not compared.
    pub height_query: String,
    /// Where in the data of that answer it is.
    pub height: String,
    /// A source that is so much behind the highest is not asked.
    pub gap: u64,
    /// What of a record becomes what of a document.
    pub fields: FieldMap,
}

/// Why a cycle ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexerError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] GraphqlError),
    /// What the source gave is no page of records.
    #[error("the source's answer is no page: {0}")]
    NoPage(String),
    /// The source gives the same again and again.
    #[error("the source came back to the cursor {0:?}, from which it would go round for ever")]
    Loop(String),
    /// All sources are behind what was seen before.
    #[error(
        "every source is more than {gap} behind the height {highest}, which was seen before; if that was wrong, \
         `evensong index --rebuild` forgets it, and indexer.max_gap says how much is let pass"
    )]
    Behind {
        /// What is let pass.
        gap: u64,
        /// What was seen.
        highest: u64,
    },
    /// The index failed.
    #[error(transparent)]
    Index(#[from] SearchError),
    /// The index cannot be asked.
    #[error("paused: {0}")]
    Paused(String),
    /// Another process does the same.
    #[error("another process indexes into the same folder")]
    Elsewhere,
}

impl IndexerError {
    /// Whether another source may do better.
    fn is_the_sources(&self) -> bool {
        matches!(self, Self::Source(_) | Self::NoPage(_) | Self::Loop(_))
    }
}

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Indexer(Arc<Inner>);

struct Inner {
    config: IndexerConfig,
    index: Arc<dyn Index>,
    sources: Vec<Source>,
    /// Where the lock is; none: nobody else can be there.
    lock: Option<PathBuf>,
    metrics: Metrics,
    known: Mutex<Known>,
    /// One cycle at a time in this process.
    working: tokio::sync::Mutex<()>,
}

/// How much is done before it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Until nothing is left.
    Once,
    /// From the beginning, until nothing is left; what the source no longer has is forgotten then.
    Rebuild,
}

impl Indexer {
    /// From `sources`, in the order in which they are asked, into `index`.
    pub fn new(
        config: IndexerConfig,
        index: Arc<dyn Index>,
        sources: Vec<Source>,
        lock: Option<PathBuf>,
        metrics: Metrics,
    ) -> Self {
        metrics.indexer_interval.set(config.interval.as_secs_f64());
        metrics.indexer_caught_up.set(state::now_seconds());
        let (known, working) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { config, index, sources, lock, metrics, known, working }))
    }

    /// Works in the scope of `spawner` until that stops.
    pub fn start(&self, spawner: &Spawner) {
        let (this, scope) = (self.clone(), spawner.clone());
        spawner.spawn(Kind::Service, NAME, async move {
            // Wherever it is: what is not yet kept is brought again the next time.
            tokio::select! {
                biased;
                () = scope.stopping() => {}
                () = this.work() => {}
            }
        });
    }

    /// How it stands.
    pub fn state(&self) -> IndexerState {
        self.known().state(self.0.index.name(), &self.0.config)
    }

    async fn work(&self) {
        let mut wait = self.0.config.start_delay;
        let mut failures = 0;
        loop {
            self.known().next_at = Some(Instant::now() + wait);
            tokio::time::sleep(wait).await;
            let ended = self.cycle(&mut |_| {}).await;
            wait = self.after(&ended, &mut failures);
        }
    }

    /// Works until nothing is left, and tells `progress` after each page.
    pub async fn run(
        &self,
        run: Run,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<(), IndexerError> {
        if run == Run::Rebuild {
            self.begin_anew().await?;
        }
        let mut failures = 0;
        loop {
            let ended = self.cycle(&mut progress).await;
            match ended {
                Ok(cycle) if !cycle.has_more => return Ok(()),
                Err(error) if failures >= INDEXER_RETRY.2 => return Err(error),
                ended => tokio::time::sleep(self.after(&ended, &mut failures)).await,
            }
        }
    }

    /// From here on everything is asked for once more.
    async fn begin_anew(&self) -> Result<(), IndexerError> {
        let _lock = self.alone().await?;
        let asker = Asker::server(NAME);
        let kept = Checkpoint::read(self.0.index.checkpoint(&asker).await?.as_deref());
        let batch = super::Batch {
            checkpoint: Some(kept.rebuilding().to_text()),
            ..super::Batch::default()
        };
        self.0.index.write(batch, &asker).await?;
        Ok(())
    }

    /// How long to wait behind a cycle.
    fn after(&self, ended: &Result<cycle::Cycle, IndexerError>, failures: &mut u32) -> Duration {
        let interval = self.0.config.interval;
        let (phase, wait) = match ended {
            Ok(cycle) if cycle.has_more => (Phase::Waiting, INDEXER_PAUSE),
            Ok(_) => (Phase::CaughtUp, interval),
            Err(IndexerError::Paused(_)) => (Phase::Paused, ENGINE_LOOK),
            Err(IndexerError::Elsewhere) => (Phase::Elsewhere, interval.min(ENGINE_LOOK)),
            Err(_) => (Phase::Failing, self.back_off(*failures)),
        };
        *failures = if phase == Phase::Failing { *failures + 1 } else { 0 };
        let mut known = self.known();
        known.phase = phase;
        match ended {
            Ok(_) => known.last_error = None,
            Err(error) => known.last_error = Some(error.to_string()),
        }
        drop(known);
        let outcome = state::outcome(ended);
        self.0.metrics.indexer_cycle(outcome);
        if let Err(error) = ended {
            let wait_ms = wait.as_millis() as u64;
            tracing::warn!(%error, wait_ms, "the indexer could not go on");
        }
        wait
    }

    /// Twice as long after each failure, and never longer than to the next cycle; less a random part.
    fn back_off(&self, failures: u32) -> Duration {
        let (first, most, _) = INDEXER_RETRY;
        let longest = first.saturating_mul(1 << failures.min(20)).min(most);
        let longest = longest.min(self.0.config.interval.max(first));
        longest.mul_f64(0.5 + retry::chance() / 2.0)
    }

    /// Sees to it that nobody else is at work on the same data.
    async fn alone(&self) -> Result<lock::Alone<'_>, IndexerError> {
        let working = self.0.working.lock().await;
        lock::Alone::take(working, self.0.lock.as_deref())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the index can be written to.
    fn may_write(&self) -> Result<(), IndexerError> {
        match self.0.index.health() {
            Health::Ready => Ok(()),
            Health::Starting => Err(IndexerError::Paused("the index is not ready yet".into())),
            Health::Unavailable(why) => Err(IndexerError::Paused(why)),
        }
    }
}
