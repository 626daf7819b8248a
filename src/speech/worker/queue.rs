//! Who is spoken next: the stream that must have audio soonest (earliest deadline first): one that is
//! heard when what is ahead of its reader has run out, a new one when it has waited as long as a first
//! piece may. Invariant: how much is ahead is asked at the moment when a worker is free; a job whose
//! asker has left is never handed to a worker.
//!
//! New streams do not simply come first: while more of them ask than can be spoken there is always
//! another, and those who listen would hear a gap.
//!
//! The queue needs no bound of its own: a stream has at most one job in it, and streams are bounded
//! by the budget. So it is a list that is looked through, some 600 jobs at the most.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use crate::ledger::Entry;
use crate::limits::{FIRST_PIECE_WAIT_MOST, PIECE_MARGIN};
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
    /// When it was queued.
    pub since: Instant,
}

impl Waiting {
    /// How long it can still wait without harm.
    fn slack(&self, now: Instant) -> Duration {
        if self.job.ahead.is_new() {
            return FIRST_PIECE_WAIT_MOST.saturating_sub(now.duration_since(self.since));
        }
        self.job.ahead.now().saturating_sub(PIECE_MARGIN)
    }
}

/// See the module.
pub struct Queue {
    state: Mutex<State>,
    more: Notify,
    workers: usize,
}

#[derive(Default)]
struct State {
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
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
        self.lock().waiting.push_back(waiting);
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

    /// How long the job of a new stream would wait: those that can wait no longer than it go before it,
    /// shared by the workers.
    pub fn projected_wait(&self) -> Duration {
        let (now, state) = (Instant::now(), self.lock());
        if state.idle > state.waiting.len() {
            return Duration::ZERO;
        }
        let sooner = |waiting: &&Waiting| waiting.slack(now) <= FIRST_PIECE_WAIT_MOST;
        let before = state.waiting.iter().filter(sooner).count();
        let rounds = before as f64 / self.workers.max(1) as f64;
        Duration::from_secs_f64(rounds * state.mean_job_seconds)
    }

