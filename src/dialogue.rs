//! Dialogues: somebody asks, sees that it is thought about, and hears the answer while it is being written. Invariants: a
//! dialogue lives as long as [`life::Life`] says, and not a moment longer; what it holds is reserved before it begins; what is
//! told of a turn comes in one order, to all who listen, and ends with one last frame.

pub mod frame;
mod heard;
pub mod life;
pub mod listen;
mod pace;
pub mod plain;
mod play;
mod split;
pub mod turn;
pub mod twice;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::answer::{AnswerError, History, Question, Responder};
use crate::bounds::lease::{Full, Leases, Terms as LeaseTerms};
use crate::bounds::replay::{Lane, Replay, Terms};
use crate::bounds::ring::Broken;
use crate::bounds::{Budget, Stake};
use crate::ledger::{Departure, Kind};
use crate::limits;
use crate::metrics::{DialogueEnd, Metrics, Refusal};
use crate::speech::encode::Format;
use crate::speech::live::{Live, LiveWish};
use crate::speech::{Speech, SpeechError};
use crate::tasks::Spawner;
use frame::{Frame, Indicator, Message, messages};
use life::{Life, Patience};
use turn::{Outcome, Turn};

/// A question, its parts already checked for length.
pub struct Asking {
    /// What is asked.
    pub text: String,
    /// The dialogue that goes on; none for a new one.
    pub dialogue: Option<String>,
    /// What was said before, where the asker keeps it.
    pub history: Option<History>,
    /// How much of the running turn was heard, in milliseconds, where the asker knows.
    pub played_ms: Option<u32>,
    /// How it is to be spoken.
    pub voice: LiveWish,
    /// What listeners are shown while it is thought about, if anything.
    pub thinking: Option<Indicator>,
    /// Whether a listener that was cut off may go on where it was.
    pub is_resumable: bool,
    /// Whose it is.
    pub principal: Arc<str>,
    /// Held as long as the dialogue lives: its places among those of its asker.
    pub places: Box<dyn Send + Sync>,
}

/// A question that was taken.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The dialogue's id: 128 random bits.
    pub dialogue: Arc<str>,
    /// What lets in who has no key: 128 random bits.
    pub capability: Arc<str>,
    /// Of the turn.
    pub epoch: u32,
    /// Who writes the answer.
    pub answering: &'static str,
    /// Who speaks it.
    pub engine: &'static str,
    /// With which voice.
    pub voice: String,
    /// What the sound is.
    pub format: Format,
}

/// Why something cannot be done with a dialogue.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DialogueError {
    /// Nobody is there to write answers.
    #[error(
        "nobody answers here: set answer.llm.base_url and answer.llm.model, or let documents be searched (search.enabled)"
    )]
    Nobody,
    /// The question cannot be asked.
    #[error(transparent)]
    Question(#[from] AnswerError),
    /// It cannot be spoken.
    #[error(transparent)]
    Speech(#[from] SpeechError),
    /// There is none of that id, or it is somebody else's.
    #[error("there is no such dialogue; it may be over")]
    NotFound,
    /// Nobody may listen any more: the turn is over and was delivered.
    #[error("the dialogue is over")]
    Over,
    /// What comes behind the given position is not held any more.
    #[error("what comes behind that position is no longer held")]
    Gone,
    /// As many listen as may.
    #[error("{} listen to this dialogue already", limits::LISTENERS)]
    Crowded,
    /// More dialogues than may be.
    #[error("there are too many dialogues at once")]
    TooMany(Full),
    /// Every byte is promised to other clients.
    #[error("no room: it needs {wanted} bytes and the budget has {free} left")]
    OverBudget {
        /// What it needs.
        wanted: u64,
        /// What is there.
        free: u64,
    },
    /// It was too slow beside others.
    #[error(transparent)]
    Slow(Broken),
    /// The turn is not the last one.
    #[error("turn {0} is no longer known")]
    OtherTurn(u32),
    /// The server leaves.
    #[error("the server is shutting down")]
    Leaving,
}

/// Why a dialogue is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The last listener left.
    Left,
    /// Nobody came, or came back, in time.
    Expired,
    /// Somebody ended it.
    Deleted,
    /// The server leaves.
    Leaving,
    /// A sweep found it, which nothing else had ended: a bug.
    Stale,
}

