//! Numbered items for several readers, each at its own place (the *log* use of a ring). Invariants: a lane never holds
//! more than its room, unless it is told to; what every reader has taken goes when room is wanted, and not before, so that
//! who comes late gets what is still there; what belongs to an older epoch is neither taken in nor given out.
//!
//! Items lie in two lanes with room of their own, so that much text cannot keep audio out. Their order is one. While nobody
//! reads, nothing goes, and a full lane stops whoever fills it.
//!
//! Where something is to stay behind the readers, a reader that leaves before its end leaves its place behind, and what it may
//! come back for stays; the others may have to wait for that, until whoever looks after them cuts it as any that takes
//! nothing.

mod state;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use super::ring::Closed;
use super::stake::Stake;
use super::sync::{Arc, Mutex, MutexGuard};
use state::{Item, Reading, State};

/// Where an item counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// What is small, and what must be said: it always finds a place within its own reserve.
    Text,
    /// What is large.
    Audio,
}

/// How much is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of audio.
    pub audio_bytes: usize,
    /// Bytes of text, their places included.
    pub text_bytes: usize,
    /// Bytes of audio, and the text between them, that stay behind the slowest reader beside all this, so that one that
    /// was cut off can go on where it was.
    pub behind_bytes: usize,
    /// Bytes of audio that stay behind the place of one that left, within all this: as much as may have been on its way.
    pub lost_bytes: usize,
}

/// A place in the order: an epoch, and a number that rises through all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Of the item.
    pub epoch: u32,
    /// From 1.
    pub number: u64,
}

/// What was asked for is not held any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what comes behind that position is no longer held")]
pub struct Gone;

/// This reader was too slow for its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader was too slow")]
pub struct TooSlow;

/// How far a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its place among the readers.
    pub place: usize,
    /// Bytes that it took so far.
    pub taken: u64,
    /// Whether something waits for it; of one that is lost, whether there is no room for more.
    pub waits: bool,
    /// Whether it has left, and may come back.
    pub is_lost: bool,
}

/// See the module. Clones share it.
pub struct Replay<T>(Arc<Shared<T>>);

impl<T> Clone for Replay<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// One reader.
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    place: usize,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    terms: Terms,
    stake: std::sync::Arc<Stake>,
}

impl<T: Clone> Replay<T> {
    /// Empty, at `epoch`, counted under `stake`.
    pub fn new(terms: Terms, epoch: u32, stake: std::sync::Arc<Stake>) -> Self {
        let state = State {
            items: VecDeque::new(),
            first: 1,
            audio: 0,
            text: 0,
            epoch,
            written: 0,
            readers: Vec::new(),
            paused: false,
            is_full: false,
            sealed: false,
            writers: [None, None],
        };
        Self(Arc::new(Shared { state: Mutex::new(state), terms, stake }))
    }

    /// Adds an item, whether or not its lane has room: who waits for that asks before.
    pub fn push(&self, epoch: u32, lane: Lane, thing: T, bytes: usize) -> Result<(), Closed> {
        let wakers = {
            let mut state = self.0.lock();
            if state.is_over_for(epoch) {
                return Err(Closed);
            }
            let held = self.0.stake.hold(bytes as u64);
            match lane {
                Lane::Text => state.text += bytes,
                Lane::Audio => {
                    state.audio += bytes;
                    state.written += bytes as u64;
                }
            }
            let position = Position { epoch, number: state.end() };
            let audio_to_here = state.written;
            state.items.push_back(Item {
                thing,
                position,
                lane,
                bytes,
                audio_to_here,
                _held: held,
            });
            state.readers_wakers()
        };
        wake(wakers);
        Ok(())
    }

