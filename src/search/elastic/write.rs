//! Writes to a search engine. Invariants: the answer to a bulk is read document by document; what the engine had no room for is
//! sent again, later and later, and only what it refuses is given up, with its reason; the checkpoint is kept when
//! all that came before it is.

use bytes::Bytes;
use elasticsearch::http::request::Body as _;
use elasticsearch::{BulkOperation, BulkOperations, BulkParts, IndexParts, SearchParts};
use std::sync::atomic::Ordering::Relaxed;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{CHECKPOINT, Call, Elastic};
use crate::limits::{ENGINE_WRITE_TRIES, ENGINE_WRITE_WITHIN, REJECTED_CHARS};
use crate::search::{Asker, Batch, Change, Document, Origin, Outcome, SearchError};
use crate::upstream::retry;

/// The media type of a bulk.
const NDJSON: &str = "application/x-ndjson";
/// What of its answer is wanted.
const ANSWERED_WITH: &str = "filter_path=items.*.status,items.*.error.type,items.*.error.reason";
/// What is written goes where the alias leads. Without one the engine would make an index of its name, with a mapping of its
/// own devising, and the alias could never be made.
const ONLY_BY_ALIAS: &str = "&require_alias=true";
/// Documents that are looked for at once to be forgotten.
const FORGOTTEN_AT_ONCE: usize = 1000;

/// A document as it lies in the engine: with what it is found and ordered by.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    #[serde(flatten)]
    document: &'a Document,
    created_ms: i64,
    tie: i64,
    origin: &'static str,
    pass: u64,
}

impl<'a> Row<'a> {
    fn new(document: &'a Document, origin: Origin) -> Self {
        let (created_ms, tie) = (document.created_ms(), document.tie());
        Self { document, created_ms, tie, origin: origin.name(), pass: origin.pass() }
    }
}

#[derive(Deserialize)]
struct Bulked {
    items: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Item {
    Index(Did),
    Delete(Did),
}

#[derive(Deserialize)]
struct Did {
    status: u16,
    error: Option<Why>,
}

#[derive(Deserialize)]
struct Why {
    r#type: String,
    #[serde(default)]
    reason: String,
}

impl Elastic {
    pub(super) async fn written(
        &self,
        batch: Batch,
        asker: &Asker,
    ) -> Result<Vec<Outcome>, SearchError> {
        if !self.0.is_prepared.load(Relaxed) {
            return Err(SearchError::Unavailable("its index is not ready yet".into()));
        }
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.changes.len()];
        let mut why = String::new();
        for try_number in 1.. {
            let left: Vec<usize> =
                (0..outcomes.len()).filter(|at| outcomes[*at].is_none()).collect();
            if left.is_empty() {
                break;
            }
            let documents = left.len();
            if try_number > ENGINE_WRITE_TRIES {
                let why = format!("it did not take {documents} documents, again and again: {why}");
                return Err(SearchError::Unavailable(why));
            }
            if try_number > 1 {
                tracing::info!(documents, try_number, why, "documents are sent again");
                tokio::time::sleep(retry::pause(try_number, retry::chance())).await;
            }
            let changes = left.iter().map(|at| &batch.changes[*at]);
            let said = self.bulk(changes, batch.is_visible, asker).await?;
            if said.len() != left.len() {
                return Err(self.garbage("a result for each document is missing"));
            }
            for (at, outcome) in left.into_iter().zip(said) {
                match outcome {
                    Ok(outcome) => outcomes[at] = Some(outcome),
                    Err(reason) => why = reason,
                }
            }
        }
        if batch.is_visible {
            self.forget_snapshot();
        }
        if let Some(checkpoint) = &batch.checkpoint {
            let path = IndexParts::IndexId(&self.0.state, CHECKPOINT).url();
            let body = json!({ "checkpoint": checkpoint });
            let mut call = Call::new(Method::PUT, path, Some(&body));
            call.within = ENGINE_WRITE_WITHIN;
            self.read::<Value>(call, asker).await?;
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Sends `changes`; an error for each that is to be sent again.
    async fn bulk<'a>(
        &self,
        changes: impl Iterator<Item = &'a Change>,
        is_visible: bool,
        asker: &Asker,
    ) -> Result<Vec<Result<Outcome, String>>, SearchError> {
        let mut operations = BulkOperations::new();
        for change in changes {
            let pushed = match change {
                Change::Put(document, origin) => {
                    let row = Row::new(document, *origin);
                    operations.push(BulkOperation::index(row).id(&document.id))
                }
                Change::Delete(id) => operations.push(BulkOperation::<()>::delete(id)),
            };
            pushed.map_err(|error| SearchError::Broken(error.to_string()))?;
        }
        let path = BulkParts::Index(&self.0.alias).url();
        let refresh = if is_visible { "&refresh=wait_for" } else { "" };
        let how = format!("{ONLY_BY_ALIAS}{refresh}");
        self.send(operations.bytes().unwrap_or_default(), &path, &how, asker).await
    }