/// The dialogues of a server. Clones share them.
#[derive(Clone)]
pub struct Dialogues(Arc<Inner>);

/// What it takes to have dialogues.
pub struct Means {
    /// Who speaks.
    pub speech: Speech,
    /// Who writes answers, if somebody does.
    pub responder: Option<Arc<dyn Responder>>,
    /// What may be promised.
    pub budget: Budget,
    /// What is counted.
    pub metrics: Metrics,
    /// Where dialogues run.
    pub spawner: Spawner,
    /// How long they wait for listeners.
    pub patience: Patience,
}

struct Inner {
    means: Means,
    live: Leases<Arc<Dialogue>>,
    twice: twice::Twice,
}

/// One dialogue.
pub struct Dialogue {
    /// Of its first question, for the ledger and the log.
    owner: Arc<str>,
    id: Arc<str>,
    capability: Arc<str>,
    principal: Arc<str>,
    format: Format,
    service: Weak<Inner>,
    replay: Replay<Arc<Frame>>,
    state: Mutex<State>,
    /// Another question.
    asked: Notify,
    /// Somebody came or left.
    moved: Notify,
    ended: CancellationToken,
    /// When its last listener left.
    departure: Departure,
    _places: Box<dyn Send + Sync>,
}

struct State {
    epoch: u32,
    turn: Turn,
    /// The turn before, if it was interrupted.
    last: Option<Turn>,
    began: Instant,
    /// When somebody first listened to this turn.
    heard_since: Option<Instant>,
    next: Option<Asked>,
    life: Life,
    /// What was said in turns before this one.
    history: History,
    /// The header of the turn's sound, for those who come late.
    preamble: Option<bytes::Bytes>,
}

/// A turn that is to be played.
struct Asked {
    epoch: u32,
    question: Question,
    live: Live,
    stake: Arc<Stake>,
}

impl Dialogues {
    /// None yet.
    pub fn new(means: Means) -> Self {
        let terms = LeaseTerms {
            lasts: means.patience.attach,
            per_owner: limits::DIALOGUES_A_PRINCIPAL,
            most: limits::DIALOGUES_MOST,
        };
        Self(Arc::new(Inner { means, live: Leases::new(terms), twice: twice::Twice::default() }))
    }

