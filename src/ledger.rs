//! What lives, by kind and owner. Invariant: a thing is in the ledger exactly as long as its
//! [`Entry`] lives; nothing is ever removed by hand, so a number that stays up is a thing that stays.
//!
//! *Standing* kinds live as long as the server does. Every other kind reads zero when no client is
//! there, and [`Ledger::is_idle`] says so.

mod census;
mod kind;
mod owned;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::limits::{LEDGER_ITEMS_SHOWN, LEDGER_SHARDS};

pub use census::{Baseline, Census};
pub use kind::{Foreign, Kind};
pub use owned::Owned;

/// When a client was seen leaving; empty while it is there. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Departure(Arc<OnceLock<Instant>>);

impl Departure {
    /// Notes that the client has left; only the first time counts.
    pub fn note(&self) {
        let _ = self.0.set(Instant::now());
    }

    /// When the client left, if it has.
    pub fn seen(&self) -> Option<Instant> {
        self.0.get().copied()
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
    /// Of the client that it is there for.
    departure: Option<Departure>,
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
    /// Milliseconds since the client that it was there for was seen leaving. What stays here has
    /// been forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
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
        let since = Instant::now();
        let item = Item { kind, owner: owner.into(), since, bytes, departure: None };
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

    /// What libraries may have by themselves beside what is entered, at most.
    pub fn may_have(&self) -> Foreign {
        Kind::ALL.iter().fold(Foreign::default(), |all, kind| {
            let (one, live) = (kind.may_have(), self.live(*kind));
            Foreign {
                fds: all.fds + one.fds * live,
                tasks: all.tasks + one.tasks * live,
                threads: all.threads + one.threads * live,
            }
        })
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

    /// Bytes reserved by things of `kind`.
    pub fn bytes(&self, kind: Kind) -> u64 {
        self.0.totals[kind as usize].bytes.load(Relaxed)
    }

    /// The oldest things, at most [`LEDGER_ITEMS_SHOWN`]: what leaks is old. Only those of `kind`, if
    /// one is given.
    pub fn items(&self, kind: Option<Kind>) -> Vec<ItemRow> {
        let mut oldest: Vec<(Instant, usize, usize)> = Vec::new();
        for (n, shard) in self.0.shards.iter().enumerate() {
            let shard = lock(shard);
            let places = shard.items.iter().enumerate();
            let wanted = places.filter_map(|(place, item)| Some((place, item.as_ref()?)));
            let wanted = wanted.filter(|(_, item)| kind.is_none_or(|kind| kind == item.kind));
            oldest.extend(wanted.map(|(place, item)| (item.since, n, place)));
        }
        if oldest.len() > LEDGER_ITEMS_SHOWN {
            oldest.select_nth_unstable(LEDGER_ITEMS_SHOWN);
            oldest.truncate(LEDGER_ITEMS_SHOWN);
        }
        oldest.sort_unstable();
        // Meanwhile one may have gone, and another be in its place: that one is younger.
        let now = Instant::now();
        let rows = oldest.into_iter().filter_map(|(since, shard, place)| {
            let shard = lock(&self.0.shards[shard]);
            shard.items[place].as_ref().filter(|item| item.since == since).map(|item| item.row(now))
        });
        rows.collect()
    }

    /// How many things of each kind, in the order of [`Kind::ALL`], are still there although their
    /// client left longer ago than `grace`.
    pub fn lingering(&self, grace: Duration) -> [u64; Kind::ALL.len()] {
        let mut counts = [0; Kind::ALL.len()];
        for shard in &self.0.shards {
            for item in lock(shard).items.iter().flatten() {
                let left = item.departure.as_ref().and_then(Departure::seen);
                if left.is_some_and(|left| left.elapsed() > grace) {
                    counts[item.kind as usize] += 1;
                }
            }
        }
        counts
    }
}

impl Item {
    fn row(&self, now: Instant) -> ItemRow {
        let since = |then: Instant| now.saturating_duration_since(then).as_millis() as u64;
        let left = self.departure.as_ref().and_then(Departure::seen);
        ItemRow {
            kind: self.kind.name(),
            owner: Arc::clone(&self.owner),
            age_ms: since(self.since),
            bytes: self.bytes,
            left_ms: left.map(since),
        }
    }
}

impl Entry {
    /// The kind under which it was entered.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Ties the thing to the client that it is there for, so that one that outlives it is seen.
    pub fn belongs_to(&self, client: &Departure) {
        let mut shard = lock(&self.books.shards[self.shard as usize]);
        if let Some(item) = &mut shard.items[self.place as usize] {
            item.departure = Some(client.clone());
        }
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
        assert_eq!(ledger.items(None)[0].owner.as_ref(), "a");
        drop(entry);
        assert!(ledger.is_idle());
        let kind = &ledger.kinds()[Kind::SpeechStream as usize];
        assert_eq!((kind.live, kind.bytes, kind.ever), (0, 0, 1));
        assert!(ledger.items(None).is_empty());
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
    fn what_outlives_its_client_lingers() {
        let (ledger, client) = (Ledger::new(), Departure::default());
        let entry = ledger.enter(Kind::SpeechStream, "a", 448);
        entry.belongs_to(&client);
        let lingering = || ledger.lingering(Duration::ZERO)[Kind::SpeechStream as usize];
        assert_eq!((lingering(), ledger.items(None)[0].left_ms), (0, None));
        client.note();
        std::thread::yield_now();
        // Since a moment ago, however busy the machine.
        let left_ms = ledger.items(None)[0].left_ms;
        assert!(lingering() == 1 && left_ms.is_some_and(|left| left < 60_000), "{left_ms:?}");
        assert_eq!(ledger.lingering(Duration::from_secs(60)), [0; Kind::ALL.len()]);
        drop(entry);
        assert_eq!(lingering(), 0);
    }

    #[test]
    fn one_kind_can_be_asked_for() {
        let ledger = Ledger::new();
        let _entries = [ledger.enter(Kind::Job, "a", 0), ledger.enter(Kind::Worker, "b", 0)];
        let rows = ledger.items(Some(Kind::Worker));
        assert_eq!(rows.iter().map(|row| row.owner.as_ref()).collect::<Vec<_>>(), ["b"]);
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
        let shown = ledger.items(None);
        assert_eq!((shown.len(), shown[0].owner.as_ref()), (LEDGER_ITEMS_SHOWN, "first"));
        drop((first, rest));
    }
}
