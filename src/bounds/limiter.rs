//! Keyed token buckets: how much of each resource one key may take in a minute, and what becomes of
//! keys that keep asking for more. Invariant: there are never more entries than the cap, an entry
//! that no longer matters goes at the next sweep whatever it counted, and a block ends by the clock:
//! no timer of its own could outlive the limiter.
//!
//! A bucket holds a minute's worth and is filled evenly (the generic cell rate algorithm, ITU-T
//! I.371): one number an entry and resource, the time at which the bucket will be full again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::ledger::Ledger;
use crate::tasks::Scope;

const MINUTE_NANOS: u64 = 60_000_000_000;
/// Entries that are looked at for one that may go when the map is full.
const LOOKED_AT: usize = 16;
/// Below this many entries the map's memory is not worth giving back.
const KEPT_ENTRIES: usize = 1024;

/// When to warn of a key, and when to shut it out.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Most entries at once.
    pub keys: usize,
    /// So many refusals
    pub strike_refusals: u32,
    /// within this time are one strike.
    pub strike_every: Duration,
    /// Strikes at which the key is worth a line in the log.
    pub warn_at: u32,
    /// Strikes at which it is shut out.
    pub block_at: u32,
    /// How long it is shut out.
    pub block_for: Duration,
    /// Strikes are forgotten when none was added for this long.
    pub forget_after: Duration,
    /// Time between two sweeps.
    pub sweep_every: Duration,
}

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The bucket has not enough in it.
    Rate,
    /// The key is shut out.
    Blocked,
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// When asking again may help.
    pub retry_after: Duration,
    /// What this refusal brought about, at most once a strike.
    pub step: Step,
}

/// Where a refusal leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing new.
    None,
    /// This many strikes: time to warn.
    Warn(u32),
    /// Shut out from now on.
    Block(u32),
}

/// Token buckets for `N` resources a key. Clones share them.
pub struct Limiter<K, const N: usize>(Arc<Inner<K, N>>);

impl<K, const N: usize> Clone for Limiter<K, N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<K, const N: usize> {
    policy: Policy,
    epoch: Instant,
    map: Mutex<Map<K, N>>,
    /// Runs the sweep while there is one.
    sweep: Mutex<Option<Scope>>,
}

struct Map<K, const N: usize> {
    index: HashMap<K, usize>,
    entries: Vec<Entry<K, N>>,
    /// Where the search for an entry that may go continues.
    hand: usize,
}

/// Times are nanoseconds since the epoch.
struct Entry<K, const N: usize> {
    key: K,
    full_at: [u64; N],
    seen: u64,
    /// Refusals since `refused_since`, which is never longer ago than a strike takes.
    refusals: u32,
    refused_since: u64,
    strikes: u32,
    last_strike: u64,
    blocked_until: u64,
}

impl<K: Clone + Eq + Hash + Send + 'static, const N: usize> Limiter<K, N> {
    /// An empty limiter; nothing sweeps it until [`Limiter::start`].
    pub fn new(policy: Policy) -> Self {
        let map = Map { index: HashMap::new(), entries: Vec::new(), hand: 0 };
        let (map, sweep) = (Mutex::new(map), Mutex::new(None));
        Self(Arc::new(Inner { policy, epoch: Instant::now(), map, sweep }))
    }

    /// Sweeps from now on; does nothing while it already does.
    pub fn start(&self, ledger: &Ledger) {
        let mut sweep = lock(&self.0.sweep);
        if sweep.is_some() {
            return;
        }
        let scope = Scope::new("limiter", ledger.clone());
        // Weak: the scope belongs to the limiter, and must not keep it alive.
        let inner = Arc::downgrade(&self.0);
        scope.spawner().every("limiter sweep", self.0.policy.sweep_every, move || {
            if let Some(inner) = inner.upgrade() {
                inner.sweep_now();
            }
            std::future::ready(())
        });
        *sweep = Some(scope);
    }

    /// Ends the sweep and forgets every key; [`Limiter::start`] begins anew.
    pub async fn stop(&self) {
        let scope = lock(&self.0.sweep).take();
        if let Some(scope) = scope {
            scope.stop(Duration::from_millis(100)).await;
        }
        let mut map = lock(&self.0.map);
        *map = Map { index: HashMap::new(), entries: Vec::new(), hand: 0 };
    }

    /// Takes `amount` of `resource` from the bucket of `key`, which holds `per_minute`; 0 is no limit.
    pub fn charge(
        &self,
        key: &K,
        resource: usize,
        amount: u32,
        per_minute: u32,
    ) -> Result<(), Refused> {
        let now = self.0.now();
        let mut map = lock(&self.0.map);
        let entry = map.entry(key, now, &self.0.policy);
        entry.seen = now;
        if let Some(refused) = entry.blocked(now) {
            return Err(refused);
        }
        if per_minute == 0 {
            return Ok(());
        }
        // More than a bucket holds could never be taken: it takes all.
        let amount = u128::from(amount.min(per_minute));
        // At most a minute, since the amount is at most the bucket.
        let nanos = (amount * u128::from(MINUTE_NANOS) / u128::from(per_minute)) as u64;
        let full_at = entry.full_at[resource].max(now) + nanos;
        match (full_at - now).checked_sub(MINUTE_NANOS).filter(|over| *over > 0) {
            None => {
                entry.full_at[resource] = full_at;
                Ok(())
            }
            Some(over) => Err(entry.strike(now, over, &self.0.policy)),
        }
    }

    /// Keys that are remembered.
    pub fn len(&self) -> usize {
        lock(&self.0.map).entries.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Clone + Eq + Hash, const N: usize> Inner<K, N> {
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn sweep_now(&self) {
        let now = self.now();
        let mut map = lock(&self.map);
        let Map { index, entries, hand } = &mut *map;
        entries.retain(|entry| !entry.is_over(now, &self.policy));
        index.clear();
        index.extend(entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)));
        *hand = 0;
        let room = (entries.len() * 2).max(KEPT_ENTRIES);
        entries.shrink_to(room);
        index.shrink_to(room);
    }
}

