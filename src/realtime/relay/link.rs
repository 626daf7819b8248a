//! How a session stands with a server elsewhere, as a pure state machine: *apart* → *connecting* → *running* → *grace* until a
//! deadline → again, or *disconnected*; *over* for good. Invariants: one connection at a time is wanted, by its number, and
//! news of any other changes nothing; without its device nothing is connected to; what is over stays so.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{RELAY_GRACE, RELAY_STEADY, RELAY_TRIES};

/// The number of a connection among those that a session wanted.
pub type Try = u64;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    stage: Stage,
    tries: Try,
    /// Connections in a row that did not come about, or did not last.
    failures: u32,
    grace: Duration,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was to be passed on yet.
    Apart,
    /// A connection is being made.
    Connecting,
    /// There is one, since then.
    Running(Instant),
    /// It was lost, or did not come about; until then nothing is done.
    Grace(Instant),
    /// It was lost while its device was gone, or again and again.
    Disconnected,
    /// The session is over.
    Over,
}

impl Link {
    /// Of a session that begins.
    pub fn begin() -> Self {
        Self { stage: Stage::Apart, tries: 0, failures: 0, grace: RELAY_GRACE }
    }

    /// The device has something to be passed on. Gives the number of the connection to be made, if one is.
    pub fn want(&mut self) -> Option<Try> {
        matches!(self.stage, Stage::Apart | Stage::Disconnected).then(|| {
            self.failures = 0;
            self.connect()
        })
    }

    /// The connection is there. False where nobody wants it any more.
    pub fn came(&mut self, number: Try, now: Instant) -> bool {
        let is_wanted = self.is(number) && self.stage == Stage::Connecting;
        if is_wanted {
            self.stage = Stage::Running(now);
        }
        is_wanted
    }

    /// The connection did not come about, or was lost. Gives when to look again, if that is to be done.
    pub fn lost(&mut self, number: Try, now: Instant) -> Option<Instant> {
        if !self.is(number) {
            return None;
        }
        match self.stage {
            Stage::Connecting => self.failures += 1,
            Stage::Running(since) if now - since >= RELAY_STEADY => self.failures = 0,
            Stage::Running(_) => self.failures += 1,
            Stage::Apart | Stage::Grace(_) | Stage::Disconnected | Stage::Over => return None,
        }
        let until = now + self.grace;
        self.stage = Stage::Grace(until);
        Some(until)
    }

    /// The grace is over. Gives the number of the next connection, if one is to be made: not without the device.
    pub fn elapsed(&mut self, number: Try, now: Instant, is_live: bool) -> Option<Try> {
        match self.stage {
            Stage::Grace(until) if self.is(number) && until <= now => {}
            _ => return None,
        }
        if is_live && self.failures < RELAY_TRIES {
            return Some(self.connect());
        }
        self.stage = Stage::Disconnected;
        None
    }

    /// The device is gone. True where a connection that is being made is not wanted any more.
    pub fn leave(&mut self) -> bool {
        let is_cut = self.stage == Stage::Connecting;
        if is_cut {
            self.stage = Stage::Disconnected;
        }
        is_cut
    }

    /// The device is back. Gives the number of the connection to be made, if one is: it was there before, and is not now.
    pub fn back(&mut self) -> Option<Try> {
        (self.stage == Stage::Disconnected).then(|| {
            self.failures = 0;
            self.connect()
        })
    }

    /// The session is over.
    pub fn end(&mut self) {
        self.stage = Stage::Over;
    }

    /// How it stands.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether what the client says goes elsewhere: there is a connection, or will be at once.
    pub fn carries(&self) -> bool {
        matches!(self.stage, Stage::Connecting | Stage::Running(_))
    }