    /// Who writes answers, if somebody does.
    pub fn answering(&self) -> Option<&'static str> {
        self.0.means.responder.as_ref().map(|responder| responder.name())
    }

    /// Requests that were asked already.
    pub fn twice(&self) -> &twice::Twice {
        &self.0.twice
    }

    /// Asks. The turn begins at once; listeners have a while to come.
    pub fn converse(&self, asking: Asking) -> Result<Accepted, DialogueError> {
        let means = &self.0.means;
        let Some(responder) = &means.responder else { return Err(DialogueError::Nobody) };
        if means.spawner.is_stopping() {
            return Err(DialogueError::Leaving);
        }
        let there = match &asking.dialogue {
            Some(id) => Some(self.find(id, &asking.principal)?),
            None => None,
        };
        let answering = responder.name();
        // What cannot be asked is refused before anything is reserved.
        Question::new(asking.text.as_str(), History::default(), "", Departure::default())?;
        let mut voice = asking.voice.clone();
        if let Some(there) = &there {
            voice.format = there.format;
        }
        let live = means.speech.live(voice)?;
        let (engine, voice) = (live.engine(), live.voice().id.clone());
        let stake = self.reserve(
            live.scratch_bytes() + limits::TURN_TEXT_BYTES,
            Kind::Turn,
            &asking.voice.owner,
            Departure::default(),
        )?;
        let (dialogue, epoch) = match there {
            Some(there) => {
                let epoch = there.go_on(asking, live, stake)?;
                (there, epoch)
            }
            None => (self.begin(asking, live, stake)?, 1),
        };
        let (id, capability) = (Arc::clone(&dialogue.id), Arc::clone(&dialogue.capability));
        let format = dialogue.format;
        Ok(Accepted { dialogue: id, capability, epoch, answering, engine, voice, format })
    }

    /// The dialogue of that id, for its owner.
    pub fn find(&self, id: &str, principal: &str) -> Result<Arc<Dialogue>, DialogueError> {
        let found = self.0.live.find(id).filter(|dialogue| *dialogue.principal == *principal);
        found.ok_or(DialogueError::NotFound)
    }

    /// The dialogue of that id, for whoever has its capability.
    pub fn find_by_capability(
        &self,
        id: &str,
        capability: &str,
    ) -> Result<Arc<Dialogue>, DialogueError> {
        use subtle::ConstantTimeEq;
        let matches = |dialogue: &Arc<Dialogue>| {
            bool::from(dialogue.capability.as_bytes().ct_eq(capability.as_bytes()))
        };
        self.0.live.find(id).filter(matches).ok_or(DialogueError::NotFound)
    }

    /// Whether the dialogue of that id is there.
    pub fn is_there(&self, id: &str) -> bool {
        self.0.live.find(id).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.live.len()
    }

    /// Whether there is no dialogue of that id, or nothing more comes of it.
    pub fn is_over(&self, id: &str) -> bool {
        self.0.live.find(id).is_none_or(|dialogue| dialogue.lock().turn.outcome().is_some())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The backstop: ends what should have ended by itself long ago. Whatever it finds is a bug, and is counted.
    pub fn sweep(&self) {
        let now = Instant::now();
        for dialogue in self.0.live.all() {
            let until = dialogue.lock().life.until();
            let is_stale = until.is_some_and(|until| until + limits::DIALOGUE_STALE_AFTER < now);
            if is_stale {
                tracing::error!(owner = %dialogue.owner, "a dialogue was forgotten");
                self.0.means.metrics.dialogues_stale.inc();
                dialogue.end(Why::Stale);
            }
        }
    }

    fn begin(
        &self,
        asking: Asking,
        live: Live,
        stake: Arc<Stake>,
    ) -> Result<Arc<Dialogue>, DialogueError> {
        let Inner { means, live: leases, .. } = &*self.0;
        let format = asking.voice.format;
        let terms = terms(format, asking.is_resumable);
        let departure = Departure::default();
        let whole = terms.audio_bytes + terms.text_bytes + limits::DIALOGUE_LAST_BYTES;
        let behind = match terms.behind_bytes {
            0 => 0,
            behind => behind + limits::RESUME_TEXT_BYTES,
        };
        let owner = Arc::clone(&asking.voice.owner);
        let log = self.reserve(whole + behind, Kind::Dialogue, &owner, departure.clone())?;
        let capability: Arc<str> = random().ok_or(DialogueError::NotFound)?.into();
        let history = asking.history.unwrap_or_default();
        let question = Question::new(
            asking.text.as_str(),
            history.clone(),
            Arc::clone(&owner),
            departure.clone(),
        )?;
        let now = Instant::now();
        let make = |id: &str| {
            let language = &live.voice().language;
            let turn = Turn::new(1, asking.thinking, asking.text, history.clone(), language);
            let state = State {
                epoch: 1,
                turn,
                last: None,
                began: now,
                heard_since: None,
                next: Some(Asked { epoch: 1, question, live, stake }),
                life: Life::begin(means.patience, asking.is_resumable, now),
                history,
                preamble: None,
            };
            Arc::new(Dialogue {
                owner: Arc::clone(&owner),
                id: id.into(),
                capability,
                principal: Arc::clone(&asking.principal),
                format,
                service: Arc::downgrade(&self.0),
                replay: Replay::new(terms, 1, log),
                state: Mutex::new(state),
                asked: Notify::new(),
                moved: Notify::new(),
                ended: CancellationToken::new(),
                departure: departure.clone(),
                _places: asking.places,
            })
        };
        let held = leases.hold(Arc::clone(&asking.principal), make);
        let dialogue = held.map_err(DialogueError::TooMany)?;
        if let Some(indicator) = asking.thinking {
            dialogue.push(1, Frame::Thinking(indicator));
        }
        let run = play::run(Arc::clone(&dialogue), means.spawner.clone());
        means.spawner.spawn_for(&departure, Kind::Task, owner, run);
        Ok(dialogue)
    }

    fn reserve(
        &self,
        bytes: usize,
        kind: Kind,
        owner: &Arc<str>,
        departure: Departure,
    ) -> Result<Arc<Stake>, DialogueError> {
        let Means { budget, metrics, spawner, .. } = &self.0.means;
        let wanted = bytes as u64;
        let Some(reservation) = budget.reserve(wanted) else {
            metrics.refuse(Refusal::Budget);
            let state = budget.state();
            let free = state.total.saturating_sub(state.reserved);
            return Err(DialogueError::OverBudget { wanted, free });
        };
        let entry = spawner.ledger().enter(kind, Arc::clone(owner), wanted);
        Ok(Stake::new(reservation, entry, departure, metrics.clone()))
    }
}