    /// Ready when `lane` has room for `bytes`, or as much as it ever has.
    pub fn poll_room(
        &self,
        epoch: u32,
        lane: Lane,
        bytes: usize,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        let mut state = self.0.lock();
        if state.is_over_for(epoch) {
            return Poll::Ready(Err(Closed));
        }
        let gone = state.make_room(&self.0.terms, lane, bytes);
        let has_room = state.room(&self.0.terms, lane) >= bytes.min(self.0.terms.of(lane));
        if lane == Lane::Audio {
            state.is_full = !has_room;
        }
        let is_free = has_room && !state.paused;
        if !is_free {
            state.writers[lane as usize] = Some(cx.waker().clone());
        }
        drop(state);
        drop(gone);
        if is_free { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// See [`Replay::poll_room`].
    pub async fn room(&self, epoch: u32, lane: Lane, bytes: usize) -> Result<(), Closed> {
        poll_fn(|cx| self.poll_room(epoch, lane, bytes, cx)).await
    }

    /// Bytes that `lane` has room for now.
    pub fn room_now(&self, lane: Lane) -> usize {
        self.0.lock().room(&self.0.terms, lane)
    }

    /// Ready when the foremost reader is no further behind than `bytes` of the epoch's audio.
    pub fn poll_lag_below(
        &self,
        epoch: u32,
        bytes: u64,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Closed>> {
        let mut state = self.0.lock();
        if state.is_over_for(epoch) {
            return Poll::Ready(Err(Closed));
        }
        if !state.paused && state.written - state.foremost() <= bytes {
            return Poll::Ready(Ok(()));
        }
        state.writers[Lane::Audio as usize] = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when nothing of `epoch` is wanted any more.
    pub fn poll_closed(&self, epoch: u32, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.is_over_for(epoch) {
            return Poll::Ready(());
        }
        state.writers[Lane::Audio as usize] = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Bytes of audio of `epoch`, and how many of them the foremost reader took; `None` when it is over.
    pub fn progress(&self, epoch: u32) -> Option<(u64, u64)> {
        let state = self.0.lock();
        (!state.is_over_for(epoch)).then(|| (state.written, state.foremost()))
    }

    /// Goes on to `epoch`: what was not delivered of the one before never is. Gives the number of items dropped.
    pub fn begin(&self, epoch: u32) -> usize {
        let (gone, writers) = {
            let mut state = self.0.lock();
            state.epoch = epoch;
            state.written = 0;
            state.readers.iter_mut().flatten().for_each(|reading| reading.audio = 0);
            (state.clear(), state.writers_wakers())
        };
        wake(writers);
        gone.len()
    }

    /// Stops and goes on with what fills the lanes; what is there can be read meanwhile.
    pub fn pause(&self, paused: bool) {
        let writers = {
            let mut state = self.0.lock();
            state.paused = paused;
            state.writers_wakers()
        };
        wake(writers);
    }

    /// Nothing more comes: readers get what is there, and then the end.
    pub fn seal(&self) {
        let (readers, writers) = {
            let mut state = self.0.lock();
            state.sealed = true;
            (state.readers_wakers(), state.writers_wakers())
        };
        wake(readers);
        wake(writers);
    }

    /// As [`Replay::seal`], and what is there is dropped. Gives the number of items.
    pub fn close(&self) -> usize {
        let gone = {
            let mut state = self.0.lock();
            state.sealed = true;
            state.clear()
        };
        let count = gone.len();
        drop(gone);
        self.seal();
        count
    }

    /// A reader behind `after`, or from the first item that is still there. Behind an older epoch that is
    /// the first as well: what else came of it is never given out.
    pub fn reader(&self, after: Option<Position>) -> Result<Reader<T>, Gone> {
        let mut state = self.0.lock();
        let next = state.behind_position(after)?;
        if after.is_some() {
            state.come_back(next);
        }
        let audio = state.audio_before((next - state.first) as usize);
        let reading = Reading::at(next, audio);
        let place = match state.readers.iter().position(Option::is_none) {
            Some(place) => {
                state.readers[place] = Some(reading);
                place
            }
            None => {
                state.readers.push(Some(reading));
                state.readers.len() - 1
            }
        };
        drop(state);
        Ok(Reader { shared: Arc::clone(&self.0), place })
    }

    /// Whether something would wait for a reader behind `after`.
    pub fn waits(&self, after: Option<Position>) -> Result<bool, Gone> {
        let state = self.0.lock();
        state.behind_position(after).map(|next| next < state.end())
    }

    /// How far each reader is.
    pub fn standings(&self) -> Vec<Standing> {
        let state = self.0.lock();
        let end = state.end();
        let readers = state.readers.iter().enumerate();
        readers
            .filter_map(|(place, reading)| {
                let reading = reading.as_ref()?;
                let Reading { next, taken, is_lost, .. } = *reading;
                let waits = if is_lost { state.is_full } else { next < end };
                Some(Standing { place, taken, waits, is_lost })
            })
            .collect()
    }

    /// Ends the reader at `place`: it is told that it was too slow, and delays nobody from now on.
    pub fn cut(&self, place: usize) {
        let (reader, writers) = {
            let mut state = self.0.lock();
            let Some(Some(reading)) = state.readers.get_mut(place) else { return };
            reading.is_cut = true;
            let reader = reading.waker.take();
            if reading.is_lost {
                state.readers[place] = None;
            }
            (reader, state.writers_wakers())
        };
        wake(reader);
        wake(writers);
    }

    /// Items that are held.
    pub fn len(&self) -> usize {
        self.0.lock().items.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone> Reader<T> {
    /// The next item and its position; `None` behind the last.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Position, T), TooSlow>>> {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let reading = state.readers[self.place].as_mut().expect("there until it is dropped");
        if reading.is_cut {
            return Poll::Ready(Some(Err(TooSlow)));
        }
        let Some(item) = state.items.get((reading.next - state.first) as usize) else {
            if state.sealed {
                return Poll::Ready(None);
            }
            reading.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        reading.next += 1;
        reading.taken += item.bytes as u64;
        reading.audio = item.audio_to_here;
        let taken = (item.position, item.thing.clone());
        let writers = state.writers_wakers();
        drop(guard);
        wake(writers);
        Poll::Ready(Some(Ok(taken)))
    }
}

impl<T> Reader<T> {
    /// When it leaves, it does not come back: nothing is kept for it.
    pub fn stays_away(&mut self) {
        let mut state = self.shared.lock();
        if let Some(reading) = &mut state.readers[self.place] {
            reading.stays_away = true;
        }
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        let writers = {
            let mut state = self.shared.lock();
            state.leave(self.place, self.shared.terms.lost_bytes > 0);
            state.writers_wakers()
        };
        wake(writers);
    }
}

impl Terms {
    fn of(&self, lane: Lane) -> usize {
        match lane {
            Lane::Text => self.text_bytes,
            Lane::Audio => self.audio_bytes,
        }
    }
}

impl<T> Shared<T> {
    /// No panic happens while the lock is held, so a poisoned one is still whole.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests;