impl<K: Clone + Eq + Hash, const N: usize> Map<K, N> {
    /// The entry of `key`; where the map is full, a new one takes the place of one that matters less.
    fn entry(&mut self, key: &K, now: u64, policy: &Policy) -> &mut Entry<K, N> {
        let at = match self.index.get(key) {
            Some(at) => *at,
            None if self.entries.len() < policy.keys => {
                self.entries.push(Entry::new(key.clone(), now));
                self.index.insert(key.clone(), self.entries.len() - 1);
                self.entries.len() - 1
            }
            None => {
                let at = self.least(now, policy);
                self.index.remove(&self.entries[at].key);
                self.entries[at] = Entry::new(key.clone(), now);
                self.index.insert(key.clone(), at);
                at
            }
        };
        &mut self.entries[at]
    }

    /// Of the next few entries: one that is over, else one that is not shut out, longest unseen.
    fn least(&mut self, now: u64, policy: &Policy) -> usize {
        let count = self.entries.len();
        let places = (0..LOOKED_AT.min(count)).map(|step| (self.hand + step) % count);
        let rank = |at: &usize| {
            let entry = &self.entries[*at];
            (!entry.is_over(now, policy), entry.blocked_until > now, entry.seen)
        };
        let least = places.min_by_key(rank).unwrap_or(0);
        self.hand = (self.hand + LOOKED_AT) % count;
        least
    }
}

impl<K, const N: usize> Entry<K, N> {
    fn new(key: K, now: u64) -> Self {
        let full_at = [0; N];
        Self {
            key,
            full_at,
            seen: now,
            refusals: 0,
            refused_since: now,
            strikes: 0,
            last_strike: 0,
            blocked_until: 0,
        }
    }

    fn blocked(&self, now: u64) -> Option<Refused> {
        let left = self.blocked_until.checked_sub(now).filter(|left| *left > 0)?;
        let retry_after = Duration::from_nanos(left);
        Some(Refused { reason: Reason::Blocked, retry_after, step: Step::None })
    }

    /// Counts a refusal of a request that came `early` nanoseconds too soon.
    fn strike(&mut self, now: u64, early: u64, policy: &Policy) -> Refused {
        let rate = |step| {
            let retry_after = Duration::from_nanos(early);
            Refused { reason: Reason::Rate, retry_after, step }
        };
        let since = |then: u64| Duration::from_nanos(now.saturating_sub(then));
        if since(self.refused_since) >= policy.strike_every {
            (self.refused_since, self.refusals) = (now, 0);
        }
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals != policy.strike_refusals {
            return rate(Step::None);
        }
        if since(self.last_strike) >= policy.forget_after {
            self.strikes = 0;
        }
        (self.strikes, self.last_strike) = (self.strikes + 1, now);
        if self.strikes >= policy.block_at {
            let strikes = std::mem::take(&mut self.strikes);
            self.blocked_until = now + policy.block_for.as_nanos() as u64;
            let retry_after = policy.block_for;
            return Refused { reason: Reason::Blocked, retry_after, step: Step::Block(strikes) };
        }
        rate(if self.strikes == policy.warn_at { Step::Warn(self.strikes) } else { Step::None })
    }

    /// Nothing is remembered of the key that a new entry would not say as well.
    fn is_over(&self, now: u64, policy: &Policy) -> bool {
        let forget_at = self.last_strike.saturating_add(policy.forget_after.as_nanos() as u64);
        let struck = self.strikes > 0 && now < forget_at;
        let full = self.full_at.iter().all(|full_at| *full_at <= now);
        full && !struck && self.blocked_until <= now
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
