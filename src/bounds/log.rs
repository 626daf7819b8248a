//! A short stream kept whole for several readers (the *log* use). Invariants: it never holds more
//! than was reserved for it; as long as it is whole, a reader that stalls delays nobody; when its
//! last reader has left before the end, the writer is told, and everything is freed.
//!
//! Nobody knows beforehand how long a text will sound. A log that fills up is no longer whole: nobody
//! may join it, it is not kept, and from there on it is a pipe whose slowest reader sets the pace.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::budget::Held;
use super::ring::{Broken, Closed};
use super::stake::Stake;
use super::sync::{Mutex, MutexGuard};

/// Makes a log of at most `most_bytes`, counted under `stake`, and its first reader.
pub fn log(most_bytes: usize, stake: Arc<Stake>) -> (Writer, Reader) {
    let mut state = State::default();
    let place = state.place();
    let shared = Arc::new(Shared { state: Mutex::new(state), most_bytes, stake });
    let reader = Reader { shared: Arc::clone(&shared), place };
    (Writer { shared, finished: false }, reader)
}

/// The producing end; dropped without [`Writer::finish`], its readers get [`Broken`].
pub struct Writer {
    shared: Arc<Shared>,
    finished: bool,
}

/// One reader, from the beginning on.
pub struct Reader {
    shared: Arc<Shared>,
    /// Its place among the readers.
    place: usize,
}

/// Lets others join a log that is still read; it keeps nothing alive by itself.
#[derive(Clone)]
pub struct Door(Weak<Shared>);

struct Shared {
    state: Mutex<State>,
    most_bytes: usize,
    stake: Arc<Stake>,
}

#[derive(Default)]
struct State {
    /// Those that not every reader has taken, and all of them while the log is whole.
    chunks: VecDeque<(Bytes, Held)>,
    /// Number of the first of them.
    first: usize,
    bytes: usize,
    written: u64,
    end: Option<Result<(), Broken>>,
    /// Places are used again.
    readers: Vec<Option<Reading>>,
    spilt: bool,
    writer: Option<Waker>,
}

struct Reading {
    /// Number of the chunk that it takes next.
    next: usize,
    waker: Option<Waker>,
}

impl Writer {
    /// Appends `data`, which must fit the log; waits for readers only once the log is full.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), Closed> {
        if data.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::copy_from_slice(data);
        self.room(data.len()).await?;
        let wakers = {
            let mut state = self.shared.lock();
            let held = self.shared.stake.hold(data.len() as u64);
            state.bytes += data.len();
            state.written += data.len() as u64;
            state.chunks.push_back((chunk, held));
            state.wakers()
        };
        wake(wakers);
        Ok(())
    }

    /// Waits until `bytes` can be written, or as much as an empty log holds.
    pub async fn room(&mut self, bytes: usize) -> Result<(), Closed> {
        let wanted = bytes.min(self.shared.most_bytes);
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.is_left() {
                return Poll::Ready(Err(Closed));
            }
            if self.shared.most_bytes - state.bytes >= wanted {
                return Poll::Ready(Ok(()));
            }
            state.spilt = true;
            let taken = state.trim();
            let fits = self.shared.most_bytes - state.bytes >= wanted;
            if !fits {
                state.writer = Some(cx.waker().clone());
            }
            drop((state, taken));
            if fits { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Bytes that can be written now.
    pub fn room_now(&self) -> usize {
        self.shared.most_bytes - self.shared.lock().bytes
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.shared.lock().written
    }

    /// Waits until no reader is left.
    pub async fn closed(&mut self) {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.is_left() {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// All that was written, if that is still there and somebody listens. To be asked for before the end is told: who
    /// hears of that may ask for the same again at once, or leave.
    pub fn content(&self) -> Option<Vec<Bytes>> {
        let state = self.shared.lock();
        let whole = !state.spilt && !state.is_left();
        whole.then(|| state.chunks.iter().map(|(bytes, _)| bytes.clone()).collect())
    }

    /// Ends the stream well.
    pub fn finish(mut self) {
        self.end(Ok(()));
    }

    /// Ends the stream with a reason.
    pub fn fail(mut self, reason: &str) {
        self.end(Err(Broken(reason.into())));
    }

    fn end(&mut self, end: Result<(), Broken>) {
        self.finished = true;
        let wakers = {
            let mut state = self.shared.lock();
            state.end = Some(end);
            state.wakers()
        };
        wake(wakers);
    }

    /// See [`Door`].
    pub fn door(&self) -> Door {
        Door(Arc::downgrade(&self.shared))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            self.end(Err(Broken("it was not finished".into())));
        }
    }
}

impl Door {
    /// Whether both lead to the same log.
    pub fn is_same(&self, other: &Door) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }

    /// Another reader, from the beginning; `None` when the log was left, has failed, or is not whole.
    pub fn enter(&self) -> Option<Reader> {
        let shared = self.0.upgrade()?;
        let place = {
            let mut state = shared.lock();
            if state.is_left() || state.spilt || matches!(state.end, Some(Err(_))) {
                return None;
            }
            state.place()
        };
        Some(Reader { shared, place })
    }
}

impl Reader {
    /// The next bytes; `None` after a stream that was finished.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let reading = state.readers[self.place].as_mut().expect("there until it is dropped");
        let Some((bytes, _)) = state.chunks.get(reading.next - state.first) else {
            return match &state.end {
                Some(Ok(())) => Poll::Ready(None),
                Some(Err(broken)) => Poll::Ready(Some(Err(broken.clone()))),
                None => {
                    reading.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        };
        let bytes = bytes.clone();
        reading.next += 1;
        let (taken, writer) = state.after_taking();
        drop(guard);
        drop(taken);
        wake(writer);
        Poll::Ready(Some(Ok(bytes)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let (taken, writer) = {
            let mut state = self.shared.lock();
            state.readers[self.place] = None;
            if state.is_left() {
                let chunks = std::mem::take(&mut state.chunks).into();
                (chunks, state.writer.take())
            } else {
                state.after_taking()
            }
        };
        // Outside of the lock: what they held is counted out, and the writer may run at once.
        drop(taken);
        wake(writer);
    }
}

impl Shared {
    /// No panic happens while the lock is held, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn is_left(&self) -> bool {
        self.readers.iter().all(Option::is_none)
    }

    fn place(&mut self) -> usize {
        let reading = Some(Reading { next: self.first, waker: None });
        match self.readers.iter().position(Option::is_none) {
            Some(place) => {
                self.readers[place] = reading;
                place
            }
            None => {
                self.readers.push(reading);
                self.readers.len() - 1
            }
        }
    }

    /// Takes out what every reader has taken, if the log is no longer whole.
    fn trim(&mut self) -> Vec<(Bytes, Held)> {
        let slowest = self.readers.iter().flatten().map(|reading| reading.next).min();
        let Some(slowest) = slowest.filter(|_| self.spilt) else { return Vec::new() };
        let taken: Vec<_> = self.chunks.drain(..slowest - self.first).collect();
        self.first = slowest;
        self.bytes -= taken.iter().map(|(bytes, _)| bytes.len()).sum::<usize>();
        taken
    }

    fn after_taking(&mut self) -> (Vec<(Bytes, Held)>, Option<Waker>) {
        let taken = self.trim();
        let writer = if taken.is_empty() { None } else { self.writer.take() };
        (taken, writer)
    }

    fn wakers(&mut self) -> Vec<Waker> {
        self.readers.iter_mut().flatten().filter_map(|reading| reading.waker.take()).collect()
    }
}

fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests;
