//! One dialogue: its turns, one after the other, and its end. Invariants: what is told of a turn is told under the lock that
//! an interruption takes, so that nothing comes behind one; it ends once, whoever ends it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, Message, messages};
use super::life::Life;
use super::turn::{Outcome, Turn};
use super::{Asking, DialogueError, Inner, Why};
use crate::answer::{History, Question};
use crate::bounds::Stake;
use crate::bounds::replay::{Lane, Replay};
use crate::ledger::Departure;
use crate::metrics::{DialogueEnd, Metrics, TurnEnd};
use crate::speech::encode::Format;
use crate::speech::live::Live;

/// One dialogue.
pub struct Dialogue {
    /// Of its first question, for the ledger and the log.
    pub(super) owner: Arc<str>,
    pub(super) id: Arc<str>,
    pub(super) capability: Arc<str>,
    pub(super) principal: Arc<str>,
    pub(super) format: Format,
    pub(super) service: Weak<Inner>,
    pub(super) replay: Replay<Arc<Frame>>,
    pub(super) state: Mutex<State>,
    /// Another question.
    pub(super) asked: Notify,
    /// Somebody came or left.
    pub(super) moved: Notify,
    pub(super) ended: CancellationToken,
    /// When its last listener left.
    pub(super) departure: Departure,
    pub(super) _places: Box<dyn Send + Sync>,
}

pub(super) struct State {
    pub(super) epoch: u32,
    pub(super) turn: Turn,
    /// The turn before, if it did not fail.
    pub(super) last: Option<Turn>,
    pub(super) began: Instant,
    /// When somebody first listened to this turn.
    pub(super) heard_since: Option<Instant>,
    pub(super) next: Option<Asked>,
    pub(super) life: Life,
    /// What was said in turns before this one.
    pub(super) history: History,
    /// The header of the turn's sound, for those who come late.
    pub(super) preamble: Option<bytes::Bytes>,
}

/// A turn that is to be played.
pub(super) struct Asked {
    pub(super) epoch: u32,
    pub(super) question: Question,
    pub(super) live: Live,
    pub(super) stake: Arc<Stake>,
}

