//! Files in memory. Invariants: each has its own reservation, which goes back when its last reader has dropped it, evicted or
//! not; of simultaneous first requests one reads; what is taken in is the content that its hash names.

use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use moka::future::Cache;

use super::catalogue::{Entry, digits};
use super::root::Root;
use crate::bounds::{Budget, Reservation};
use crate::ledger::{self, Kind, Ledger};
use crate::limits;
use crate::tasks::Spawner;

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Hot {
    kept: Cache<Arc<str>, Bytes>,
    budget: Budget,
    ledger: Ledger,
    /// The largest file that is taken in.
    most: u64,
}

/// A file's bytes, and what they cost.
struct Held {
    bytes: Vec<u8>,
    _reservation: Reservation,
    _entry: ledger::Entry,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a file is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cold {
    /// There is no room for it.
    NoRoom,
    /// It is not what it was.
    Changed,
}

impl Hot {
    /// Holds at most `bytes`, those included that are evicted and still read.
    pub fn new(bytes: u64, ledger: Ledger) -> Self {
        // The rest is for what comes before something else has gone.
        let settled = bytes - bytes / limits::MEDIA_COMING_PART;
        let kept = Cache::builder()
            .weigher(|name: &Arc<str>, bytes: &Bytes| {
                u32::try_from(bytes.len() + name.len() + limits::PHRASE_OVERHEAD_BYTES)
                    .unwrap_or(u32::MAX)
            })
            .max_capacity(settled)
            .time_to_idle(limits::MEDIA_IDLE_MOST)
            .build();
        Self { kept, budget: Budget::new(bytes), ledger, most: bytes / limits::MEDIA_COMING_PART }
    }

    /// The bytes of `entry`, read from `root` if they are not here, on a thread of `spawner`.
    pub async fn get(
        &self,
        entry: &Arc<Entry>,
        root: &Root,
        spawner: &Spawner,
    ) -> Result<Bytes, Cold> {
        if entry.stamp.length > self.most {
            return Err(Cold::NoRoom);
        }
        // By content: a file that changed is another one, and two of one content are one.
        if let Some(bytes) = self.kept.get(&*entry.hash).await {
            return Ok(bytes);
        }
        let key: Arc<str> = entry.hash.as_str().into();
        let read = self.read(entry, root, spawner);
        self.kept.try_get_with(key, read).await.map_err(|error| *error)
    }

    async fn read(
        &self,
        entry: &Arc<Entry>,
        root: &Root,
        spawner: &Spawner,
    ) -> Result<Bytes, Cold> {
        let length = entry.stamp.length;
        let reservation = match self.budget.reserve(length) {
            Some(reservation) => reservation,
            None => {
                // What was evicted goes when the cache gets to it.
                self.kept.run_pending_tasks().await;
                self.budget.reserve(length).ok_or(Cold::NoRoom)?
            }
        };
        let held = self.ledger.enter(Kind::MediaCached, Arc::clone(&entry.name), length);
        let (root, entry) = (root.clone(), Arc::clone(entry));
        let read = move || {
            let (mut file, stamp) = root.file(&entry.name).ok()?;
            let mut bytes = Vec::with_capacity(stamp.length as usize);
            if stamp != entry.stamp
                || (&mut *file).take(stamp.length + 1).read_to_end(&mut bytes).is_err()
            {
                return None;
            }
            // A file can be written over without a trace in its times; its content tells.
            let is_same =
                bytes.len() as u64 == stamp.length && digits(&blake3::hash(&bytes)) == entry.hash;
            is_same.then_some(bytes)
        };
        let bytes = spawner.blocking("media read", read).await.flatten().ok_or(Cold::Changed)?;
        Ok(Bytes::from_owner(Held { bytes, _reservation: reservation, _entry: held }))
    }

    /// Drops all that nobody reads.
    #[cfg(test)]
    pub async fn forget_all(&self) {
        let names: Vec<_> = self.kept.iter().map(|(name, _)| name).collect();
        for name in names {
            self.kept.invalidate(&*name).await;
        }
        self.kept.run_pending_tasks().await;
    }

    /// Drops the content of that hash from the cache.
    pub async fn forget(&self, hash: &str) {
        self.kept.invalidate(hash).await;
    }
}
