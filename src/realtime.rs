//! Voice sessions over a socket, by OpenAI's realtime events: text in, text and sound out, turn after turn. Invariants: a session
//! has one owner and one socket at a time; it ends with its device's leaving and its grace, and everything that it had ends
//! with it; what it tells is numbered, and none of it is lost or told twice to one who comes back.

mod client;
mod hear;
mod item;
pub mod life;
mod outbox;
pub mod relay;
mod respond;
mod session;
mod settings;
mod token;
mod view;
mod wire;
mod wrong;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::answer::transcriber::Transcriber;
use crate::bounds::lease::{Full, Leases, Terms};
use crate::bounds::signing::SigningKey;
use crate::bounds::{Budget, Stake};
use crate::dialogue::frame::{Source, TurnError};
use crate::dialogue::{DialogueError, Dialogues};
use crate::ledger::{Departure, Kind};
use crate::limits;
use crate::metrics::{Metrics, Refusal, SessionEnd};
use crate::speech::Speech;
use crate::tasks::Spawner;

use relay::Listening;
pub use session::{Attachment, Ends, Session};
use settings::Settings;
pub use token::Refused;
pub use view::SessionRow;

/// Who is at the other end of a socket, as far as a session asks.
pub trait Asker: Send + Sync {
    /// Whose sessions these are.
    fn principal(&self) -> Arc<str>;
    /// For the ledger and the log.
    fn owner(&self) -> Arc<str>;
    /// When the client left, once it has.
    fn departure(&self) -> Departure;
    /// A place for an answer to a question of so many characters, held until that is over; else what is told.
    fn admit(&self, characters: usize) -> Result<Box<dyn Send + Sync>, Value>;
    /// The sound that is played while it is thought.
    fn asset(&self) -> &'static str;
    /// Sources with the addresses of their pictures as they last.
    fn sources(&self, sources: &[Source]) -> Vec<Source>;
    /// What goes wrong with a question, as it is told.
    fn refused(&self, error: DialogueError) -> Value;
    /// What goes wrong with an answer.
    fn failed(&self, error: &TurnError) -> Value;
}

/// How long sessions wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPatience {
    /// For a device to come back.
    pub grace: Duration,
    /// For something to be asked.
    pub idle: Duration,
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// More than may be.
    #[error("there are too many sessions at once")]
    TooMany(Full),
    /// Every byte is promised to other clients.
    #[error("no room for another session at present")]
    OverBudget,
    /// The server leaves.
    #[error("the server is shutting down")]
    Leaving,
}

/// What it takes to have sessions.
pub struct SessionMeans {
    /// Who is asked, and answers.
    pub dialogues: Dialogues,
    /// Who speaks.
    pub speech: Speech,
    /// The name of the voice that speaks where none is asked for.
    pub voice: String,
    /// What may be promised.
    pub budget: Budget,
    /// What is counted.
    pub metrics: Metrics,
    /// Where sessions run.
    pub spawner: Spawner,
    /// How long they wait.
    pub patience: SessionPatience,
    /// By which tokens are signed.
    pub key: SigningKey,
    /// Who listens to sound, and answers; none: nobody does.
    pub listening: Option<Listening>,
    /// Who writes down sound, where nobody listens to it.
    pub transcriber: Option<Transcriber>,
}

/// The sessions of a server. Clones share them.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    means: SessionMeans,
    live: Leases<Arc<Session>>,
}

impl Sessions {
    /// None yet.
    pub fn new(means: SessionMeans) -> Self {
        let terms = Terms {
            lasts: means.patience.grace,
            per_owner: limits::SESSIONS_A_PRINCIPAL,
            most: limits::SESSIONS_MOST,
        };
        Self(Arc::new(Inner { means, live: Leases::new(terms) }))
    }

    /// How long they wait.
    pub fn patience(&self) -> SessionPatience {
        self.0.means.patience
    }

    /// Begins a session for `model`, held by the socket of `asker`.
    pub fn open(&self, asker: Arc<dyn Asker>, model: &str) -> Result<Attachment, SessionError> {
        let means = &self.0.means;
        if means.spawner.is_stopping() {
            return Err(SessionError::Leaving);
        }
        let owner = asker.owner();
        let wishes = means.listening.as_ref().map_or(0, |_| limits::RELAY_WISHES_BYTES);
        let stake = self
            .stake(Kind::Session, limits::SESSION_BYTES + wishes, &owner)
            .ok_or(SessionError::OverBudget)?;
        let settings = Settings::new(model);
        let grace = means.patience.grace;
        let make = |id: &str| {
            let (principal, owner) = (asker.principal(), Arc::clone(&owner));
            let (sessions, ledger) = (Arc::downgrade(&self.0), means.spawner.ledger().clone());
            Arc::new(Session::new(id, principal, owner, sessions, ledger, settings, grace, stake))
        };
        let session = self.0.live.hold(asker.principal(), make).map_err(SessionError::TooMany)?;
        means.metrics.sessions_begun.inc();
        let attached = session.attach(asker, None);
        attached.map_err(|_| SessionError::Leaving)
    }

    /// Goes on with the session of `token` behind the event number `after`; without that, behind all that is known to have come.
    pub fn resume(
        &self,
        asker: Arc<dyn Asker>,
        token: &str,
        after: Option<u64>,
    ) -> Result<Attachment, Refused> {
        let id = token::open(&self.0.means.key, token, &asker.principal(), unix_now())?;
        let session = self.0.live.find(&id).ok_or(Refused::Lost)?;
        let attached = session.attach(asker, Some(after));
        if attached.is_ok() {
            self.0.means.metrics.sessions_resumed.inc();
        }
        attached
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.live.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many have their device, and how many wait for it.
    pub fn standing(&self) -> (u64, u64) {
        let (mut live, mut detached) = (0, 0);
        self.0.live.for_each(|session, _| match session.stage() {
            life::Stage::Live(_) => live += 1,
            life::Stage::Connecting(_) | life::Stage::Detached(_) => detached += 1,
            life::Stage::Ended => {}
        });
        (live, detached)
    }

    /// The backstop: ends what should have ended by itself. Whatever it finds is a bug, and is counted.
    pub fn sweep(&self) {
        let now = Instant::now();
        for session in self.0.live.all() {
            if session.until().is_some_and(|until| until + limits::SESSION_STALE_AFTER < now) {
                tracing::error!(session = %session.id(), "a session was forgotten");
                self.0.means.metrics.sessions_stale.inc();
                session.end(SessionEnd::Stale);
            }
        }
    }

    /// Ends all of them: the server leaves.
    pub fn leave(&self) {
        self.0.live.all().iter().for_each(|session| session.end(SessionEnd::Leaving));
    }

    /// Room beside what a session always has.
    fn reserve(&self, bytes: usize, owner: &Arc<str>) -> Option<Arc<Stake>> {
        self.stake(Kind::SessionRoom, bytes, owner)
    }

    fn stake(&self, kind: Kind, bytes: usize, owner: &Arc<str>) -> Option<Arc<Stake>> {
        let SessionMeans { budget, metrics, spawner, .. } = &self.0.means;
        let Some(reservation) = budget.reserve(bytes as u64) else {
            metrics.refuse(Refusal::Budget);
            return None;
        };
        let entry = spawner.ledger().enter(kind, Arc::clone(owner), bytes as u64);
        // It outlives its socket on purpose: how long that takes says nothing.
        Some(Stake::new(reservation, entry, Departure::default(), metrics.clone()))
    }
}

fn unix_now() -> Duration {
    Duration::from_secs(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0))
}
