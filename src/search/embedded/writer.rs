//! Writes to the index on disk. Invariants: a batch is wholly there or not at all, and so is what is kept with it; a batch that
//! fails leaves nothing behind that a later one would bring with it; memory, threads and files are held only while
//! somebody writes.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tantivy::indexer::IndexWriterOptions;
use tantivy::merge_policy::LogMergePolicy;
use tantivy::query::Query;
use tantivy::{IndexWriter, TantivyError};

use super::fault;
use super::schema::Fields;
use crate::ledger::{Entry, Kind};
use crate::limits::{INDEX_SEGMENT_MOST, INDEX_WRITER_BYTES, INDEX_WRITER_IDLE};
use crate::search::{Batch, Change, Outcome, SearchError};
use crate::tasks::Spawner;

/// See the module.
pub struct Writer {
    folder: PathBuf,
    spawner: Spawner,
    open: Option<Open>,
}

struct Open {
    writer: IndexWriter,
    used: Instant,
    _entry: Entry,
}

/// What is kept beside the documents, with every commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// How far the indexer has come.
    pub checkpoint: Option<String>,
    /// The version of Evensong's documentation that is in it.
    pub guide: Option<String>,
}

/// What is kept in `index`.
pub fn kept(index: &tantivy::Index) -> Result<Kept, SearchError> {
    let metas = index.load_metas().map_err(|error| SearchError::Broken(error.to_string()))?;
    let Some(payload) = metas.payload else { return Ok(Kept::default()) };
    serde_json::from_str(&payload).map_err(|error| SearchError::Broken(error.to_string()))
}

impl Writer {
    /// For the index in `folder`. Nothing is opened yet.
    pub fn new(folder: &Path, spawner: Spawner) -> Self {
        Self { folder: folder.into(), spawner, open: None }
    }

    /// Makes the changes of `batch`.
    pub fn write(
        &mut self,
        index: &tantivy::Index,
        fields: &Fields,
        batch: &Batch,
        guide: Option<String>,
    ) -> Result<Vec<Outcome>, SearchError> {
        let there = |id: &str| {
            let searcher = index.reader_builder().reload_policy(tantivy::ReloadPolicy::Manual);
            let searcher: tantivy::IndexReader = searcher.try_into()?;
            let query = tantivy::query::TermQuery::new(
                fields.id_term(id),
                tantivy::schema::IndexRecordOption::Basic,
            );
            Ok::<_, TantivyError>(
                searcher.searcher().search(&query, &tantivy::collector::Count)? > 0,
            )
        };
        self.commit(index, |writer| {
            let mut outcomes = Vec::with_capacity(batch.changes.len());
            for change in &batch.changes {
                outcomes.push(match change {
                    Change::Put(document, origin) => {
                        writer.delete_term(fields.id_term(&document.id));
                        writer.add_document(fields.row(document, *origin))?;
                        Outcome::Indexed
                    }
                    Change::Delete(id) => {
                        writer.delete_term(fields.id_term(id));
                        if there(id)? { Outcome::Deleted } else { Outcome::Missing }
                    }
                });
            }
            let change = |kept: &mut Kept| {
                if batch.checkpoint.is_some() {
                    kept.checkpoint.clone_from(&batch.checkpoint);
                }
                if guide.is_some() {
                    kept.guide.clone_from(&guide);
                }
            };
            Ok((outcomes, Some(change)))
        })
    }

    /// Forgets what fits `query`.
    pub fn forget(
        &mut self,
        index: &tantivy::Index,
        query: Box<dyn Query>,
    ) -> Result<(), SearchError> {
        self.commit(index, |writer| {
            writer.delete_query(query)?;
            Ok(((), None::<fn(&mut Kept)>))
        })
    }

    fn commit<T, C: FnOnce(&mut Kept)>(
        &mut self,
        index: &tantivy::Index,
        work: impl FnOnce(&mut IndexWriter) -> tantivy::Result<(T, Option<C>)>,
    ) -> Result<T, SearchError> {
        let mut kept = kept(index)?;
        let folder = self.folder.clone();
        let open = self.opened(index)?;
        let attempt = || {
            let (result, change) = work(&mut open.writer)?;
            if let Some(change) = change {
                change(&mut kept);
            }
            let mut prepared = open.writer.prepare_commit()?;
            prepared.set_payload(&serde_json::to_string(&kept).unwrap_or_default());
            prepared.commit()?;
            Ok(result)
        };
        let result = attempt();
        open.used = Instant::now();
        // A writer that failed may have lost a thread, and holds what was not committed: it is not used again, and what it
        // has written in vain makes room for others.
        result.map_err(|error: TantivyError| {
            let fault = fault(&folder, &error);
            if let Some(mut open) = self.open.take() {
                let cleared = open.writer.rollback();
                let cleared = cleared.and_then(|_| open.writer.garbage_collect_files().wait());
                if let Err(error) = cleared {
                    tracing::warn!(%error, "what could not be written is not cleared away");
                }
            }
            fault
        })
    }

    fn opened(&mut self, index: &tantivy::Index) -> Result<&mut Open, SearchError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let options = IndexWriterOptions::builder()
                    .num_worker_threads(1)
                    .num_merge_threads(1)
                    .memory_budget_per_thread(INDEX_WRITER_BYTES)
                    .build();
                let bytes = INDEX_WRITER_BYTES as u64;
                let entry = self.spawner.ledger().enter(Kind::IndexWriter, "search", bytes);
                let writer = index.writer_with_options(options);
                let writer: IndexWriter = writer.map_err(|error| fault(&self.folder, &error))?;
                let mut policy = LogMergePolicy::default();
                policy.set_max_docs_before_merge(INDEX_SEGMENT_MOST);
                writer.set_merge_policy(Box::new(policy));
                Open { writer, used: Instant::now(), _entry: entry }
            }
        };
        Ok(self.open.insert(open))
    }

    /// Closes what nobody has used for a while.
    pub async fn close_idle(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.used.elapsed() >= INDEX_WRITER_IDLE) {
            self.close_now().await;
        }
    }

    /// Closes it.
    pub async fn close_now(&mut self) {
        let Some(Open { writer, _entry, .. }) = self.open.take() else { return };
        let closing = self.spawner.errand("index", move || {
            // What is being merged is finished, or it would be begun again the next time.
            if let Err(error) = writer.wait_merging_threads() {
                tracing::warn!(%error, "segments of the index could not be merged");
            }
            drop(_entry);
        });
        closing.await;
    }
}
