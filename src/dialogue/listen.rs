//! Listeners of a dialogue. Invariant: each has reserved what it may hold before it listens, and its leaving is seen at once,
//! by its being dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

use super::frame::Frame;
use super::one::State;
use super::{Dialogue, DialogueError, Why};
use crate::bounds::Stake;
use crate::bounds::replay::{Position, Reader, TooSlow};
use crate::ledger::{Departure, Kind};
use crate::limits::{DIALOGUE_LISTENER_BYTES, LISTENERS};

/// Somebody who listens to a dialogue: a stream of its frames.
pub struct Listener {
    reader: Reader<Arc<Frame>>,
    dialogue: Arc<Dialogue>,
    /// Of the turn after which it ends, if it does.
    until: Option<u32>,
    is_over: bool,
    _stake: Arc<Stake>,
}

/// How somebody wants to listen.
#[derive(Clone, Debug)]
pub struct Ear {
    /// Behind this position; else from what is still there.
    pub after: Option<Position>,
    /// Through later turns as well.
    pub follows: bool,
    /// Whether it learns where it is, and so may come back there.
    pub knows_place: bool,
    /// Who it is, for the ledger.
    pub owner: Arc<str>,
    /// When its client left, once it has.
    pub departure: Departure,
}

impl Dialogue {
    /// Listens.
    pub fn listen(self: &Arc<Self>, ear: Ear) -> Result<Listener, DialogueError> {
        let service = self.service.upgrade().ok_or(DialogueError::Leaving)?;
        let stake = super::Dialogues(service).reserve(
            DIALOGUE_LISTENER_BYTES,
            Kind::Ear,
            &ear.owner,
            ear.departure,
        )?;
        let mut state = self.lock();
        self.may_listen(&state, ear.after, ear.follows)?;
        let mut reader = self.replay.reader(ear.after).map_err(|_| DialogueError::Gone)?;
        if !ear.knows_place {
            reader.stays_away();
        }
        state.heard_since.get_or_insert_with(Instant::now);
        state.life.attach(ear.follows);
        if state.life.listeners() == 1 {
            self.replay.pause(false);
        }
        let until = (!ear.follows).then_some(state.epoch);
        drop(state);
        self.moved.notify_one();
        let dialogue = Arc::clone(self);
        Ok(Listener { reader, dialogue, until, is_over: false, _stake: stake })
    }

    /// Whether somebody could listen so now. Nothing comes of it.
    pub fn could_listen(
        &self,
        after: Option<Position>,
        follows: bool,
    ) -> Result<(), DialogueError> {
        self.may_listen(&self.lock(), after, follows)
    }

    fn may_listen(
        &self,
        state: &State,
        after: Option<Position>,
        follows: bool,
    ) -> Result<(), DialogueError> {
        if state.life.is_over() {
            return Err(DialogueError::Over);
        }
        if state.life.listeners() >= LISTENERS {
            return Err(DialogueError::Crowded);
        }
        let waits = self.replay.waits(after).map_err(|_| DialogueError::Gone)?;
        let is_over = state.turn.outcome().is_some() && !follows;
        // One that comes back and has heard the last of it gets nothing more.
        if is_over && after.is_some() && !waits {
            return Err(DialogueError::Over);
        }
        Ok(())
    }

    /// The header of the running turn's sound, for who comes behind it.
    pub fn preamble(&self) -> Option<Bytes> {
        self.lock().preamble.clone()
    }

    fn left(&self, follows: bool) {
        let is_over = {
            let mut state = self.lock();
            let is_over = state.life.leave(follows, Instant::now());
            if !is_over && state.life.listeners() == 0 && !state.life.is_awaited() {
                // Nothing more is made for nobody.
                self.replay.pause(true);
            }
            is_over
        };
        if is_over {
            self.end(Why::Left);
        } else {
            self.moved.notify_one();
        }
    }
}

impl Listener {
    /// Whom it listens to.
    pub fn dialogue(&self) -> &Arc<Dialogue> {
        &self.dialogue
    }
}

impl tokio_stream::Stream for Listener {
    type Item = Result<(Position, Arc<Frame>), TooSlow>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        loop {
            let next = std::task::ready!(this.reader.poll_next(cx));
            let Some(Ok((position, frame))) = &next else {
                this.is_over = true;
                return Poll::Ready(next);
            };
            // The end of a turn that was interrupted stands at the beginning of the next one.
            let epoch = match &**frame {
                Frame::Interrupted { epoch, .. } => *epoch,
                _ => position.epoch,
            };
            match this.until {
                Some(until) if epoch < until => continue,
                // What it had not taken of its own turn went when the next one began.
                Some(until) if epoch > until => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(TooSlow)));
                }
                until => this.is_over = frame.is_last() && until.is_some(),
            }
            return Poll::Ready(next);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.is_over {
            self.reader.stays_away();
        }
        self.dialogue.left(self.until.is_none());
    }
}
