//! Voice sessions over a real socket, with a language model that writes when it is told to. Invariant, after each: everything is
//! back once the session is over.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::dialogue::{House, text};
use crate::http::Client;
use crate::server::{TestServer, live};

const PATIENCE: Duration = Duration::from_secs(20);

/// A device.
pub struct Device {
    pub socket: WebSocketStream<TcpStream>,
    /// All that came.
    pub events: Vec<Value>,
}

/// How a socket ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Closed(u16, String),
    Broken,
}

impl Device {
    pub async fn open(server: &TestServer, query: &str) -> Self {
        Self::at(server.server.listen[0], query).await
    }

    /// Of whichever server listens there.
    pub async fn at(address: SocketAddr, query: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let url = format!("ws://{address}/v1/realtime{query}");
        let mut request = url.into_client_request().expect("a request");
        let headers = request.headers_mut();
        headers.insert("host", "localhost".parse().expect("a value"));
        headers.insert("sec-websocket-protocol", "realtime, other".parse().expect("a value"));
        let (socket, answer) =
            tokio_tungstenite::client_async(request, stream).await.expect("a handshake");
        assert_eq!(answer.headers()["sec-websocket-protocol"], "realtime");
        Self { socket, events: Vec::new() }
    }

    /// The next event, or how the socket ended.
    pub async fn next(&mut self) -> Result<Value, Ended> {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        return Ok(serde_json::from_str::<Value>(&text).expect("JSON"));
                    }
                    Some(Ok(Message::Close(frame))) => {
                        let none = CloseFrame { code: CloseCode::Status, reason: "".into() };
                        let CloseFrame { code, reason } = frame.unwrap_or(none);
                        // So that our answer goes out.
                        while self.socket.next().await.is_some() {}
                        return Err(Ended::Closed(code.into(), reason.to_string()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(Error::ConnectionClosed)) | Some(Err(_)) | None => {
                        return Err(Ended::Broken);
                    }
                }
            }
        };
        let event = tokio::time::timeout(PATIENCE, next).await;
        let event =
            event.unwrap_or_else(|_| panic!("nothing more comes behind {:?}", self.kinds()))?;
        self.events.push(event.clone());
        Ok(event)
    }

    /// Reads until an event of that type.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await.expect(kind);
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// How it ends, whatever comes before.
    pub async fn ended(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.next().await {
                return ended;
            }
        }
    }

    pub async fn send(&mut self, event: Value) {
        self.socket.send(Message::text(event.to_string())).await.expect("it is taken");
    }

    /// Puts a text into the conversation, and has it answered.
    pub async fn ask(&mut self, question: &str, response: Value) {
        self.send(said(question)).await;
        self.send(json!({"type": "response.create", "response": response})).await;
    }

    /// Without a word.
    pub fn vanish(self) -> Vec<Value> {
        let stream = self.socket.get_ref();
        let socket = socket2::SockRef::from(stream);
        socket.set_linger(Some(Duration::ZERO)).expect("it is a socket");
        self.events
    }

    pub fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = self.events.iter().map(|event| text(event, "type")).collect();
        kinds.dedup();
        kinds
    }

    pub fn token(&self) -> String {
        let tokens = self.events.iter().rev();
        let mut tokens = tokens.filter(|event| event["type"] == "evensong.resume_token");
        text(tokens.next().expect("a token"), "token").to_string()
    }
}

pub fn said(text: &str) -> Value {
    let content = json!([{"type": "input_text", "text": text}]);
    json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}})
}

pub fn sound(events: &[Value]) -> Vec<u8> {
    use base64::Engine as _;
    let sound = events.iter().filter(|event| event["type"] == "response.output_audio.delta");
    let decode = |event: &Value| {
        base64::engine::general_purpose::STANDARD.decode(text(event, "delta")).expect("base64")
    };
    sound.flat_map(decode).collect()
}

pub fn deltas(events: &[Value], kind: &str) -> String {
    events.iter().filter(|event| event["type"] == kind).map(|event| text(event, "delta")).collect()
}

