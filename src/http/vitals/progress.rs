//! Whether a reader takes what waits for it: an account of time, spent while bytes wait and bought back
//! by taking some. Invariant: who takes nothing is overdue after the whole of it, who takes less than the
//! rate a little later, and who takes more never.

use std::time::Duration;

use tokio::time::Instant;

use super::Patience;

/// A reader that took everything for so long keeps up.
const KEEPS_UP: Duration = Duration::from_secs(1);

/// One reader's account.
#[derive(Debug)]
pub struct Progress {
    /// While bytes wait: when it is overdue if it takes no more.
    slow_at: Option<Instant>,
    waits: bool,
    /// When bytes last stopped waiting.
    free_since: Instant,
}

impl Progress {
    /// Nothing waits yet.
    pub fn new() -> Self {
        Self { slow_at: None, waits: false, free_since: Instant::now() }
    }

    /// It took so many bytes.
    pub fn took(&mut self, bytes: usize, patience: &Patience) {
        let now = Instant::now();
        if self.waits {
            (self.waits, self.free_since) = (false, now);
        }
        if let Some(slow_at) = &mut self.slow_at {
            let part = bytes as f64 / patience.slow_reader_bytes as f64;
            let bought = patience.slow_reader.mul_f64(part.min(1.0));
            *slow_at = (*slow_at + bought).min(now + patience.slow_reader);
        }
    }

    /// Bytes wait for it.
    pub fn waits(&mut self, patience: &Patience) {
        let now = Instant::now();
        let kept_up = !self.waits && now.duration_since(self.free_since) >= KEEPS_UP;
        if self.slow_at.is_none() || kept_up {
            self.slow_at = Some(now + patience.slow_reader);
        }
        self.waits = true;
    }

    /// When to ask [`Progress::is_overdue`] next.
    pub fn due(&self) -> Option<Instant> {
        self.slow_at
    }

    /// Whether its time is up.
    pub fn is_overdue(&mut self, now: Instant) -> bool {
        let up = self.slow_at.is_some_and(|slow_at| slow_at <= now);
        if up && !self.waits {
            self.slow_at = None;
        }
        up && self.waits
    }
}
