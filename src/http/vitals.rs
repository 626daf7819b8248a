//! What is known of a connection's life, and when it is to be cut. Invariants: a connection is always
//! in one phase with at most one deadline; a peer that is asked for bytes, or to take some, is given
//! a bounded time for it.
//!
//! No hyper timer sees a silent connection or a half-sent preface, and its header timer also closes
//! idle keep-alive connections; so the phases are told apart here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::limits;
use crate::metrics::Cut;

/// The times that a peer is given.
#[derive(Clone, Debug)]
pub struct Patience {
    /// From accept to the bytes that tell the protocol.
    pub first_bytes: Duration,
    /// From a request's first byte to the end of its head.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// The time after which a reader that takes nothing is cut. What it takes buys it more of it, up to
    /// this much: [`Patience::slow_reader_bytes`] buy all.
    pub slow_reader: Duration,
    /// See [`Patience::slow_reader`].
    pub slow_reader_bytes: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_bytes: limits::FIRST_BYTES_DEADLINE,
            head: limits::HEAD_DEADLINE,
            idle: limits::KEEP_ALIVE_IDLE,
            slow_reader: limits::SLOW_READER_WINDOW,
            slow_reader_bytes: limits::SLOW_READER_BYTES,
        }
    }
}

/// The vitals of one connection, shared by its socket, its requests and its timer.
#[derive(Clone)]
pub struct Vitals(Arc<Mutex<State>>);

struct State {
    patience: Patience,
    phase: Phase,
    in_flight: u32,
    /// On HTTP/2 bytes between requests may be a ping; a head that was begun is told by `owes`.
    multiplexed: bool,
    /// Since when the peer owes the rest of what it began.
    owes: Option<Instant>,
    /// Why the connection failed, where its socket knows better than the parser.
    fault: Option<Cut>,
    /// While bytes wait for the peer: when it is cut if it takes no more.
    slow_at: Option<Instant>,
    write_waits: bool,
    /// When bytes last stopped waiting.
    free_since: Instant,
}

/// A socket that took everything for so long is a reader's that keeps up.
const KEEPS_UP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    FirstBytes(Instant),
    Idle(Instant),
    Head(Instant),
    Busy,
}

impl Vitals {
    /// A connection that was accepted now.
    pub fn new(patience: Patience) -> Self {
        let phase = Phase::FirstBytes(Instant::now());
        Self(Arc::new(Mutex::new(State {
            patience,
            phase,
            in_flight: 0,
            multiplexed: false,
            owes: None,
            fault: None,
            slow_at: None,
            write_waits: false,
            free_since: Instant::now(),
        })))
    }

    /// The protocol is known.
    pub fn greeted(&self, multiplexed: bool) {
        let mut state = self.lock();
        state.multiplexed = multiplexed;
        let now = Instant::now();
        state.phase = if multiplexed { Phase::Idle(now) } else { Phase::Head(now) };
    }