    fn pop(&self) -> Option<Waiting> {
        let mut unwanted = Vec::new(); // dropped after the lock
        let (now, mut state) = (Instant::now(), self.lock());
        let mut least: Option<(Duration, usize)> = None;
        let mut place = 0;
        while place < state.waiting.len() {
            if state.waiting[place].said.is_closed() {
                unwanted.extend(state.waiting.remove(place));
                continue;
            }
            let slack = state.waiting[place].slack(now);
            if least.is_none_or(|(so_far, _)| slack < so_far) {
                least = Some((slack, place));
            }
            if slack.is_zero() {
                break; // nobody has less
            }
            place += 1;
        }
        let wanted = least.and_then(|(_, place)| state.waiting.remove(place));
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
    use crate::bounds::{Budget, Stake, ring};
    use crate::ledger::{Kind, Ledger};
    use crate::speech::Ahead;
    use futures_util::FutureExt;

    fn job(ledger: &Ledger, owner: &str, ahead: Duration) -> (Waiting, mpsc::Receiver<Said>) {
        let (said, hear) = mpsc::channel(1);
        let job = Job {
            text: "x".into(),
            voice: String::new(),
            speed: 1.0,
            seed: 0,
            most_samples: 1,
            skip_samples: 0,
            cut_words: false,
            ahead: Ahead::Fixed(ahead),
            owner: owner.into(),
        };
        let (entry, since) = (ledger.enter(Kind::Job, owner, 0), Instant::now());
        (Waiting { job, said, entry, since }, hear)
    }

    fn taken(queue: &Queue) -> Option<String> {
        queue.take().now_or_never().map(|waiting| waiting.job.owner.to_string())
    }

    #[test]
    fn least_audio_ahead_goes_first_and_the_departed_are_passed_over() {
        let (ledger, queue) = (Ledger::new(), Queue::new(1));
        let seconds = Duration::from_secs;
        let (a, _hear_a) = job(&ledger, "two ahead", seconds(2));
        let (b, _hear_b) = job(&ledger, "one ahead", seconds(1));
        let (c, hear_c) = job(&ledger, "gone", seconds(0));
        let (d, _hear_d) = job(&ledger, "new", seconds(0));
        let (e, _hear_e) = job(&ledger, "new too", seconds(0));
        for waiting in [a, b, c, d, e] {
            queue.put(waiting);
        }
        drop(hear_c);
        let order: Vec<_> = std::iter::from_fn(|| taken(&queue)).collect();
        assert_eq!(order, ["new", "new too", "one ahead", "two ahead"]);
        assert!(ledger.is_idle());
    }

    #[test]
    fn who_would_soon_hear_a_gap_goes_before_who_has_heard_nothing_yet() {
        let (ledger, queue) = (Ledger::new(), Queue::new(1));
        let millis = Duration::from_millis;
        let (a, _hear_a) = job(&ledger, "new", millis(0));
        let (b, _hear_b) = job(&ledger, "soon", PIECE_MARGIN + millis(50));
        let (c, _hear_c) = job(&ledger, "later", PIECE_MARGIN + millis(900));
        let (mut d, _hear_d) = job(&ledger, "has waited", millis(0));
        d.since = Instant::now().checked_sub(millis(240)).expect("a machine that is up for long");
        for waiting in [a, b, c, d] {
            queue.put(waiting);
        }
        let order: Vec<_> = std::iter::from_fn(|| taken(&queue)).collect();
        assert_eq!(order, ["has waited", "soon", "new", "later"]);
    }

    #[test]
    fn a_reader_that_takes_makes_its_stream_urgent_and_one_that_stalls_does_not() {
        let (ledger, queue) = (Ledger::new(), Queue::new(1));
        let stream = |taken: bool| {
            let budget = Budget::new(100);
            let stake = Stake::unlisted(budget.reserve(100).expect("fits"));
            let (mut writer, mut reader) = ring::pipe(50, 2, stake);
            assert_eq!(writer.write(&[0; 50]).now_or_never(), Some(Ok(())));
            let made = Duration::from_secs(4);
            // It began so long ago that all of it was heard, if it was taken.
            let since = Instant::now().checked_sub(made).expect("a machine that is up for long");
            let ahead = Ahead::Live { made, since, gauge: writer.gauge() };
            assert_eq!(ahead.now(), made);
            if taken {
                drop(reader.next().now_or_never());
            }
            (ahead, writer, reader)
        };
        let (stalled, reading) = (stream(false), stream(true));
        let (mut a, _hear_a) = job(&ledger, "stalled", Duration::ZERO);
        let (mut b, _hear_b) = job(&ledger, "reading", Duration::ZERO);
        (a.job.ahead, b.job.ahead) = (stalled.0.clone(), reading.0.clone());
        queue.put(a);
        queue.put(b);
        assert_eq!(taken(&queue).as_deref(), Some("reading"));
        drop(stalled.1);
        drop(stalled.2);
        assert_eq!(stalled.0.now(), Duration::MAX, "a stream that is over needs nothing");
    }

    #[test]
    fn the_wait_counts_those_who_have_nothing_and_not_those_who_have() {
        let (ledger, queue) = (Ledger::new(), Queue::new(2));
        for _ in 0..200 {
            queue.job_took(Duration::from_millis(100));
        }
        assert_eq!(queue.projected_wait(), Duration::ZERO);
        let new = (0..4).map(|_| job(&ledger, "new", Duration::ZERO)).collect::<Vec<_>>();
        let ahead = (0..50).map(|_| job(&ledger, "ahead", Duration::from_secs(3)));
        let mut ears = Vec::new();
        for (waiting, hear) in new.into_iter().chain(ahead) {
            queue.put(waiting);
            ears.push(hear);
        }
        let wait = queue.projected_wait().as_millis();
        assert!((190..=200).contains(&wait), "four jobs of 100 ms on two workers: {wait} ms");
    }
}
