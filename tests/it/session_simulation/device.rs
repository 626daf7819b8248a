//! A device in simulated time, and what it knows of its session. Invariants: each event comes once and in its order; told again,
//! it is the same word for word; of an answer nothing comes before its beginning or behind its end.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use evensong::realtime::Session;
use evensong::realtime::life::Stage;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

/// See the module.
pub struct Device {
    pub line: Option<Line>,
    /// Connections that it gave up without a word: the server may not know that yet.
    pub late: Vec<Line>,
    /// Its session, as the server has it.
    pub session: Arc<Session>,
    pub token: Option<String>,
    /// The number of the event that came last.
    pub has: u64,
    /// It goes on without saying behind what: where that is, it is told.
    pub is_told_where: bool,
    /// A digest of each event.
    known: Vec<u64>,
    /// Answers that have begun, and not ended.
    pub answers: HashSet<String>,
    /// What was spoken last.
    pub item: Option<String>,
    /// It takes no more than a few messages now and then.
    pub is_slow: bool,
    /// All that came, over whichever connection.
    pub messages: u64,
    /// By which code its last connection was closed.
    pub code: Option<u16>,
}

/// One end of a connection.
pub struct Line {
    socket: WebSocketStream<DuplexStream>,
    /// For the server's watch over the connection.
    left: CancellationToken,
}

/// How a device leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// By a reset, which is seen while whatever was sent is on its way.
    Reset,
    /// At the end of what it sent.
    End,
    /// In the middle of a frame.
    Torn,
    /// With a good word.
    Close(u16),
    /// Without anything: the network is gone.
    Silence,
}

impl Manner {
    pub const ALL: [Self; 6] =
        [Self::Reset, Self::End, Self::Torn, Self::Close(1000), Self::Close(4000), Self::Silence];
}

impl Line {
    pub async fn new(stream: DuplexStream, left: CancellationToken) -> Self {
        Self { socket: WebSocketStream::from_raw_socket(stream, Role::Client, None).await, left }
    }

    fn send(&mut self, message: Message) {
        // What does not fit in is lost: it was never on its way.
        let _ = self.socket.send(message).now_or_never();
    }

    fn raw(&mut self, bytes: &[u8]) {
        let _ = self.socket.get_mut().write_all(bytes).now_or_never();
    }

    fn leave(mut self, manner: Manner) -> Option<Self> {
        match manner {
            Manner::Reset => self.left.cancel(),
            Manner::End => {}
            Manner::Torn => self.raw(b"\x81\xa0\0\0\0\0{\"type\""),
            Manner::Close(code) => {
                let frame = [0x88, 0x82, 0, 0, 0, 0, (code >> 8) as u8, code as u8];
                self.raw(&frame);
            }
            Manner::Silence => return Some(self),
        }
        None
    }
}

impl Device {
    pub fn new(session: Arc<Session>, line: Line) -> Self {
        Self {
            line: Some(line),
            late: Vec::new(),
            session,
            token: None,
            has: 0,
            is_told_where: false,
            known: Vec::new(),
            answers: HashSet::new(),
            item: None,
            is_slow: false,
            messages: 0,
            code: None,
        }
    }

    /// Whether its session is not over.
    pub fn lives(&self) -> bool {
        self.session.stage() != Stage::Ended
    }

    /// Whether it is in the middle of an answer, as far as it and the server know.
    pub fn is_answered(&self) -> bool {
        let has_it = matches!(self.session.stage(), Stage::Live(_)) && self.code.is_none();
        has_it && self.line.is_some() && !self.answers.is_empty()
    }

    /// Whether it has heard of every event that it ever heard of.
    pub fn is_up_to_date(&self) -> bool {
        self.has == self.known.len() as u64
    }

    pub fn send(&mut self, event: &Value) {
        if let Some(line) = &mut self.line {
            line.send(Message::text(event.to_string()));
        }
    }