/// What a dialogue of that format holds for its listeners.
fn terms(format: Format, is_resumable: bool) -> Terms {
    let ring = format.plan().ring_pages * limits::PAGE_BYTES;
    let audio_bytes = ring.max(limits::DIALOGUE_AUDIO_BYTES);
    // One who is cut off may have been behind the others by as much as there is room for.
    let behind = limits::RESUME_BEHIND_BYTES + audio_bytes;
    Terms {
        audio_bytes,
        text_bytes: limits::DIALOGUE_TEXT_BYTES,
        behind_bytes: if is_resumable { behind } else { 0 },
    }
}

fn random() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(format!("{:032x}", u128::from_be_bytes(bytes)))
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
    fn go_on(&self, asking: Asking, live: Live, stake: Arc<Stake>) -> Result<u32, DialogueError> {
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
        let next = Turn::new(epoch, asking.thinking, text, history.clone(), language);
        let last = std::mem::replace(&mut state.turn, next);
        state.last = (last.outcome() == Some(Outcome::Interrupted)).then_some(last);
        state.began = now;
        state.heard_since = (state.life.listeners() > 0).then_some(now);
        state.history = history.clone();
        state.preamble = None;
        state.life.asked(asking.is_resumable, now);
        let owner = Arc::clone(&self.owner);
        let question = Question::new(asking.text, history, owner, self.departure.clone())?;
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

    /// What was heard of a turn after so many milliseconds were played, and what was said so far with that. That is what is
    /// remembered of a turn that was interrupted.
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
        let history = state.turn.history(&heard);
        if state.turn.outcome() == Some(Outcome::Interrupted) {
            state.history = history.clone();
        }
        Ok((heard, messages(&history)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of an older epoch nothing is told any more.
    fn push(&self, epoch: u32, frame: Frame) {
        let bytes = frame.text_bytes();
        if self.replay.push(epoch, Lane::Text, Arc::new(frame), bytes).is_err() {
            self.metric(|metrics| metrics.dialogue_late.inc());
        }
    }

    fn metric<T>(&self, count: impl FnOnce(&Metrics) -> T) {
        if let Some(service) = self.service.upgrade() {
            count(&service.means.metrics);
        }
    }

    /// Ends it; whatever works for it stops. Only the first time counts.
    fn end(&self, why: Why) {
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
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Ends the turn that runs; what was heard of it is remembered.
    fn interrupt(&mut self, played_ms: Option<u32>, now: Instant) -> Option<Frame> {
        let played_ms = played_ms.unwrap_or_else(|| self.played_ms(now));
        let frame = self.turn.interrupt(played_ms);
        match &frame {
            Some(Frame::Interrupted { heard_text, .. }) => {
                self.history = self.turn.history(heard_text);
            }
            _ if self.turn.outcome() == Some(Outcome::Done) => {
                self.history = self.turn.whole_history();
            }
            _ => {}
        }
        frame
    }

    /// As [`Dialogue::heard`], of the turn before this one, if it was interrupted.
    fn heard_before(
        &mut self,
        epoch: u32,
        played_ms: u32,
    ) -> Result<(String, Vec<Message>), DialogueError> {
        let last = self.last.as_ref().filter(|turn| turn.epoch() == epoch);
        let Some(last) = last else { return Err(DialogueError::OtherTurn(epoch)) };
        let heard = last.heard(played_ms).to_string();
        let history = last.history(&heard);
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