/// The ids of what was told, as numbers, without what is of one socket alone.
pub fn numbers(events: &[Value]) -> Vec<u64> {
    let told = events.iter().filter(|event| event["type"] != "evensong.resumed");
    told.map(|event| text(event, "event_id")["event_".len()..].parse().expect("a number")).collect()
}

pub fn resume(token: &str, events: &[Value]) -> String {
    let last = events.last().map_or("event_0", |event| text(event, "event_id"));
    format!("?resume={token}&after={last}")
}

/// Waits until no session stands, and then that nothing else does.
pub async fn over(server: &TestServer) {
    server.wait("without sessions", |ledger| live(ledger, "session") == 0).await;
    server.idle().await;
}

pub const SOON: &[(&str, &str)] = &[("realtime.grace_seconds", "0.2")];

#[tokio::test]
async fn a_question_is_answered_in_the_events_that_clients_know() {
    let mut house = House::start(SOON).await;
    let mut device = Device::open(&house.server, "?model=small").await;
    let created = device.until("session.created").await;
    assert_eq!(created["session"]["model"], "small");
    device.ask("Why is it dark?", Value::Null).await;
    let asked = house.writer.asked().await;
    assert_eq!(asked.body["messages"][1]["content"], "Why is it dark?");
    let thinking = device.until("evensong.thinking").await;
    assert!(text(&thinking, "asset").starts_with("/assets/thinking."));
    asked.writes("The sun has set. ").await;
    asked.writes("It will be back.").await;
    asked.ends("stop").await;
    let done = device.until("response.done").await;
    assert_eq!(
        device.kinds(),
        [
            "session.created",
            "evensong.resume_token",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "evensong.thinking",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        .into_iter()
        .filter(|kind| device.kinds().contains(kind))
        .collect::<Vec<_>>()
        .as_slice(),
    );
    let whole = "The sun has set. It will be back.";
    assert_eq!(deltas(&device.events, "response.output_audio_transcript.delta"), whole);
    assert_eq!(done["response"]["status"], "completed");
    assert_eq!(done["response"]["output"][0]["content"][0]["transcript"], whole);
    let sound = sound(&device.events);
    assert!(sound.len() > 24_000 && sound.len().is_multiple_of(2), "{} bytes", sound.len());
    assert_eq!(numbers(&device.events), (1..=device.events.len() as u64).collect::<Vec<_>>());
    // The next one is asked with what was said.
    device.ask("And when?", json!({"output_modalities": ["text"]})).await;
    let asked = house.writer.asked().await;
    let contents: Vec<_> = asked.body["messages"]
        .as_array()
        .expect("a list")
        .iter()
        .skip(1)
        .map(|m| m["content"].clone())
        .collect();
    assert_eq!(contents, ["Why is it dark?", whole, "And when?"]);
    asked.writes("At six.").await;
    asked.ends("stop").await;
    let done = device.until("response.done").await;
    assert_eq!(
        done["response"]["output"][0]["content"][0],
        json!({"type": "output_text", "text": "At six."})
    );
    assert_eq!(deltas(&device.events, "response.output_text.delta"), "At six.");
    device.socket.close(None).await.expect("closed");
    assert!(matches!(device.ended().await, Ended::Closed(..) | Ended::Broken));
    over(&house.server).await;
}

#[tokio::test]
async fn one_that_is_cut_off_goes_on_where_it_was_and_hears_each_event_once() {
    let mut house = House::start(&[]).await;
    let mut device = Device::open(&house.server, "").await;
    device.ask("Tell me all.", Value::Null).await;
    let asked = house.writer.asked().await;
    asked.writes("It was a dark night, and nobody knew what would come of it. Then").await;
    device.until("response.output_audio.delta").await;
    let token = device.token();
    let mut heard = device.vanish();
    let ledger =
        house.server.wait("without its device", |ledger| live(ledger, "session_timer") == 1).await;
    let row = &ledger["sessions"][0];
    assert_eq!(
        (&row["state"], &row["relay"], &row["answering"]),
        (&json!("detached"), &json!("apart"), &json!(true))
    );
    assert!(
        row["ends_in_ms"].as_u64().is_some_and(|ms| ms > 50_000)
            && row["outbox_bytes"].as_u64() > Some(1000),
        "{row}"
    );
    let mut operator = Client::connect(house.server.server.admin).await;
    let shown = operator.get("/debug/ledger?format=text").await;
    assert!(String::from_utf8_lossy(&shown.body).contains("\ndetached "));
    asked.writes(" the day came, and with it the light, and all was as it had been. ").await;
    for _ in 0..4 {
        let mut device = Device::open(&house.server, &resume(&token, &heard)).await;
        let resumed = device.next().await.expect("an event");
        assert_eq!(resumed["type"], "evensong.resumed");
        assert_eq!(resumed["from"], json!(numbers(&heard).last().expect("some") + 1));
        device.until("response.output_audio.delta").await;
        heard.extend(device.vanish());
    }
    asked.writes("That was all.").await;
    asked.ends("stop").await;
    let mut device = Device::open(&house.server, &resume(&token, &heard)).await;
    device.until("response.done").await;
    heard.extend(device.vanish());
    let numbers = numbers(&heard);
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let whole = "It was a dark night, and nobody knew what would come of it. Then the day came, and with it the light, \
                 and all was as it had been. That was all.";
    assert_eq!(deltas(&heard, "response.output_audio_transcript.delta"), whole);
    // Without a cut it sounds the same.
    let mut device = Device::open(&house.server, "").await;
    device.ask("Tell me all.", Value::Null).await;
    let asked = house.writer.asked().await;
    asked.writes(whole).await;
    asked.ends("stop").await;
    device.until("response.done").await;
    assert_eq!(sound(&heard).len(), sound(&device.events).len());
}

#[tokio::test]
async fn without_its_device_a_session_is_over_after_its_grace_with_all_that_it_had() {
    let mut house = House::start(SOON).await;
    let mut device = Device::open(&house.server, "").await;
    device.ask("Tell me all.", Value::Null).await;
    let asked = house.writer.asked().await;
    asked.writes("It was a dark night, and nobody knew what would come of it. ").await;
    device.until("response.output_audio.delta").await;
    let token = device.token();
    let heard = device.vanish();
    over(&house.server).await;
    asked.left().await;
    let mut late = Device::open(&house.server, &resume(&token, &heard)).await;
    let lost = late.next().await.expect("an event");
    assert_eq!((&lost["type"], &lost["error"]["code"]), (&json!("error"), &json!("session_lost")));
    let reason = "there is nothing to be resumed".to_string();
    assert_eq!(late.ended().await, Ended::Closed(1008, reason));
    let metrics = Client::connect(house.server.server.admin).await.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body).expect("text");
    assert!(metrics.contains("evensong_sessions_ended_total{end=\"expired\"} 1"), "{metrics}");
    assert!(metrics.contains("evensong_sessions_stale_total 0"), "{metrics}");
}

