//! Listeners who are too slow for their neighbours. Invariant: who takes a KiB a second on the average of its window, or
//! lets nothing wait, is never cut; who takes nothing is, when the window is over.

use std::collections::HashMap;
use std::time::Duration;

use crate::bounds::replay::Standing;
use crate::limits::{LISTENER_PACE_BYTES, LISTENER_WINDOW};

/// An account of time for each listener, spent while something waits for it and bought back by taking it.
#[derive(Debug, Default)]
pub struct Pace {
    accounts: HashMap<usize, Account>,
}

#[derive(Debug)]
struct Account {
    taken: u64,
    left: Duration,
}

impl Pace {
    /// `passed` since the last time, listeners stand so. Gives the places of those who are too slow; one who listens alone
    /// delays nobody.
    pub fn tick(&mut self, standings: &[Standing], passed: Duration) -> Vec<usize> {
        if standings.len() < 2 {
            self.accounts.clear();
            return Vec::new();
        }
        self.accounts.retain(|place, _| standings.iter().any(|standing| standing.place == *place));
        let mut slow = Vec::new();
        for Standing { place, taken, waits } in standings {
            let new = Account { taken: *taken, left: LISTENER_WINDOW };
            let account = self.accounts.entry(*place).or_insert(new);
            // A place that went to somebody else begins anew.
            let took = taken.checked_sub(account.taken).unwrap_or(u64::MAX);
            account.taken = *taken;
            if !waits {
                account.left = LISTENER_WINDOW;
                continue;
            }
            let bought = Duration::from_secs_f64(took as f64 / LISTENER_PACE_BYTES as f64);
            account.left = account.left.saturating_add(bought).min(LISTENER_WINDOW + passed);
            account.left = account.left.saturating_sub(passed);
            if account.left.is_zero() {
                slow.push(*place);
            }
        }
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Seconds after which the first of two is cut, who takes so many bytes a second of what waits.
    fn lasts(bytes_a_second: u64, waits: bool) -> Option<u64> {
        let mut pace = Pace::default();
        (1..=100).find(|second| {
            let slow = Standing { place: 0, taken: second * bytes_a_second, waits };
            let quick = Standing { place: 1, taken: second * 50_000, waits: false };
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
        let mut pace = Pace::default();
        let alone = [Standing { place: 0, taken: 0, waits: true }];
        assert!((0..100).all(|_| pace.tick(&alone, SECOND).is_empty()));
    }
}
