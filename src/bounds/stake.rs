//! All that one client's stream holds, as one thing. Invariant: every page, task and body of a
//! stream shares its [`Stake`]; the last of them to go frees the reservation, strikes the stream
//! from the ledger and, if the client had left, says how long that took (promise P2).

use std::sync::Arc;

use super::budget::{Held, Reservation};
use crate::ledger::{Departure, Entry, Kind};
use crate::metrics::{Left, Metrics};

/// See the module.
pub struct Stake {
    // Empty only inside of `drop`.
    reservation: Option<Reservation>,
    entry: Option<Entry>,
    departure: Departure,
    metrics: Metrics,
}

impl Stake {
    /// Ties a reservation to its line in the ledger and to the connection that it serves.
    pub fn new(
        reservation: Reservation,
        entry: Entry,
        departure: Departure,
        metrics: Metrics,
    ) -> Arc<Self> {
        entry.belongs_to(&departure);
        let (reservation, entry) = (Some(reservation), Some(entry));
        Arc::new(Self { reservation, entry, departure, metrics })
    }

    /// A stake that no ledger knows, for benches and tests of the ring alone.
    pub fn unlisted(reservation: Reservation) -> Arc<Self> {
        let (departure, metrics) = (Departure::default(), Metrics::default());
        Arc::new(Self { reservation: Some(reservation), entry: None, departure, metrics })
    }

    /// Bytes reserved.
    pub fn bytes(&self) -> u64 {
        self.reservation().bytes()
    }

    /// See [`Reservation::hold`].
    pub fn hold(&self, bytes: u64) -> Held {
        self.reservation().hold(bytes)
    }

    fn reservation(&self) -> &Reservation {
        self.reservation.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Stake {
    fn drop(&mut self) {
        // First the bytes go back, then the books say so, and then it is over.
        let kind = self.entry.as_ref().map(Entry::kind);
        drop((self.reservation.take(), self.entry.take()));
        if let Some(left) = self.departure.seen() {
            let held = if kind == Some(Kind::Connection) { Left::Connection } else { Left::Stream };
            self.metrics.freed(held, left.elapsed());
        }
    }
}
