//! What lives, by kind and owner. Invariant: a thing is in the ledger exactly as long as its
//! [`Entry`] lives; nothing is ever removed by hand, so a number that stays up is a thing that stays.
//!
//! *Standing* kinds live as long as the server does. Every other kind reads zero when no client is
//! there, and [`Ledger::is_idle`] says so.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::limits::{LEDGER_ITEMS_SHOWN, LEDGER_SHARDS};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal, standing: $standing:literal, fds: $fds:literal;)*) => {
        /// The kinds of things that can live.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $name),* }

        impl Kind {
            /// All kinds, in the order in which they are shown.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$name => $text),* }
            }

            /// Whether things of this kind live as long as the server.
            pub const fn is_standing(self) -> bool {
                match self { $(Kind::$name => $standing),* }
            }

            /// File descriptors that one thing of this kind keeps open.
            pub const fn fds(self) -> u64 {
                match self { $(Kind::$name => $fds),* }
            }
        }
    };
}

kinds! {
    /// A client's connection: the socket, and the watcher's dup of it.
    Connection = "connection", standing: false, fds: 2;
    /// A request body for which more than the connection's own bytes were reserved.
    Body = "body", standing: false, fds: 0;
    /// A speech stream, from its admission to its last freed byte.
    SpeechStream = "speech_stream", standing: false, fds: 0;
    /// A piece of text that waits for a worker or is spoken by one.
    Job = "job", standing: false, fds: 0;
    /// A task that ends with a client, a stream or a request.
    Task = "task", standing: false, fds: 0;
    /// A task that lives as long as the server.
    Service = "service", standing: true, fds: 0;
    /// A timer that lives as long as the server.
    Timer = "timer", standing: true, fds: 0;
    /// A listening socket.
    Listener = "listener", standing: true, fds: 1;
    /// A connection to the admin listener.
    AdminConnection = "admin_connection", standing: true, fds: 2;
    /// A task that serves the admin listener's connections.
    AdminTask = "admin_task", standing: true, fds: 0;
    /// A phrase that is kept: bytes of the cache, which are its own and not a client's.
    Phrase = "phrase", standing: true, fds: 0;
    /// A worker process: its two pipes, and the handle by which its end is awaited.
    Worker = "worker", standing: true, fds: 3;
}

impl Kind {
    /// Whether one thing of this kind is one task of the runtime.
    pub const fn is_task(self) -> bool {
        matches!(self, Kind::Task | Kind::Service | Kind::Timer | Kind::AdminTask)
    }
}

#[derive(Default)]
struct Totals {
    live: AtomicU64,
    bytes: AtomicU64,
    ever: AtomicU64,
}

struct Item {
    kind: Kind,
    owner: Arc<str>,
    since: Instant,
    bytes: u64,
}

/// A shard is a slab: freed places are used again, so it is as large as its busiest moment.
#[derive(Default)]
struct Shard {
    items: Vec<Option<Item>>,
    free: Vec<u32>,
}

struct Books {
    totals: Vec<Totals>,
    shards: Vec<Mutex<Shard>>,
    next: AtomicU64,
}

/// The books of one server. Cloning gives another handle to the same books.
#[derive(Clone)]
pub struct Ledger(Arc<Books>);

/// One living thing; dropping it strikes it out.
#[must_use = "a thing leaves the ledger when its entry is dropped"]
pub struct Entry {
    books: Arc<Books>,
    kind: Kind,
    shard: u32,
    place: u32,
    bytes: u64,
}

/// Counts of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct KindCount {
    /// Name of the kind.
    pub kind: &'static str,
    /// See [`Kind::is_standing`].
    pub standing: bool,
    /// Things alive now.
    pub live: u64,
    /// Bytes that they have reserved.
    pub bytes: u64,
    /// Things that ever were.
    pub ever: u64,
}

/// One living thing as shown.
#[derive(Clone, Debug, Serialize)]
pub struct ItemRow {
    /// Name of the kind.
    pub kind: &'static str,
    /// Who has it: a request id, a peer, a module.
    pub owner: Arc<str>,
    /// Milliseconds since it was registered.
    pub age_ms: u64,
    /// Bytes that it has reserved.
    pub bytes: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// Empty books.
    pub fn new() -> Self {
        Self(Arc::new(Books {
            totals: Kind::ALL.iter().map(|_| Totals::default()).collect(),
            shards: (0..LEDGER_SHARDS).map(|_| Mutex::default()).collect(),
            next: AtomicU64::new(0),
        }))
    }

    /// Registers a thing of `kind` that has reserved `bytes`, until the entry is dropped.
    pub fn enter(&self, kind: Kind, owner: impl Into<Arc<str>>, bytes: u64) -> Entry {
        let totals = &self.0.totals[kind as usize];
        totals.live.fetch_add(1, Relaxed);
        totals.bytes.fetch_add(bytes, Relaxed);
        totals.ever.fetch_add(1, Relaxed);
        let shard = self.0.next.fetch_add(1, Relaxed) as usize % LEDGER_SHARDS;
        let item = Item { kind, owner: owner.into(), since: Instant::now(), bytes };
        let place = lock(&self.0.shards[shard]).put(item);
        Entry { books: Arc::clone(&self.0), kind, shard: shard as u32, place, bytes }
    }

