//! One cycle of the indexer: pages are asked for, gathered into batches, written, and what is behind them kept. Invariant: at each
//! moment what is kept is how far all that was brought goes, and no further.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::checkpoint::Checkpoint;
use super::page::Page;
use super::source::{Source, candidates};
use super::state::{self, Phase};
use super::{Indexer, IndexerError, NAME};
use crate::limits::{BATCH, INDEXER_CURSORS, INDEXER_LOOK_AGAIN};
use crate::search::{Asker, Batch, Change, Origin, Outcome};
use crate::upstream::Fault;
use crate::upstream::graphql::GraphqlError;
use tokio::time::Instant;

/// How far it has come, for those who watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records that were brought by this cycle.
    pub records: u64,
    /// In all cycles ever.
    pub total: u64,
    /// Of them, those that are in no index.
    pub rejected: u64,
}

/// What a cycle did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cycle {
    /// Records that it brought.
    pub records: u64,
    /// Whether the source has more.
    pub has_more: bool,
}

/// A cycle at work.
struct Work<'a> {
    indexer: &'a Indexer,
    source: &'a Source,
    asker: Asker,
    /// As it is kept, and
    checkpoint: Checkpoint,
    /// what was read and is not.
    batch: Batch,
    bytes: usize,
    since: Instant,
    /// Of the cursors of this cycle: whoever comes back to one goes round in circles.
    seen: HashSet<u64>,
    hash: RandomState,
    page_size: usize,
    done: Cycle,
}