    /// Whether there is none, nor will be by itself.
    pub fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Apart | Stage::Disconnected | Stage::Over)
    }

    /// Whether this connection is there, and wanted.
    pub fn runs(&self, number: Try) -> bool {
        self.is(number) && matches!(self.stage, Stage::Running(_))
    }

    fn is(&self, number: Try) -> bool {
        self.tries == number
    }

    fn connect(&mut self) -> Try {
        self.tries += 1;
        self.stage = Stage::Connecting;
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn running(now: Instant) -> (Link, Try) {
        let mut link = Link::begin();
        let number = link.want().expect("the first");
        assert!(link.came(number, now));
        (link, number)
    }

    #[test]
    fn a_lost_connection_is_made_again_after_its_grace_where_the_device_is_there() {
        let now = Instant::now();
        let (mut link, first) = running(now);
        let until = link.lost(first, now).expect("a grace");
        assert_eq!(until - now, Duration::from_secs(5));
        assert!(!link.carries() && link.want().is_none(), "not before its end");
        assert_eq!(link.elapsed(first, until - Duration::from_millis(1), true), None);
        let second = link.elapsed(first, until, true).expect("another");
        assert_eq!((second, link.carries()), (2, true));
        assert!(!link.came(first, until), "news of the old one");
        assert!(link.came(second, until) && link.lost(first, until).is_none());
        assert!(link.runs(second) && !link.runs(first));
    }

    #[test]
    fn without_its_device_nothing_is_revived_until_that_is_back() {
        let now = Instant::now();
        let (mut link, first) = running(now);
        let until = link.lost(first, now).expect("a grace");
        assert!(!link.leave(), "there is nothing to be cut");
        assert_eq!(link.elapsed(first, until, false), None);
        for minutes in 1..=2 {
            let later = until + Duration::from_secs(60 * minutes);
            assert_eq!((link.elapsed(first, later, false), link.lost(first, later)), (None, None));
        }
        assert_eq!(link.back(), Some(2), "the device is back within its grace");
        assert_eq!(link.back(), None, "once");
    }

    #[test]
    fn a_device_that_leaves_while_it_connects_leaves_nothing() {
        let now = Instant::now();
        let mut link = Link::begin();
        assert_eq!(link.back(), None, "there was nothing before");
        let number = link.want().expect("the first");
        assert_eq!(link.want(), None, "asked for once");
        assert!(link.leave());
        assert!(!link.came(number, now), "it came too late: it is closed");
        link.end();
        assert_eq!((link.back(), link.want(), link.lost(number, now)), (None, None, None));
    }

    #[test]
    fn one_that_never_lasts_is_left_alone_until_it_is_wanted() {
        let mut now = Instant::now();
        let mut link = Link::begin();
        let mut number = link.want().expect("the first");
        for again in 1..=RELAY_TRIES {
            now = link.lost(number, now).expect("a grace");
            match link.elapsed(number, now, true) {
                Some(next) => number = next,
                None => assert_eq!(again, RELAY_TRIES),
            }
        }
        assert!(!link.carries());
        let number = link.want().expect("somebody speaks");
        assert!(link.came(number, now));
        now += RELAY_STEADY;
        now = link.lost(number, now).expect("a grace");
        assert!(link.elapsed(number, now, true).is_some(), "it had lasted");
    }

    proptest! {
        #[test]
        fn at_most_one_connection_is_wanted_and_none_behind_the_end(
            steps in prop::collection::vec((0u8..8, 0u64..8, 0u64..3), 1..100),
        ) {
            let (mut link, mut now) = (Link::begin(), Instant::now());
            let (mut tries, mut is_live, mut is_over, mut lost_at) = (0, true, false, None::<Instant>);
            for (step, seconds, which) in steps {
                now += Duration::from_secs(seconds);
                let number = tries - tries.min(which);
                let began = match step {
                    0 if is_live => link.want(),
                    1 => {
                        let came = link.came(number, now);
                        prop_assert!(!came || (number == tries && is_live));
                        None
                    }
                    2 => {
                        if link.lost(number, now).is_some() {
                            prop_assert_eq!(number, tries);
                            lost_at = Some(now);
                        }
                        None
                    }
                    3 => link.elapsed(number, now, is_live),
                    4 => {
                        is_live = false;
                        link.leave();
                        None
                    }
                    5 if !is_live => {
                        is_live = true;
                        link.back()
                    }
                    6 if which == 2 => {
                        is_over = true;
                        link.end();
                        None
                    }
                    _ => None,
                };
                if let Some(next) = began {
                    prop_assert!(is_live && !is_over && next == tries + 1);
                    // However it is asked for: never twice within the grace of one that was lost.
                    prop_assert!(lost_at.is_none_or(|at| now - at >= RELAY_GRACE));
                    tries = next;
                }
                prop_assert!(!is_over || !link.carries());
            }
        }
    }
}
