//! A short stream kept whole for several readers (the *log* use). Invariants: it never holds more
//! than was reserved for it; a reader that stalls delays nobody, since nobody waits for room; when
//! its last reader has left before the end, the writer is told, and everything is freed.

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
    let state = State { readers: 1, ..State::default() };
    let shared = Arc::new(Shared { state: Mutex::new(state), most_bytes, stake });
    let reader = Reader { shared: Arc::clone(&shared), next: 0, slot: None };
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
    /// The chunk that it reads next.
    next: usize,
    /// Its place among the wakers, once it has waited.
    slot: Option<usize>,
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
    chunks: Vec<Bytes>,
    bytes: usize,
    held: Vec<Held>,
    end: Option<Result<(), Broken>>,
    readers: usize,
    /// One place for each reader that waits or has waited; places are used again.
    waiting: Vec<Waiting>,
    writer: Option<Waker>,
}

enum Waiting {
    Free,
    Taken(Option<Waker>),
}

impl Writer {
    /// Appends `data`; fails when the readers have left, or when the log is full.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Closed> {
        if data.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::copy_from_slice(data);
        let wakers = {
            let mut state = self.shared.lock();
            if state.readers == 0 || state.bytes + data.len() > self.shared.most_bytes {
                return Err(Closed);
            }
            state.bytes += data.len();
            state.held.push(self.shared.stake.hold(data.len() as u64));
            state.chunks.push(chunk);
            state.wakers()
        };
        wake(wakers);
        Ok(())
    }

    /// Bytes that still fit.
    pub fn room_now(&self) -> usize {
        self.shared.most_bytes - self.shared.lock().bytes
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.shared.lock().bytes as u64
    }

    /// Waits until no reader is left.
    pub async fn closed(&mut self) {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.readers == 0 {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Ends the stream well, and gives its whole content.
    pub fn finish(mut self) -> Vec<Bytes> {
        self.end(Ok(()));
        self.shared.lock().chunks.clone()
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

    /// Another reader, from the beginning; `None` when the log has been left or has failed.
    pub fn enter(&self) -> Option<Reader> {
        let shared = self.0.upgrade()?;
        {
            let mut state = shared.lock();
            if state.readers == 0 || matches!(state.end, Some(Err(_))) {
                return None;
            }
            state.readers += 1;
        }
        Some(Reader { shared, next: 0, slot: None })
    }
}

impl Reader {
    /// The next bytes; `None` after a stream that was finished.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let mut state = self.shared.lock();
        if let Some(chunk) = state.chunks.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(chunk.clone())));
        }
        match &state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(broken)) => Poll::Ready(Some(Err(broken.clone()))),
            None => {
                let slot = *self.slot.get_or_insert_with(|| state.free_slot());
                state.waiting[slot] = Waiting::Taken(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let (chunks, waker) = {
            let mut state = self.shared.lock();
            state.readers -= 1;
            if let Some(slot) = self.slot {
                state.waiting[slot] = Waiting::Free;
            }
            if state.readers > 0 {
                return;
            }
            let chunks = (std::mem::take(&mut state.chunks), std::mem::take(&mut state.held));
            (chunks, state.writer.take())
        };
        drop(chunks);
        wake(waker);
    }
}

impl Shared {
    /// No panic happens while the lock is held, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn wakers(&mut self) -> Vec<Waker> {
        let take = |waiting: &mut Waiting| match waiting {
            Waiting::Taken(waker) => waker.take(),
            Waiting::Free => None,
        };
        self.waiting.iter_mut().filter_map(take).collect()
    }

    fn free_slot(&mut self) -> usize {
        let free = self.waiting.iter().position(|waiting| matches!(waiting, Waiting::Free));
        free.unwrap_or_else(|| {
            self.waiting.push(Waiting::Free);
            self.waiting.len() - 1
        })
    }
}

fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests;