#[tokio::test]
async fn a_guessed_or_foreign_token_opens_nothing_and_says_no_more_than_that() {
    let server = TestServer::start(SOON).await;
    let mut device = Device::open(&server, "").await;
    device.until("evensong.resume_token").await;
    let token = device.token();
    let mut forged = token.clone().into_bytes();
    forged[10] = if forged[10] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("text");
    for guess in [forged.as_str(), "x", "AAAA"] {
        let mut other = Device::open(&server, &format!("?resume={guess}")).await;
        let refused = other.next().await.expect("an event");
        assert_eq!(refused["error"]["code"], "unknown_session");
        assert!(matches!(other.ended().await, Ended::Closed(1008, _)));
    }
    // An event that never was is none to go on behind.
    let mut other = Device::open(&server, &format!("?resume={token}&after=event_99")).await;
    assert_eq!(other.next().await.expect("an event")["error"]["code"], "session_lost");
    device.send(json!({"type": "conversation.item.retrieve", "item_id": "x"})).await;
    device.until("error").await;
    drop((device, other));
    over(&server).await;
}

#[tokio::test]
async fn the_newer_socket_has_the_session_and_the_older_ones_late_close_does_nothing() {
    let server = TestServer::start(&[("realtime.grace_seconds", "60")]).await;
    let mut old = Device::open(&server, "").await;
    old.until("evensong.resume_token").await;
    let token = old.token();
    let mut new = Device::open(&server, &resume(&token, &old.events)).await;
    assert_eq!(new.next().await.expect("an event")["type"], "evensong.resumed");
    let reason = "the session was resumed by another socket".to_string();
    assert_eq!(old.ended().await, Ended::Closed(1008, reason));
    drop(old);
    server.wait("one connection less", |ledger| live(ledger, "connection") == 1).await;
    assert_eq!((server.live("session").await, server.live("session_timer").await), (1, 0));
    new.send(said("Are you there?")).await;
    new.until("conversation.item.done").await;
}

