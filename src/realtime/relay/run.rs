//! The task that talks to a server elsewhere for a session. Invariants: it is there while a connection is wanted, made or awaited,
//! and no longer; every wait sees that it is cut; a connection is closed with a word, and never waited for longer than a moment.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::super::session::Session;
use super::Listening;
use super::link::Try;
use super::silence::{Silence, Then};
use crate::bounds::websocket::{self, Event, Message, Over, code};
use crate::upstream::Socket;

/// See the module.
pub struct Carrier {
    pub session: Arc<Session>,
    pub listening: Listening,
    pub number: Try,
    pub cut: CancellationToken,
    pub hint: Arc<Notify>,
}

/// How a connection ended.
enum Last {
    /// Nobody wants it.
    Cut,
    /// It is lost.
    Lost(String, Bye),
}

/// What is said to a server whose connection is lost.
enum Bye {
    /// Nothing: it is gone.
    Nothing,
    /// The same as it said.
    Answer,
    /// Why.
    Close(u16, &'static str),
}

impl Carrier {
    /// Until no connection is wanted.
    pub async fn run(mut self) {
        let cut = self.cut.clone();
        loop {
            let opening = async {
                match self.session.may_carry() {
                    true => Some(self.listening.sockets.open(self.session.owner()).await),
                    false => None,
                }
            };
            let opened = tokio::select! {
                biased;
                () = cut.cancelled() => return,
                opened = opening => opened,
            };
            let until = match opened {
                None => {
                    let why = "every byte is promised to others at present";
                    self.session.uncarried(self.number, "over_budget", why)
                }
                Some(Err(error)) => {
                    let why = error.to_string();
                    self.session.uncarried(self.number, "upstream_unavailable", &why)
                }
                Some(Ok(mut socket)) => {
                    let last = match self.session.carried(self.number, &self.listening) {
                        true => self.carry(&mut socket).await,
                        false => Last::Cut,
                    };
                    let Last::Lost(why, bye) = last else {
                        // Nothing of the session waits for the server's good-bye.
                        drop(self);
                        return socket.close(code::NORMAL, "Normal closure").await;
                    };
                    let until = self.session.uncarried(self.number, "upstream_lost", &why);
                    match bye {
                        Bye::Nothing => {}
                        Bye::Answer => socket.farewell().await,
                        Bye::Close(code, reason) => socket.close(code, reason).await,
                    }
                    until
                }
            };
            let Some(until) = until else { return };
            tokio::select! {
                biased;
                () = cut.cancelled() => return,
                () = sleep_until(until) => {}
            }
            match self.session.again(self.number) {
                Some(next) => self.number = next,
                None => return,
            }
        }
    }

    /// Passes on what is said, both ways.
    async fn carry(&self, socket: &mut Socket) -> Last {
        let mut out = None;
        let mut silence = Silence::new(Instant::now());
        loop {
            let has_room = self.load(socket, &mut out);
            if !has_room {
                silence.broken(Instant::now());
            }
            let talk = async {
                match has_room {
                    true => socket.next(&mut out).await,
                    false => socket.sent(&mut out).await,
                }
            };
            let event = tokio::select! {
                biased;
                () = self.cut.cancelled() => return Last::Cut,
                () = self.hint.notified() => continue,
                event = talk => event,
                () = sleep_until(silence.due()) => match silence.then(Instant::now()) {
                    Some(Then::Lost) => return Last::Lost("it gives no sign of life".into(), Bye::Nothing),
                    Some(Then::Ask) => {
                        // Where something is on its way, that is a question already.
                        if has_room && out.is_none() && !socket.is_sending() {
                            out = Some(websocket::ping(0));
                        }
                        continue;
                    }
                    None => continue,
                },
            };
            if matches!(event, Event::Received(_)) {
                silence.broken(Instant::now());
            }
            let (why, bye) = match event {
                Event::Received(Message::Text(text)) => {
                    match self.session.heed(self.number, &self.listening, &text) {
                        Ok(()) => continue,
                        Err(why) => (why.into(), Bye::Close(code::POLICY, "that is no event")),
                    }
                }
                Event::Received(Message::Binary(_)) => {
                    let bye = Bye::Close(code::UNSUPPORTED, "an event is a text, and never binary");
                    ("it said something that is no text".into(), bye)
                }
                Event::Received(_) | Event::Sent => continue,
                Event::Over(Over::Closed(code)) => {
                    (format!("it closed the connection ({code})"), Bye::Answer)
                }
                Event::Over(Over::Gone) => ("the connection broke off".into(), Bye::Nothing),
                Event::Over(Over::Broke(code, why)) => {
                    (format!("it sent {why}"), Bye::Close(code, why))
                }
            };
            return Last::Lost(why, bye);
        }
    }

    /// Picks what is said next. True where there is room for what comes.
    fn load(&self, socket: &Socket, out: &mut Option<Message>) -> bool {
        if out.is_some() || socket.is_sending() {
            return self.session.has_room(self.number);
        }
        let (next, has_room) = self.session.turn(self.number);
        *out = next.map(|next| Message::Text(next.into()));
        has_room
    }
}