impl Indexer {
    /// Brings what is new, as far as one cycle goes.
    pub(super) async fn cycle(
        &self,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Cycle, IndexerError> {
        let _alone = self.alone().await?;
        self.may_write()?;
        let asker = Asker::server(NAME);
        let kept = Checkpoint::read(self.0.index.checkpoint(&asker).await?.as_deref());
        self.known().begin(&kept);
        let chosen = candidates(&self.0.sources, &self.0.config, kept.height).await?;
        let mut last = IndexerError::NoPage("there is no source".into());
        for source in chosen.0 {
            // Whatever an earlier source brought is kept, and read again from where it is kept.
            let kept = Checkpoint::read(self.0.index.checkpoint(&asker).await?.as_deref());
            let checkpoint = Checkpoint { height: kept.height.max(chosen.1), ..kept };
            self.known().source = Some(source.url.clone());
            let mut work = Work::new(self, source, checkpoint);
            match work.pages(progress).await {
                Ok(()) => return work.end().await,
                Err(error) if error.is_the_sources() => {
                    tracing::warn!(source = source.url, %error, "a source could not be read");
                    // What it gave before that is good.
                    work.flush().await?;
                    last = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

impl<'a> Work<'a> {
    fn new(indexer: &'a Indexer, source: &'a Source, checkpoint: Checkpoint) -> Self {
        Self {
            indexer,
            source,
            asker: Asker::server(NAME),
            checkpoint,
            batch: Batch::default(),
            bytes: 0,
            since: Instant::now(),
            seen: HashSet::new(),
            hash: RandomState::new(),
            page_size: indexer.0.config.page_size,
            done: Cycle::default(),
        }
    }

    async fn pages(
        &mut self,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), IndexerError> {
        let most = self.indexer.0.config.records as u64;
        loop {
            let page = self.next_page().await?;
            let has_next = page.has_next;
            let is_good = self.take(page);
            let is_late = self.since.elapsed() >= INDEXER_LOOK_AGAIN;
            if self.batch.changes.len() >= BATCH.0 || self.bytes >= BATCH.1 || is_late || !has_next
            {
                self.flush().await?;
                progress(self.progress());
            }
            is_good?;
            self.done.has_more = has_next;
            if !has_next || self.done.records >= most {
                return self.flush().await;
            }
            self.indexer.may_write()?;
        }
    }

    /// The page behind what was read. One that is too long is asked for in smaller parts.
    async fn next_page(&mut self) -> Result<Page, IndexerError> {
        let (indexer, source) = (self.indexer, self.source);
        loop {
            let after = self.checkpoint.cursors.get(&source.url).map(String::as_str);
            let left = indexer.0.config.records.saturating_sub(self.done.records as usize).max(1);
            let first = self.page_size.min(left);
            match source.page(&indexer.0.config, first, after).await {
                Err(IndexerError::Source(GraphqlError::Upstream(error)))
                    if matches!(error.fault, Fault::TooLong(_)) && first > 1 =>
                {
                    self.page_size = first / 2;
                    tracing::info!(
                        page_size = self.page_size,
                        "pages are too long, and are made shorter"
                    );
                }
                page => return page,
            }
        }
    }

    /// Adds a page to what is to be written. An error says that the page is the last one that may be believed.
    fn take(&mut self, page: Page) -> Result<(), IndexerError> {
        let fields = &self.indexer.0.config.fields;
        for record in &page.records {
            self.done.records += 1;
            self.checkpoint.records += 1;
            match fields.document(record) {
                Ok(document) => {
                    self.bytes += document.bytes();
                    let origin = Origin::Source(self.checkpoint.pass);
                    self.batch.changes.push(Change::Put(Box::new(document), origin));
                }
                Err(error) => self.reject(state::id_of(record), error.to_string()),
            }
        }
        let Some(end) = page.end else { return Ok(()) };
        let before = self.checkpoint.cursors.get(&self.source.url);
        let is_new = self.seen.insert(self.hash.hash_one(&end));
        if page.has_next && (!is_new || before == Some(&end)) {
            return Err(IndexerError::Loop(end.chars().take(100).collect()));
        }
        if self.seen.len() >= INDEXER_CURSORS {
            self.seen.clear();
        }
        self.checkpoint.cursors.insert(self.source.url.clone(), end);
        Ok(())
    }

    fn reject(&mut self, id: Option<String>, why: String) {
        self.checkpoint.rejected += 1;
        tracing::warn!(id, why, "a record is in no index");
        self.indexer.known().reject(id, why);
        self.indexer.0.metrics.documents("source", 0, 1);
    }

    /// Writes what was read, and keeps how far that goes.
    async fn flush(&mut self) -> Result<(), IndexerError> {
        let changes = std::mem::take(&mut self.batch.changes);
        self.bytes = 0;
        self.since = Instant::now();
        let ids: Vec<_> = changes
            .iter()
            .map(|change| match change {
                Change::Put(document, _) => document.id.clone(),
                Change::Delete(id) => id.clone(),
            })
            .collect();
        let checkpoint = Some(self.checkpoint.to_text());
        let batch = Batch { changes, checkpoint, is_visible: false };
        let outcomes = self.indexer.0.index.write(batch, &self.asker).await?;
        let mut written = 0;
        for (id, outcome) in ids.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Rejected(why) => self.reject(Some(id), why),
                _ => written += 1,
            }
        }
        self.indexer.0.metrics.documents("source", written, 0);
        self.indexer.known().went(&self.checkpoint, self.done);
        Ok(())
    }

    /// What is left to do when the pages are over.
    async fn end(&mut self) -> Result<Cycle, IndexerError> {
        if self.done.has_more {
            return Ok(self.done);
        }
        if self.checkpoint.rebuilding {
            let (index, pass) = (&self.indexer.0.index, self.checkpoint.pass);
            let forgotten = index.forget(pass, &self.asker).await?;
            tracing::info!(
                forgotten,
                "the index was rebuilt; what the source no longer has is gone"
            );
            self.checkpoint.rebuilding = false;
            self.flush().await?;
        }
        self.indexer.known().caught_up(Phase::CaughtUp);
        self.indexer.0.metrics.indexer_caught_up.set(state::now_seconds());
        Ok(self.done)
    }

    fn progress(&self) -> Progress {
        let Checkpoint { records, rejected, .. } = self.checkpoint;
        Progress { records: self.done.records, total: records, rejected }
    }
}
