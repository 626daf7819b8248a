//! What is known of a connection's life, and when it is to be cut. Invariants: a connection is always
//! in one phase, and whatever phase and reader wait for has a deadline: a peer that is asked for bytes,
//! or to take some, is given a bounded time for it, on its socket and on each HTTP/2 stream.
//!
//! No hyper timer sees a silent connection or a half-sent preface, and its header timer also closes
//! idle keep-alive connections; so the phases are told apart here.

mod arrival;
mod progress;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bounds::Stake;
use crate::limits;
use crate::metrics::Cut;
use arrival::Arrival;
use progress::Progress;

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
pub struct Vitals(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The connection is to end in good order.
    close: Notify,
    /// HTTP is over on it.
    switched: AtomicBool,
}

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
    socket: Progress,
    arrival: Arrival,
    /// HTTP/2: the bodies on their way.
    streams: Vec<Stream>,
    streams_ever: u64,
    /// Answers that were wholly handed over since it was last asked.
    answered: u32,
    /// Of the task that waits for the deadlines: other tasks may bring them nearer.
    timer: Option<Waker>,
}

/// One body on its way by a stream of its own.
struct Stream {
    id: u64,
    progress: Progress,
    /// Bytes that were handed over and not taken.
    waiting: usize,
    /// No more will be handed over: the task that could be ended has done so itself.
    whole: bool,
    ended: CancellationToken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    FirstBytes(Instant),
    Idle(Instant),
    Head(Instant),
    Busy,
    /// Asked to end in good order.
    Closing(Instant),
}

/// What has passed its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Nothing.
    Not,
    /// The connection: it is cut.
    Connection(Cut),
    /// One of its streams, which has been ended.
    Stream,
    /// It was asked to end, and did not.
    Close,
    /// Nothing; but what our kernel holds is to be said, see [`Vitals::kernel_holds`].
    Look,
}

impl Vitals {
    /// A connection that was accepted now.
    pub fn new(patience: Patience) -> Self {
        let phase = Phase::FirstBytes(Instant::now());
        let state = State {
            patience,
            phase,
            in_flight: 0,
            multiplexed: false,
            owes: None,
            fault: None,
            socket: Progress::new(),
            arrival: Arrival::new(),
            streams: Vec::new(),
            streams_ever: 0,
            answered: 0,
            timer: None,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            close: Notify::new(),
            switched: AtomicBool::new(false),
        }))
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
        InFlight { vitals: self.clone(), stream: None, _stake: None }
    }

    /// Whether what comes in is no HTTP any more.
    pub fn has_switched(&self) -> bool {
        self.0.switched.load(Ordering::Acquire)
    }

    /// Whether a request is being answered.
    pub fn is_busy(&self) -> bool {
        self.lock().in_flight > 0
    }

    /// Answers that were handed over whole since this was last asked.
    pub fn take_answered(&self) -> u32 {
        std::mem::take(&mut self.lock().answered)
    }

    /// The peer took `bytes`.
    pub fn sent(&self, bytes: usize) {
        let mut state = self.lock();
        let State { socket, arrival, patience, .. } = &mut *state;
        socket.took(bytes, patience);
        arrival.sent(bytes);
    }

    /// Bytes wait for the peer.
    pub fn write_waits(&self) {
        let mut state = self.lock();
        let State { socket, patience, .. } = &mut *state;
        socket.waits(patience);
    }

    /// Ready when the connection is to end in good order.
    pub async fn closing(&self) {
        self.0.close.notified().await;
    }

    /// When to look at [`Vitals::overdue`] next; `timer` is woken when it may be sooner.
    pub fn due(&self, timer: &Waker) -> Option<Instant> {
        let mut state = self.lock();
        state.timer = Some(timer.clone());
        let streams = state.streams.iter().filter_map(|stream| stream.progress.due());
        let phase = state.phase_due().map(|(due, _)| due);
        let fixed = [phase, state.owed_due(), state.socket.due(), state.arrival.due()];
        streams.chain(fixed.into_iter().flatten()).min()
    }

    /// From here until [`Vitals::due`] nobody is woken: who asks will look anyway, and to be woken by itself would send it
    /// behind all that waits, and rouse another processor for it.
    pub fn unattended(&self) {
        self.lock().timer = None;
    }

    /// What is to be ended now, if anything is.
    pub fn overdue(&self) -> Overdue {
        let mut state = self.lock();
        let now = Instant::now();
        if let Some((_, cut)) = state.phase_due().filter(|(due, _)| *due <= now) {
            if matches!(state.phase, Phase::Closing(_)) {
                return Overdue::Close;
            }
            if let Some(cut) = cut {
                return Overdue::Connection(cut);
            }
            // Whose next request is on its way is told in good order that it was not seen.
            state.phase = Phase::Closing(now);
            drop(state);
            self.0.close.notify_one();
            return Overdue::Not;
        }
        if state.owed_due().is_some_and(|due| due <= now) {
            return Overdue::Connection(Cut::Head);
        }
        if state.socket.is_overdue(now) {
            return Overdue::Connection(Cut::SlowConsumer);
        }
        if state.arrival.due().is_some_and(|due| due <= now) {
            return Overdue::Look;
        }
        let slow = state.streams.iter_mut().position(|stream| stream.progress.is_overdue(now));
        let Some(slow) = slow.map(|at| state.streams.swap_remove(at)) else { return Overdue::Not };
        drop(state);
        if slow.whole {
            return Overdue::Connection(Cut::SlowConsumer);
        }
        slow.ended.cancel();
        Overdue::Stream
    }

    /// Our kernel holds so many bytes for the peer: whether that is cut, since its own acknowledges nothing.
    pub fn kernel_holds(&self, bytes: u64) -> Option<Cut> {
        self.lock().arrival.seen(bytes).then_some(Cut::Unacknowledged)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn owed_due(&self) -> Option<Instant> {
        self.owes.map(|since| since + self.patience.head)
    }

    /// When the phase is over, and as what that is a cut, if it is one.
    fn phase_due(&self) -> Option<(Instant, Option<Cut>)> {
        let patience = &self.patience;
        match self.phase {
            Phase::FirstBytes(since) => Some((since + patience.first_bytes, Some(Cut::FirstBytes))),
            Phase::Idle(since) => Some((since + patience.idle, None)),
            Phase::Head(since) => Some((since + patience.head, Some(Cut::Head))),
            Phase::Closing(since) => Some((since + limits::CLOSING_DEADLINE, None)),
            Phase::Busy => None,
        }
    }
}

