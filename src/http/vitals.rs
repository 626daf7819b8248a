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
    /// The window in which a reader must take [`Patience::slow_reader_bytes`].
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
    /// HTTP/2 keeps its own watch over heads; bytes between requests may be a ping.
    multiplexed: bool,
    written: u64,
    /// While bytes wait for the peer: when the window began, and `written` then.
    window: Option<(Instant, u64)>,
    write_waits: bool,
}

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
            written: 0,
            window: None,
            write_waits: false,
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
        state.written += bytes as u64;
        state.write_waits = false;
    }

    /// Bytes wait for the peer.
    pub fn write_waits(&self) {
        let mut state = self.lock();
        state.write_waits = true;
        if state.window.is_none() {
            state.window = Some((Instant::now(), state.written));
        }
    }

    /// When to look at [`Vitals::overdue`] next.
    pub fn due(&self) -> Option<Instant> {
        let state = self.lock();
        let window = state.window.map(|(since, _)| since + state.patience.slow_reader);
        [state.phase_due().map(|(due, _)| due), window].into_iter().flatten().min()
    }

    /// Why the connection is to be cut, if it is.
    pub fn overdue(&self) -> Option<Cut> {
        let mut state = self.lock();
        let now = Instant::now();
        if let Some((_, cut)) = state.phase_due().filter(|(due, _)| *due <= now) {
            return Some(cut);
        }
        let (since, before) = state.window?;
        if now < since + state.patience.slow_reader {
            return None;
        }
        if state.write_waits && state.written - before < state.patience.slow_reader_bytes {
            return Some(Cut::SlowConsumer);
        }
        state.window = state.write_waits.then_some((now, state.written));
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
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
    async fn a_reader_must_take_a_little_while_bytes_wait() {
        let vitals = Vitals::new(Patience::default());
        vitals.greeted(false);
        let _request = vitals.request();
        vitals.write_waits();
        seconds(19).await;
        assert_eq!(vitals.overdue(), None);
        vitals.sent(limits::SLOW_READER_BYTES as usize);
        vitals.write_waits();
        seconds(1).await;
        assert_eq!(vitals.overdue(), None, "it took enough; a new window begins");
        vitals.sent(100);
        vitals.write_waits();
        seconds(20).await;
        assert_eq!(vitals.overdue(), Some(Cut::SlowConsumer));
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
