//! Clients that are replaced by age. Two of the systems before this one had clients that were never
//! replaced, and piled up sockets and buffers. Invariants: requests always find a client that was built; each
//! finishes on the generation it began with, or is cut when that generation's grace is over; a generation is
//! gone, sockets and all, when its last request is; there are never more than [`DRAINING_MOST`] behind the
//! one that is in use, for where there are, the next one waits.
//!
//! It holds anything: a client of hyper's or reqwest's, the transport of a search engine's crate.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::ledger::{Departure, Entry, Kind};
use crate::limits::{DRAINING_MOST, DRAINING_POLL, REBUILD_PAUSE};
use crate::tasks::Spawner;

/// How clients of one upstream are replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct Ages {
    /// What it is called in logs: `ES`, `GraphQL`.
    pub name: &'static str,
    /// A generation is replaced at this age,
    pub most: Duration,
    /// less a random part of at most so many hundredths, so that many servers do not do it at once.
    pub jitter_percent: u32,
    /// What is in flight on a replaced generation has this long to end by itself.
    pub grace: Duration,
    /// Requests at once, over all generations.
    pub in_flight: usize,
    /// A request waits so long for its turn.
    pub wait: Duration,
}

/// Too many requests are in flight, and stayed so for as long as one waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{in_flight} requests to {name} are in flight, and none ended within {waited:?}")]
pub struct Saturated {
    /// Which upstream.
    pub name: &'static str,
    /// How many that are.
    pub in_flight: usize,
    /// How long it waited.
    pub waited: Duration,
}

/// What one knows of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AgedState {
    /// The number of the generation in use, from 1.
    pub generation: u64,
    /// How old it is.
    pub age_ms: u64,
    /// Replaced generations on which something is still in flight.
    pub draining: usize,
    /// Requests in flight, on all of them.
    pub in_flight: usize,
    /// Requests that were cut because their generation's grace was over.
    pub cut: u64,
    /// Times that a new generation could not be built.
    pub failed: u64,
}

/// A client of some age. Clones share the pool.
pub struct Aged<T>(Arc<Inner<T>>);

impl<T> Clone for Aged<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Builds a client from the token that is cancelled when its generation's grace is over.
type Build<T> = dyn Fn(CancellationToken) -> Result<T, String> + Send + Sync;

struct Inner<T> {
    ages: Ages,
    build: Arc<Build<T>>,
    spawner: Spawner,
    turns: Arc<Semaphore>,
    generations: Mutex<Generations<T>>,
    /// Asks for a new generation before the old one's time.
    wanted: Notify,
    cut: Arc<AtomicU64>,
    failed: AtomicU64,
}

struct Generations<T> {
    current: Arc<Generation<T>>,
    /// The oldest first. A generation lives as long as what is in flight on it; this only knows of it.
    draining: VecDeque<Draining>,
}

struct Draining {
    uses: std::sync::Weak<()>,
    over: CancellationToken,
    until: Instant,
}

struct Generation<T> {
    client: T,
    number: u64,
    born: Instant,
    /// One for each request in flight, beside this one.
    uses: Arc<()>,
    over: CancellationToken,
    _entry: Entry,
}

/// A turn to ask, on the generation that was in use when it was taken. What comes of it, an answer's body
/// above all, must keep it: when it is dropped, so may be the client.
pub struct Turn<T> {
    generation: Arc<Generation<T>>,
    cut: Arc<AtomicU64>,
    _use: Arc<()>,
    _permit: OwnedSemaphorePermit,
    _entry: Entry,
}

impl<T> std::ops::Deref for Turn<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.generation.client
    }
}

impl<T> Turn<T> {
    /// The generation's number.
    pub fn generation(&self) -> u64 {
        self.generation.number
    }

    /// Ready when the grace of the generation is over: whoever holds the turn must let go.
    pub fn over(&self) -> WaitForCancellationFuture<'_> {
        self.generation.over.cancelled()
    }

    /// Whether it is.
    pub fn is_over(&self) -> bool {
        self.generation.over.is_cancelled()
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        if self.is_over() {
            self.cut.fetch_add(1, Relaxed);
        }
    }
}

