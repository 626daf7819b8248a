//! Who is spoken next: the stream that runs out of audio first. Invariant: jobs leave in the order
//! of their due time; one whose asker has left is never handed to a worker.
//!
//! The queue needs no bound of its own: a stream has at most one job in it, and streams are bounded
//! by the budget.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use crate::ledger::Entry;
use crate::speech::{Job, Said};

/// A new measurement's part in the mean length of a job.
const MEAN_WEIGHT: f64 = 0.1;

/// A job that waits for a worker.
pub struct Waiting {
    /// What to speak.
    pub job: Job,
    /// Where to say it; closed when the asker has left.
    pub said: mpsc::Sender<Said>,
    /// Its line in the ledger.
    pub entry: Entry,
}

/// See the module.
pub struct Queue {
    state: Mutex<State>,
    more: Notify,
    workers: usize,
}

#[derive(Default)]
struct State {
    // The number keeps equal due times apart, first come first.
    waiting: BTreeMap<(Instant, u64), Waiting>,
    next: u64,
    idle: usize,
    mean_job_seconds: f64,
}

impl Queue {
    /// An empty queue in front of `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self { state: Mutex::default(), more: Notify::new(), workers }
    }

    /// Adds a job.
    pub fn put(&self, waiting: Waiting) {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.waiting.insert((waiting.job.due, number), waiting);
        drop(state);
        self.more.notify_one();
    }

    /// The most urgent job that somebody still wants.
    pub async fn take(&self) -> Waiting {
        let _idle = Idle::new(self);
        loop {
            if let Some(waiting) = self.pop() {
                // A permit that went to us while others wait is passed on.
                self.more.notify_one();
                return waiting;
            }
            self.more.notified().await;
        }
    }

    /// Counts how long a job took its worker.
    pub fn job_took(&self, took: Duration) {
        let mut state = self.lock();
        let seconds = took.as_secs_f64();
        state.mean_job_seconds += MEAN_WEIGHT * (seconds - state.mean_job_seconds);
    }

    /// How long a job that is due `now` would wait: the jobs before it, shared by the workers.
    pub fn projected_wait(&self, now: Instant) -> Duration {
        let state = self.lock();
        if state.idle > state.waiting.len() {
            return Duration::ZERO;
        }
        let before = state.waiting.range(..=(now, u64::MAX)).count();
        let rounds = before as f64 / self.workers.max(1) as f64;
        Duration::from_secs_f64(rounds * state.mean_job_seconds)
    }

    fn pop(&self) -> Option<Waiting> {
        let mut unwanted = Vec::new(); // dropped after the lock
        let mut state = self.lock();
        let wanted = loop {
            match state.waiting.pop_first() {
                Some((_, waiting)) if waiting.said.is_closed() => unwanted.push(waiting),
                other => break other.map(|(_, waiting)| waiting),
            }
        };
        drop(state);
        wanted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a worker as idle while it waits, also when the waiting is given up.
struct Idle<'a>(&'a Queue);

impl<'a> Idle<'a> {
    fn new(queue: &'a Queue) -> Self {
        queue.lock().idle += 1;
        Self(queue)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.lock().idle -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Kind, Ledger};
    use futures_util::FutureExt;

    fn job(ledger: &Ledger, owner: &str, due: Instant) -> (Waiting, mpsc::Receiver<Said>) {
        let (said, hear) = mpsc::channel(1);
        let job = Job {
            text: "x".into(),
            voice: String::new(),
            speed: 1.0,
            seed: 0,
            most_samples: 1,
            due,
            owner: owner.into(),
        };
        (Waiting { job, said, entry: ledger.enter(Kind::Job, owner, 0) }, hear)
    }

    fn taken(queue: &Queue) -> Option<String> {
        queue.take().now_or_never().map(|waiting| waiting.job.owner.to_string())
    }

    #[test]
    fn least_audio_ahead_goes_first_and_the_departed_are_passed_over() {
        let (ledger, queue, now) = (Ledger::new(), Queue::new(1), Instant::now());
        let seconds = Duration::from_secs;
        let (a, _hear_a) = job(&ledger, "two ahead", now + seconds(2));
        let (b, _hear_b) = job(&ledger, "new", now);
        let (c, hear_c) = job(&ledger, "gone", now - seconds(1));
        let (d, _hear_d) = job(&ledger, "new too", now);
        for waiting in [a, b, c, d] {
            queue.put(waiting);
        }
        drop(hear_c);
        let order: Vec<_> = std::iter::from_fn(|| taken(&queue)).collect();
        assert_eq!(order, ["new", "new too", "two ahead"]);
        assert!(ledger.is_idle());
    }

    #[test]
    fn the_wait_counts_what_is_due_before_and_not_what_is_ahead() {
        let (ledger, queue, now) = (Ledger::new(), Queue::new(2), Instant::now());
        for _ in 0..200 {
            queue.job_took(Duration::from_millis(100));
        }
        assert_eq!(queue.projected_wait(now), Duration::ZERO);
        let due = (0..4).map(|_| job(&ledger, "due", now)).collect::<Vec<_>>();
        let ahead = (0..50).map(|_| job(&ledger, "ahead", now + Duration::from_secs(3)));
        let mut ears = Vec::new();
        for (waiting, hear) in due.into_iter().chain(ahead) {
            queue.put(waiting);
            ears.push(hear);
        }
        let wait = queue.projected_wait(now).as_millis();
        assert!((190..=200).contains(&wait), "four jobs of 100 ms on two workers: {wait} ms");
    }
}