#[tokio::test]
async fn an_answer_can_be_cancelled_and_what_was_heard_of_it_is_what_was_said() {
    let mut house = House::start(SOON).await;
    let mut device = Device::open(&house.server, "").await;
    device.ask("Tell me all.", Value::Null).await;
    let asked = house.writer.asked().await;
    asked.writes("One two three four five six seven eight nine ten eleven twelve. And on").await;
    let created = device.until("response.output_audio.delta").await;
    while sound(&device.events).len() < 48_000 {
        device.until("response.output_audio.delta").await;
    }
    device.send(json!({"type": "response.create"})).await;
    let busy = device.until("error").await;
    assert_eq!(busy["error"]["code"], "conversation_already_has_active_response");
    device.send(json!({"type": "response.cancel", "response_id": created["response_id"]})).await;
    let done = device.until("response.done").await;
    assert_eq!(done["response"]["status"], "cancelled");
    assert_eq!(done["response"]["output"][0]["status"], "incomplete");
    asked.left().await;
    let item = text(&created, "item_id").to_string();
    device.send(json!({"type": "conversation.item.truncate", "item_id": item, "content_index": 0, "audio_end_ms": 700})).await;
    let truncated = device.until("conversation.item.truncated").await;
    let heard = text(&truncated, "heard_text").to_string();
    assert!("One two three four five".starts_with(&heard) && heard.contains("One"), "{heard}");
    device.send(json!({"type": "response.cancel", "event_id": "mine"})).await;
    let none = device.until("error").await;
    assert_eq!(none["error"]["code"], "response_cancel_not_active");
    assert_eq!(none["error"]["event_id"], "mine");
    device.ask("Go on.", json!({"output_modalities": ["text"]})).await;
    let asked = house.writer.asked().await;
    assert_eq!(asked.body["messages"][2]["content"], json!(heard));
    asked.writes("No.").await;
    asked.ends("stop").await;
    device.until("response.done").await;
    drop(device);
    over(&house.server).await;
}

#[tokio::test]
async fn a_wrong_event_is_named_and_the_session_goes_on_until_there_are_too_many() {
    let server = TestServer::start(SOON).await;
    let mut device = Device::open(&server, "").await;
    let content = json!([{"type": "input_text", "text": "x".repeat(16 * 1024 + 1)}]);
    let message = |content: Value| json!({"type": "message", "role": "user", "content": content});
    let cases = [
        (json!("no object"), "missing_required_parameter", json!("type")),
        (json!({"type": "nonsense"}), "unknown_event", json!("type")),
        (json!({"type": 5}), "invalid_value", json!("type")),
        (json!({"type": "session.update"}), "missing_required_parameter", json!("session")),
        (
            json!({"type": "session.update", "session": {"audio": {"output": {"voice": "nobody"}}}}),
            "unknown_voice",
            json!("session.audio.output.voice"),
        ),
        (
            json!({"type": "session.update", "session": {"audio": {"output": {"speed": 9}}}}),
            "invalid_value",
            json!("session.audio.output.speed"),
        ),
        (
            json!({"type": "session.update", "session": {"output_modalities": ["smell"]}}),
            "invalid_value",
            json!("session.output_modalities"),
        ),
        (
            json!({"type": "session.update", "session": {"audio": {"output": {"format": {"type": "audio/mp3"}}}}}),
            "invalid_value",
            json!("session.audio.output.format"),
        ),
        (
            json!({"type": "conversation.item.create", "item": message(content)}),
            "invalid_value",
            json!("item.content"),
        ),
        (
            json!({"type": "conversation.item.create", "item": {"type": "function_call"}}),
            "invalid_value",
            json!("item.type"),
        ),
        (
            json!({"type": "conversation.item.delete", "item_id": "x"}),
            "item_not_found",
            json!("item_id"),
        ),
        (
            json!({"type": "conversation.item.truncate", "item_id": "x"}),
            "missing_required_parameter",
            json!("audio_end_ms"),
        ),
        (
            json!({"type": "input_audio_buffer.append", "audio": ""}),
            "input_audio_unavailable",
            json!(null),
        ),
        (json!({"type": "response.create"}), "no_question", json!(null)),
    ];
    for (event, code, param) in &cases {
        device.send(event.clone()).await;
        let error = device.until("error").await;
        assert_eq!(
            (&error["error"]["code"], &error["error"]["param"]),
            (&json!(code), param),
            "{event}: {error}"
        );
    }
    device.send(json!({"type": "session.update", "session": {"audio": {"output": {"voice": "tone-1", "speed": 1.5}}}})).await;
    let updated = device.next().await.expect("an event");
    assert!(matches!(text(&updated, "type"), "session.updated" | "error"));
    for _ in cases.len()..22 {
        device.send(json!({"type": "nonsense"})).await;
    }
    assert_eq!(
        device.ended().await,
        Ended::Closed(1008, "more wrong events than 20 a minute".into())
    );
    over(&server).await;
}

