//! A bounded queue of pages between one writer and one reader (the *pipe* use). Invariants: at most
//! `pages` pages live at any moment, slices that somebody still holds included; what a reader that
//! has left had not taken is freed at once; a stream that was not finished never looks finished.
//!
//! The writer appends to the last page; the reader gets [`Bytes`] that own a slice of a page. A page
//! is gone when its last slice is dropped, hyper's included, so chunks of a few bytes or a pinned
//! slice cannot hold more than is counted. Waiting is by wakers kept under the one lock, which lets
//! loom explore every interleaving.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes, BytesMut};

use super::budget::Held;
use super::stake::Stake;
use super::sync::{Arc, Mutex, MutexGuard};

/// The other side is gone: the reader for a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader has left")]
pub struct Closed;

/// The stream ended before it was whole; the text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream broke off: {0}")]
pub struct Broken(pub std::sync::Arc<str>);

/// Makes a pipe of at most `pages` pages of `page_bytes` each, counted under `stake`.
pub fn pipe(page_bytes: usize, pages: usize, stake: std::sync::Arc<Stake>) -> (Writer, Reader) {
    assert!(page_bytes > 0 && pages > 0, "a ring has at least one page of one byte");
    let shared = Arc::new(Shared { state: Mutex::default(), page_bytes, pages, stake });
    (Writer { shared: Arc::clone(&shared), finished: false }, Reader { shared })
}

/// The producing end; dropped without [`Writer::finish`], its reader gets [`Broken`].
pub struct Writer {
    shared: Arc<Shared>,
    finished: bool,
}

/// The consuming end; dropping it frees the queue and tells the writer.
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    page_bytes: usize,
    pages: usize,
    stake: std::sync::Arc<Stake>,
}

#[derive(Default)]
struct State {
    full: VecDeque<Page>,
    tail: Option<Page>,
    live_pages: usize,
    written: u64,
    taken: u64,
    /// The writer waits for `taken` to rise, which no page tells it.
    lag_watched: bool,
    end: Option<End>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum End {
    Done,
    Failed(Broken),
}

struct Page {
    // Fields drop in order: the memory before the count of it.
    bytes: BytesMut,
    alive: std::sync::Arc<Alive>,
}

/// Counts a page as live; shared by the page and all its slices.
struct Alive {
    shared: Arc<Shared>,
    _held: Held,
}

/// What a reader holds: bytes, and the page that they lie in.
struct Slice {
    bytes: Bytes,
    _alive: std::sync::Arc<Alive>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.shared.lock();
            state.live_pages -= 1;
            state.writer.take()
        };
        wake(waker);
    }
}

/// Tells how far a stream's reader is behind, for as long as the stream lives; it keeps nothing alive.
/// loom's `Arc` has no weak handles, so its models go without.
#[derive(Clone)]
pub struct Gauge {
    #[cfg(not(evensong_loom))]
    shared: std::sync::Weak<Shared>,
}

impl Gauge {
    /// Bytes written, and bytes of those that were taken; `None` when the stream is over.
    #[cfg(not(evensong_loom))]
    pub fn progress(&self) -> Option<(u64, u64)> {
        let shared = self.shared.upgrade()?;
        let state = shared.lock();
        Some((state.written, state.taken))
    }

    /// As above, under a model.
    #[cfg(evensong_loom)]
    pub fn progress(&self) -> Option<(u64, u64)> {
        None
    }
}

impl Writer {
    /// See [`Gauge`].
    pub fn gauge(&self) -> Gauge {
        Gauge {
            #[cfg(not(evensong_loom))]
            shared: Arc::downgrade(&self.shared),
        }
    }

