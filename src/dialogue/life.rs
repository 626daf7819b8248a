//! Who keeps a dialogue alive. Invariants: a listener, or a deadline that has not passed, and nothing else; a dialogue
//! without either is over at that moment, and stays so. A turn that was asked has its deadline for itself: those who
//! listen to the one before and no further do not take it with them.

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
    /// Of those, who listens through later turns as well.
    followers: usize,
    /// Until when the turn waits for its first listener, if it does.
    awaited: Option<Instant>,
    /// While nobody listens.
    until: Option<Instant>,
    is_resumable: bool,
    is_over: bool,
}

impl Life {
    /// Of a dialogue that is asked its first question `now`.
    pub fn begin(patience: Patience, is_resumable: bool, now: Instant) -> Self {
        let until = Some(now + patience.attach);
        let (listeners, followers, awaited, is_over) = (0, 0, until, false);
        Self { patience, listeners, followers, awaited, until, is_resumable, is_over }
    }

    /// Another question, asked `now`.
    pub fn asked(&mut self, is_resumable: bool, now: Instant) {
        self.is_resumable = is_resumable;
        self.awaited = (self.followers == 0).then(|| now + self.patience.attach);
        if self.listeners == 0 {
            self.until = self.awaited;
        }
    }

    /// Another listener, who also `follows` into later turns or does not.
    pub fn attach(&mut self, follows: bool) {
        self.listeners += 1;
        self.followers += usize::from(follows);
        (self.awaited, self.until) = (None, None);
    }

    /// One listener less, who followed or did not. True where the dialogue is over by that.
    pub fn leave(&mut self, follows: bool, now: Instant) -> bool {
        self.listeners -= 1;
        self.followers -= usize::from(follows);
        if self.listeners > 0 || self.is_over {
            return false;
        }
        let grace = self.is_resumable.then(|| now + self.patience.grace);
        self.until = grace.max(self.awaited.filter(|until| *until > now));
        self.is_over = self.until.is_none();
        self.is_over
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

    /// How long one that was cut off is expected.
    pub fn grace(&self) -> Duration {
        self.patience.grace
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.listeners
    }

    /// Whether somebody listens to the turn that was asked last.
    pub fn is_heard(&self) -> bool {
        self.listeners > 0 && self.awaited.is_none()
    }

    /// Whether the turn that was asked last still waits for its first listener.
    pub fn is_awaited(&self) -> bool {
        self.awaited.is_some()
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
        life.attach(false);
        life.attach(false);
        assert!(!life.leave(false, now));
        assert!(life.leave(false, now) && life.is_over());
        let mut life = Life::begin(PATIENCE, true, now);
        life.attach(false);
        assert!(!life.leave(false, now));
        assert!(!life.expire(after(now, 9.9)));
        life.attach(false);
        assert_eq!(life.until(), None);
        assert!(!life.expire(after(now, 60.0)), "somebody listens");
        assert!(!life.leave(false, after(now, 60.0)));
        assert!(life.expire(after(now, 70.0)));
    }

    #[test]
    fn a_turn_that_was_asked_waits_for_its_own_listeners() {
        let now = Instant::now();
        let mut life = Life::begin(PATIENCE, false, now);
        life.attach(false);
        life.asked(false, now);
        assert!(!life.is_heard() && !life.leave(false, after(now, 1.0)));
        assert!(!life.expire(after(now, 29.9)) && life.expire(after(now, 30.0)));
        // Who came for it takes it along.
        let mut life = Life::begin(PATIENCE, false, now);
        life.attach(false);
        life.asked(false, now);
        life.attach(false);
        assert!(life.is_heard() && !life.leave(false, now) && life.leave(false, now));
        // And so does who listens to all of them.
        let mut life = Life::begin(PATIENCE, false, now);
        life.attach(true);
        life.asked(false, now);
        assert!(life.is_heard() && life.leave(true, now));
    }

    proptest! {
        #[test]
        fn it_lives_exactly_as_long_as_somebody_listens_or_may_still_come(
            is_resumable: bool,
            steps in prop::collection::vec((0u8..4, 0u64..20), 1..60),
        ) {
            let mut now = Instant::now();
            let mut life = Life::begin(PATIENCE, is_resumable, now);
            // The model: who listens, and how, until when it is kept for nobody, and until when for who was not there yet.
            let (mut listeners, mut until) = (Vec::new(), Some(now + PATIENCE.attach));
            let mut awaited = until;
            for (step, seconds) in steps {
                now += Duration::from_secs(seconds);
                life.expire(now);
                let lives = !listeners.is_empty() || until.is_some_and(|until| until > now);
                prop_assert_eq!(!life.is_over(), lives);
                if !lives {
                    return Ok(());
                }
                match step {
                    0 | 1 => {
                        life.attach(step == 1);
                        listeners.push(step == 1);
                        (until, awaited) = (None, None);
                    }
                    2 if !listeners.is_empty() => {
                        let follows = listeners.swap_remove(seconds as usize % listeners.len());
                        life.leave(follows, now);
                        if listeners.is_empty() {
                            let grace = is_resumable.then(|| now + PATIENCE.grace);
                            until = grace.max(awaited);
                        }
                    }
                    3 => {
                        life.asked(is_resumable, now);
                        awaited = (!listeners.contains(&true)).then(|| now + PATIENCE.attach);
                        if listeners.is_empty() {
                            until = awaited;
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(life.listeners(), listeners.len());
            }
        }
    }
}
