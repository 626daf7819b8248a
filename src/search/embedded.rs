//! The index on this machine's disk. Invariants: what was written is there after a crash, together with the checkpoint that
//! was written with it, or neither is; searching never waits for writing; the memory for writing is there only
//! while somebody writes.
//!
//! Another process may write to it as well, one at a time: what it commits is found here a little later.

mod ask;
mod collect;
mod schema;
mod snapshots;
mod steady;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tantivy::directory::MmapDirectory;
use tantivy::query::TermQuery;
use tantivy::schema::{IndexRecordOption, Value};
use tantivy::{DocAddress, IndexReader, ReloadPolicy, Searcher, TantivyDocument, TantivyError};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::snippet::Finder;
use super::{
    Asker, Batch, Document, Found, Health, Hit, Index, Outcome, Position, SearchError, Sort, Wish,
};
use crate::limits::{
    INDEX_LOCK_WAIT, INDEX_LOOK, INDEX_STORE_BLOCKS, INDEX_WRITER_IDLE, SEARCH_TURN_WAIT,
    SEARCH_WITHIN, SEARCHES,
};
use crate::tasks::Spawner;
use collect::{Rank, Ranked};
use schema::Fields;
use snapshots::Snapshots;
use writer::Writer;

/// What it is called.
pub const NAME: &str = "embedded";
/// The folder of its files, by the version of their layout.
const FOLDER: &str = "index-v1";

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    index: tantivy::Index,
    reader: IndexReader,
    fields: Fields,
    seen: Mutex<Seen>,
    snapshots: Mutex<Snapshots>,
    turns: Arc<Semaphore>,
    writer: Arc<tokio::sync::Mutex<Writer>>,
    spawner: Spawner,
}

/// The state of the files when they were last looked at.
#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    changed: Option<SystemTime>,
}

impl Embedded {
    /// Opens the index in `data`, or makes it. It is closed with the scope of `spawner`.
    pub async fn start(data: &Path, spawner: Spawner) -> Result<Self, SearchError> {
        let folder = data.join(FOLDER);
        let (place, parts) = (folder.clone(), spawner.clone());
        let opened = spawner.blocking("opening the index", move || open(&place, parts)).await;
        let this = Self(Arc::new(opened.ok_or(SearchError::Leaving)??));
        let inner = Arc::downgrade(&this.0);
        spawner.every("index upkeep", INDEX_WRITER_IDLE / 2, move || {
            let inner = inner.upgrade();
            async move {
                let Some(inner) = inner else { return };
                inner.snapshots.lock().unwrap_or_else(PoisonError::into_inner).sweep();
                if let Ok(mut writer) = inner.writer.try_lock() {
                    writer.close_idle().await;
                }
            }
        });
        Ok(this)
    }

    /// Searches in a thread of its own, when it is its turn.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, SearchError> + Send + 'static,
    ) -> Result<T, SearchError> {
        let turn = timeout(SEARCH_TURN_WAIT, Arc::clone(&self.0.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(SearchError::Busy(SEARCH_TURN_WAIT)) };
        let inner = Arc::clone(&self.0);
        let result = self.0.spawner.blocking("search", move || {
            // Until it is over, whoever may still wait for it.
            let _turn = turn;
            work(&inner)
        });
        match timeout(SEARCH_WITHIN, result).await {
            Ok(result) => result.unwrap_or_else(|| Err(self.lost())),
            Err(_) => Err(SearchError::Slow(SEARCH_WITHIN)),
        }
    }

    /// Why work in a thread of its own came to nothing: there are no threads any more, or it panicked.
    fn lost(&self) -> SearchError {
        match self.0.spawner.is_stopping() {
            true => SearchError::Leaving,
            false => SearchError::Broken("a search, or a write, failed; the log says how".into()),
        }
    }

    /// Where it keeps its files.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// What was kept as the version of Evensong's own documentation in it.
    pub async fn guide(&self) -> Result<Option<String>, SearchError> {
        self.blocking(|inner| Ok(writer::kept(&inner.index)?.guide)).await
    }

    /// Writes `batch`, and keeps `guide` with it.
    pub async fn write_guide(&self, batch: Batch, guide: String) -> Result<(), SearchError> {
        self.written(batch, Some(guide)).await.map(drop)
    }

    async fn written(
        &self,
        batch: Batch,
        guide: Option<String>,
    ) -> Result<Vec<Outcome>, SearchError> {
        let (until, batch) = (Instant::now() + INDEX_LOCK_WAIT, Arc::new(batch));
        loop {
            let mut writer = Arc::clone(&self.0.writer).lock_owned().await;
            let (inner, batch, guide) = (Arc::clone(&self.0), Arc::clone(&batch), guide.clone());
            let written = self.0.spawner.errand("index", move || {
                let outcomes = writer.write(&inner.index, &inner.fields, &batch, guide)?;
                inner.reload()?;
                Ok(outcomes)
            });
            match written.await.unwrap_or_else(|| Err(self.lost())) {
                // Another process lets go of it soon, unless it goes on writing.
                Err(SearchError::Locked) if Instant::now() < until => sleep(INDEX_LOOK).await,
                written => return written,
            }
        }
    }
}

