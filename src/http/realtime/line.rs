//! The socket of a session. Invariants: reading, sending and hearing go on beside one another; every wait sees the end; it is
//! closed with a code that says why, and what it had is the session's again.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::signs::{Meter, Signs};
use crate::bounds::websocket::{self, Event, Message, Over, Room, WebSocket, code};
use crate::http::connection::onward::Duplex;
use crate::limits::{
    PING_EVERY, RELAY_BURST_SECONDS, RELAY_EVENT_BYTES, RELAY_SECOND_BYTES, RELAY_SECONDS_A_SECOND,
    SESSION_ERRORS, SESSION_ERRORS_WITHIN, SESSION_EVENTS_A_SECOND, SESSION_EVENTS_BURST,
};
use crate::metrics::{Cut, SessionEnd};
use crate::realtime::{Attachment, Ends, SessionPatience};

/// A session's socket.
struct Line {
    socket: WebSocket<Box<dyn Duplex>>,
    attachment: Attachment,
    signs: Signs,
    events: Meter,
    sound: Meter,
    errors: Meter,
    patience: SessionPatience,
    /// When something was asked last, or answered.
    active: Instant,
    /// When events that have come are looked at next, to be forgotten.
    settles: Instant,
    out: Option<Message>,
}

/// How it ends.
enum Last {
    /// The peer has said good-bye.
    Answer,
    /// The peer is gone, or is cut.
    Nothing(Option<Cut>),
    /// We say good-bye.
    Close(u16, &'static str),
}

/// Serves `attachment` by `stream` until either ends, or the server `leaves`.
pub async fn run(
    stream: Box<dyn Duplex>,
    mut attachment: Attachment,
    patience: SessionPatience,
    room: Room,
    leaves: WaitForCancellationFutureOwned,
) -> Option<Cut> {
    attachment.begin();
    let now = Instant::now();
    let within = Duration::from_secs((SESSION_EVENTS_BURST / SESSION_EVENTS_A_SECOND).into());
    let mut line = Line {
        socket: WebSocket::new(stream, Some(room)).await,
        attachment,
        signs: Signs::new(now),
        events: Meter::new(SESSION_EVENTS_BURST, within, now),
        sound: Meter::new(
            RELAY_BURST_SECONDS * RELAY_SECOND_BYTES,
            Duration::from_secs(RELAY_BURST_SECONDS.into()) / RELAY_SECONDS_A_SECOND,
            now,
        ),
        errors: Meter::new(SESSION_ERRORS, SESSION_ERRORS_WITHIN, now),
        patience,
        active: now,
        settles: now + PING_EVERY,
        out: None,
    };
    match line.serve(leaves).await {
        Last::Answer => line.socket.farewell().await,
        Last::Nothing(cut) => return cut,
        Last::Close(code, reason) => {
            let Line { socket, attachment, .. } = line;
            // What it had is free before the peer has answered.
            drop(attachment);
            // On the heap, so that a session does not carry the room for its end.
            Box::pin(socket.close(code, reason)).await;
        }
    }
    None
}

const TOO_MANY: &str = "more events than 20 a second; wait a little";
const TOO_LOUD: &str = "more sound than twice as fast as it is spoken; wait a little";

impl Line {
    async fn serve(&mut self, leaves: WaitForCancellationFutureOwned) -> Last {
        let mut leaves = std::pin::pin!(leaves);
        let mut over = std::pin::pin!(self.attachment.over());
        loop {
            self.load();
            let idle_at = self.active + self.patience.idle;
            tokio::select! {
                biased;
                () = &mut leaves => {
                    self.attachment.end(SessionEnd::Leaving);
                    return Last::Close(code::AWAY, "the server is shutting down");
                }
                ends = &mut over => return closing(ends),
                event = self.socket.next(&mut self.out) => {
                    if let Some(last) = self.on(event).await {
                        return last;
                    }
                }
                () = self.attachment.heard() => self.active = Instant::now(),
                () = sleep_until(self.signs.due().min(idle_at)) => {
                    if let Some(last) = self.tick(idle_at) {
                        return last;
                    }
                }
            }
        }
    }

    /// Picks what is sent next.
    fn load(&mut self) {
        if self.out.is_some() || self.socket.is_sending() {
            return;
        }
        let now = Instant::now();
        let given = self.attachment.given();
        if self.signs.asks(now, given, false) {
            return self.ask(now, given);
        }
        match self.attachment.pick() {
            Some(event) => {
                self.signs.gave(event.len());
                self.out = Some(Message::Text(event));
            }
            None if self.signs.asks(now, given, true) => self.ask(now, given),
            None => {}
        }
    }