impl<T: Send + Sync + 'static> Aged<T> {
    /// Builds the first client with `build`, and from now on one after the other, until the scope of
    /// `spawner` stops. `build` may block; what it gives must let go of its connections when the token
    /// that it was given is cancelled, or see to it that nobody waits for them without [`Turn::over`].
    pub async fn start(
        ages: Ages,
        build: impl Fn(CancellationToken) -> Result<T, String> + Send + Sync + 'static,
        spawner: Spawner,
    ) -> Result<Self, String> {
        let build: Arc<Build<T>> = Arc::new(build);
        let first = make(&build, &spawner).await?;
        let current = generation(first, 1, &ages, &spawner);
        let this = Self(Arc::new(Inner {
            turns: Arc::new(Semaphore::new(ages.in_flight)),
            ages,
            build,
            spawner: spawner.clone(),
            generations: Mutex::new(Generations { current, draining: VecDeque::new() }),
            wanted: Notify::new(),
            cut: Arc::default(),
            failed: AtomicU64::new(0),
        }));
        let pool = this.clone();
        let name = format!("{} rotation", pool.0.ages.name);
        spawner.spawn(Kind::Timer, name, async move { pool.grow_old().await });
        Ok(this)
    }

    /// A turn to ask the upstream, in the ledger as `kind` of `owner`, for the client of `departure`.
    pub async fn turn(
        &self,
        kind: Kind,
        owner: &Arc<str>,
        departure: &Departure,
    ) -> Result<Turn<T>, Saturated> {
        let Inner { ages, turns, spawner, cut, .. } = &*self.0;
        let permit = tokio::time::timeout(ages.wait, Arc::clone(turns).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            let (name, in_flight, waited) = (ages.name, ages.in_flight, ages.wait);
            return Err(Saturated { name, in_flight, waited });
        };
        let generation = Arc::clone(&self.lock().current);
        let entry = spawner.ledger().enter(kind, Arc::clone(owner), 0);
        entry.belongs_to(departure);
        Ok(Turn {
            cut: Arc::clone(cut),
            _use: Arc::clone(&generation.uses),
            generation,
            _permit: permit,
            _entry: entry,
        })
    }

    /// Asks for a new generation now. It is in use once it is built.
    pub fn rotate(&self) {
        self.0.wanted.notify_one();
    }

    /// What one knows of it.
    pub fn state(&self) -> AgedState {
        let Inner { ages, turns, cut, failed, .. } = &*self.0;
        let generations = self.lock();
        let alive = |old: &&Draining| old.uses.strong_count() > 0;
        AgedState {
            generation: generations.current.number,
            age_ms: generations.current.born.elapsed().as_millis() as u64,
            draining: generations.draining.iter().filter(alive).count(),
            in_flight: ages.in_flight - turns.available_permits(),
            cut: cut.load(Relaxed),
            failed: failed.load(Relaxed),
        }
    }

    /// Replaces the generation in use at its age or when somebody asks, and ends the grace of old ones.
    async fn grow_old(self) {
        let mut at = self.next_birth();
        loop {
            let next = match self.soonest_end() {
                // Asked for, or of age, and there are too many already: as soon as one of them is over.
                _ if self.is_crowded() && at <= Instant::now() => Instant::now() + DRAINING_POLL,
                Some(grace) => grace.min(at),
                None => at,
            };
            tokio::select! {
                biased;
                () = self.0.spawner.stopping() => return,
                () = self.0.wanted.notified() => at = Instant::now(),
                () = tokio::time::sleep_until(next) => {}
            }
            self.end_graces(Instant::now());
            if at <= Instant::now() && !self.is_crowded() {
                at = match self.replace().await {
                    true => self.next_birth(),
                    false => Instant::now() + REBUILD_PAUSE,
                };
            }
        }
    }

    fn is_crowded(&self) -> bool {
        self.lock().draining.len() >= DRAINING_MOST
    }

    /// When the next grace is over.
    fn soonest_end(&self) -> Option<Instant> {
        self.lock().draining.front().map(|old| old.until)
    }

    /// Builds the next generation and puts it in the place of the one in use, which drains.
    async fn replace(&self) -> bool {
        let Inner { ages, build, spawner, failed, .. } = &*self.0;
        let client = match make(build, spawner).await {
            Ok(client) => client,
            Err(error) => {
                failed.fetch_add(1, Relaxed);
                tracing::error!(upstream = ages.name, error, "no new client; the old one stays");
                return false;
            }
        };
        let number = self.lock().current.number + 1;
        let next = generation(client, number, ages, spawner);
        let mut generations = self.lock();
        let old = std::mem::replace(&mut generations.current, next);
        let draining = Draining {
            uses: Arc::downgrade(&old.uses),
            over: old.over.clone(),
            until: Instant::now() + ages.grace,
        };
        generations.draining.push_back(draining);
        drop(generations);
        // Here, outside of the lock: where nothing is in flight, its sockets are closed by this.
        drop(old);
        true
    }

    /// Forgets the generations on which nothing is in flight, and cuts what is on those whose grace is over.
    fn end_graces(&self, now: Instant) {
        let mut generations = self.lock();
        let draining = &mut generations.draining;
        draining.retain(|old| old.uses.strong_count() > 0);
        while let Some(oldest) = draining.front() {
            if oldest.until > now {
                break;
            }
            // The generation itself holds one.
            let left = oldest.uses.strong_count().saturating_sub(1);
            oldest.over.cancel();
            tracing::info!(
                upstream = self.0.ages.name,
                left,
                "grace over: what was in flight is cut"
            );
            draining.pop_front();
        }
    }

    fn next_birth(&self) -> Instant {
        let Ages { most, jitter_percent, .. } = self.0.ages;
        let mut random = [0; 4];
        // Without randomness all servers do it at once: a nuisance, not a danger.
        let _ = getrandom::fill(&mut random);
        let part = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
        let jitter = f64::from(jitter_percent.min(100)) / 100.0 * part;
        Instant::now() + most.mul_f64(1.0 - jitter)
    }

    /// A panic while it was locked cannot leave it half changed: each change is one step.
    fn lock(&self) -> MutexGuard<'_, Generations<T>> {
        self.0.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On a thread of its own: reading the system's certificates takes a quarter of a second.
async fn make<T: Send + 'static>(
    build: &Arc<Build<T>>,
    spawner: &Spawner,
) -> Result<(T, CancellationToken), String> {
    let (build, over) = (Arc::clone(build), CancellationToken::new());
    let token = over.clone();
    let made = spawner.blocking("client", move || build(token)).await;
    made.unwrap_or_else(|| Err("building it panicked".into())).map(|client| (client, over))
}

fn generation<T>(
    (client, over): (T, CancellationToken),
    number: u64,
    ages: &Ages,
    spawner: &Spawner,
) -> Arc<Generation<T>> {
    let name = ages.name;
    tracing::info!(generation = number, "{name} Client created");
    Arc::new(Generation {
        client,
        number,
        born: Instant::now(),
        uses: Arc::new(()),
        over,
        _entry: spawner.ledger().enter(Kind::UpstreamClient, name, 0),
    })
}

#[cfg(test)]
mod tests;