fn open(folder: &Path, spawner: Spawner) -> Result<Inner, SearchError> {
    let broken = |what: &str| SearchError::Broken(format!("{}: {what}", folder.display()));
    std::fs::create_dir_all(folder).map_err(|error| broken(&error.to_string()))?;
    // Without it the library would take all other files for rubbish, and begin anew.
    let is_empty = std::fs::read_dir(folder).is_ok_and(|mut files| {
        files.all(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with('.')))
    });
    if !is_empty && !folder.join("meta.json").exists() {
        let hint = "meta.json is missing beside other files; bring it back, or empty the folder";
        return Err(broken(hint));
    }
    let directory = MmapDirectory::open(folder).map_err(|error| broken(&error.to_string()))?;
    let (schema, fields) = schema::schema();
    let builder = tantivy::Index::builder().schema(schema).settings(schema::settings());
    let index = builder.tokenizers(schema::tokenizers()).open_or_create(directory);
    let index = index.map_err(|error| broken(&error.to_string()))?;
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual);
    let reader = reader.doc_store_cache_num_blocks(INDEX_STORE_BLOCKS).try_into();
    let reader = reader.map_err(|error: TantivyError| broken(&error.to_string()))?;
    Ok(Inner {
        writer: Arc::new(tokio::sync::Mutex::new(Writer::new(folder, spawner.clone()))),
        folder: folder.into(),
        index,
        reader,
        fields,
        seen: Mutex::default(),
        snapshots: Mutex::new(Snapshots::new()),
        turns: Arc::new(Semaphore::new(SEARCHES)),
        spawner,
    })
}

impl Inner {
    /// The index as it is now, or was a moment ago.
    fn searcher(&self) -> Result<Searcher, SearchError> {
        self.look()?;
        Ok(self.reader.searcher())
    }

    /// Whether another process has written meanwhile.
    fn look(&self) -> Result<(), SearchError> {
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.at.is_some_and(|at| at.elapsed() < INDEX_LOOK) {
                return Ok(());
            }
            seen.at = Some(Instant::now());
            let changed = self.folder.join("meta.json").metadata().and_then(|file| file.modified());
            let changed = changed.ok();
            if changed == seen.changed {
                return Ok(());
            }
            seen.changed = changed;
        }
        self.reload()
    }

    fn reload(&self) -> Result<(), SearchError> {
        self.reader.reload().map_err(|error| fault(&self.folder, &error))
    }

    fn find(&self, wish: &Wish) -> Result<Found, SearchError> {
        let fault = |error: TantivyError| fault(&self.folder, &error);
        let lock = || self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let (searcher, after) = match &wish.after {
            None => (self.searcher()?, None),
            Some(Position::Time(ms, tie)) => {
                (self.searcher()?, Some(Rank::by_time(wish.question.sort, *ms, *tie)))
            }
            Some(Position::Score(name, score, tie)) => {
                let kept = lock().get(name).ok_or(SearchError::Expired)?;
                (kept, Some(Rank::by_score(*score, *tie)))
            }
        };
        let query = ask::query(&self.fields, wish);
        let (sort, limit) = (wish.question.sort, wish.limit);
        let ranked = Ranked { sort, after, limit: limit + 1 };
        let collected = searcher.search(&query, &ranked).map_err(fault)?;
        let (mut best, total) = (collected.best, collected.total);
        let next = (wish.is_paged && best.len() > limit).then(|| best[limit - 1].0.clone());
        best.truncate(limit);
        let next = next.map(|last| match sort {
            Sort::Relevance => {
                let name = lock().keep(&searcher);
                Position::Score(name, last.score(), last.tie)
            }
            Sort::Newest | Sort::Oldest => Position::Time(last.ms(sort), last.tie),
        });
        let mut finder = Finder::new(wish.question.words.wanted());
        let hits = best.into_iter().map(|(rank, address)| {
            let mut document = self.stored(&searcher, address)?;
            let snippet = finder.snippet(&document.text);
            if !wish.wants_text {
                document.text = String::new();
            }
            let score = (sort == Sort::Relevance).then(|| rank.score());
            Ok(Hit { document, score, snippet })
        });
        let hits = hits.collect::<Result<_, SearchError>>()?;
        Ok(Found { total, is_more: false, hits, next })
    }

    fn stored(&self, searcher: &Searcher, at: DocAddress) -> Result<Document, SearchError> {
        let found = searcher.doc::<TantivyDocument>(at);
        let found = found.map_err(|error| fault(&self.folder, &error))?;
        let json = found.get_first(self.fields.document).and_then(|value| value.as_bytes());
        serde_json::from_slice(json.unwrap_or_default())
            .map_err(|error| SearchError::Broken(format!("a document in it is damaged: {error}")))
    }

    fn document(&self, id: &str) -> Result<Option<Document>, SearchError> {
        let searcher = self.searcher()?;
        let query = TermQuery::new(self.fields.id_term(id), IndexRecordOption::Basic);
        let ranked = Ranked { sort: Sort::Newest, after: None, limit: 1 };
        let found = searcher.search(&query, &ranked);
        let found = found.map_err(|error| fault(&self.folder, &error))?.best.pop();
        found.map(|(_, address)| self.stored(&searcher, address)).transpose()
    }
}