impl Dialogue {
    /// Its id.
    pub fn id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    /// What its sound is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Another question: what runs is interrupted first. Gives the epoch of the new turn.
    pub(super) fn go_on(
        &self,
        asking: Asking,
        live: Live,
        stake: Arc<Stake>,
    ) -> Result<u32, DialogueError> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.life.is_over() {
            return Err(DialogueError::NotFound);
        }
        let interrupted = state.interrupt(asking.played_ms, now);
        let epoch = state.epoch + 1;
        let history = asking.history.unwrap_or_else(|| state.history.clone());
        state.epoch = epoch;
        let (text, language) = (asking.text.clone(), &live.voice().language);
        let next = Turn::new(epoch, asking.thinking, text, history.clone(), language)
            .silent(asking.is_silent);
        let last = std::mem::replace(&mut state.turn, next);
        state.last = last.was_said().then_some(last);
        state.began = now;
        state.history = history.clone();
        state.preamble = None;
        state.life.asked(asking.is_resumable, now);
        state.heard_since = state.life.is_heard().then_some(now);
        let owner = Arc::clone(&self.owner);
        let question = Question::new(asking.text, history, owner, self.departure.clone())?
            .instructed(asking.instructions);
        state.next = Some(Asked { epoch, question, live, stake });
        // Whatever was not delivered of the turn before never is, but for its last frame, if that is what it was.
        let late = self.replay.begin(epoch);
        if let Some(frame) = interrupted {
            tracing::info!(owner = %self.owner, late, "a turn was interrupted");
            self.push(epoch, frame);
        }
        if let Some(indicator) = asking.thinking {
            self.push(epoch, Frame::Thinking(indicator));
        }
        drop(state);
        self.asked.notify_one();
        Ok(epoch)
    }

    /// Ends it: those who listen are told, and then there is nothing more.
    pub fn delete(&self, played_ms: Option<u32>) {
        {
            let mut state = self.lock();
            if let Some(frame) = state.interrupt(played_ms, Instant::now()) {
                let epoch = state.epoch;
                self.replay.begin(epoch);
                self.push(epoch, frame);
            }
        }
        self.end(Why::Deleted);
    }

    /// What was heard of a turn after so many milliseconds were played, and what was said so far with that. Of a turn that
    /// is over that is what is remembered.
    pub fn heard(
        &self,
        played_ms: u32,
        epoch: Option<u32>,
    ) -> Result<(String, Vec<Message>), DialogueError> {
        let mut state = self.lock();
        if let Some(other) = epoch.filter(|epoch| *epoch != state.epoch) {
            return state.heard_before(other, played_ms);
        }
        let heard = state.turn.heard(played_ms).to_string();
        let history = state.turn.history_of(played_ms);
        if state.turn.was_said() {
            state.history = history.clone();
        }
        Ok((heard, messages(&history)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of an older epoch nothing is told any more.
    pub(super) fn push(&self, epoch: u32, frame: Frame) {
        let bytes = frame.text_bytes();
        let end = match &frame {
            Frame::Done(_) => Some(TurnEnd::Done),
            Frame::Interrupted { .. } => Some(TurnEnd::Interrupted),
            Frame::Failed(_) => Some(TurnEnd::Failed),
            _ => None,
        };
        if let Some(end) = end {
            self.metric(|metrics| metrics.turn_ended(end));
        }
        if self.replay.push(epoch, Lane::Text, Arc::new(frame), bytes).is_err() {
            self.metric(|metrics| metrics.dialogue_late.inc());
        }
    }

    pub(super) fn metric<T>(&self, count: impl FnOnce(&Metrics) -> T) {
        if let Some(service) = self.service.upgrade() {
            count(&service.means.metrics);
        }
    }

    /// Ends it; whatever works for it stops. Only the first time counts.
    pub(super) fn end(&self, why: Why) {
        {
            let mut state = self.lock();
            state.life.end();
            if self.ended.is_cancelled() {
                return;
            }
            self.ended.cancel();
            state.next = None;
        }
        let cleared = match why {
            // Those who listen hear the last of it.
            Why::Deleted | Why::Leaving => {
                let held = self.replay.len();
                self.replay.seal();
                held
            }
            Why::Left | Why::Expired | Why::Stale => {
                self.departure.note();
                self.replay.close()
            }
        };
        tracing::info!(owner = %self.owner, ?why, "[Voice Cleanup] Cleared {cleared} buffered messages");
        let Some(service) = self.service.upgrade() else { return };
        drop(service.live.take(&self.id));
        service.means.metrics.dialogue_ended(match why {
            Why::Left => DialogueEnd::Left,
            Why::Expired => DialogueEnd::Expired,
            Why::Deleted => DialogueEnd::Deleted,
            Why::Leaving => DialogueEnd::Leaving,
            Why::Stale => DialogueEnd::Stale,
        });
    }
}

impl State {
    /// Since the turn was asked.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends the turn that runs; what was heard of it is remembered.
    fn interrupt(&mut self, played_ms: Option<u32>, now: Instant) -> Option<Frame> {
        let told_ms = played_ms;
        let played_ms = played_ms.unwrap_or_else(|| self.played_ms(now));
        let frame = self.turn.interrupt(played_ms);
        match &frame {
            Some(Frame::Interrupted { heard_text, .. }) => {
                self.history = self.turn.history(heard_text);
            }
            // All of it was made, which does not say that all of it was played.
            _ if self.turn.outcome() == Some(Outcome::Done) => {
                self.history = match told_ms {
                    Some(played_ms) => self.turn.history_of(played_ms),
                    None => self.turn.whole_history(),
                };
            }
            _ => {}
        }
        frame
    }

    /// As [`Dialogue::heard`], of the turn before this one.
    fn heard_before(
        &mut self,
        epoch: u32,
        played_ms: u32,
    ) -> Result<(String, Vec<Message>), DialogueError> {
        let last = self.last.as_ref().filter(|turn| turn.epoch() == epoch);
        let Some(last) = last else { return Err(DialogueError::OtherTurn(epoch)) };
        let heard = last.heard(played_ms).to_string();
        let history = last.history_of(played_ms);
        // The turn that runs was asked with what was reckoned; from the next one on, it is what was heard.
        self.history = history.clone();
        self.turn.remember(&history);
        Ok((heard, messages(&history)))
    }

    /// How much of the turn can have been heard by `now`: as much as there was time for, since it sounded and somebody
    /// listened.
    fn played_ms(&self, now: Instant) -> u32 {
        let first = self.turn.first_audio_ms();
        let Some(since) = self.heard_since.filter(|_| first > 0) else { return 0 };
        let sounded = self.began + Duration::from_millis(first);
        let played = now.saturating_duration_since(sounded.max(since)).as_millis() as u64;
        u32::try_from(played.min(self.turn.audio_ms())).unwrap_or(u32::MAX)
    }
}
