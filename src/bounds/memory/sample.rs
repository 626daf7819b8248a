//! One look at the memory of the process. Invariant: a sample has one size whatever it saw, so that a ring
//! of them does not grow.

use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use super::{Books, allocator, process, sockets};
use crate::ledger::{Census, Kind};
use crate::limits::LINGER_MOST;

/// Numbers by kind, in the order of [`Kind::ALL`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByKind(pub [u64; Kind::ALL.len()]);

impl Default for ByKind {
    fn default() -> Self {
        Self([0; Kind::ALL.len()])
    }
}

impl std::ops::Deref for ByKind {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.0
    }
}

impl std::ops::DerefMut for ByKind {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.0
    }
}

/// See the module. Bytes, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Milliseconds since the watch began.
    pub at_ms: u64,
    /// Of the process, as the kernel counts it; without its workers.
    pub rss: u64,
    /// Of that, pages of files, as of the index: the kernel takes them back when it wants them.
    pub files: u64,
    /// Of the worker processes, as the kernel counts it.
    pub workers: u64,
    /// See [`allocator::Heap`].
    pub heap: allocator::Heap,
    /// Promised to clients.
    pub reserved: u64,
    /// Lying in memory under those promises.
    pub held: u64,
    /// Of what stands, caches above all.
    pub standing: u64,
    /// What the kernel holds for our sockets.
    pub kernel: u64,
    /// Tasks, descriptors and threads, as they are and as they should be.
    pub census: Census,
    /// Things alive.
    pub live: ByKind,
    /// Things that outlived their client by more than [`LINGER_MOST`].
    pub lingering: ByKind,
}

impl Sample {
    /// Looks at everything, `at_ms` after the watch began. None where the system does not say, which it
    /// cannot while there is no descriptor left to ask by: zeros would be read as a fall.
    pub async fn take(books: &Books, at_ms: u64) -> Option<Self> {
        let process::Resident { all: rss, files } = process::resident();
        if rss == 0 {
            return None;
        }
        let ledger = &books.ledger;
        let budget = books.budget.state();
        let standing = Kind::ALL.iter().filter(|kind| kind.is_standing());
        Some(Self {
            at_ms,
            rss,
            files,
            workers: process::children_resident_bytes(),
            heap: allocator::heap().unwrap_or_default(),
            reserved: budget.reserved,
            held: budget.held,
            standing: standing.map(|kind| ledger.bytes(*kind)).sum(),
            kernel: sockets::kernel_bytes().await,
            census: Census::take(ledger, books.baseline).await,
            live: ByKind(std::array::from_fn(|kind| ledger.live(Kind::ALL[kind]))),
            lingering: ByKind(ledger.lingering(LINGER_MOST)),
        })
    }

    /// What the process has in memory of its own, without files'.
    pub fn anonymous(&self) -> u64 {
        self.rss.saturating_sub(self.files)
    }

    /// Everything that an account explains.
    pub fn accounted(&self) -> u64 {
        self.reserved + self.standing
    }

    /// How many of `kind` lived.
    pub fn live(&self, kind: Kind) -> u64 {
        self.live[kind as usize]
    }
}

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Sample", 16)?;
        let heap = &self.heap;
        for (name, value) in [
            ("at_ms", self.at_ms),
            ("rss_bytes", self.rss),
            ("files_bytes", self.files),
            ("workers_bytes", self.workers),
            ("allocated_bytes", heap.allocated),
            ("active_bytes", heap.active),
            ("resident_bytes", heap.resident),
            ("retained_bytes", heap.retained),
            ("reserved_bytes", self.reserved),
            ("held_bytes", self.held),
            ("standing_bytes", self.standing),
            ("kernel_bytes", self.kernel),
        ] {
            out.serialize_field(name, &value)?;
        }
        out.serialize_field("process", &self.census.process)?;
        out.serialize_field("expected", &self.census.expected)?;
        out.serialize_field("live", &Named(&self.live))?;
        out.serialize_field("lingering", &Named(&self.lingering))?;
        out.end()
    }
}

/// Only the kinds of which there are any.
struct Named<'a>(&'a ByKind);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (kind, count) in Kind::ALL.iter().zip(self.0.iter()).filter(|(_, count)| **count > 0) {
            map.serialize_entry(kind.name(), count)?;
        }
        map.end()
    }
}
