//! Snapshots of a search engine's index (points in time), for pages by relevance. Invariants: one is made for all who come within
//! [`SNAPSHOT_SHARED`], so that their number is that of seconds and not of searches; each is closed when no cursor
//! is good for it any more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use elasticsearch::{ClosePointInTimeParts, OpenPointInTimeParts};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Call, Elastic, ask};
use crate::limits::{SNAPSHOT_KEPT, SNAPSHOT_SHARED};
use crate::search::{Asker, SearchError};

/// See the module.
#[derive(Default)]
pub struct Snapshots {
    /// The newest at the end.
    open: Mutex<VecDeque<Snapshot>>,
    /// One is made at a time, and the others wait for it.
    making: tokio::sync::Mutex<()>,
    /// Whether the engine is an OpenSearch, which calls them something else.
    other_words: AtomicBool,
}

struct Snapshot {
    id: String,
    made: Instant,
    /// What was written meanwhile is not in it, and its writer was told that it can be found.
    is_old: bool,
}

impl Elastic {
    /// The name of a snapshot of now, or a moment ago.
    pub(super) async fn snapshot(&self, asker: &Asker) -> Result<String, SearchError> {
        if let Some(id) = self.fresh_snapshot() {
            return Ok(id);
        }
        let _making = self.0.snapshots.making.lock().await;
        if let Some(id) = self.fresh_snapshot() {
            return Ok(id);
        }
        // From before the asking: what is written meanwhile may not be in it.
        let made = Instant::now();
        let id = self.open_snapshot(asker).await?;
        self.open_snapshots().push_back(Snapshot { id: id.clone(), made, is_old: false });
        Ok(id)
    }

    /// Sees to it that what was written until now is found by whoever comes now.
    pub(super) fn forget_snapshot(&self) {
        self.open_snapshots().iter_mut().for_each(|snapshot| snapshot.is_old = true);
    }

    /// Closes those for which no cursor is good any more.
    pub(super) async fn sweep_snapshots(&self, asker: &Asker) {
        let over: Vec<String> = {
            let mut open = self.open_snapshots();
            let kept = SNAPSHOT_SHARED + SNAPSHOT_KEPT;
            let over = open.iter().take_while(|snapshot| snapshot.made.elapsed() > kept).count();
            open.drain(..over).map(|snapshot| snapshot.id).collect()
        };
        for id in over {
            // Where it cannot be closed the engine forgets it by itself.
            let call = match self.0.snapshots.other_words.load(Relaxed) {
                false => {
                    let path = ClosePointInTimeParts::None.url();
                    Call::new(Method::DELETE, path, Some(&json!({ "id": id })))
                }
                true => {
                    let body = json!({ "pit_id": [id] });
                    Call::new(Method::DELETE, OPEN_SEARCH_PATH, Some(&body))
                }
            };
            let _ = self.say(call, asker).await;
        }
    }

    fn fresh_snapshot(&self) -> Option<String> {
        let open = self.open_snapshots();
        let newest = open.back()?;
        let is_fresh = !newest.is_old && newest.made.elapsed() < SNAPSHOT_SHARED;
        is_fresh.then(|| newest.id.clone())
    }

    fn open_snapshots(&self) -> std::sync::MutexGuard<'_, VecDeque<Snapshot>> {
        self.0.snapshots.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open_snapshot(&self, asker: &Asker) -> Result<String, SearchError> {
        let words = &self.0.snapshots.other_words;
        let alias = [self.0.alias.as_str()];
        let keep = format!("keep_alive={}", ask::keep_alive());
        if !words.load(Relaxed) {
            let path = format!("{}?{keep}", OpenPointInTimeParts::Index(&alias).url());
            let said = self.say(Call::new(Method::POST, path, None), asker).await?;
            // OpenSearch takes the path for something else.
            if !matches!(said.status, StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED) {
                let said: Value = self.parse(&self.good(said)?)?;
                return self.named(&said["id"]);
            }
        }
        let path = format!("/{}{OPEN_SEARCH_PATH}?{keep}", alias[0]);
        let said: Value = self.read(Call::new(Method::POST, path, None), asker).await?;
        let id = self.named(&said["pit_id"])?;
        words.store(true, Relaxed);
        Ok(id)
    }

    fn named(&self, id: &Value) -> Result<String, SearchError> {
        let id = id.as_str().ok_or_else(|| self.garbage("no name of a point in time"))?;
        Ok(id.to_string())
    }
}

/// Where OpenSearch has its points in time.
const OPEN_SEARCH_PATH: &str = "/_search/point_in_time";
