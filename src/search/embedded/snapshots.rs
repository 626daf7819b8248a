//! The index as it was, for whoever is in the middle of its hits. Invariant: never more than [`SNAPSHOTS`], none longer than
//! somebody may still ask for it; each holds the files that it is of, and no copy of them.

use std::collections::VecDeque;
use std::time::Instant;

use tantivy::Searcher;

use crate::limits::{SNAPSHOT_KEPT, SNAPSHOTS};

/// See the module.
pub struct Snapshots {
    /// What distinguishes this process from earlier ones.
    process: u32,
    /// The one that was asked for last at the end.
    kept: VecDeque<Kept>,
}

struct Kept {
    searcher: Searcher,
    asked: Instant,
}

impl Snapshots {
    /// None yet.
    pub fn new() -> Self {
        let mut process = [0; 4];
        // Without randomness a cursor of an earlier process may be taken for one of this, and is nothing worse.
        let _ = getrandom::fill(&mut process);
        Self { process: u32::from_le_bytes(process), kept: VecDeque::new() }
    }

    /// Keeps `searcher`; its name.
    pub fn keep(&mut self, searcher: &Searcher) -> String {
        self.sweep();
        let number = searcher.generation().generation_id();
        self.kept.retain(|kept| kept.searcher.generation().generation_id() != number);
        if self.kept.len() == SNAPSHOTS {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept { searcher: searcher.clone(), asked: Instant::now() });
        format!("{:x}.{number:x}", self.process)
    }

    /// The one of that name.
    pub fn get(&mut self, name: &str) -> Option<Searcher> {
        self.sweep();
        let (process, number) = name.split_once('.')?;
        let number = u64::from_str_radix(number, 16).ok()?;
        if u32::from_str_radix(process, 16).ok()? != self.process {
            return None;
        }
        let found = |kept: &&Kept| kept.searcher.generation().generation_id() == number;
        self.kept.iter().find(found).map(|kept| kept.searcher.clone())
    }

    /// Forgets those for which no cursor is good any more.
    pub fn sweep(&mut self) {
        self.kept.retain(|kept| kept.asked.elapsed() <= SNAPSHOT_KEPT);
    }
}
