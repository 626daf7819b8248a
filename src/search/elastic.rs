//! The index in a search engine: Elasticsearch, or OpenSearch. Invariants: an answer is asked for small, and is read within a
//! bound and a deadline; nothing that was written is taken for written before the engine said so, document by
//! document; whatever the engine does, speech does not notice.
//!
//! The forms of what is said are those of the elasticsearch crate; the transport is ours. The crate's own follows
//! redirects, unpacks what is packed, reads an answer to its end however long that is, and keeps sockets of which
//! no ledger knows; none of which can be changed from outside.

mod answer;
mod ask;
mod setup;
mod snapshots;
mod write;

use std::borrow::Cow;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use elasticsearch::cluster::ClusterHealthParts;
use elasticsearch::{GetParts, SearchParts};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Asker, Batch, Document, Found, Health, Index, Outcome, Position, SearchError, Wish};
use crate::limits::{ENGINE_ANSWER_BYTES, ENGINE_LOOK, SEARCH_WITHIN, engine_found_bytes};
use crate::tasks::Spawner;
use crate::upstream::{Answer, Ask, Fault, Upstream};
use snapshots::Snapshots;

/// What it is called, also in logs.
pub const NAME: &str = "ES";
/// As clients are told it.
const BACKEND: &str = "elasticsearch";
/// The document in which the checkpoint is kept.
const CHECKPOINT: &str = "indexer";

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Elastic(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    /// The alias under which documents are searched and written; what lies under it has its version in its name.
    alias: String,
    /// The index for what is not a document.
    state: String,
    snapshots: Snapshots,
    /// Whether there is an index to write to.
    is_prepared: AtomicBool,
    /// Whether it was said that words are found as they are spelt.
    lacks_analyzers: AtomicBool,
    health: Mutex<Health>,
}

/// A request to the engine.
struct Call {
    method: Method,
    path: String,
    body: Option<(Bytes, &'static str)>,
    most_bytes: u64,
    within: std::time::Duration,
}

impl Call {
    /// Of JSON, which is a search and takes no longer than one may.
    fn new(method: Method, path: impl Into<String>, body: Option<&Value>) -> Self {
        let body = body.map(|body| (Bytes::from(body.to_string()), crate::upstream::JSON));
        let most_bytes = ENGINE_ANSWER_BYTES;
        Self { method, path: path.into(), body, most_bytes, within: SEARCH_WITHIN }
    }
}

/// An answer of the engine.
struct Said {
    status: StatusCode,
    body: Bytes,
}

impl Elastic {
    /// The index `name` of `upstream`. It is made ready, and looked after, in the scope of `spawner`.
    pub fn start(upstream: Upstream, name: &str, spawner: &Spawner) -> Self {
        let this = Self(Arc::new(Inner {
            upstream,
            alias: name.to_string(),
            state: format!("{name}-state"),
            snapshots: Snapshots::default(),
            is_prepared: AtomicBool::new(false),
            lacks_analyzers: AtomicBool::new(false),
            health: Mutex::new(Health::Starting),
        }));
        let looking = this.clone();
        spawner.every("search engine", ENGINE_LOOK, move || {
            let this = looking.clone();
            async move { this.look().await }
        });
        this
    }

    /// Makes it ready if it is not, and asks how it is.
    async fn look(&self) {
        let asker = Asker::server("search-engine");
        let health = match self.health() {
            Health::Ready => self.state(&asker).await,
            _ => match self.prepare(&asker).await {
                Ok(()) => self.state(&asker).await,
                Err(error) => Err(error),
            },
        };
        self.sweep_snapshots(&asker).await;
        let health =
            health.err().map_or(Health::Ready, |error| Health::Unavailable(error.to_string()));
        let mut known = self.0.health.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != health {
            match &health {
                Health::Unavailable(why) => tracing::warn!(why, "the search engine cannot be used"),
                _ => tracing::info!(index = self.0.alias, "the search engine can be used"),
            }
            *known = health;
        }
    }

    async fn state(&self, asker: &Asker) -> Result<(), SearchError> {
        let path = format!("{}?filter_path=status", ClusterHealthParts::None.url());
        let said: Value = self.read(Call::new(Method::GET, path, None), asker).await?;
        match said["status"].as_str() {
            Some("green" | "yellow") if self.under_alias(asker).await?.is_some() => Ok(()),
            Some("green" | "yellow") => {
                self.0.is_prepared.store(false, Relaxed);
                Err(SearchError::Unavailable("its index is gone, and will be made anew".into()))
            }
            Some(status) => Err(SearchError::Unavailable(format!("its state is {status}"))),
            None => Err(self.garbage("no state of its cluster")),
        }
    }

    /// As [`Elastic::find_with`]. An engine shows the whole of a text that has no place to cut it; then none is shown.
    async fn find_once(&self, wish: &Wish, asker: &Asker) -> Result<Found, SearchError> {
        match self.find_with(wish, true, asker).await {
            Err(SearchError::Upstream(error)) if matches!(error.fault, Fault::TooLong(_)) => {
                self.find_with(wish, false, asker).await
            }
            found => found,
        }
    }