    fn ask(&mut self, now: Instant, given: u64) {
        if now >= self.settles {
            self.settles = now + PING_EVERY;
            self.attachment.settle();
        }
        self.signs.asked(now, given);
        self.out = Some(websocket::ping(given));
    }

    async fn on(&mut self, event: Event) -> Option<Last> {
        let now = Instant::now();
        let message = match event {
            Event::Sent => return None,
            Event::Received(message) => message,
            Event::Over(over) => return Some(self.over(over).await),
        };
        match message {
            Message::Text(text) => {
                self.active = now;
                let is_fine = self.take(text.as_str(), now);
                if !is_fine && !self.errors.takes(now) {
                    return Some(self.broke("more wrong events than 20 a minute").await);
                }
                if self.attachment.is_flooded() {
                    return Some(self.broke("what was asked for was not taken").await);
                }
            }
            Message::Ping(_) if !self.events.takes(now) => {
                return Some(self.broke("more pings than 20 a second").await);
            }
            Message::Pong(bytes) => {
                if let Some(upto) = websocket::pong(&bytes) {
                    self.signs.answered(now, upto);
                    self.attachment.confirmed(upto);
                }
            }
            Message::Binary(_) => {
                let reason = "an event is a text, and never binary";
                return Some(self.fault(code::UNSUPPORTED, reason).await);
            }
            Message::Ping(_) | Message::Close(_) | Message::Frame(_) => {}
        }
        None
    }

    /// Takes an event, if it is not one too many: sound is counted by its bytes, all else by number. False where it was wrong.
    fn take(&mut self, text: &str, now: Instant) -> bool {
        let seems_sound = text.contains("input_audio_buffer.append");
        let too_much = match seems_sound {
            true => {
                (!self.sound.takes_many(text.len().max(RELAY_EVENT_BYTES), now)).then_some(TOO_LOUD)
            }
            false => (!self.events.takes(now)).then_some(TOO_MANY),
        };
        if let Some(message) = too_much {
            self.attachment.refuse("rate_limit_exceeded", message);
            return false;
        }
        let taken = self.attachment.take(text);
        // It only bore the name of sound.
        if seems_sound && !taken.is_sound && !self.events.takes(now) {
            self.attachment.refuse("rate_limit_exceeded", TOO_MANY);
            return false;
        }
        taken.is_fine
    }

    async fn over(&mut self, over: Over) -> Last {
        match over {
            Over::Closed(code) => {
                tracing::debug!(
                    code,
                    session = self.attachment.session().id(),
                    "closed by the client"
                );
                Last::Answer
            }
            Over::Gone => Last::Nothing(None),
            Over::Broke(code, reason) => self.fault(code, reason).await,
        }
    }

    /// A rule of ours was broken: there is nothing to be resumed.
    async fn broke(&mut self, reason: &'static str) -> Last {
        self.attachment.end(SessionEnd::Policy);
        self.fault(code::POLICY, reason).await
    }

    /// Something is wrong with the socket: that is told, as far as it takes that.
    async fn fault(&mut self, code: u16, reason: &'static str) -> Last {
        let event = self.attachment.fault("UNKNOWN_ERROR", "WebSocket error occurred", reason);
        self.socket.last_word(event).await;
        Last::Close(code, reason)
    }

    /// A time has passed.
    fn tick(&mut self, idle_at: Instant) -> Option<Last> {
        let now = Instant::now();
        if self.signs.is_gone(now) {
            // Whoever came back is expected back once more; a session that nobody ever answered for is kept for nobody.
            if !self.signs.was_answered() && !self.attachment.resumes() {
                self.attachment.end(SessionEnd::Silent);
            }
            return Some(Last::Nothing(Some(Cut::Unacknowledged)));
        }
        if now < idle_at {
            return None;
        }
        if self.attachment.is_busy() {
            self.active = now;
            return None;
        }
        self.attachment.end(SessionEnd::Idle);
        Some(Last::Close(code::NORMAL, "nothing was asked for a long time"))
    }
}

fn closing(ends: Ends) -> Last {
    match ends {
        Ends::Replaced => Last::Close(code::POLICY, "the session was resumed by another socket"),
        Ends::Over(SessionEnd::Leaving) => Last::Close(code::AWAY, "the server is shutting down"),
        Ends::Over(_) => Last::Close(code::NORMAL, "the session is over"),
    }
}

/// Tells somebody whose session cannot be resumed, and closes.
pub async fn refuse(stream: Box<dyn Duplex>, room: Room, event: String) -> Option<Cut> {
    let mut socket = WebSocket::new(stream, Some(room)).await;
    socket.last_word(event.into()).await;
    socket.close(code::POLICY, "there is nothing to be resumed").await;
    None
}