/// A request that is being answered.
pub struct InFlight {
    vitals: Vitals,
    stream: Option<u64>,
    /// What was reserved for it, until it is over.
    _stake: Option<Arc<Stake>>,
}

impl InFlight {
    /// Keeps what was reserved for the request until its last byte is gone.
    pub fn holds(&mut self, stake: Arc<Stake>) {
        self._stake = Some(stake);
    }

    /// Its answer is the last of HTTP on this connection.
    pub fn switches(&self) {
        self.vitals.0.switched.store(true, Ordering::Release);
    }

    /// Its answer goes out on a stream of its own, which `ended` ends: from now on the stream's reader
    /// must take what waits, whatever the rest of the connection does.
    pub fn on_stream(&mut self, ended: CancellationToken) {
        let mut state = self.vitals.lock();
        state.streams_ever += 1;
        let id = state.streams_ever;
        let (progress, waiting, whole) = (Progress::new(), 0, false);
        state.streams.push(Stream { id, progress, waiting, whole, ended });
        self.stream = Some(id);
    }

    /// So many bytes were handed over, and wait for the stream's reader.
    pub fn handed_over(&self, bytes: usize) {
        self.account(|stream, patience| {
            stream.waiting += bytes;
            stream.progress.waits(patience);
        });
    }

    /// So many of them were taken, or dropped.
    pub fn taken(&self, bytes: usize) {
        self.account(|stream, patience| {
            stream.waiting -= bytes;
            stream.progress.took(bytes, patience);
            if stream.waiting > 0 {
                stream.progress.waits(patience);
            }
        });
    }

    /// The answer was handed over whole.
    pub fn answered(&self) {
        self.vitals.lock().answered += 1;
        self.account(|stream, _| stream.whole = true);
    }

    fn account(&self, change: impl FnOnce(&mut Stream, &Patience)) {
        let Some(id) = self.stream else { return };
        let mut state = self.vitals.lock();
        let State { streams, patience, timer, .. } = &mut *state;
        let Some(stream) = streams.iter_mut().find(|stream| stream.id == id) else { return };
        change(stream, patience);
        let timer = timer.take();
        drop(state);
        timer.into_iter().for_each(Waker::wake);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.vitals.lock();
        state.in_flight -= 1;
        state.streams.retain(|stream| Some(stream.id) != self.stream);
        if state.in_flight == 0 {
            state.phase = Phase::Idle(Instant::now());
        }
        let timer = state.timer.take();
        drop(state);
        timer.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests;
