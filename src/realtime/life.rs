//! Who keeps a session alive, as a pure state machine: *connecting* → *live* → *detached* until a deadline → *ended*. Invariants:
//! one socket at a time has it, and only that one's leaving counts; what has ended stays so.

use std::time::Duration;

use tokio::time::Instant;

/// The number of a socket among those that a session had.
pub type SocketId = u64;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    stage: Stage,
    sockets: SocketId,
    grace: Duration,
}

/// How it stands with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No socket has it yet; until a deadline.
    Connecting(Instant),
    /// This socket has it.
    Live(SocketId),
    /// Its device is gone, and expected back before a deadline.
    Detached(Instant),
    /// It is over.
    Ended,
}

impl Life {
    /// Of a session that begins `now`, and whose device may be gone for `grace`.
    pub fn begin(grace: Duration, now: Instant) -> Self {
        Self { stage: Stage::Connecting(now + grace), sockets: 0, grace }
    }

    /// Another socket takes it over. None where it is over.
    pub fn attach(&mut self, now: Instant) -> Option<SocketId> {
        if self.expires_by(now) || self.stage == Stage::Ended {
            return None;
        }
        self.sockets += 1;
        self.stage = Stage::Live(self.sockets);
        Some(self.sockets)
    }

    /// A socket is gone. True where it was the one that had the session.
    pub fn leave(&mut self, socket: SocketId, now: Instant) -> bool {
        let had_it = self.stage == Stage::Live(socket);
        if had_it {
            self.stage = Stage::Detached(now + self.grace);
        }
        had_it
    }

    /// Ends it where its deadline has passed. True the first time.
    pub fn expire(&mut self, now: Instant) -> bool {
        let expires = self.expires_by(now);
        if expires {
            self.stage = Stage::Ended;
        }
        expires
    }

    /// Ends it. True the first time.
    pub fn end(&mut self) -> bool {
        let ends = self.stage != Stage::Ended;
        self.stage = Stage::Ended;
        ends
    }

    /// How it stands.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// When it ends if nobody comes.
    pub fn until(&self) -> Option<Instant> {
        match self.stage {
            Stage::Connecting(until) | Stage::Detached(until) => Some(until),
            Stage::Live(_) | Stage::Ended => None,
        }
    }

    fn expires_by(&self, now: Instant) -> bool {
        self.until().is_some_and(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRACE: Duration = Duration::from_secs(60);

    #[test]
    fn a_device_may_be_gone_for_59_seconds_and_not_for_61() {
        let now = Instant::now();
        let mut life = Life::begin(GRACE, now);
        let first = life.attach(now).expect("it begins");
        assert!(life.leave(first, now));
        assert!(!life.expire(now + Duration::from_secs(59)));
        let second = life.attach(now + Duration::from_secs(59)).expect("it is back");
        assert!(!life.expire(now + Duration::from_secs(600)), "somebody has it");
        assert!(life.leave(second, now));
        assert!(life.expire(now + Duration::from_secs(61)) && life.stage() == Stage::Ended);
        assert_eq!(life.attach(now + Duration::from_secs(61)), None);
        assert!(!life.end() && !life.expire(now + Duration::from_secs(62)), "only once");
    }

    #[test]
    fn whoever_was_replaced_takes_nothing_along() {
        let now = Instant::now();
        let mut life = Life::begin(GRACE, now);
        let old = life.attach(now).expect("it begins");
        let new = life.attach(now).expect("resumed while the old one still stood");
        assert!(!life.leave(old, now), "its late close does nothing");
        assert_eq!((life.stage(), life.until()), (Stage::Live(new), None));
        assert!(life.leave(new, now));
        assert!(!life.leave(new, now + GRACE), "twice is once");
        assert_eq!(life.until(), Some(now + GRACE));
    }

    #[test]
    fn a_deadline_counts_whether_somebody_looked_or_not() {
        let now = Instant::now();
        let mut life = Life::begin(GRACE, now);
        let socket = life.attach(now).expect("it begins");
        life.leave(socket, now);
        assert_eq!(life.attach(now + GRACE), None, "too late, though no timer has told");
    }

    proptest! {
        #[test]
        fn one_socket_has_it_or_a_deadline_or_it_is_over(
            steps in prop::collection::vec((0u8..4, 0u64..40, 0u64..4), 1..80),
        ) {
            let mut now = Instant::now();
            let mut life = Life::begin(GRACE, now);
            // The model: who has it, until when it is kept for nobody.
            let (mut has, mut until, mut sockets) = (None, Some(now + GRACE), 0);
            for (step, seconds, which) in steps {
                now += Duration::from_secs(seconds);
                let over = has.is_none() && until.is_none_or(|until| until <= now);
                match step {
                    0 => {
                        let got = life.attach(now);
                        prop_assert_eq!(got.is_none(), over);
                        if let Some(socket) = got {
                            sockets += 1;
                            prop_assert_eq!(socket, sockets);
                            (has, until) = (Some(socket), None);
                        }
                    }
                    1 => {
                        let socket = sockets.saturating_sub(which);
                        let had = life.leave(socket, now);
                        prop_assert_eq!(had, has == Some(socket) && socket > 0);
                        if had {
                            (has, until) = (None, Some(now + GRACE));
                        }
                    }
                    2 => {
                        life.expire(now);
                        if over {
                            until = None;
                        }
                    }
                    _ if which == 3 => {
                        life.end();
                        (has, until) = (None, None);
                    }
                    _ => {}
                }
                match life.stage() {
                    Stage::Live(socket) => prop_assert_eq!(has, Some(socket)),
                    Stage::Connecting(at) | Stage::Detached(at) => prop_assert_eq!(until, Some(at)),
                    Stage::Ended => prop_assert!(has.is_none() && until.is_none()),
                }
            }
        }
    }
}
