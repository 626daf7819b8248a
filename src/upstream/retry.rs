//! Whether to ask a second time. Invariant: retries are at most a part of all requests, whatever goes wrong, so that
//! an upstream that struggles is not asked for more than one that does not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Each request brings this much of a retry; see [`Retries`].
const EARNED: f64 = 0.1;
/// A server that was quiet may still try so many times again.
const SAVED_MOST: f64 = 10.0;
/// Before the first retry, and longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The retries of one upstream: a tenth of its requests. Clones share them.
#[derive(Clone, Debug)]
pub struct Retries(Arc<Mutex<f64>>);

impl Default for Retries {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(SAVED_MOST)))
    }
}

impl Retries {
    /// A request is made, for the first time.
    pub fn earn(&self) {
        let mut saved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *saved = (*saved + EARNED).min(SAVED_MOST);
    }

    /// Whether it may be made again.
    pub fn spend(&self) -> bool {
        let mut saved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *saved < 1.0 {
            return false;
        }
        *saved -= 1.0;
        true
    }
}

/// A number from 0 to 1.
pub fn chance() -> f64 {
    let mut chance = [0; 2];
    // Without randomness all wait as long: a nuisance, not a danger.
    let _ = getrandom::fill(&mut chance);
    f64::from(u16::from_le_bytes(chance)) / f64::from(u16::MAX)
}

/// How long to wait before the `retry`-th time (from 1): twice as long each time, and any part of that, as
/// `chance` (0 to 1) has it, so that those who failed together do not come again together.
pub fn pause(retry: u32, chance: f64) -> Duration {
    let (first, most) = PAUSE;
    let whole =
        first.saturating_mul(2u32.saturating_pow(retry.saturating_sub(1).min(16))).min(most);
    whole.mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pauses_double_up_to_the_most_and_are_spread() {
        let whole = [1, 2, 3, 4, 9, u32::MAX].map(|retry| pause(retry, 1.0).as_millis());
        assert_eq!(whole, [50, 100, 200, 400, 2000, 2000]);
        assert_eq!(pause(3, 0.5).as_millis(), 100);
        assert_eq!((pause(0, 7.0).as_millis(), pause(5, -1.0)), (50, Duration::ZERO));
    }

    proptest! {
        #[test]
        fn retries_are_a_tenth_of_all_and_a_few(wants in prop::collection::vec(0u32..4, 1..400)) {
            let retries = Retries::default();
            let mut spent = 0.0;
            for (n, wanted) in wants.iter().enumerate() {
                retries.earn();
                spent += (0..*wanted).filter(|_| retries.spend()).count() as f64;
                prop_assert!(spent <= SAVED_MOST + EARNED * (n + 1) as f64 + 1e-6);
            }
        }
    }
}