    /// Sends operations by `path`, and `how` behind it in its query.
    pub(super) async fn send(
        &self,
        body: Bytes,
        path: &str,
        how: &str,
        asker: &Asker,
    ) -> Result<Vec<Result<Outcome, String>>, SearchError> {
        let mut call = Call::new(Method::POST, format!("{path}?{ANSWERED_WITH}{how}"), None);
        call.body = Some((body, NDJSON));
        call.within = ENGINE_WRITE_WITHIN;
        let said: Bulked = self.read(call, asker).await?;
        Ok(said.items.into_iter().map(Item::outcome).collect())
    }

    pub(super) async fn forgotten(&self, before: u64, asker: &Asker) -> Result<u64, SearchError> {
        let alias = [self.0.alias.as_str()];
        let path = format!("{}?filter_path=hits.hits._id", SearchParts::Index(&alias).url());
        let source = Origin::Source(before).name();
        let filter = json!([
            { "term": { "origin": source } },
            { "range": { "pass": { "lt": before } } },
        ]);
        let search = json!({
            "size": FORGOTTEN_AT_ONCE,
            "_source": false,
            "query": { "bool": { "filter": filter } },
        });
        // What was just written anew must not be found as it was before.
        self.refresh(asker).await?;
        let mut forgotten = 0;
        loop {
            let found: Value =
                self.read(Call::new(Method::POST, &*path, Some(&search)), asker).await?;
            let hits = found["hits"]["hits"].as_array().cloned().unwrap_or_default();
            let ids = hits.iter().filter_map(|hit| hit["_id"].as_str());
            let changes: Vec<_> = ids.map(|id| Change::Delete(id.to_string())).collect();
            if changes.is_empty() {
                return Ok(forgotten);
            }
            forgotten += changes.len() as u64;
            self.written(Batch { changes, ..Batch::default() }, asker).await?;
            self.refresh(asker).await?;
        }
    }

    async fn refresh(&self, asker: &Asker) -> Result<(), SearchError> {
        let mut call = Call::new(Method::POST, format!("/{}/_refresh", self.0.alias), None);
        call.within = ENGINE_WRITE_WITHIN;
        self.read::<Value>(call, asker).await.map(drop)
    }
}

impl Item {
    /// What came of it; an error, where that says nothing of the document, which is to be sent again.
    fn outcome(self) -> Result<Outcome, String> {
        let (did, done) = match self {
            Item::Index(did) => (did, Outcome::Indexed),
            Item::Delete(Did { status: 404, error: None }) => return Ok(Outcome::Missing),
            Item::Delete(did) => (did, Outcome::Deleted),
        };
        let Did { status, error } = did;
        let why = error.map(|Why { r#type, reason }| format!("{type}: {reason}"));
        let why: Option<String> = why.map(|why| why.chars().take(REJECTED_CHARS.0).collect());
        match (status, why) {
            (200 | 201, None) => Ok(done),
            // Only this is the document's fault. Else it has no room, or no index, or that is blocked or closed.
            (400, Some(why)) if !why.starts_with("index_closed_exception") => {
                Ok(Outcome::Rejected(why))
            }
            (status, why) => Err(why.unwrap_or_else(|| format!("it answered with {status}"))),
        }
    }
}
