//! How long a server has said nothing while it was listened to: pure, told the time by whoever asks. Invariant: one that gives no
//! sign of life within a time after it was asked for one is lost; one that nobody listens to is not blamed.

use tokio::time::Instant;

use crate::limits::{PING_EVERY, PONG_WITHIN};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    since: Instant,
    is_asked: bool,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is to be asked for a sign of life.
    Ask,
    /// It is lost.
    Lost,
}

impl Silence {
    /// Nothing was said since `now`.
    pub fn new(now: Instant) -> Self {
        Self { since: now, is_asked: false }
    }

    /// Something came, or nobody listens.
    pub fn broken(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// When to look at it next.
    pub fn due(&self) -> Instant {
        let asks = self.since + PING_EVERY;
        if self.is_asked { asks + PONG_WITHIN } else { asks }
    }

    /// What is to be done by now, if something is: each is said once.
    pub fn then(&mut self, now: Instant) -> Option<Then> {
        if now < self.due() {
            return None;
        }
        match std::mem::replace(&mut self.is_asked, true) {
            false => Some(Then::Ask),
            true => Some(Then::Lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_that_says_nothing_is_asked_once_and_then_lost() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut silence = Silence::new(now);
        assert_eq!((silence.then(at(9)), silence.then(at(10))), (None, Some(Then::Ask)));
        assert_eq!((silence.then(at(29)), silence.then(at(30))), (None, Some(Then::Lost)));
        silence.broken(at(25));
        assert_eq!((silence.then(at(34)), silence.then(at(35))), (None, Some(Then::Ask)));
        silence.broken(at(36));
        assert_eq!(silence.due(), at(46));
    }
}