impl Index for Embedded {
    fn name(&self) -> &'static str {
        NAME
    }

    fn find<'a>(
        &'a self,
        wish: &'a Wish,
        _: &'a Asker,
    ) -> BoxFuture<'a, Result<Found, SearchError>> {
        let wish = wish.clone();
        self.blocking(move |inner| inner.find(&wish)).boxed()
    }

    fn document<'a>(
        &'a self,
        id: &'a str,
        _: &'a Asker,
    ) -> BoxFuture<'a, Result<Option<Document>, SearchError>> {
        let id = id.to_string();
        self.blocking(move |inner| inner.document(&id)).boxed()
    }

    fn write<'a>(
        &'a self,
        batch: Batch,
        _: &'a Asker,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, SearchError>> {
        self.written(batch, None).boxed()
    }

    fn checkpoint<'a>(
        &'a self,
        _: &'a Asker,
    ) -> BoxFuture<'a, Result<Option<String>, SearchError>> {
        self.blocking(|inner| Ok(writer::kept(&inner.index)?.checkpoint)).boxed()
    }

    fn forget<'a>(&'a self, before: u64, _: &'a Asker) -> BoxFuture<'a, Result<u64, SearchError>> {
        async move {
            let mut writer = Arc::clone(&self.0.writer).lock_owned().await;
            let inner = Arc::clone(&self.0);
            let forgotten = self.0.spawner.errand("index", move || {
                let query = inner.fields.passes_before(before);
                let there = Ranked { sort: Sort::Newest, after: None, limit: 1 };
                let there = inner.searcher()?.search(&*query, &there);
                let there = there.map_err(|error| fault(&inner.folder, &error))?.total;
                if there > 0 {
                    writer.forget(&inner.index, query)?;
                    inner.reload()?;
                }
                Ok(there)
            });
            forgotten.await.unwrap_or_else(|| Err(self.lost()))
        }
        .boxed()
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

/// What went wrong on the disk.
fn fault(folder: &Path, error: &TantivyError) -> SearchError {
    use tantivy::directory::error::LockError;
    match error {
        TantivyError::LockFailure(LockError::LockBusy, _) => SearchError::Locked,
        _ if is_full(folder, error) => SearchError::Full,
        error => SearchError::Broken(error.to_string()),
    }
}

/// The writer's threads do not always say what stopped them, so the disk is asked as well.
fn is_full(folder: &Path, error: &TantivyError) -> bool {
    const FULL: u64 = 256 * 1024;
    let said = error.to_string();
    let no_space = said.contains("No space left") || said.contains("os error 28");
    let free = rustix::fs::statvfs(folder).map_or(u64::MAX, |disk| disk.f_bavail * disk.f_frsize);
    no_space || (free < FULL && !matches!(error, TantivyError::LockFailure(..)))
}

#[cfg(test)]
mod tests;
