//! Who keeps a dialogue alive. Invariants: a listener, or a deadline that has not passed, and nothing else; a dialogue
//! without either is over at that moment, and stays so.

use std::time::Duration;

use tokio::time::Instant;

/// How long a dialogue waits for listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the first, after a question.
    pub attach: Duration,
    /// For one that was cut off, where the turn can be resumed.
    pub grace: Duration,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    patience: Patience,
    listeners: usize,
    /// While nobody listens.
    until: Option<Instant>,
    is_resumable: bool,
    is_over: bool,
}

impl Life {
    /// Of a dialogue that is asked its first question `now`.
    pub fn begin(patience: Patience, is_resumable: bool, now: Instant) -> Self {
        let until = Some(now + patience.attach);
        Self { patience, listeners: 0, until, is_resumable, is_over: false }
    }

    /// Another question, asked `now`.
    pub fn asked(&mut self, is_resumable: bool, now: Instant) {
        self.is_resumable = is_resumable;
        if self.listeners == 0 {
            self.until = Some(now + self.patience.attach);
        }
    }

    /// Another listener.
    pub fn attach(&mut self) {
        self.listeners += 1;
        self.until = None;
    }

    /// One listener less. True where the dialogue is over by that.
    pub fn leave(&mut self, now: Instant) -> bool {
        self.listeners -= 1;
        if self.listeners > 0 || self.is_over {
            return false;
        }
        if self.is_resumable {
            self.until = Some(now + self.patience.grace);
            return false;
        }
        self.is_over = true;
        true
    }

    /// Ends it where its deadline has passed. True the first time.
    pub fn expire(&mut self, now: Instant) -> bool {
        let expires = !self.is_over && self.until.is_some_and(|until| until <= now);
        self.is_over |= expires;
        expires
    }

    /// Ends it.
    pub fn end(&mut self) {
        self.is_over = true;
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// When it ends if nobody comes.
    pub fn until(&self) -> Option<Instant> {
        self.until.filter(|_| !self.is_over)
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.listeners
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Patience =
        Patience { attach: Duration::from_secs(30), grace: Duration::from_secs(10) };

    fn after(now: Instant, seconds: f64) -> Instant {
        now + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_first_listener_has_half_a_minute() {
        let now = Instant::now();
        let mut life = Life::begin(PATIENCE, false, now);
        assert!(!life.expire(after(now, 29.9)));
        assert!(life.expire(after(now, 30.0)) && life.is_over());
        assert!(!life.expire(after(now, 31.0)), "only once");
    }

    #[test]
    fn the_last_to_leave_ends_it_at_once_unless_it_can_be_resumed() {
        let now = Instant::now();
        let mut life = Life::begin(PATIENCE, false, now);
        life.attach();
        life.attach();
        assert!(!life.leave(now));
        assert!(life.leave(now) && life.is_over());
        let mut life = Life::begin(PATIENCE, true, now);
        life.attach();
        assert!(!life.leave(now));
        assert!(!life.expire(after(now, 9.9)));
        life.attach();
        assert_eq!(life.until(), None);
        assert!(!life.expire(after(now, 60.0)), "somebody listens");
        assert!(!life.leave(after(now, 60.0)));
        assert!(life.expire(after(now, 70.0)));
    }

    proptest! {
        #[test]
        fn it_lives_exactly_as_long_as_somebody_listens_or_may_still_come(
            is_resumable: bool,
            steps in prop::collection::vec((0u8..4, 0u64..20), 1..60),
        ) {
            let mut now = Instant::now();
            let mut life = Life::begin(PATIENCE, is_resumable, now);
            // The model: who listens, and until when it is kept for nobody.
            let (mut listeners, mut until) = (0, Some(now + PATIENCE.attach));
            for (step, seconds) in steps {
                now += Duration::from_secs(seconds);
                life.expire(now);
                let lives = listeners > 0 || until.is_some_and(|until| until > now);
                prop_assert_eq!(!life.is_over(), lives);
                if !lives {
                    return Ok(());
                }
                match step {
                    0 | 1 => {
                        life.attach();
                        (listeners, until) = (listeners + 1, None);
                    }
                    2 if listeners > 0 => {
                        life.leave(now);
                        listeners -= 1;
                        if listeners == 0 {
                            until = is_resumable.then(|| now + PATIENCE.grace);
                        }
                    }
                    3 => {
                        life.asked(is_resumable, now);
                        if listeners == 0 {
                            until = Some(now + PATIENCE.attach);
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(life.listeners(), listeners);
            }
        }
    }
}