#[tokio::test]
async fn what_is_no_event_closes_the_socket_with_the_right_code() {
    let server = TestServer::start(SOON).await;
    for (frame, code) in
        [(Message::binary(vec![1, 2, 3]), 1003), (Message::text("x".repeat(256 * 1024 + 1)), 1009)]
    {
        let mut device = Device::open(&server, "").await;
        device.until("evensong.resume_token").await;
        device.socket.send(frame).await.expect("it is taken");
        assert!(
            matches!(device.ended().await, Ended::Closed(closed, _) if closed == code),
            "{code}"
        );
        let fault = device.events.last().expect("some");
        assert_eq!(fault["error"]["message"], "WebSocket error occurred");
        assert!(text(fault, "session_id").starts_with("sess_"));
    }
    // By hand: a text that is no UTF-8, a frame that is not masked, a reserved opcode.
    for (frame, code) in [
        (&b"\x81\x82\0\0\0\0\xff\xfe"[..], 1007),
        (&b"\x81\x02hi"[..], 1002),
        (&b"\x83\x80\0\0\0\0"[..], 1002),
    ] {
        let mut device = Device::open(&server, "").await;
        device.until("evensong.resume_token").await;
        use tokio::io::AsyncWriteExt as _;
        device.socket.get_mut().write_all(frame).await.expect("it is taken");
        assert!(
            matches!(device.ended().await, Ended::Closed(closed, _) if closed == code),
            "{code}"
        );
    }
    over(&server).await;
}

#[tokio::test]
async fn what_is_no_handshake_is_told_what_is_wanted() {
    let server = TestServer::start(SOON).await;
    let answer = server.get("/v1/realtime").await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].clone()),
        (426, json!("websocket_required"))
    );
    let mut client = server.connect().await;
    client.send(b"GET /v1/realtime?after=x HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.json()["error"]["param"].clone()), (400, json!("after")));
    let long = "x".repeat(257);
    let answer = server.get(&format!("/v1/realtime?resume={long}")).await;
    assert_eq!((answer.status, answer.json()["error"]["param"].clone()), (400, json!("resume")));
    drop(client);
    server.idle().await;
}

#[tokio::test]
async fn who_pings_without_end_is_cut() {
    let server = TestServer::start(SOON).await;
    let mut device = Device::open(&server, "").await;
    device.until("evensong.resume_token").await;
    for _ in 0..200 {
        if device.socket.send(Message::Ping(vec![0; 100].into())).await.is_err() {
            break;
        }
    }
    assert!(matches!(device.ended().await, Ended::Closed(1008, _) | Ended::Broken));
    over(&server).await;
}

