//! Requests that come twice. Invariants: the same key and body again gives the same answer, and one turn; the same key with
//! another body is refused; a key is remembered as a hash, for as long as its dialogue and a while longer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::{Accepted, Dialogues};
use crate::bounds::lease::{Full, Leases, Terms};
use crate::limits;

/// A hash of what was sent.
pub type Digest = [u8; 32];

/// What was asked under a key.
struct Attempt {
    body: Digest,
    accepted: OnceCell<Accepted>,
    /// Whether a sweep found its dialogue over.
    is_over: Mutex<bool>,
}

/// See the module.
pub struct Twice {
    attempts: Leases<Arc<Attempt>>,
    /// The last body of each principal, for a second.
    last: moka::sync::Cache<Arc<str>, Digest>,
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnceError<E> {
    /// It was used for something else.
    OtherBody,
    /// What was asked under it is over.
    TurnOver,
    /// There are too many of them.
    Full(Full),
    /// What was asked failed.
    Asked(E),
}

impl Default for Twice {
    fn default() -> Self {
        let terms = Terms {
            lasts: limits::IDEMPOTENCY_AFTER,
            per_owner: limits::IDEMPOTENCY_KEYS,
            most: limits::IDEMPOTENCY_MOST,
        };
        let last = moka::sync::Cache::builder()
            .max_capacity(limits::KEYS_MOST as u64)
            .time_to_live(Duration::from_secs(1))
            .build();
        Self { attempts: Leases::new(terms), last }
    }
}

impl Dialogues {
    /// Asks under a key: once, however often it is called, also at the same time.
    pub async fn once<E>(
        &self,
        principal: &Arc<str>,
        key: &str,
        body: Digest,
        ask: impl Future<Output = Result<Accepted, E>>,
    ) -> Result<Accepted, OnceError<E>> {
        let twice = self.twice();
        let mut hasher = blake3::Hasher::new();
        // The length keeps two parts apart that could be read as one.
        hasher.update(&(principal.len() as u64).to_le_bytes());
        hasher.update(principal.as_bytes()).update(key.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        let make =
            || Arc::new(Attempt { body, accepted: OnceCell::new(), is_over: Mutex::new(false) });
        let attempt =
            twice.attempts.named(id, Arc::clone(principal), make).map_err(OnceError::Full)?;
        if attempt.body != body {
            return Err(OnceError::OtherBody);
        }
        if let Some(before) = attempt.accepted.get() {
            return match self.find(&before.dialogue, principal) {
                Ok(_) => Ok(before.clone()),
                Err(_) => Err(OnceError::TurnOver),
            };
        }
        let asked = attempt.accepted.get_or_try_init(|| ask).await;
        if asked.is_err() {
            // What failed may be tried again under the same key.
            twice.attempts.drop_named(&id);
        }
        asked.cloned().map_err(OnceError::Asked)
    }

    /// Takes note of a body without a key: true where the same came within the last second.
    pub fn came_before(&self, principal: &Arc<str>, body: Digest) -> bool {
        let last = &self.twice().last;
        let before = last.get(principal);
        last.insert(Arc::clone(principal), body);
        before == Some(body)
    }

    /// Forgets keys whose dialogue has been over for a while.
    pub fn forget_keys(&self) {
        let attempts = &self.twice().attempts;
        attempts.sweep();
        attempts.for_each(|attempt, until| {
            let Some(accepted) = attempt.accepted.get() else { return };
            let mut is_over = attempt.is_over.lock().unwrap_or_else(PoisonError::into_inner);
            if !*is_over && !self.is_there(&accepted.dialogue) {
                *is_over = true;
                *until = Some(tokio::time::Instant::now() + limits::IDEMPOTENCY_AFTER);
            }
        });
    }

    /// Keys that are remembered.
    pub fn keys(&self) -> usize {
        self.twice().attempts.len()
    }
}
