//! One session, and the socket that has it. Invariants: whoever has no claim to it any more changes nothing; what it has is ended
//! in one place, whoever ends it, and only once.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::hear::Hearing;
use super::item::Items;
use super::life::{Life, SocketId, Stage};
use super::outbox::Outbox;
use super::relay::Relay;
use super::respond::Running;
use super::settings::Settings;
use super::token::{self, Refused};
use super::{Asker, Inner, SessionMeans, Sessions, unix_now};
use crate::bounds::Stake;
use crate::dialogue::listen::Listener;
use crate::ledger::{Kind, Ledger};
use crate::metrics::SessionEnd;
use crate::tasks::Scope;

/// A session.
pub struct Session {
    id: Arc<str>,
    principal: Arc<str>,
    owner: Arc<str>,
    sessions: Weak<Inner>,
    state: Mutex<State>,
    /// Its device came or left.
    moved: Notify,
    ended: CancellationToken,
    /// Its own tasks; none once it is over.
    scope: Mutex<Option<Scope>>,
    stake: Mutex<Option<Arc<Stake>>>,
}

pub(super) struct State {
    pub(super) life: Life,
    /// Of the socket that has it: that another one has taken it over.
    replaced: CancellationToken,
    pub(super) settings: Settings,
    pub(super) items: Items,
    pub(super) outbox: Outbox,
    pub(super) running: Option<Running>,
    pub(super) relay: Relay,
    pub(super) hearing: Hearing,
    /// Tells the socket that has it that there is something to be told.
    news: Arc<Notify>,
    /// Answers so far.
    pub(super) answers: u32,
    /// Items that were named here.
    pub(super) named: u64,
    /// What is reserved while something is answered or not confirmed.
    pub(super) room: Option<Arc<Stake>>,
    /// Whether somebody waits for its deadline.
    is_timed: bool,
    why: Option<SessionEnd>,
}

/// Why the socket of a session is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Another one has the session.
    Replaced,
    /// The session is over.
    Over(SessionEnd),
}

