//! Search: documents, questions about them, and where they are kept. Invariants: what is asked of an index is bounded
//! before it is asked, in words, hits and depth; a text that came from outside reaches a page as text, never
//! as markup; a cursor is one that was given out here, for the same question.
//!
//! There are two indexes behind one trait: [`embedded`] on this machine's disk, and [`elastic`] in a search engine.

pub mod cursor;
pub mod document;
pub mod elastic;
pub mod embedded;
pub mod guide;
pub mod indexer;
pub mod query;
pub mod snippet;
pub mod terms;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::ledger::Departure;
use crate::upstream::UpstreamError;
pub use cursor::{CursorError, Signer};
pub use document::{Document, Rejected};
pub use query::{BadQuestion, Filters, Question, Sort, Words};

/// Keeps documents and finds them.
pub trait Index: Send + Sync + 'static {
    /// What it is called where clients are told who answered.
    fn name(&self) -> &'static str;
    /// What `wish` asks for.
    fn find<'a>(
        &'a self,
        wish: &'a Wish,
        asker: &'a Asker,
    ) -> BoxFuture<'a, Result<Found, SearchError>>;
    /// The document `id`.
    fn document<'a>(
        &'a self,
        id: &'a str,
        asker: &'a Asker,
    ) -> BoxFuture<'a, Result<Option<Document>, SearchError>>;
    /// Makes all the changes of `batch`, and says of each what came of it, in their order. Where this is an error, all of
    /// them may be made again: a change that was made twice is made once.
    fn write<'a>(
        &'a self,
        batch: Batch,
        asker: &'a Asker,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, SearchError>>;
    /// What was last kept with a batch.
    fn checkpoint<'a>(
        &'a self,
        asker: &'a Asker,
    ) -> BoxFuture<'a, Result<Option<String>, SearchError>>;
    /// Forgets the records of `before` passes earlier than this one, which the source no longer has; and says how many.
    fn forget<'a>(
        &'a self,
        before: u64,
        asker: &'a Asker,
    ) -> BoxFuture<'a, Result<u64, SearchError>>;
    /// Whether it can be asked.
    fn health(&self) -> Health;
}

/// For whom an index is asked.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The id of the request.
    pub owner: Arc<str>,
    /// The client; none: the server itself.
    pub departure: Option<Departure>,
}

impl Asker {
    /// The server itself, as `owner`.
    pub fn server(owner: &str) -> Self {
        Self { owner: owner.into(), departure: None }
    }
}

/// A question, as an index is asked it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// What is looked for.
    pub question: Question,
    /// Where the words must stand.
    pub within: Within,
    /// The most hits.
    pub limit: usize,
    /// Behind which hit it goes on.
    pub after: Option<Position>,
    /// Whether there may be a next page, so that its place is worth keeping.
    pub is_paged: bool,
    /// Whether hits bring their whole text.
    pub wants_text: bool,
}

/// Where words are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// In titles and texts.
    All,
    /// In titles.
    Titles,
}

/// The place of a hit in an order.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
pub enum Position {
    /// By time: when the document was made, in ms since 1970, and its tie.
    Time(i64, i64),
    /// By relevance, within a snapshot of the index: its name, the score, and the tie.
    Score(String, f32, i64),
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// How many there are in all,
    pub total: u64,
    /// or more than these.
    pub is_more: bool,
    /// The best of them.
    pub hits: Vec<Hit>,
    /// Where the next page begins, if there is one.
    pub next: Option<Position>,
}

/// A document that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The document; its text is empty unless it was wished for.
    pub document: Document,
    /// By relevance: how well it fits.
    pub score: Option<f32>,
    /// A piece of its text as HTML: what fits stands in `<em>`, all else is escaped.
    pub snippet: String,
}

/// What changes at once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// In this order.
    pub changes: Vec<Change>,
    /// What is kept with them, if they could be made.
    pub checkpoint: Option<String>,
    /// Whether they are to be found at once when this is over.
    pub is_visible: bool,
}