    /// Appends `data`, waiting for room as often as needed.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), Closed> {
        let mut rest = data;
        poll_fn(|cx| self.poll_write(cx, &mut rest)).await
    }

    /// Waits until `bytes` can be written without waiting; `bytes` is capped to what is sure to come:
    /// of the page that is being written to, the part that was read comes back only with the page.
    pub async fn room(&mut self, bytes: usize) -> Result<(), Closed> {
        let sure = (self.shared.page_bytes * (self.shared.pages - 1)).max(1);
        let wanted = bytes.min(sure);
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.reader_gone {
                return Poll::Ready(Err(Closed));
            }
            if self.shared.room(&state) >= wanted {
                return Poll::Ready(Ok(()));
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits until fewer than `bytes` are written and not taken: how far ahead of its reader a stream
    /// may be is not only a matter of room.
    pub async fn lag_below(&mut self, bytes: u64) -> Result<(), Closed> {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.reader_gone {
                return Poll::Ready(Err(Closed));
            }
            if state.written - state.taken < bytes {
                return Poll::Ready(Ok(()));
            }
            state.lag_watched = true;
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Bytes that can be written now without waiting.
    pub fn room_now(&self) -> usize {
        self.shared.room(&self.shared.lock())
    }

    /// Bytes written so far, and bytes of those that the reader has taken.
    pub fn progress(&self) -> (u64, u64) {
        let state = self.shared.lock();
        (state.written, state.taken)
    }

    /// Waits until the reader has left.
    pub async fn closed(&mut self) {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.reader_gone {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Ends the stream well: the reader gets what is queued, then the end.
    pub fn finish(mut self) {
        self.end(End::Done);
    }

    /// Ends the stream with a reason: the reader gets what is queued, then the failure.
    pub fn fail(mut self, reason: &str) {
        self.end(End::Failed(Broken(reason.into())));
    }

    /// As [`Writer::fail`], at once: what is queued is dropped.
    pub fn abort(mut self, reason: &str) {
        let queued = {
            let mut state = self.shared.lock();
            (std::mem::take(&mut state.full), state.tail.take())
        };
        // Outside of the lock, which pages that go back take themselves.
        drop(queued);
        self.end(End::Failed(Broken(reason.into())));
    }

    fn end(&mut self, end: End) {
        self.finished = true;
        let waker = {
            let mut state = self.shared.lock();
            state.end = Some(end);
            state.reader.take()
        };
        wake(waker);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, rest: &mut &[u8]) -> Poll<Result<(), Closed>> {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        if state.reader_gone {
            return Poll::Ready(Err(Closed));
        }
        let before = rest.len();
        while !rest.is_empty() && Shared::open_tail(&self.shared, state) {
            let Some(tail) = state.tail.as_mut() else { break };
            let count = rest.len().min(tail.free());
            tail.bytes.put_slice(&rest[..count]);
            *rest = &rest[count..];
            if tail.free() == 0 {
                state.full.extend(state.tail.take());
            }
        }
        let added = before - rest.len();
        state.written += added as u64;
        if !rest.is_empty() {
            state.writer = Some(cx.waker().clone());
        }
        let reader = if added > 0 { state.reader.take() } else { None };
        drop(guard);
        wake(reader);
        if rest.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            self.end(End::Failed(Broken("it was not finished".into())));
        }
    }
}

impl Reader {
    /// The next bytes, up to a page of them; `None` after a stream that was finished.
    pub async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Reader::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let mut guard = self.shared.lock();
        let Some(slice) = guard.take_front() else {
            return match &guard.end {
                Some(End::Done) => Poll::Ready(None),
                Some(End::Failed(broken)) => Poll::Ready(Some(Err(broken.clone()))),
                None => {
                    guard.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        };
        guard.taken += slice.bytes.len() as u64;
        let writer =
            if std::mem::take(&mut guard.lag_watched) { guard.writer.take() } else { None };
        drop(guard);
        wake(writer);
        Poll::Ready(Some(Ok(Bytes::from_owner(slice))))
    }
}

impl tokio_stream::Stream for Reader {
    type Item = Result<Bytes, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_next(cx)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let (pages, waker) = {
            let mut state = self.shared.lock();
            state.reader_gone = true;
            let pages = (std::mem::take(&mut state.full), state.tail.take());
            (pages, state.writer.take())
        };
        // Outside the lock, since each page counts itself out under it.
        drop(pages);
        wake(waker);
    }
}

impl Shared {
    /// No panic happens while the lock is held, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn room(&self, state: &State) -> usize {
        let tail = state.tail.as_ref().map_or(0, Page::free);
        (self.pages - state.live_pages) * self.page_bytes + tail
    }

    /// Makes sure that there is a page to append to; false when all pages are in use.
    fn open_tail(this: &Arc<Self>, state: &mut State) -> bool {
        if state.tail.is_some() {
            return true;
        }
        if state.live_pages == this.pages {
            return false;
        }
        state.live_pages += 1;
        let held = this.stake.hold(this.page_bytes as u64);
        state.tail = Some(Page {
            bytes: BytesMut::with_capacity(this.page_bytes),
            alive: std::sync::Arc::new(Alive { shared: Arc::clone(this), _held: held }),
        });
        true
    }
}

impl State {
    fn take_front(&mut self) -> Option<Slice> {
        if let Some(page) = self.full.pop_front() {
            return Some(Slice { bytes: page.bytes.freeze(), _alive: page.alive });
        }
        let tail = self.tail.as_mut().filter(|tail| !tail.bytes.is_empty())?;
        let bytes = tail.bytes.split().freeze();
        Some(Slice { bytes, _alive: std::sync::Arc::clone(&tail.alive) })
    }
}

impl Page {
    /// Bytes that can still be appended; never a reallocation.
    fn free(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests;
