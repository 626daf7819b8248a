//! The watch over the memory of the process: a bounded ring of samples, what they say, and a purge of the
//! allocator when too much lies about. Invariant: the ring is made once and never grows, and the watch
//! ends with the scope that it was started in.

pub mod allocator;
pub mod process;
pub mod profile;
mod sample;
mod slope;
mod sockets;
mod verdict;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::Budget;
use crate::ledger::{Baseline, Ledger};
use crate::limits;
use crate::tasks::Spawner;

pub use sample::Sample;
pub use slope::Slope;
pub use verdict::{State, Verdict, judge};

/// How to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchConfig {
    /// Samples that are kept.
    pub samples: usize,
    /// Time from one to the next.
    pub interval: Duration,
    /// Resident bytes of the process above which the allocator is purged.
    pub purge_above: u64,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            samples: limits::WATCH_SAMPLES,
            interval: limits::WATCH_INTERVAL,
            purge_above: limits::PURGE_ABOVE_BYTES,
        }
    }
}

/// The accounts that a sample is held against.
#[derive(Clone)]
pub struct Books {
    /// What is promised and held.
    pub budget: Budget,
    /// What lives.
    pub ledger: Ledger,
    /// What was there before.
    pub baseline: Baseline,
}

/// The watch. Clones share it.
#[derive(Clone)]
pub struct Watch(Arc<Inner>);

struct Inner {
    config: WatchConfig,
    began: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    ring: VecDeque<Sample>,
    verdict: Verdict,
    /// What the alarm has named since it began.
    alarmed: Vec<&'static str>,
    /// Samples ago that something was last said or done about them.
    since_alarm: usize,
    since_purge: usize,
}

/// What the watch has seen and makes of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The state.
    pub state: State,
    /// Why, a sentence each; empty when all is well.
    pub findings: Vec<String>,
    /// Of the allocated bytes over all samples.
    pub slope: Option<Slope>,
    /// Seconds from one sample to the next.
    pub interval_seconds: f64,
    /// Samples that are kept at the most.
    pub samples_most: usize,
    /// Milliseconds since the watch began.
    pub now_ms: u64,
    /// The oldest first.
    pub samples: Vec<Sample>,
}

impl Watch {
    /// A watch that looks once it is started.
    pub fn new(config: WatchConfig) -> Self {
        let ring = VecDeque::with_capacity(config.samples);
        let since_purge = limits::PURGE_PAUSE_SAMPLES;
        let seen = Mutex::new(Seen { ring, since_purge, ..Seen::default() });
        Self(Arc::new(Inner { config, began: Instant::now(), seen }))
    }

    /// Looks at `books` in every interval, until the scope of `spawner` stops.
    pub fn start(&self, spawner: &Spawner, books: Books) {
        let most = self.0.config.samples;
        tracing::info!("Memory leak tracker started ({most} samples max)");
        self.lock().verdict.state = State::Starting;
        let this = self.clone();
        spawner.every("memory watch", self.0.config.interval, move || {
            let (this, books) = (this.clone(), books.clone());
            async move {
                if let Some(sample) = Sample::take(&books, this.now_ms()).await {
                    this.see(sample);
                }
            }
        });
    }

    /// What was seen, and what it says.
    pub fn report(&self) -> Report {
        let config = &self.0.config;
        let seen = self.lock();
        Report {
            state: seen.verdict.state,
            findings: seen.verdict.findings.clone(),
            slope: seen.verdict.slope,
            interval_seconds: config.interval.as_secs_f64(),
            samples_most: config.samples,
            now_ms: self.now_ms(),
            samples: seen.ring.iter().copied().collect(),
        }
    }

    /// What the samples say, without them.
    pub fn verdict(&self) -> Verdict {
        self.lock().verdict.clone()
    }

    /// The newest sample.
    pub fn newest(&self) -> Option<Sample> {
        self.lock().ring.back().copied()
    }

    /// Takes in a sample, says what has changed, and purges if there is reason to.
    pub fn see(&self, sample: Sample) {
        let mut seen = self.lock();
        if seen.ring.len() == self.0.config.samples {
            seen.ring.pop_front();
        }
        seen.ring.push_back(sample);
        let verdict = judge(seen.ring.make_contiguous());
        let before = std::mem::replace(&mut seen.verdict, verdict).state;
        self.say(before, &mut seen);
        self.purge(sample.rss, &mut seen);
    }

    /// A state is logged when it begins; an alarm again when it has something new to name, and each time
    /// that the ring has gone round.
    fn say(&self, before: State, seen: &mut Seen) {
        let Verdict { state, findings, slope, suspects } = &seen.verdict;
        seen.since_alarm += 1;
        let new = suspects.iter().any(|suspect| !seen.alarmed.contains(suspect));
        let round = *state == State::LeakSuspected && seen.since_alarm > self.0.config.samples;
        if *state == before && !new && !round {
            return;
        }
        seen.since_alarm = 0;
        if before < State::LeakSuspected {
            seen.alarmed.clear();
        }
        for suspect in suspects {
            if !seen.alarmed.contains(suspect) {
                seen.alarmed.push(suspect);
            }
        }
        let slope = slope.map_or(0, |slope| slope.bytes_per_minute as i64);
        let findings = findings.join("; ");
        match state {
            State::LeakSuspected => {
                tracing::error!(findings, bytes_per_minute = slope, "EXTERNAL MEMORY LEAK DETECTED")
            }
            State::Disagrees => tracing::warn!(findings, "the ledger and the process disagree"),
            State::Growing => tracing::info!(findings, "memory grows"),
            State::Flat if before > State::Flat => tracing::info!("memory is flat again"),
            State::Off | State::Starting | State::Flat => {}
        }
    }

    fn purge(&self, rss: u64, seen: &mut Seen) {
        seen.since_purge += 1;
        let above = self.0.config.purge_above;
        if rss <= above || seen.since_purge < limits::PURGE_PAUSE_SAMPLES {
            return;
        }
        seen.since_purge = 0;
        let purged = allocator::purge();
        let after = process::resident_bytes();
        match purged {
            Ok(()) => {
                tracing::warn!(rss, after, above, "too much memory: the allocator was purged")
            }
            Err(error) => tracing::error!(%error, "the allocator could not be purged"),
        }
    }

    fn now_ms(&self) -> u64 {
        self.0.began.elapsed().as_millis() as u64
    }

    /// A panic while it was locked leaves at worst an old verdict beside a new sample.
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(evensong_loom)))]
mod tests;
