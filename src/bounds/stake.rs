//! All that one client's stream holds, as one thing. Invariant: every page, task and body of a
//! stream shares its [`Stake`]; the last of them to go frees the reservation, strikes the stream
//! from the ledger and, if the client had left, says how long that took (promise P2).

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::budget::{Held, Reservation};
use crate::ledger::Entry;
use crate::metrics::Metrics;

/// When a connection's peer was seen leaving; empty while it is there. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Departure(Arc<OnceLock<Instant>>);

impl Departure {
    /// Notes that the peer has left; only the first time counts.
    pub fn note(&self) {
        let _ = self.0.set(Instant::now());
    }

    /// When the peer left, if it has.
    pub fn seen(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}

/// See the module.
pub struct Stake {
    // Dropped in this order: first the bytes go back, then the books say so.
    reservation: Reservation,
    _entry: Option<Entry>,
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
        Arc::new(Self { reservation, _entry: Some(entry), departure, metrics })
    }

    /// A stake that no ledger knows, for benches and tests of the ring alone.
    pub fn unlisted(reservation: Reservation) -> Arc<Self> {
        let (departure, metrics) = (Departure::default(), Metrics::default());
        Arc::new(Self { reservation, _entry: None, departure, metrics })
    }

    /// Bytes reserved.
    pub fn bytes(&self) -> u64 {
        self.reservation.bytes()
    }

    /// See [`Reservation::hold`].
    pub fn hold(&self, bytes: u64) -> Held {
        self.reservation.hold(bytes)
    }
}

impl Drop for Stake {
    fn drop(&mut self) {
        if let Some(left) = self.departure.seen() {
            self.metrics.disconnect_to_free.observe(left.elapsed());
        }
    }
}
