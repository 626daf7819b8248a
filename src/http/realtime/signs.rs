//! Signs of life on a socket, and how much its client sends: pure, told the time by whoever asks. Invariants: a ping is asked for
//! every 10 s, and behind what was sent; without an answer for 20 s the peer is gone; nothing is counted for ever.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{CONFIRM_EVERY_BYTES, PING_EVERY, PONG_WITHIN};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    /// When the next ping is due.
    next: Instant,
    /// Since when an answer is missing.
    waits: Option<Instant>,
    /// How far the last ping asked, and how far it was answered.
    asked: u64,
    answered: Option<u64>,
    /// Bytes given since the last ping.
    bytes: usize,
}

impl Signs {
    /// Of a socket that was opened `now`: the first ping is due.
    pub fn new(now: Instant) -> Self {
        Self { next: now, waits: None, asked: 0, answered: None, bytes: 0 }
    }

    /// So many bytes were given to the socket.
    pub fn gave(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Whether to ask now, `given` being the number of the last event given, which `is_all` that there is.
    pub fn asks(&self, now: Instant, given: u64, is_all: bool) -> bool {
        let is_behind = given > self.asked;
        now >= self.next
            || is_behind && self.bytes >= CONFIRM_EVERY_BYTES
            || is_behind && is_all && self.waits.is_none()
    }

    /// Was asked, about events up to `given`.
    pub fn asked(&mut self, now: Instant, given: u64) {
        (self.next, self.asked, self.bytes) = (now + PING_EVERY, given, 0);
        self.waits.get_or_insert(now);
    }

    /// An answer came, to the ping about events up to `upto`.
    pub fn answered(&mut self, now: Instant, upto: u64) {
        let upto = upto.min(self.asked);
        self.answered = self.answered.max(Some(upto));
        // Older ones may be on their way still; but who answers lives.
        self.waits = (upto < self.asked).then_some(now);
    }

    /// Whether the peer ever answered.
    pub fn was_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// Whether the peer is gone: it answers no more; one that never did has half as long.
    pub fn is_gone(&self, now: Instant) -> bool {
        self.gone_at().is_some_and(|at| at <= now)
    }

    /// When to look again.
    pub fn due(&self) -> Instant {
        self.gone_at().map_or(self.next, |gone| gone.min(self.next))
    }

    fn gone_at(&self) -> Option<Instant> {
        let patience = if self.was_answered() { PONG_WITHIN } else { PING_EVERY };
        self.waits.map(|since| since + patience)
    }
}

/// How much may be asked: so much a second on the average, and a burst.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    left: f64,
    most: f64,
    a_second: f64,
    at: Instant,
}

impl Meter {
    /// `most` at once, and as many again in `within`.
    pub fn new(most: u32, within: Duration, now: Instant) -> Self {
        let most = f64::from(most);
        Self { left: most, most, a_second: most / within.as_secs_f64(), at: now }
    }

    /// One more. False where that is more than may be.
    pub fn takes(&mut self, now: Instant) -> bool {
        self.takes_many(1, now)
    }

    /// So many more, all or none of them.
    pub fn takes_many(&mut self, many: usize, now: Instant) -> bool {
        let many = many as f64;
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * self.a_second).min(self.most);
        self.at = now;
        if self.left < many {
            return false;
        }
        self.left -= many;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(now: Instant, seconds: f64) -> Instant {
        now + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn who_answers_no_ping_is_gone_after_two_and_who_never_did_after_one() {
        let now = Instant::now();
        let mut signs = Signs::new(now);
        assert!(signs.asks(now, 0, true));
        signs.asked(now, 0);
        assert!(!signs.is_gone(after(now, 9.9)) && signs.is_gone(after(now, 10.0)));
        signs.answered(after(now, 1.0), 0);
        assert!(!signs.is_gone(after(now, 100.0)));
        assert!(!signs.asks(after(now, 9.9), 0, true) && signs.asks(after(now, 10.0), 0, true));
        signs.asked(after(now, 10.0), 0);
        signs.asked(after(now, 20.0), 0);
        assert!(!signs.is_gone(after(now, 29.9)) && signs.is_gone(after(now, 30.0)));
        assert_eq!(signs.due(), after(now, 30.0));
    }

    #[test]
    fn what_was_sent_is_asked_about_at_its_end_and_every_so_many_bytes() {
        let now = Instant::now();
        let mut signs = Signs::new(now);
        signs.asked(now, 0);
        signs.answered(now, 0);
        signs.gave(CONFIRM_EVERY_BYTES - 1);
        assert!(!signs.asks(now, 3, false), "more comes");
        assert!(signs.asks(now, 3, true));
        signs.asked(now, 3);
        signs.gave(100);
        assert!(!signs.asks(now, 4, true), "one at a time, where little was sent");
        signs.gave(CONFIRM_EVERY_BYTES);
        assert!(signs.asks(now, 4, false));
        signs.asked(now, 4);
        signs.answered(now, 3);
        assert!(signs.is_gone(after(now, 20.0)), "the second is not answered");
        signs.answered(now, 99);
        assert!(!signs.is_gone(after(now, 20.0)));
    }

    #[test]
    fn a_meter_lets_a_burst_through_and_then_the_average() {
        let now = Instant::now();
        let mut meter = Meter::new(100, Duration::from_secs(5), now);
        assert!((0..100).all(|_| meter.takes(now)) && !meter.takes(now));
        assert!(meter.takes(after(now, 0.05)) && !meter.takes(after(now, 0.05)));
        assert_eq!((0..300).filter(|_| meter.takes(after(now, 1000.0))).count(), 100);
    }
}