    /// Bytes came in.
    pub fn received(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Idle(_)) && !state.multiplexed {
            state.phase = Phase::Head(Instant::now());
        }
    }

    /// Whether the peer began something that it has to finish soon.
    pub fn owes(&self, owes: bool) {
        let mut state = self.lock();
        state.owes = match state.owes {
            None if owes => Some(Instant::now()),
            since if owes => since,
            _ => None,
        };
    }

    /// The peer sent more than can be put up with.
    pub fn flooded(&self) {
        self.lock().fault = Some(Cut::Flood);
    }

    /// What the peer sent was refused before it was parsed.
    pub fn malformed(&self) {
        self.lock().fault = Some(Cut::Malformed);
    }

    /// See [`Vitals::flooded`] and [`Vitals::malformed`].
    pub fn fault(&self) -> Option<Cut> {
        self.lock().fault
    }

    /// A request's head is whole; the guard ends with its answer.
    pub fn request(&self) -> InFlight {
        let mut state = self.lock();
        state.in_flight += 1;
        state.phase = Phase::Busy;
        InFlight(self.clone())
    }

    /// Whether a request is being answered.
    pub fn is_busy(&self) -> bool {
        self.lock().in_flight > 0
    }

    /// The peer took `bytes`.
    pub fn sent(&self, bytes: usize) {
        let mut state = self.lock();
        let now = Instant::now();
        if state.write_waits {
            (state.write_waits, state.free_since) = (false, now);
        }
        let Patience { slow_reader, slow_reader_bytes, .. } = state.patience;
        if let Some(slow_at) = &mut state.slow_at {
            let bought = slow_reader.mul_f64(bytes as f64 / slow_reader_bytes as f64);
            *slow_at = (*slow_at + bought).min(now + slow_reader);
        }
    }

    /// Bytes wait for the peer.
    pub fn write_waits(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        let kept_up = !state.write_waits && now.duration_since(state.free_since) >= KEEPS_UP;
        if state.slow_at.is_none() || kept_up {
            state.slow_at = Some(now + state.patience.slow_reader);
        }
        state.write_waits = true;
    }

    /// When to look at [`Vitals::overdue`] next.
    pub fn due(&self) -> Option<Instant> {
        let state = self.lock();
        let phase = state.phase_due().map(|(due, _)| due);
        [phase, state.owed_due(), state.slow_at].into_iter().flatten().min()
    }

    /// Why the connection is to be cut, if it is.
    pub fn overdue(&self) -> Option<Cut> {
        let mut state = self.lock();
        let now = Instant::now();
        if let Some((_, cut)) = state.phase_due().filter(|(due, _)| *due <= now) {
            return Some(cut);
        }
        if state.owed_due().is_some_and(|due| due <= now) {
            return Some(Cut::Head);
        }
        if state.slow_at.is_some_and(|slow_at| slow_at <= now) {
            if state.write_waits {
                return Some(Cut::SlowConsumer);
            }
            state.slow_at = None;
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn owed_due(&self) -> Option<Instant> {
        self.owes.map(|since| since + self.patience.head)
    }

    fn phase_due(&self) -> Option<(Instant, Cut)> {
        match self.phase {
            Phase::FirstBytes(since) => Some((since + self.patience.first_bytes, Cut::FirstBytes)),
            Phase::Idle(since) => Some((since + self.patience.idle, Cut::Idle)),
            Phase::Head(since) => Some((since + self.patience.head, Cut::Head)),
            Phase::Busy => None,
        }
    }
}

/// A request that is being answered.
pub struct InFlight(Vitals);

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.in_flight -= 1;
        if state.in_flight == 0 {
            state.phase = Phase::Idle(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    async fn seconds(n: u64) {
        advance(Duration::from_secs(n)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_own_time() {
        let vitals = Vitals::new(Patience::default());
        seconds(5).await;
        assert_eq!(vitals.overdue(), Some(Cut::FirstBytes));
        vitals.greeted(false);
        seconds(4).await;
        assert_eq!(vitals.overdue(), None);
        vitals.received();
        seconds(1).await;
        assert_eq!(vitals.overdue(), Some(Cut::Head), "a byte now and then does not help");
        let request = vitals.request();
        seconds(1000).await;
        assert_eq!((vitals.overdue(), vitals.due()), (None, None));
        drop(request);
        seconds(74).await;
        assert_eq!(vitals.overdue(), None);
        seconds(1).await;
        assert_eq!(vitals.overdue(), Some(Cut::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_multiplexed_peer_owes_has_the_time_of_a_head() {
        let vitals = Vitals::new(Patience::default());
        vitals.greeted(true);
        let _request = vitals.request();
        vitals.owes(true);
        seconds(4).await;
        vitals.owes(true);
        assert_eq!(vitals.overdue(), None);
        seconds(1).await;
        assert_eq!(vitals.overdue(), Some(Cut::Head), "more of it does not begin it anew");
        vitals.owes(false);
        assert_eq!((vitals.overdue(), vitals.due()), (None, None));
    }

    fn reading() -> (Vitals, InFlight) {
        let vitals = Vitals::new(Patience::default());
        vitals.greeted(false);
        let request = vitals.request();
        vitals.write_waits();
        (vitals, request)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_is_cut_so_long_after_its_last_byte() {
        let (vitals, _request) = reading();
        for _ in 0..100 {
            seconds(1).await;
            vitals.sent(50_000);
            vitals.write_waits();
        }
        seconds(19).await;
        assert_eq!(vitals.overdue(), None);
        seconds(1).await;
        assert_eq!(vitals.overdue(), Some(Cut::SlowConsumer));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_sips_is_cut_and_a_slow_one_is_not() {
        let a_second = limits::SLOW_READER_BYTES as usize / 20;
        for (bytes, lasts) in [(a_second, 1000), (a_second / 2, 40), (1, 21)] {
            let (vitals, _request) = reading();
            let mut lived = 0;
            while lived < 1000 && vitals.overdue().is_none() {
                vitals.sent(bytes);
                vitals.write_waits();
                seconds(1).await;
                lived += 1;
            }
            assert!((lasts - 2..=lasts + 2).contains(&lived), "{bytes} B/s: cut after {lived} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_has_nothing_to_send_is_not_a_slow_reader() {
        let vitals = Vitals::new(Patience::default());
        vitals.greeted(false);
        let _request = vitals.request();
        vitals.write_waits();
        vitals.sent(10);
        seconds(100).await;
        assert_eq!((vitals.overdue(), vitals.due()), (None, None));
    }
}