    async fn find_with(
        &self,
        wish: &Wish,
        with_snippets: bool,
        asker: &Asker,
    ) -> Result<Found, SearchError> {
        let snapshot = match &wish.after {
            Some(Position::Score(name, ..)) => Some(name.clone()),
            _ if wish.is_paged && ask::is_by_score(wish) => Some(self.snapshot(asker).await?),
            _ => None,
        };
        let body = ask::body(wish, snapshot.as_deref(), with_snippets);
        let alias = [self.0.alias.as_str()];
        // A snapshot knows of which index it is.
        let parts = if snapshot.is_some() { SearchParts::None } else { SearchParts::Index(&alias) };
        let path = format!("{}?{}", parts.url(), ask::ANSWERED_WITH);
        let mut call = Call::new(Method::POST, path, None);
        call.body = Some((body, crate::upstream::JSON));
        call.most_bytes = engine_found_bytes(wish.limit, wish.wants_text);
        let said = self.say(call, asker).await?;
        if said.status == StatusCode::NOT_FOUND && snapshot.is_some() {
            return Err(SearchError::Expired);
        }
        if said.status == StatusCode::NOT_FOUND {
            return Err(SearchError::Unavailable("its index is not there".into()));
        }
        let said: answer::Searched = self.parse(&self.good(said)?)?;
        if said._shards.total == 0 && snapshot.is_some() {
            return Err(SearchError::Expired);
        }
        if said.timed_out {
            return Err(SearchError::Slow(SEARCH_WITHIN));
        }
        said.found(wish, snapshot).ok_or_else(|| self.garbage("hits without their place"))
    }

    /// Asks, and whatever it answers will do.
    async fn say(&self, call: Call, asker: &Asker) -> Result<Said, SearchError> {
        let ask = Ask {
            method: call.method,
            body: call.body.map(|(bytes, media_type)| (bytes, media_type.into())),
            departure: asker.departure.clone(),
            takes_any_status: true,
            most_bytes: call.most_bytes,
            within: Some(call.within),
            ..Ask::errand(Cow::Owned(call.path), None, Arc::clone(&asker.owner))
        };
        let (Answer { status, .. }, body) = self.0.upstream.whole(&ask).await?;
        Ok(Said { status, body })
    }

    /// What it says, where that is a success.
    fn good(&self, said: Said) -> Result<Bytes, SearchError> {
        if said.status.is_success() {
            return Ok(said.body);
        }
        let words = self.0.upstream.words(&said.body);
        let explains = Fault::explains(said.status).then_some(words);
        Err(self.error(Fault::of_status(said.status, &http::HeaderMap::new(), explains)))
    }

    fn parse<T: DeserializeOwned>(&self, json: &[u8]) -> Result<T, SearchError> {
        serde_json::from_slice(json).map_err(|error| self.garbage(&error.to_string()))
    }

    async fn read<T: DeserializeOwned>(&self, call: Call, asker: &Asker) -> Result<T, SearchError> {
        let said = self.say(call, asker).await?;
        self.parse(&self.good(said)?)
    }

    fn garbage(&self, what: &str) -> SearchError {
        self.error(Fault::Garbage(what.to_string()))
    }

    fn error(&self, fault: Fault) -> SearchError {
        SearchError::Upstream(self.0.upstream.error(fault))
    }
}

impl Index for Elastic {
    fn name(&self) -> &'static str {
        BACKEND
    }

    fn find<'a>(
        &'a self,
        wish: &'a Wish,
        asker: &'a Asker,
    ) -> BoxFuture<'a, Result<Found, SearchError>> {
        async move {
            match self.find_once(wish, asker).await {
                // The snapshot that all share is gone, as after a restart of the engine; nobody was promised it.
                Err(SearchError::Expired) if wish.after.is_none() => {
                    self.forget_snapshot();
                    match self.find_once(wish, asker).await {
                        Err(SearchError::Expired) => {
                            Err(SearchError::Unavailable("its index is not there".into()))
                        }
                        found => found,
                    }
                }
                found => found,
            }
        }
        .boxed()
    }

    fn document<'a>(
        &'a self,
        id: &'a str,
        asker: &'a Asker,
    ) -> BoxFuture<'a, Result<Option<Document>, SearchError>> {
        async move {
            let path = GetParts::IndexId(&self.0.alias, id).url();
            let path = format!("{path}?filter_path=found,_source,error");
            let said = self.say(Call::new(Method::GET, path, None), asker).await?;
            let is_missing = said.status == StatusCode::NOT_FOUND;
            let body = if is_missing { said.body } else { self.good(said)? };
            let said: answer::Got = self.parse(&body)?;
            match said.document {
                None if said.found == Some(false) => Ok(None),
                Some(document) => Ok(Some(document.into())),
                None => Err(SearchError::Unavailable("the index is not there".into())),
            }
        }
        .boxed()
    }

    fn write<'a>(
        &'a self,
        batch: Batch,
        asker: &'a Asker,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, SearchError>> {
        self.written(batch, asker).boxed()
    }

    fn checkpoint<'a>(
        &'a self,
        asker: &'a Asker,
    ) -> BoxFuture<'a, Result<Option<String>, SearchError>> {
        async move {
            let path = GetParts::IndexId(&self.0.state, CHECKPOINT).url();
            let said = self.say(Call::new(Method::GET, path, None), asker).await?;
            if said.status == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let said: Value = self.parse(&self.good(said)?)?;
            Ok(said["_source"]["checkpoint"].as_str().map(ToString::to_string))
        }
        .boxed()
    }

    fn forget<'a>(
        &'a self,
        before: u64,
        asker: &'a Asker,
    ) -> BoxFuture<'a, Result<u64, SearchError>> {
        self.forgotten(before, asker).boxed()
    }

    fn health(&self) -> Health {
        self.0.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// That nothing is kept of what is asked for.
fn nothing() -> Value {
    json!({})
}
