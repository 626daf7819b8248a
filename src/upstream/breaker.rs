//! Whether an upstream is asked at all. Invariant: one that keeps failing is left alone for a while, then asked by
//! one request at a time until it answers; a caller who gives up counts for nothing.
//!
//! Closed, open, half open, as Nygard's *Release It!* names them. It knows the time by what it is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When to stop asking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Failures in a row after which it opens.
    pub failures: u32,
    /// How long it stays open at first; each time that the trial fails it is twice as long,
    pub open_for: Duration,
    /// up to this.
    pub open_most: Duration,
}

/// The breaker of one upstream. Clones share it.
#[derive(Clone, Debug)]
pub struct Breaker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    terms: Terms,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Times in a row that it has opened.
    opened: u32,
    /// While it is open.
    until: Option<Instant>,
    /// A request is out that will tell.
    on_trial: bool,
    /// When it last answered.
    answered: Option<Instant>,
}

/// It is open: nobody asks before this time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// When asking again may help.
    pub retry_after: Duration,
}

/// Leave to ask once. Say what came of it; dropped without a word, it counts for nothing.
#[derive(Debug)]
#[must_use = "what came of it must be said"]
pub struct Leave {
    breaker: Breaker,
    is_trial: bool,
}

impl Breaker {
    /// A closed one.
    pub fn new(terms: Terms) -> Self {
        Self(Arc::new(Inner { terms, state: Mutex::default() }))
    }

    /// Leave to ask now, or when.
    pub fn leave(&self) -> Result<Leave, Open> {
        let mut state = self.lock();
        let Some(until) = state.until else {
            return Ok(Leave { breaker: self.clone(), is_trial: false });
        };
        let left = until.saturating_duration_since(Instant::now());
        if state.on_trial || !left.is_zero() {
            // Whoever is on trial will be done soon, whichever way.
            return Err(Open { retry_after: left.max(Duration::from_secs(1)) });
        }
        state.on_trial = true;
        Ok(Leave { breaker: self.clone(), is_trial: true })
    }

    /// How long requests are still turned away, if they are.
    pub fn open_for(&self) -> Option<Duration> {
        let state = self.lock();
        let left = state.until?.saturating_duration_since(Instant::now());
        (state.on_trial || !left.is_zero()).then_some(left)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave {
    /// The upstream answered, with whatever: it lives.
    pub fn answered(self) {
        *self.breaker.lock() = State { answered: Some(Instant::now()), ..State::default() };
    }

    /// It did not answer a request that was begun at `began`; if it has answered others since, that is the request's
    /// own fault, and counts for nothing.
    pub fn unanswered(self, began: Instant) {
        let answered = self.breaker.lock().answered;
        if answered.is_none_or(|answered| answered < began) {
            self.failed();
        }
    }

    /// It could not be reached, did not answer in time, or answered that it cannot.
    pub fn failed(self) {
        let Terms { failures, open_for, open_most } = self.breaker.0.terms;
        let mut state = self.breaker.lock();
        state.failures = state.failures.saturating_add(1);
        let opens = match state.until {
            // Others may have been out when it opened; their word is old.
            Some(_) => self.is_trial,
            None => state.failures >= failures,
        };
        if opens {
            let longer = 2u32.saturating_pow(state.opened.min(16));
            state.until = Some(Instant::now() + open_most.min(open_for.saturating_mul(longer)));
            state.opened += 1;
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.is_trial {
            self.breaker.lock().on_trial = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(Terms { failures: 3, open_for: 2 * SECOND, open_most: 10 * SECOND })
    }

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.leave().expect("leave").failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_no_sooner() {
        let breaker = breaker();
        for _ in 0..5 {
            fail(&breaker, 2);
            breaker.leave().expect("leave").answered();
        }
        fail(&breaker, 2);
        assert!(breaker.open_for().is_none());
        fail(&breaker, 1);
        assert!(breaker.open_for().is_some());
        assert_eq!(breaker.leave().err(), Some(Open { retry_after: 2 * SECOND }));
    }

    #[tokio::test(start_paused = true)]
    async fn one_tries_and_the_others_wait_for_its_word() {
        let breaker = breaker();
        fail(&breaker, 3);
        tokio::time::advance(2 * SECOND).await;
        let trial = breaker.leave().expect("the trial");
        assert!(breaker.leave().is_err(), "one at a time");
        trial.answered();
        assert!(breaker.open_for().is_none());
        fail(&breaker, 2);
        assert!(breaker.open_for().is_none(), "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_fails_makes_it_longer_up_to_the_most() {
        let breaker = breaker();
        fail(&breaker, 3);
        for seconds in [2, 4, 8, 10, 10] {
            tokio::time::advance(seconds * SECOND - Duration::from_millis(1)).await;
            assert!(breaker.leave().is_err(), "{seconds} s");
            tokio::time::advance(Duration::from_millis(1)).await;
            breaker.leave().expect("the trial").failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_counts_for_nothing() {
        let breaker = breaker();
        for _ in 0..10 {
            drop(breaker.leave().expect("leave"));
        }
        assert!(breaker.open_for().is_none());
        fail(&breaker, 3);
        tokio::time::advance(2 * SECOND).await;
        drop(breaker.leave().expect("the trial"));
        breaker.leave().expect("the next one tries").answered();
        assert!(breaker.open_for().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_only_some_are_not_answered_is_their_own_fault() {
        let breaker = breaker();
        for _ in 0..20 {
            let began = Instant::now();
            let (slow, quick) = (breaker.leave().expect("leave"), breaker.leave().expect("leave"));
            tokio::time::advance(SECOND).await;
            quick.answered();
            slow.unanswered(began);
            assert_eq!(breaker.open_for(), None);
        }
        for _ in 0..3 {
            tokio::time::advance(SECOND).await;
            breaker.leave().expect("leave").unanswered(Instant::now());
        }
        assert!(breaker.open_for().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn late_failures_of_those_who_were_out_do_not_prolong_it() {
        let breaker = breaker();
        let out: Vec<_> = (0..10).map(|_| breaker.leave().expect("leave")).collect();
        fail(&breaker, 3);
        tokio::time::advance(SECOND).await;
        out.into_iter().for_each(Leave::failed);
        assert_eq!(breaker.leave().err(), Some(Open { retry_after: SECOND }));
    }
}
