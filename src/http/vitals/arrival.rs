//! Whether what was sent arrives, by looks at what our kernel still holds of it. Invariant: while it holds something there is
//! a next look, and a peer that acknowledged nothing for the whole time is overdue at one of them.
//!
//! `TCP_USER_TIMEOUT` is not that. Linux counts it from the first probe of a full window, and begins anew only once the
//! window holds all that is next to be sent, which may be 64 KiB: a reader with a small one, who takes speech as it is
//! played, was reset within a minute.

use tokio::time::Instant;

use crate::limits::{UNACKNOWLEDGED_LOOK, UNACKNOWLEDGED_MOST};

/// One connection's account.
#[derive(Debug)]
pub struct Arrival {
    /// Bytes that our kernel took.
    sent: u64,
    /// How many of them had arrived at most. With TLS, by what its records add, fewer than truly had.
    arrived: u64,
    /// When that changed.
    since: Instant,
    /// The next look, while there is something to be seen.
    look: Option<Instant>,
}

impl Arrival {
    /// Nothing was sent yet.
    pub fn new() -> Self {
        Self { sent: 0, arrived: 0, since: Instant::now(), look: None }
    }

    /// Our kernel took so many bytes.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        if self.look.is_none() {
            self.since = Instant::now();
            self.look = Some(self.since + UNACKNOWLEDGED_LOOK);
        }
    }

    /// When to look next, if at all.
    pub fn due(&self) -> Option<Instant> {
        self.look
    }

    /// Our kernel still `holds` so many bytes: whether the peer has had all the time that there is.
    pub fn seen(&mut self, holds: u64) -> bool {
        if holds == 0 {
            (self.arrived, self.look) = (self.sent, None);
            return false;
        }
        let now = Instant::now();
        let arrived = self.sent.saturating_sub(holds);
        if arrived > self.arrived {
            (self.arrived, self.since) = (arrived, now);
        }
        self.look = Some(now + UNACKNOWLEDGED_LOOK);
        now.duration_since(self.since) >= UNACKNOWLEDGED_MOST
    }
}
