//! Only one indexer at a time on the same data, whatever process it is in. Invariant: the lock is the kernel's, so that it goes with
//! whoever held it, however that ended.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use tokio::sync::MutexGuard;

use super::IndexerError;
use crate::search::SearchError;

/// That nobody else is at work.
pub struct Alone<'a> {
    _file: Option<File>,
    _here: MutexGuard<'a, ()>,
}

impl<'a> Alone<'a> {
    /// Here, it is as `here` says; and elsewhere as the file `path` does.
    pub fn take(here: MutexGuard<'a, ()>, path: Option<&Path>) -> Result<Self, IndexerError> {
        let file = path.map(locked).transpose()?;
        Ok(Self { _file: file, _here: here })
    }
}

fn locked(path: &Path) -> Result<File, IndexerError> {
    let broken = |error: std::io::Error| {
        IndexerError::Index(SearchError::Broken(format!("{}: {error}", path.display())))
    };
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(broken)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(IndexerError::Elsewhere),
        Err(error) => Err(broken(error.into())),
    }
}
