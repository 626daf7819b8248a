//! What a session has told its client, as far as it is not known to have come. Invariants: events are numbered without a gap; one
//! that was not confirmed can be told again, word for word; what waits to be confirmed is bounded by whoever asks for
//! [`Outbox::has_room`] before it says more.

use std::collections::VecDeque;

use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::limits::{OUTBOX_BEHIND_BYTES, OUTBOX_BYTES, OUTBOX_PLACE_BYTES};

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    events: VecDeque<Utf8Bytes>,
    /// So many came before the first that is held.
    forgotten: u64,
    /// So many are known to have come, at least those.
    confirmed: u64,
    /// So many were, a while ago.
    settled: u64,
    /// Bytes of those that are not confirmed, and of those that are.
    waiting: usize,
    behind: usize,
}

/// What is asked for again is not held any more, or was never said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Outbox {
    /// The number of the last event, from 1; 0 before.
    pub fn last(&self) -> u64 {
        self.forgotten + self.events.len() as u64
    }

    /// Adds an event, whose number is [`Outbox::last`] from then on.
    pub fn push(&mut self, event: String) {
        self.waiting += bytes(event.len());
        self.events.push_back(event.into());
    }

    /// The event behind number `after`, if there is one.
    pub fn behind(&self, after: u64) -> Option<&Utf8Bytes> {
        let place = after.checked_sub(self.forgotten)?;
        self.events.get(usize::try_from(place).ok()?)
    }

    /// Everything up to number `upto` has come to the client's machine. It is kept a little longer: whoever reads there may be
    /// behind what answers pings for it.
    pub fn confirm(&mut self, upto: u64) {
        while self.confirmed < upto.min(self.last()) {
            let came = self.behind(self.confirmed).map_or(0, |event| bytes(event.len()));
            self.confirmed += 1;
            self.waiting -= came;
            self.behind += came;
        }
        while self.behind > OUTBOX_BEHIND_BYTES {
            self.forget();
        }
    }

    /// Some time has passed: what had come when this was last called is forgotten.
    pub fn settle(&mut self) {
        while self.forgotten < self.settled {
            self.forget();
        }
        self.settled = self.confirmed;
        if self.events.is_empty() {
            // An idle session keeps no room for what it said at its busiest.
            self.events = VecDeque::new();
        }
    }

    fn forget(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.forgotten += 1;
            self.behind -= bytes(event.len());
        }
    }

    /// Goes back to number `after`, behind which all is told again: whoever says so has no more than that. From `None` on, that
    /// is all that was not confirmed.
    pub fn resume(&mut self, after: Option<u64>) -> Result<u64, Gone> {
        let after = after.unwrap_or(self.confirmed);
        if !(self.forgotten..=self.last()).contains(&after) {
            return Err(Gone);
        }
        // What had come to its machine and was not read there is on its way once more, and is kept until it has come.
        while self.confirmed > after {
            self.confirmed -= 1;
            let again = self.behind(self.confirmed).map_or(0, |event| bytes(event.len()));
            self.waiting += again;
            self.behind -= again;
        }
        self.settled = self.settled.min(after);
        Ok(after)
    }

    /// Whether more may be said.
    pub fn has_room(&self) -> bool {
        self.waiting < OUTBOX_BYTES
    }

    /// Whether much more was said than may be, by one who was asked and did not listen.
    pub fn is_flooded(&self) -> bool {
        self.waiting > 2 * OUTBOX_BYTES
    }

    /// Bytes of all that is held.
    pub fn bytes(&self) -> usize {
        self.waiting + self.behind
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

fn bytes(length: usize) -> usize {
    length + OUTBOX_PLACE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_not_confirmed_can_be_told_again_and_for_a_while_what_was() {
        let mut outbox = Outbox::default();
        (1..=5).for_each(|number| outbox.push(format!("{number}")));
        outbox.confirm(2);
        assert_eq!((outbox.resume(None), outbox.resume(Some(4))), (Ok(2), Ok(4)));
        assert_eq!(outbox.resume(Some(5)), Ok(5), "nothing is missing");
        assert_eq!((outbox.resume(Some(1)), outbox.resume(Some(6))), (Ok(1), Err(Gone)));
        assert_eq!(outbox.behind(2).map(Utf8Bytes::as_str), Some("3"));
        outbox.confirm(2);
        outbox.settle();
        assert_eq!(outbox.resume(Some(1)), Ok(1), "it came just now");
        outbox.confirm(2);
        outbox.settle();
        outbox.settle();
        assert_eq!((outbox.resume(Some(1)), outbox.resume(Some(2))), (Err(Gone), Ok(2)));
        assert_eq!((outbox.behind(1), outbox.behind(5)), (None, None));
        outbox.confirm(99);
        outbox.settle();
        outbox.settle();
        assert!(outbox.is_empty() && outbox.waiting + outbox.behind == 0 && outbox.last() == 5);
    }

    #[test]
    fn what_is_told_again_is_kept_until_it_has_come_again() {
        let mut outbox = Outbox::default();
        (1..=5).for_each(|number| outbox.push(format!("{number}")));
        outbox.confirm(5);
        outbox.settle();
        assert_eq!(outbox.resume(Some(2)), Ok(2), "whoever reads had no more than that");
        (0..3).for_each(|_| outbox.settle());
        assert_eq!(outbox.behind(2).map(Utf8Bytes::as_str), Some("3"), "nobody has it");
        outbox.confirm(5);
        outbox.settle();
        outbox.settle();
        assert!(outbox.is_empty() && outbox.waiting + outbox.behind == 0);
    }

    #[test]
    fn what_has_come_is_kept_within_a_bound() {
        let mut outbox = Outbox::default();
        for number in 1..=200 {
            outbox.push("x".repeat(1000));
            outbox.confirm(number);
        }
        assert!(outbox.behind <= OUTBOX_BEHIND_BYTES && outbox.waiting == 0);
        assert!(outbox.resume(Some(150)).is_ok() && outbox.resume(Some(1)).is_err());
    }

    proptest! {
        #[test]
        fn a_client_that_is_cut_off_anywhere_hears_each_event_once(
            steps in prop::collection::vec((0u8..6, 1usize..50), 1..200),
        ) {
            let mut outbox = Outbox::default();
            // What the client has, how far its socket was told, and what it said last that it has.
            let (mut has, mut told, mut said) = (Vec::new(), 0, 0);
            for (step, count) in steps {
                match step {
                    0 => (0..count).for_each(|_| {
                        let number = outbox.last() + 1;
                        outbox.push(number.to_string());
                    }),
                    1 => for _ in 0..count {
                        let Some(event) = outbox.behind(told) else { break };
                        has.push(event.parse::<u64>().expect("a number"));
                        told += 1;
                    },
                    2 => {
                        said = said.max((has.len() as u64).saturating_sub(count as u64 % 5));
                        outbox.confirm(said);
                    }
                    3 => outbox.settle(),
                    // Of what was sent, some never came, or was never read where it came.
                    4 => {
                        has.truncate(has.len().saturating_sub(count).max(said as usize));
                        told = outbox.resume(Some(has.len() as u64)).expect("it is held");
                    }
                    _ => {
                        let less = has.len().saturating_sub(count);
                        if let Ok(after) = outbox.resume(Some(less as u64)) {
                            has.truncate(less);
                            (told, said) = (after, said.min(after));
                        }
                    }
                }
                prop_assert!(has.iter().copied().eq(1..=has.len() as u64));
                prop_assert!(outbox.last() >= told && told == has.len() as u64);
                prop_assert!(told == outbox.last() || outbox.behind(told).is_some(), "it stops");
            }
        }
    }
}