/// A change.
#[derive(Clone, Debug)]
pub enum Change {
    /// This is the document of its id from now on.
    Put(Box<Document>, Origin),
    /// There is none of this id.
    Delete(String),
}

/// Where a document came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody put it here.
    Put,
    /// Evensong's own documentation.
    Guide,
    /// The indexer's source, in this pass over it.
    Source(u64),
}

impl Origin {
    /// As it is kept.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Put => "put",
            Origin::Guide => "guide",
            Origin::Source(_) => "source",
        }
    }

    /// The pass, where there is one.
    pub fn pass(self) -> u64 {
        if let Origin::Source(pass) = self { pass } else { 0 }
    }
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The document is kept.
    Indexed,
    /// It is gone.
    Deleted,
    /// There was none.
    Missing,
    /// The index does not want it.
    Rejected(String),
}

/// Whether an index can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ready,
    /// Not yet.
    Starting,
    /// It cannot, and why.
    Unavailable(String),
}

/// Why nothing was found, or nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The search engine failed.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The index is not there, or not what it should be.
    #[error("nothing can be searched at present: {0}")]
    Unavailable(String),
    /// Too many are searching.
    #[error("too many searches are under way, and none ended within {} ms", .0.as_millis())]
    Busy(Duration),
    /// It took too long.
    #[error("the search was not over after {} ms", .0.as_millis())]
    Slow(Duration),
    /// The snapshot that a cursor is of is no longer kept.
    #[error("what this cursor goes on with is no longer kept; ask again without it")]
    Expired,
    /// Nothing can be written at present, since another process does.
    #[error("another process writes to this index")]
    Locked,
    /// The disk is full.
    #[error("the index cannot be written: no space is left")]
    Full,
    /// The index on disk cannot be read or written.
    #[error("the index: {0}")]
    Broken(String),
    /// The server is leaving.
    #[error("the server is shutting down")]
    Leaving,
}

impl SearchError {
    /// Whether the same may go well later.
    pub fn may_pass(&self) -> bool {
        !matches!(self, SearchError::Expired)
    }
}

/// An index, and what signs its cursors. Clones share both.
#[derive(Clone)]
pub struct Search {
    index: Arc<dyn Index>,
    signer: Arc<Signer>,
}

impl Search {
    /// Over `index`.
    pub fn new(index: Arc<dyn Index>, signer: Signer) -> Self {
        Self { index, signer: Arc::new(signer) }
    }

    /// The index.
    pub fn index(&self) -> &dyn Index {
        &*self.index
    }

    /// As [`Search::index`], to be kept.
    pub fn shared_index(&self) -> Arc<dyn Index> {
        Arc::clone(&self.index)
    }

    /// The first page of what `question` asks for, or the one at `cursor`; and the cursor of the next.
    pub async fn page(
        &self,
        question: Question,
        limit: usize,
        cursor: Option<&str>,
        asker: &Asker,
    ) -> Result<(Found, Option<String>), PageError> {
        let after = cursor.map(|text| self.signer.open(text, &question)).transpose()?;
        let wish =
            Wish { question, within: Within::All, limit, after, is_paged: true, wants_text: false };
        let found = self.index.find(&wish, asker).await?;
        let next = found.next.as_ref().map(|next| self.signer.sign(next, &wish.question));
        Ok((found, next))
    }

    /// Titles in which `words` stand, the last of them perhaps unfinished.
    pub async fn suggest(
        &self,
        words: Words,
        limit: usize,
        asker: &Asker,
    ) -> Result<Vec<Hit>, SearchError> {
        let question = Question { words, filters: Filters::default(), sort: Sort::Relevance };
        let (within, after) = (Within::Titles, None);
        // Some share a title, and are shown once.
        let limit = limit * 2;
        let wish = Wish { question, within, limit, after, is_paged: false, wants_text: false };
        Ok(self.index.find(&wish, asker).await?.hits)
    }
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// For want of a good cursor.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// For another reason.
    #[error(transparent)]
    Search(#[from] SearchError),
}