#[tokio::test]
async fn a_message_that_never_ends_is_within_what_is_reserved_and_without_room_refused() {
    let server =
        TestServer::start(&[("budget_bytes", "4500000"), ("realtime.grace_seconds", "0.2")]).await;
    let mut devices = Vec::new();
    let mut refused = 0;
    for _ in 0..20 {
        let mut device = Device::open(&server, "").await;
        device.until("evensong.resume_token").await;
        use tokio::io::AsyncWriteExt as _;
        let stream = device.socket.get_mut();
        // 255 KiB are announced, and a half of them comes.
        stream.write_all(b"\x81\xff\0\0\0\0\0\x03\xfc\0\0\0\0\0").await.expect("it is taken");
        let _ = stream.write_all(&vec![b' '; 128 * 1024]).await;
        let state = server.ledger().await;
        let budget = &state["budget"];
        assert!(budget["reserved"].as_u64() <= budget["total"].as_u64(), "{budget}");
        if live(&state, "body") < devices.len() as u64 + 1 {
            let ended = tokio::time::timeout(Duration::from_secs(5), device.ended()).await;
            if matches!(ended, Ok(Ended::Closed(1013, _) | Ended::Broken)) {
                refused += 1;
            }
            break;
        }
        devices.push(device);
    }
    assert!(refused > 0 && !devices.is_empty(), "{} stand", devices.len());
    drop(devices);
    over(&server).await;
}

#[tokio::test]
async fn a_server_that_leaves_says_so_and_its_successor_knows_what_was_lost() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path().to_str().expect("text").to_string();
    let pairs =
        [("data", folder.as_str()), ("search.enabled", "false"), ("media.enabled", "false")];
    let server = TestServer::start(&pairs).await;
    let mut devices = Vec::new();
    for _ in 0..20 {
        let mut device = Device::open(&server, "").await;
        device.until("evensong.resume_token").await;
        devices.push(device);
    }
    let (stopped, codes) = tokio::join!(server.server.stop(), async {
        let mut codes = Vec::new();
        for device in &mut devices {
            codes.push(device.ended().await);
        }
        codes
    });
    assert!(stopped, "nothing had to be cut off");
    let wanted = Ended::Closed(1001, "the server is shutting down".into());
    assert!(codes.iter().all(|code| *code == wanted), "{codes:?}");
    let next = TestServer::start(&pairs).await;
    let (token, heard) = (devices[0].token(), &devices[0].events);
    let mut device = Device::open(&next, &resume(&token, heard)).await;
    assert_eq!(device.next().await.expect("an event")["error"]["code"], "session_lost");
}

#[tokio::test]
async fn a_telephone_is_answered_as_a_telephone() {
    let mut house = House::start(SOON).await;
    let mut device = Device::open(&house.server, "").await;
    let mut lengths = Vec::new();
    for format in ["audio/pcm", "audio/pcmu", "audio/pcma"] {
        let wish = json!({"type": "realtime", "audio": {"output": {"format": {"type": format}}}});
        device.send(json!({"type": "session.update", "session": wish})).await;
        let told = device.until("session.updated").await;
        assert_eq!(told["session"]["audio"]["output"]["format"]["type"], format);
        let before = device.events.len();
        device.ask("Say it.", Value::Null).await;
        let asked = house.writer.asked().await;
        asked.writes("The sun has set, and it will be back.").await;
        asked.ends("stop").await;
        let done = device.until("response.done").await;
        assert_eq!(done["response"]["audio"]["output"]["format"]["type"], format);
        lengths.push(sound(&device.events[before..]).len());
    }
    assert!(lengths[0] > 24_000, "{lengths:?}");
    // A third of the samples, each of half the bytes.
    assert_eq!(lengths[1..], [lengths[0].div_ceil(6); 2], "{lengths:?}");
    let wish = json!({"audio": {"output": {"format": {"type": "audio/opus"}}}});
    device.send(json!({"type": "session.update", "session": wish})).await;
    let error = device.until("error").await;
    assert_eq!(error["error"]["param"], "session.audio.output.format");
    device.socket.close(None).await.expect("closed");
    assert!(matches!(device.ended().await, Ended::Closed(..) | Ended::Broken));
    over(&house.server).await;
}
