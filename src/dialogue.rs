//! Dialogues: somebody asks, sees that it is thought about, and hears the answer while it is being written. Invariants: a
//! dialogue lives as long as [`life::Life`] says, and not a moment longer; what it holds is reserved before it begins; what is
//! told of a turn comes in one order, to all who listen, and ends with one last frame.

pub mod frame;
pub mod heard;
pub mod life;
pub mod listen;
mod one;
mod pace;
pub mod plain;
mod play;
mod split;
pub mod turn;
pub mod twice;

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::answer::{AnswerError, History, Question, Responder};
use crate::bounds::lease::{Full, Leases, Terms as LeaseTerms};
use crate::bounds::replay::{Replay, Terms};
use crate::bounds::ring::Broken;
use crate::bounds::{Budget, Stake};
use crate::ledger::{Departure, Kind};
use crate::limits;
use crate::metrics::{Metrics, Refusal};
use crate::speech::encode::Format;
use crate::speech::live::{Live, LiveWish};
use crate::speech::{Speech, SpeechError};
use crate::tasks::Spawner;
use frame::{Frame, Indicator};
use life::{Life, Patience};
pub use one::Dialogue;
use one::{Asked, State};
use turn::Turn;

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
    /// For how long, where that is not what is usual.
    pub grace: Option<std::time::Duration>,
    /// Whether it is only written.
    pub is_silent: bool,
    /// How it is to be answered, in words; may be empty.
    pub instructions: String,
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
    /// What is asked.
    pub text: Arc<str>,
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
        let text: Arc<str> = asking.text.as_str().into();
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
        Ok(Accepted { dialogue: id, capability, epoch, text, answering, engine, voice, format })
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
        )?
        .instructed(asking.instructions);
        let now = Instant::now();
        let make = |id: &str| {
            let language = &live.voice().language;
            let turn = Turn::new(1, asking.thinking, asking.text, history.clone(), language)
                .silent(asking.is_silent);
            let grace = asking.grace.unwrap_or(means.patience.grace);
            let patience = Patience { grace, ..means.patience };
            let state = State {
                epoch: 1,
                turn,
                last: None,
                began: now,
                heard_since: None,
                next: Some(Asked { epoch: 1, question, live, stake }),
                life: Life::begin(patience, asking.is_resumable, now),
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
        lost_bytes: if is_resumable { limits::RESUME_BEHIND_BYTES } else { 0 },
    }
}

/// Whether a text can be an id or a capability: 128 bits, in hex.
pub fn is_random(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn random() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(format!("{:032x}", u128::from_be_bytes(bytes)))
}