impl Session {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        id: &str,
        principal: Arc<str>,
        owner: Arc<str>,
        sessions: Weak<Inner>,
        ledger: Ledger,
        settings: Settings,
        grace: Duration,
        stake: Arc<Stake>,
    ) -> Self {
        let state = State {
            life: Life::begin(grace, Instant::now()),
            replaced: CancellationToken::new(),
            settings,
            items: Items::default(),
            outbox: Outbox::default(),
            running: None,
            relay: Relay::default(),
            hearing: Hearing::default(),
            news: Arc::default(),
            answers: 0,
            named: 0,
            room: None,
            is_timed: false,
            why: None,
        };
        Self {
            id: id.into(),
            principal,
            owner,
            sessions,
            state: Mutex::new(state),
            moved: Notify::new(),
            ended: CancellationToken::new(),
            scope: Mutex::new(Some(Scope::new("session", ledger))),
            stake: Mutex::new(Some(stake)),
        }
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How it stands.
    pub fn stage(&self) -> Stage {
        self.lock().life.stage()
    }

    /// When it ends if nobody comes.
    pub fn until(&self) -> Option<Instant> {
        self.lock().life.until()
    }

    /// Gives it to the socket of `asker`: a new one, or, behind an event, one that resumes it.
    pub(super) fn attach(
        self: &Arc<Self>,
        asker: Arc<dyn Asker>,
        resumes: Option<Option<u64>>,
    ) -> Result<Attachment, Refused> {
        if *self.principal != *asker.principal() {
            return Err(Refused::Unknown);
        }
        let service = self.sessions.upgrade().ok_or(Refused::Lost)?;
        let mut state = self.lock();
        let at = match resumes {
            Some(after) => {
                let at = state.outbox.resume(after).map_err(|_| Refused::Lost)?;
                // Whoever comes back behind an event has all that stands before it.
                state.outbox.confirm(at);
                at
            }
            None => 0,
        };
        let socket = state.life.attach(Instant::now()).ok_or(Refused::Lost)?;
        std::mem::take(&mut state.replaced).cancel();
        let replaced = state.replaced.clone();
        // Each has its own: what is told one must not be taken for told to the next.
        state.news = Arc::default();
        let news = Arc::clone(&state.news);
        let mut attachment = Attachment {
            session: Arc::clone(self),
            asker,
            socket,
            at,
            first: Vec::new(),
            replaced,
            news,
            listener: None,
            has_begun: resumes.is_some(),
            resumes: resumes.is_some(),
        };
        if resumes.is_some() {
            attachment.go_on(&mut state);
            self.reconnect(&mut state, &Sessions(service));
        } else {
            let told = state.settings.told(&format!("sess_{}", self.id), &service.means.voice);
            self.tell(&mut state, "session.created", json!({"session": told}));
            self.tell_token(&mut state, &service.means);
        }
        drop(state);
        self.moved.notify_one();
        Ok(attachment)
    }

    pub(super) fn tell_token(&self, state: &mut State, means: &SessionMeans) {
        let token = token::sign(&means.key, &self.id, &self.principal, unix_now());
        let grace = means.patience.grace.as_secs_f64();
        self.tell(state, "evensong.resume_token", json!({"token": token, "grace_seconds": grace}));
    }

    /// Whose it is, for the ledger and the log.
    pub(super) fn owner(&self) -> &Arc<str> {
        &self.owner
    }

    /// Tells the client something, now or when it is back.
    pub(super) fn tell(&self, state: &mut State, kind: &'static str, mut event: Value) {
        event["type"] = json!(kind);
        event["event_id"] = json!(format!("event_{}", state.outbox.last() + 1));
        self.say(state, kind, event.to_string());
    }

    /// Says an event, which bears the next number; it is counted as `kind`.
    pub(super) fn say(&self, state: &mut State, kind: &'static str, event: String) {
        state.outbox.push(event);
        state.news.notify_one();
        if let Some(service) = self.sessions.upgrade() {
            service.means.metrics.told(kind);
        }
    }

    /// The socket's client is gone, or it was closed.
    fn leave(self: &Arc<Self>, socket: SocketId) {
        let mut state = self.lock();
        if !state.life.leave(socket, Instant::now()) {
            return;
        }
        state.relay.leave();
        state.let_go();
        let is_timed = std::mem::replace(&mut state.is_timed, true);
        drop(state);
        tracing::info!(session = %self.id, owner = %self.owner, "Glasses connection closed");
        self.moved.notify_one();
        if is_timed {
            // Whoever waited for its last deadline has not seen yet that there is another one.
            return;
        }
        let session = Arc::clone(self);
        self.spawn(Kind::SessionTimer, async move { session.wait().await });
    }

    /// Runs a task of its own, which ends with it.
    pub(super) fn spawn(&self, kind: Kind, task: impl Future<Output = ()> + Send + 'static) {
        let scope = self.scope.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scope) = &*scope {
            scope.spawner().spawn(kind, Arc::clone(&self.owner), task);
        }
    }

    /// Until its device is back, or its time is over.
    async fn wait(&self) {
        loop {
            let until = {
                let mut state = self.lock();
                let until = state.life.until();
                state.is_timed = until.is_some();
                until
            };
            let Some(until) = until else { return };
            tokio::select! {
                biased;
                () = self.moved.notified() => {}
                () = sleep_until(until) => {
                    if self.lock().life.expire(Instant::now()) {
                        tracing::info!(session = %self.id, "Cleanup grace period expired");
                        self.end(SessionEnd::Expired);
                        return;
                    }
                }
            }
        }
    }

    /// Ends it, with all that it has. Only the first time counts.
    pub fn end(&self, why: SessionEnd) {
        let began = Instant::now();
        let (running, room, _relay) = {
            let mut state = self.lock();
            if state.why.is_some() {
                return;
            }
            state.life.end();
            state.why = Some(why);
            state.items.clear();
            state.outbox = Outbox::default();
            state.hearing = Hearing::default();
            (state.running.take(), state.room.take(), state.relay.end())
        };
        tracing::info!(session = %self.id, ?why, "Disposing UserSession for {}", self.principal);
        if let Some(running) = &running {
            running.dialogue().delete(Some(0));
        }
        let answered = running.is_some();
        drop((running, room, self.stake.lock().unwrap_or_else(PoisonError::into_inner).take()));
        self.ended.cancel();
        if let Some(service) = self.sessions.upgrade() {
            drop(service.live.take(&self.id));
            service.means.metrics.session_ended(why);
        }
        let took_us = began.elapsed().as_micros() as u64;
        tracing::info!(session = %self.id, answered, took_us, "[Session Cleanup] all of it is freed");
        // Last, since whoever runs this may be one of its tasks.
        drop(self.scope.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// All sessions, unless the server has ended.
    pub(super) fn service(&self) -> Option<Sessions> {
        self.sessions.upgrade().map(Sessions)
    }

    /// The voice that speaks where none is asked for.
    pub(super) fn voice(&self) -> String {
        self.sessions.upgrade().map_or_else(String::new, |service| service.means.voice.clone())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session in the hands of one socket. Dropped, its device is gone.
pub struct Attachment {
    pub(super) session: Arc<Session>,
    pub(super) asker: Arc<dyn Asker>,
    pub(super) socket: SocketId,
    /// The number of the last event that was given to the socket.
    at: u64,
    /// What goes before them, and is of this socket alone.
    first: Vec<Utf8Bytes>,
    replaced: CancellationToken,
    pub(super) news: Arc<Notify>,
    pub(super) listener: Option<Listener>,
    /// Whether the socket was there, or there was one before.
    has_begun: bool,
    /// Whether there was one before.
    resumes: bool,
}

impl Attachment {
    /// The socket is there.
    pub fn begin(&mut self) {
        self.has_begun = true;
    }

    /// Whether another socket had the session before.
    pub fn resumes(&self) -> bool {
        self.resumes
    }

    /// Its session.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// What is to be sent next, if something is.
    pub fn pick(&mut self) -> Option<Utf8Bytes> {
        if let Some(first) = self.first.pop() {
            return Some(first);
        }
        let state = self.session.lock();
        let event = state.outbox.behind(self.at).cloned()?;
        drop(state);
        self.at += 1;
        Some(event)
    }

    /// The number of the last event that was given to the socket.
    pub fn given(&self) -> u64 {
        self.at
    }

    /// All events up to this number have come.
    pub fn confirmed(&mut self, upto: u64) {
        let mut state = self.session.lock();
        if state.life.stage() != Stage::Live(self.socket) {
            return;
        }
        state.outbox.confirm(upto.min(self.at));
        if state.outbox.has_room() {
            state.relay.hint();
        }
    }

    /// A while has passed since this was last called.
    pub fn settle(&mut self) {
        let mut state = self.session.lock();
        state.outbox.settle();
        state.let_go();
    }

    /// Whether the client has left so much of what it asked for untaken that it is to be cut.
    pub fn is_flooded(&self) -> bool {
        self.session.lock().outbox.is_flooded()
    }

    /// Whether something is being answered.
    pub fn is_busy(&self) -> bool {
        self.session.lock().running.is_some()
    }

    /// Ready when the socket is to be closed.
    pub fn over(&self) -> impl Future<Output = Ends> + Send + use<> {
        let (session, replaced) = (Arc::clone(&self.session), self.replaced.clone());
        async move {
            tokio::select! {
                biased;
                () = session.ended.cancelled() => {
                    Ends::Over(session.lock().why.unwrap_or(SessionEnd::Leaving))
                }
                () = replaced.cancelled() => Ends::Replaced,
            }
        }
    }

    /// Ends the session, which is not to be resumed.
    pub fn end(&self, why: SessionEnd) {
        if self.session.stage() == Stage::Live(self.socket) {
            self.session.end(why);
        }
    }

    /// What tells the client that something is wrong with the socket itself.
    pub fn fault(&self, code: &str, message: &str, details: &str) -> Utf8Bytes {
        if let Some(service) = self.session.sessions.upgrade() {
            service.means.metrics.session_errors.inc();
        }
        let event = json!({
            "type": "error",
            "event_id": format!("event_{}", self.at),
            "session_id": format!("sess_{}", self.session.id),
            "error": {"type": "server_error", "code": code, "message": message, "details": details},
        });
        event.to_string().into()
    }

    /// Another socket had it before: what is not known to have come is told again.
    fn go_on(&mut self, state: &mut State) {
        tracing::info!(session = %self.session.id, after = self.at, "a session was resumed");
        let resumed = json!({
            "type": "evensong.resumed",
            // Whoever comes back behind this one has missed nothing that stands before it.
            "event_id": format!("event_{}", self.at),
            "session_id": format!("sess_{}", self.session.id),
            "from": self.at + 1,
        });
        self.first.push(resumed.to_string().into());
        if let Some(service) = self.session.sessions.upgrade() {
            self.session.tell_token(state, &service.means);
        }
        let lost = state.running.as_ref().and_then(|running| {
            let listened = running.listen(&*self.asker);
            listened.map(|listener| self.listener = Some(listener)).err()
        });
        if let Some(error) = lost {
            let told = self.asker.refused(error);
            self.session.finish(state, super::respond::Finish::Failed(told));
        }
    }

    pub(super) fn sessions(&self) -> Option<Sessions> {
        self.session.service()
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // Nothing more is made for a device that is gone.
        self.listener = None;
        match self.has_begun {
            true => self.session.leave(self.socket),
            // Nobody ever had it.
            false => self.session.end(SessionEnd::Silent),
        }
    }
}

impl State {
    /// A name for an item of the client's, which none has.
    pub(super) fn name(&mut self) -> String {
        loop {
            self.named += 1;
            let id = format!("item_{}", self.named);
            if self.items.find(&id).is_none() {
                return id;
            }
        }
    }

    /// The same, for that of the answer of that number.
    pub(super) fn name_answer(&self, number: u32) -> String {
        let mut id = format!("item_r{number}");
        while self.items.find(&id).is_some() {
            id.push('r');
        }
        id
    }

    /// Gives back what an answer needs, once all of it has come, and a while has passed.
    pub(super) fn let_go(&mut self) {
        if self.outbox.has_room() {
            self.relay.let_go();
        }
        if self.running.is_none() && self.relay.link.is_idle() && self.outbox.is_empty() {
            self.room = None;
        }
    }
}
