//! The bytes that may be promised to clients. Invariant: the sum of all live reservations never
//! passes the total, so a stream that was admitted can always finish within what it reserved.

use super::sync::{Arc, AtomicU64, Ordering};

/// A fixed number of bytes, shared by all clients of a server. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    total: u64,
    reserved: AtomicU64,
    held: AtomicU64,
}

/// A part of the budget; it goes back when this is dropped.
#[derive(Debug)]
#[must_use = "a reservation goes back to the budget when it is dropped"]
pub struct Reservation {
    account: Arc<Account>,
    bytes: u64,
}

/// Bytes that really lie in memory under a reservation; for being seen, not for admission.
#[derive(Debug)]
#[must_use = "held bytes are counted until this is dropped"]
pub struct Held {
    account: Arc<Account>,
    bytes: u64,
}

/// The budget at one moment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BudgetState {
    /// All that may be promised.
    pub total: u64,
    /// What is promised.
    pub reserved: u64,
    /// What lies in memory under those promises.
    pub held: u64,
}

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: u64) -> Self {
        Self(Arc::new(Account { total, reserved: AtomicU64::new(0), held: AtomicU64::new(0) }))
    }

    /// Takes `bytes` out of the budget, or nothing when they are not there.
    pub fn reserve(&self, bytes: u64) -> Option<Reservation> {
        let fits = |reserved: u64| reserved.checked_add(bytes).filter(|sum| *sum <= self.0.total);
        // Relaxed: the counter guards a quantity; no other memory is published by it.
        self.0.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Reservation { account: Arc::clone(&self.0), bytes })
    }

    /// What the budget says now.
    pub fn state(&self) -> BudgetState {
        BudgetState {
            total: self.0.total,
            reserved: self.0.reserved.load(Ordering::Relaxed),
            held: self.0.held.load(Ordering::Relaxed),
        }
    }
}

impl Reservation {
    /// Bytes reserved.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts `bytes` as lying in memory until the guard is dropped.
    pub fn hold(&self, bytes: u64) -> Held {
        self.account.held.fetch_add(bytes, Ordering::Relaxed);
        Held { account: Arc::clone(&self.account), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(evensong_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fit_is_refused_whole() {
        let budget = Budget::new(100);
        let first = budget.reserve(60).expect("fits");
        assert!(budget.reserve(41).is_none());
        assert!(budget.reserve(u64::MAX).is_none(), "a sum that overflows is not a small one");
        let held = first.hold(16);
        assert_eq!(budget.state(), BudgetState { total: 100, reserved: 60, held: 16 });
        drop((first, held));
        assert_eq!(budget.state(), BudgetState { total: 100, reserved: 0, held: 0 });
    }

    proptest! {
        /// Against a model: a list of granted sizes whose sum is compared after each step.
        #[test]
        fn the_sum_of_reservations_is_exact_and_never_above_the_total(
            total in 0u64..1000,
            steps in prop::collection::vec((any::<bool>(), 0u64..400, any::<usize>()), 1..200),
        ) {
            let budget = Budget::new(total);
            let mut live: Vec<Reservation> = Vec::new();
            for (take, bytes, which) in steps {
                if take || live.is_empty() {
                    let sum: u64 = live.iter().map(Reservation::bytes).sum();
                    let granted = budget.reserve(bytes);
                    prop_assert_eq!(granted.is_some(), sum + bytes <= total);
                    live.extend(granted);
                } else {
                    drop(live.swap_remove(which % live.len()));
                }
                let sum: u64 = live.iter().map(Reservation::bytes).sum();
                prop_assert_eq!(budget.state().reserved, sum);
                prop_assert!(sum <= total);
            }
        }
    }
}

#[cfg(all(test, evensong_loom))]
mod loom_tests {
    use super::*;

    #[test]
    fn racing_reservations_never_pass_the_total() {
        loom::model(|| {
            let budget = Budget::new(2);
            let racers: Vec<_> = (0..2)
                .map(|_| {
                    let budget = budget.clone();
                    loom::thread::spawn(move || {
                        let granted = budget.reserve(2);
                        assert!(budget.state().reserved <= 2);
                        granted.is_some()
                    })
                })
                .collect();
            let third = budget.reserve(1);
            assert!(budget.state().reserved <= 2);
            drop(third);
            for racer in racers {
                racer.join().expect("no panic");
            }
            assert_eq!(budget.state().reserved, 0);
        });
    }
}
