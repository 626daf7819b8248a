//! The steps of leaving, one behind the other. Invariant: each is logged with what it ended and how
//! long that took; one that fails, panics or hangs stops no other.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

/// Runs steps and remembers which of them did not go well.
#[derive(Debug, Default)]
pub struct Cleanup {
    failed: Vec<&'static str>,
}

impl Cleanup {
    /// Runs `step` for at most `most`, whatever became of those before it.
    pub async fn step<T>(
        &mut self,
        name: &'static str,
        most: Duration,
        step: impl Future<Output = T>,
    ) -> Option<T> {
        let began = Instant::now();
        let ended = tokio::time::timeout(most, AssertUnwindSafe(step).catch_unwind()).await;
        let took_ms = began.elapsed().as_millis() as u64;
        match ended {
            Ok(Ok(done)) => {
                tracing::info!(cleanup = name, took_ms, "cleanup finished");
                return Some(done);
            }
            Ok(Err(_)) => tracing::error!(cleanup = name, took_ms, "cleanup failed: it panicked"),
            Err(_) => tracing::error!(cleanup = name, took_ms, "cleanup failed: it did not end"),
        }
        self.failed.push(name);
        None
    }

    /// The steps that failed.
    pub fn failed(&self) -> &[&'static str] {
        &self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_that_fails_or_hangs_stops_no_other() {
        let mut cleanup = Cleanup::default();
        let second = Duration::from_secs(1);
        assert_eq!(cleanup.step("first", second, async { 1 }).await, Some(1));
        let panics = async { panic!("as a bug would") };
        assert_eq!(cleanup.step::<()>("panics", second, panics).await, None);
        assert_eq!(cleanup.step::<()>("hangs", second, std::future::pending()).await, None);
        assert_eq!(cleanup.step("last", second, async { 2 }).await, Some(2));
        assert_eq!(cleanup.failed(), ["panics", "hangs"]);
    }
}
