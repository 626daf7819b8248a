//! Listeners who are too slow for their neighbours. Invariant: who takes a KiB a second on the average of its window, or
//! lets nothing wait, is never cut; who takes nothing is, when the window is over.

use std::collections::HashMap;
use std::time::Duration;

use crate::bounds::replay::Standing;
use crate::limits::{LISTENER_PACE_BYTES, LISTENER_WINDOW, LOST_WINDOW};

/// An account of time for each listener, spent while something waits for it and bought back by taking it.
#[derive(Debug)]
pub struct Pace {
    accounts: HashMap<usize, Account>,
    /// Whoever left is expected for so long.
    grace: Duration,
}

#[derive(Debug)]
struct Account {
    taken: u64,
    left: Duration,
    /// Since it was lost, if it is.
    lost_for: Option<Duration>,
}

impl Pace {
    /// Without anybody. Whoever leaves is expected back for `grace`.
    pub fn new(grace: Duration) -> Self {
        Self { accounts: HashMap::new(), grace }
    }

    /// `passed` since the last time, listeners stand so. Gives the places of those who are too slow; one who listens alone
    /// delays nobody, and one who left delays whoever is there.
    pub fn tick(&mut self, standings: &[Standing], passed: Duration) -> Vec<usize> {
        let present = standings.iter().filter(|standing| !standing.is_lost).count();
        let judged = |standing: &&Standing| present > usize::from(!standing.is_lost);
        let judged = || standings.iter().filter(judged);
        self.accounts.retain(|place, account| {
            let is_same = |standing: &Standing| {
                standing.place == *place && standing.is_lost == account.lost_for.is_some()
            };
            judged().any(is_same)
        });
        let is_late = |standing: &&Standing| {
            let account = self.accounts.entry(standing.place);
            let account = account.or_insert_with(|| Account::of(standing));
            account.is_over(standing, passed, self.grace)
        };
        judged().filter(is_late).map(|standing| standing.place).collect()
    }
}

impl Account {
    fn of(standing: &Standing) -> Self {
        let left = if standing.is_lost { LOST_WINDOW } else { LISTENER_WINDOW };
        let lost_for = standing.is_lost.then_some(Duration::ZERO);
        Self { taken: standing.taken, left, lost_for }
    }

    fn is_over(&mut self, standing: &Standing, passed: Duration, grace: Duration) -> bool {
        if let Some(lost_for) = &mut self.lost_for {
            *lost_for += passed;
            if standing.waits {
                self.left = self.left.saturating_sub(passed);
            }
            return self.left.is_zero() || *lost_for >= grace;
        }
        // A place that went to somebody else begins anew.
        let took = standing.taken.checked_sub(self.taken).unwrap_or(u64::MAX);
        self.taken = standing.taken;
        if !standing.waits {
            self.left = LISTENER_WINDOW;
            return false;
        }
        let bought = Duration::from_secs_f64(took as f64 / LISTENER_PACE_BYTES as f64);
        self.left = self.left.saturating_add(bought).min(LISTENER_WINDOW + passed);
        self.left = self.left.saturating_sub(passed);
        self.left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const GRACE: Duration = Duration::from_secs(10);

    /// Seconds after which the first of two is cut, who takes so many bytes a second of what waits.
    fn lasts(bytes_a_second: u64, waits: bool) -> Option<u64> {
        let mut pace = Pace::new(GRACE);
        (1..=100).find(|second| {
            let (taken, is_lost) = (second * bytes_a_second, false);
            let slow = Standing { place: 0, taken, waits, is_lost };
            let quick = Standing { place: 1, taken: second * 50_000, waits: false, is_lost };
            let cut = pace.tick(&[slow, quick], SECOND);
            assert!(!cut.contains(&1));
            cut == [0]
        })
    }

    #[test]
    fn who_takes_nothing_is_cut_when_the_window_is_over() {
        assert_eq!(lasts(0, true), Some(LISTENER_WINDOW.as_secs()));
        assert_eq!(lasts(0, false), None, "nothing waits for it");
        assert_eq!(lasts(LISTENER_PACE_BYTES, true), None);
        assert!(
            lasts(LISTENER_PACE_BYTES / 2, true)
                .is_some_and(|second| second > LISTENER_WINDOW.as_secs())
        );
    }

    #[test]
    fn who_listens_alone_has_the_connections_own_time() {
        let mut pace = Pace::new(GRACE);
        let alone = Standing { place: 0, taken: 0, waits: true, is_lost: false };
        assert!((0..100).all(|_| pace.tick(&[alone], SECOND).is_empty()));
    }

    #[test]
    fn one_who_left_is_waited_for_a_little_and_expected_for_its_grace() {
        let lost = |waits| Standing { place: 1, taken: 70, waits, is_lost: true };
        let alone = Standing { place: 0, taken: 0, waits: true, is_lost: false };
        let lasts = |waits| {
            let mut pace = Pace::new(GRACE);
            // As somebody who listened, it had almost used up its time.
            let here = Standing { is_lost: false, ..lost(true) };
            assert!((0..4).all(|_| pace.tick(&[alone, here], SECOND).is_empty()));
            (1..=100).find(|_| {
                let cut = pace.tick(&[alone, lost(waits)], SECOND);
                assert!(!cut.contains(&0), "who is there listens alone");
                cut == [1]
            })
        };
        assert_eq!(lasts(true), Some(LOST_WINDOW.as_secs()));
        assert_eq!(lasts(false), Some(GRACE.as_secs()));
        let mut pace = Pace::new(GRACE);
        assert!((0..100).all(|_| pace.tick(&[lost(true)], SECOND).is_empty()), "nobody is there");
    }
}