    /// Sends what is no event.
    pub fn misbehave(&mut self, how: u64) {
        let Some(line) = &mut self.line else { return };
        match how {
            0 => line.send(Message::binary(vec![1, 2, 3])),
            // By hand: a text that is no UTF-8, a frame that is not masked, a message that is too large.
            1 => line.raw(b"\x81\x82\0\0\0\0\xff\xfe"),
            2 => line.raw(b"\x81\x02hi"),
            _ => line.raw(b"\x81\xff\0\0\0\0\0\x04\0\x01\0\0\0\0"),
        }
    }

    pub fn ask(&mut self, response: Value) {
        let content = json!([{"type": "input_text", "text": "Why?"}]);
        let item = json!({"type": "message", "role": "user", "content": content});
        self.send(&json!({"type": "conversation.item.create", "item": item}));
        self.send(&json!({"type": "response.create", "response": response}));
    }

    /// Leaves; whatever is on its way to it never comes.
    pub fn leave(&mut self, manner: Manner) {
        let line = self.line.take();
        self.late.extend(line.and_then(|line| line.leave(manner)));
    }

    /// Goes on over another connection, behind event `after`, or wherever it is told.
    pub fn go_on(&mut self, line: Line, after: Option<u64>) {
        self.leave(Manner::Silence);
        (self.line, self.code) = (Some(line), None);
        self.is_told_where = after.is_none();
        self.has = after.unwrap_or(self.has);
    }

    /// Takes so many messages at the most of those that are there.
    pub fn hear(&mut self, most: u64) {
        for _ in 0..most {
            let Some(line) = &mut self.line else { return };
            // What did not fit in before may now.
            let _ = line.socket.flush().now_or_never();
            let next = line.socket.next().now_or_never();
            self.messages += u64::from(next.is_some());
            match next {
                None => return,
                Some(Some(Ok(Message::Text(text)))) => self.see(&text),
                Some(Some(Ok(Message::Close(frame)))) => {
                    self.code = frame.map(|frame| frame.code.into());
                }
                Some(Some(Ok(_))) => {}
                Some(Some(Err(_)) | None) => self.line = None,
            }
        }
    }

    fn see(&mut self, text: &str) {
        let event: Value = serde_json::from_str(text).expect("JSON");
        let kind = event["type"].as_str().expect("a type");
        if event.get("session_id").is_some() {
            // Of this connection alone.
            if kind == "evensong.resumed" {
                let from = event["from"].as_u64().expect("a number");
                if std::mem::take(&mut self.is_told_where) {
                    assert!(
                        from <= self.known.len() as u64 + 1,
                        "{} came, and it goes on at {from}",
                        self.has
                    );
                    self.has = from - 1;
                }
                assert_eq!(from, self.has + 1, "it goes on elsewhere than was asked");
            }
            return;
        }
        let id = event["event_id"].as_str().expect("a name");
        let number: u64 = id["event_".len()..].parse().expect("a number");
        assert_eq!(number, self.has + 1, "lost, or told twice: {text:.200}");
        self.has = number;
        let mut digest = DefaultHasher::new();
        text.hash(&mut digest);
        let digest = digest.finish();
        match self.known.get(number as usize - 1) {
            Some(before) => {
                assert_eq!(*before, digest, "another one under its number: {text:.200}")
            }
            None => {
                self.known.push(digest);
                self.learn(kind, &event);
            }
        }
    }

    fn learn(&mut self, kind: &str, event: &Value) {
        let name = |value: &Value| value.as_str().map(str::to_string);
        match kind {
            "evensong.resume_token" => self.token = name(&event["token"]),
            "response.created" => {
                let id = name(&event["response"]["id"]).expect("a name");
                assert!(self.answers.insert(id), "begun twice");
            }
            "response.done" => {
                let id = name(&event["response"]["id"]).expect("a name");
                assert!(self.answers.remove(&id), "ended twice, or never begun: {id}");
            }
            _ => {}
        }
        if let Some(of) = name(&event["response_id"]) {
            assert!(self.answers.contains(&of), "{kind} before or behind {of}");
            self.item = name(&event["item_id"]).or(self.item.take());
        }
    }
}