    /// Things of `kind` alive now.
    pub fn live(&self, kind: Kind) -> u64 {
        self.0.totals[kind as usize].live.load(Relaxed)
    }

    /// True when nothing lives but what stands.
    pub fn is_idle(&self) -> bool {
        Kind::ALL.iter().all(|kind| kind.is_standing() || self.live(*kind) == 0)
    }

    /// Tasks of the runtime that the ledger knows.
    pub fn tasks(&self) -> u64 {
        Kind::ALL.iter().filter(|kind| kind.is_task()).map(|kind| self.live(*kind)).sum()
    }

    /// File descriptors that the things in the ledger account for.
    pub fn fds(&self) -> u64 {
        Kind::ALL.iter().map(|kind| kind.fds() * self.live(*kind)).sum()
    }

    /// The counts of every kind.
    pub fn kinds(&self) -> Vec<KindCount> {
        let count = |kind: &Kind| {
            let totals = &self.0.totals[*kind as usize];
            KindCount {
                kind: kind.name(),
                standing: kind.is_standing(),
                live: totals.live.load(Relaxed),
                bytes: totals.bytes.load(Relaxed),
                ever: totals.ever.load(Relaxed),
            }
        };
        Kind::ALL.iter().map(count).collect()
    }

    /// The oldest things, at most [`LEDGER_ITEMS_SHOWN`]: what leaks is old.
    pub fn items(&self) -> Vec<ItemRow> {
        let now = Instant::now();
        let mut rows: Vec<(Duration, ItemRow)> = Vec::new();
        for shard in &self.0.shards {
            let shard = lock(shard);
            rows.extend(shard.items.iter().flatten().map(|item| {
                let age = now.saturating_duration_since(item.since);
                let row = ItemRow {
                    kind: item.kind.name(),
                    owner: Arc::clone(&item.owner),
                    age_ms: age.as_millis() as u64,
                    bytes: item.bytes,
                };
                (age, row)
            }));
        }
        rows.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
        rows.truncate(LEDGER_ITEMS_SHOWN);
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

impl Entry {
    /// The kind under which it was entered.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let item = lock(&self.books.shards[self.shard as usize]).take(self.place);
        drop(item); // the owner's name is freed outside the lock
        let totals = &self.books.totals[self.kind as usize];
        totals.bytes.fetch_sub(self.bytes, Relaxed);
        totals.live.fetch_sub(1, Relaxed);
    }
}

impl Shard {
    fn put(&mut self, item: Item) -> u32 {
        if let Some(place) = self.free.pop() {
            self.items[place as usize] = Some(item);
            return place;
        }
        self.items.push(Some(item));
        (self.items.len() - 1) as u32
    }

    fn take(&mut self, place: u32) -> Option<Item> {
        self.free.push(place);
        self.items[place as usize].take()
    }
}

/// A panic while a shard was locked cannot leave it half changed: each change is one step.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_until_it_is_dropped() {
        let ledger = Ledger::new();
        let entry = ledger.enter(Kind::SpeechStream, "a", 448);
        assert_eq!((ledger.live(Kind::SpeechStream), ledger.is_idle()), (1, false));
        assert_eq!(ledger.items()[0].owner.as_ref(), "a");
        drop(entry);
        assert!(ledger.is_idle());
        let kind = &ledger.kinds()[Kind::SpeechStream as usize];
        assert_eq!((kind.live, kind.bytes, kind.ever), (0, 0, 1));
        assert!(ledger.items().is_empty());
    }

    #[test]
    fn standing_things_leave_it_idle_and_count_their_descriptors_and_tasks() {
        let ledger = Ledger::new();
        let _worker = ledger.enter(Kind::Worker, "espeak", 0);
        let _service = ledger.enter(Kind::Service, "accept", 0);
        assert!(ledger.is_idle());
        assert_eq!((ledger.tasks(), ledger.fds()), (1, Kind::Worker.fds()));
    }

    #[test]
    fn places_are_used_again_and_the_oldest_are_shown() {
        let ledger = Ledger::new();
        for _ in 0..10 * LEDGER_SHARDS {
            drop(ledger.enter(Kind::Task, "t", 0));
        }
        for shard in &ledger.0.shards {
            assert_eq!(lock(shard).items.len(), 1);
        }
        let first = ledger.enter(Kind::Task, "first", 0);
        let rest: Vec<_> =
            (0..LEDGER_ITEMS_SHOWN + 5).map(|_| ledger.enter(Kind::Task, "x", 0)).collect();
        let shown = ledger.items();
        assert_eq!((shown.len(), shown[0].owner.as_ref()), (LEDGER_ITEMS_SHOWN, "first"));
        drop((first, rest));
    }
}
