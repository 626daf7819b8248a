//! Sound that comes by a voice session, passed on to a server that listens and answers. Invariant, after each: everything is back once
//! the session is over, and no connection is left on either side.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::dialogue::{House, text};
use crate::realtime::{Device, Ended, SOON, numbers, over, resume, sound};
use crate::server::{TestServer, live};

const PATIENCE: Duration = Duration::from_secs(20);
const KEY: &str = "sk-canary-relay";

/// Who listens.
pub struct Ears {
    listener: TcpListener,
    pub base: String,
}

/// A connection that it has.
pub struct Heard {
    socket: WebSocketStream<TcpStream>,
    target: String,
    key: String,
}

impl Ears {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("ws://{}/v1", listener.local_addr().expect("an address"));
        Self { listener, base }
    }

    fn settings(&self) -> Vec<(&str, &str)> {
        vec![
            ("realtime.upstream.base_url", &self.base),
            ("realtime.upstream.api_key", KEY),
            ("realtime.upstream.model", "ears-1"),
            ("realtime.upstream.voice", "marin"),
        ]
    }

    async fn knock(&self) -> TcpStream {
        tokio::time::timeout(PATIENCE, self.listener.accept())
            .await
            .expect("it comes")
            .expect("accepted")
            .0
    }

    #[allow(clippy::result_large_err)]
    pub async fn heard(&self) -> Heard {
        let (mut target, mut key) = (String::new(), String::new());
        let look = |request: &Request, response: Response| {
            target = request.uri().to_string();
            let said = request.headers().get("authorization");
            key = said.map_or("", |said| said.to_str().expect("text")).to_string();
            Ok(response)
        };
        let stream = self.knock().await;
        let socket = tokio_tungstenite::accept_hdr_async(stream, look).await.expect("a handshake");
        Heard { socket, target, key }
    }

    /// Whether nobody knocks within a moment.
    async fn is_left_alone(&self) -> bool {
        let moment = Duration::from_millis(200);
        tokio::time::timeout(moment, self.listener.accept()).await.is_err()
    }
}

impl Heard {
    async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        match next.expect("it says something").expect("more").expect("a message") {
            Message::Text(text) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("{other:?}"),
        }
    }

    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await;
            if event["type"] == kind {
                return event;
            }
        }
    }

    async fn says(&mut self, event: Value) {
        self.socket.send(Message::text(event.to_string())).await.expect("taken");
    }

    /// How the other side says good-bye.
    async fn ended(mut self) -> (u16, String) {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("an end") {
                Some(Ok(Message::Close(Some(frame)))) => {
                    while self.socket.next().await.is_some() {}
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("without a word: {other:?}"),
            }
        }
    }
}

pub fn append() -> Value {
    use base64::Engine as _;
    let audio = base64::engine::general_purpose::STANDARD.encode([1_u8; 4800]);
    json!({"type": "input_audio_buffer.append", "audio": audio})
}

fn message(id: &str, role: &str, part: Value) -> Value {
    json!({"id": id, "type": "message", "role": role, "status": "completed", "content": [part]})
}

async fn leave(mut device: Device) {
    device.socket.close(None).await.expect("closed");
    assert!(matches!(device.ended().await, Ended::Closed(..) | Ended::Broken));
}

async fn nothing_is_left(server: &TestServer) {
    over(server).await;
    server
        .wait("without a connection upstream", |ledger| live(ledger, "upstream_socket") == 0)
        .await;
}

#[tokio::test]
async fn sound_is_passed_on_and_what_is_said_comes_back_among_the_sessions_own_events() {
    let ears = Ears::start().await;
    let mut house = House::start(&[&ears.settings()[..], SOON].concat()).await;
    let mut device = Device::open(&house.server, "").await;
    // Text first: that is answered here, and passed on as what was said before.
    device.ask("Good evening.", json!({"output_modalities": ["text"]})).await;
    let asked = house.writer.asked().await;
    asked.writes("Good evening to you.").await;
    asked.ends("stop").await;
    device.until("response.done").await;
    let vad = json!({"type": "semantic_vad", "eagerness": "low"});
    let wish = json!({"type": "realtime", "instructions": "Be brief.", "audio": {"input": {"turn_detection": vad}}});
    device.send(json!({"type": "session.update", "session": wish})).await;
    let told = device.until("session.updated").await;
    assert_eq!(told["session"]["audio"]["input"]["turn_detection"], vad);
    assert!(ears.is_left_alone().await, "nothing was to be heard");
    device.send(append()).await;
    let mut heard = ears.heard().await;
    assert_eq!(
        (&*heard.target, &*heard.key),
        ("/v1/realtime?model=ears-1", &*format!("Bearer {KEY}"))
    );
    heard
        .says(json!({"type": "session.created", "event_id": "e0", "session": {"id": "theirs"}}))
        .await;
    let update = heard.next().await;
    assert_eq!(update["session"]["instructions"], "Be brief.");
    assert_eq!(
        update["session"]["audio"],
        json!({"input": {"turn_detection": vad}, "output": {"voice": "marin"}})
    );
    let (first, second) = (heard.next().await, heard.next().await);
    assert_eq!(first["item"]["content"][0], json!({"type": "input_text", "text": "Good evening."}));
    assert_eq!(
        second["item"]["content"][0],
        json!({"type": "output_text", "text": "Good evening to you."})
    );
    assert_eq!(heard.next().await, append());
    for item in [&first["item"], &second["item"]] {
        heard.says(json!({"type": "conversation.item.added", "event_id": "e", "item": item})).await;
        heard.says(json!({"type": "conversation.item.done", "event_id": "e", "item": item})).await;
    }
    let before = device.events.len();
    heard.says(json!({"type": "input_audio_buffer.speech_started", "event_id": "e1", "item_id": "u1", "audio_start_ms": 0})).await;
    let started = device.next().await.expect("an event");
    assert_eq!(
        (&started["type"], &started["item_id"]),
        (&json!("input_audio_buffer.speech_started"), &json!("u1"))
    );
    device.send(json!({"type": "input_audio_buffer.commit", "event_id": "mine"})).await;
    assert_eq!(heard.next().await["event_id"], "mine", "word for word");
    heard.says(json!({"type": "conversation.item.done", "item": message("u1", "user", json!({"type": "input_audio", "transcript": null}))})).await;
    heard.says(json!({"type": "conversation.item.input_audio_transcription.completed", "item_id": "u1", "transcript": "And who are you?"})).await;
    heard.says(json!({"type": "response.created", "response": {"id": "resp_theirs"}})).await;
    heard.says(json!({"type": "response.output_audio.delta", "response_id": "resp_theirs", "delta": "AAEC"})).await;
    heard.says(json!({"type": "conversation.item.done", "item": message("a1", "assistant", json!({"type": "output_audio", "transcript": "I listen."}))})).await;
    heard.says(json!({"type": "error", "error": {"message": format!("what is {KEY}?")}})).await;
    heard.says(json!({"type": "response.done", "response": {"id": "resp_theirs", "status": "completed"}})).await;
    let done = device.until("response.done").await;
    assert_eq!(done["response"]["id"], "resp_theirs");
    assert_eq!(sound(&device.events[before..]), [0, 1, 2]);
    assert_eq!(numbers(&device.events), (1..=device.events.len() as u64).collect::<Vec<_>>());
    assert!(!format!("{:?}", device.events).contains(KEY));
    // What comes by text is answered there as well, and what was said there is known here when it is gone.
    device.send(crate::realtime::said("And now?")).await;
    assert_eq!(
        heard.until("conversation.item.create").await["item"]["content"][0]["text"],
        "And now?"
    );
    drop(heard);
    assert_eq!(device.until("error").await["error"]["code"], "upstream_lost");
    device.ask("Are you there?", json!({"output_modalities": ["text"]})).await;
    let asked = house.writer.asked().await;
    let said: Vec<_> = asked.body["messages"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|m| text(m, "content"))
        .collect();
    assert_eq!(said[said.len() - 3..], ["And who are you?", "I listen.", "Are you there?"]);
    asked.writes("I am.").await;
    asked.ends("stop").await;
    device.until("response.done").await;
    leave(device).await;
    nothing_is_left(&house.server).await;
}

#[tokio::test]
async fn one_that_is_lost_is_made_again_after_five_seconds_and_what_it_began_is_ended() {
    let ears = Ears::start().await;
    let server = TestServer::start(&[&ears.settings()[..], SOON].concat()).await;
    let mut device = Device::open(&server, "").await;
    device.send(append()).await;
    let mut heard = ears.heard().await;
    heard.until("input_audio_buffer.append").await;
    heard.says(json!({"type": "conversation.item.done", "item": message("a1", "assistant", json!({"type": "output_text", "text": "I was here."}))})).await;
    heard.says(json!({"type": "response.created", "response": {"id": "resp_theirs"}})).await;
    device.until("response.created").await;
    let lost = std::time::Instant::now();
    heard.socket.close(None).await.expect("closed");
    let failed = device.until("response.done").await;
    assert_eq!(
        (&failed["response"]["id"], &failed["response"]["status"]),
        (&json!("resp_theirs"), &json!("failed"))
    );
    let error = device.until("error").await;
    assert_eq!(
        (&error["error"]["code"], &error["error"]["type"]),
        (&json!("upstream_lost"), &json!("server_error"))
    );
    // What is said meanwhile is nobody's, and no wrong of the client's either.
    device.send(append()).await;
    let mut heard = ears.heard().await;
    assert!(lost.elapsed() >= Duration::from_millis(4_900), "{:?}", lost.elapsed());
    assert_eq!(heard.until("conversation.item.create").await["item"]["id"], "a1");
    device.send(append()).await;
    heard.until("input_audio_buffer.append").await;
    assert_eq!(device.kinds().iter().filter(|kind| **kind == "error").count(), 1);
    device.socket.close(None).await.expect("closed");
    // The session is over after its grace, and says so.
    assert_eq!(heard.ended().await, (1000, "Normal closure".to_string()));
    nothing_is_left(&server).await;
}

#[tokio::test]
async fn without_its_device_nothing_is_connected_to_and_with_it_again() {
    let ears = Ears::start().await;
    let server = TestServer::start(&ears.settings()).await;
    let mut device = Device::open(&server, "").await;
    device.until("evensong.resume_token").await;
    let token = device.token();
    // It leaves while its server is being connected to: that is over at once.
    device.send(append()).await;
    let mut knocked = ears.knock().await;
    let mut events = device.vanish();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, knocked.read_to_end(&mut rest)).await.expect("closed").ok();
    server
        .wait("nobody connects", |ledger| {
            live(ledger, "session_relay") == 0 && live(ledger, "upstream_socket") == 0
        })
        .await;
    assert!(ears.is_left_alone().await);
    // It is back: so is its server.
    let mut device = Device::open(&server, &resume(&token, &events)).await;
    let mut heard = ears.heard().await;
    heard.until("session.update").await;
    // What is said while the device is gone is told when it is back, and is all that there is.
    events.extend(device.vanish());
    server.wait("without its device", |ledger| live(ledger, "session_timer") == 1).await;
    heard.says(json!({"type": "response.created", "response": {"id": "late"}})).await;
    drop(heard);
    let until_disconnected = std::time::Instant::now();
    while live(&server.wait("a ledger", |_| true).await, "session_relay") > 0 {
        assert!(until_disconnected.elapsed() < PATIENCE, "it goes on for nobody");
    }
    assert!(ears.is_left_alone().await);
    device = Device::open(&server, &resume(&token, &events)).await;
    let mut heard = ears.heard().await;
    heard.until("session.update").await;
    assert_eq!(device.until("response.created").await["response"]["id"], "late");
    assert_eq!(device.until("response.done").await["response"]["status"], "failed");
    assert_eq!(device.until("error").await["error"]["code"], "upstream_lost");
    let (_, ended, _) = tokio::join!(server.server.stop(), heard.ended(), device.ended());
    assert_eq!(ended, (1000, "Normal closure".to_string()));
}

#[tokio::test]
async fn a_server_that_floods_or_talks_nonsense_is_bounded_and_left() {
    let ears = Ears::start().await;
    let server = TestServer::start(&[&ears.settings()[..], SOON].concat()).await;
    let mut device = Device::open(&server, "").await;
    device.until("evensong.resume_token").await;
    device.send(append()).await;
    let mut heard = ears.heard().await;
    // The device reads nothing: neither does the session of what is more than it may hold.
    let delta = "A".repeat(60_000);
    let flood = async {
        for number in 0.. {
            let event =
                json!({"type": "response.output_audio.delta", "number": number, "delta": delta});
            heard.socket.send(Message::text(event.to_string())).await.expect("taken");
        }
    };
    let stalls = tokio::time::timeout(Duration::from_millis(700), flood).await;
    assert!(stalls.is_err());
    let ledger = server.wait("a ledger", |_| true).await;
    assert!(
        ledger["budget"]["reserved"].as_u64().expect("bytes") < 4 << 20,
        "{}",
        ledger["budget"]
    );
    for number in 0..40 {
        assert_eq!(
            device.until("response.output_audio.delta").await["number"],
            number,
            "none is lost"
        );
    }
    drop(heard);
    assert_eq!(device.until("error").await["error"]["code"], "upstream_lost");
    for nonsense in
        [Message::text("no JSON"), Message::binary(vec![0]), Message::text("x".repeat(300_000))]
    {
        // It may have failed too often in a row: whoever speaks has it tried again.
        let mut heard = loop {
            match tokio::time::timeout(Duration::from_millis(500), ears.heard()).await {
                Ok(heard) => break heard,
                Err(_) => device.send(append()).await,
            }
        };
        heard.until("session.update").await;
        heard.socket.send(nonsense).await.expect("taken");
        assert_eq!(device.until("error").await["error"]["code"], "upstream_lost");
    }
    leave(device).await;
    nothing_is_left(&server).await;
}

#[tokio::test]
async fn without_room_nobody_listens_and_that_is_said_once() {
    let ears = Ears::start().await;
    let tight = [("budget_bytes", "5000000")];
    let server = TestServer::start(&[&ears.settings()[..], SOON, &tight].concat()).await;
    let mut others = Vec::new();
    for _ in 0..2 {
        let mut other = Device::open(&server, "").await;
        other.send(append()).await;
        let mut heard = ears.heard().await;
        heard.until("input_audio_buffer.append").await;
        others.push((other, heard));
    }
    let mut device = Device::open(&server, "").await;
    for _ in 0..30 {
        device.send(append()).await;
    }
    let error = device.until("error").await;
    assert_eq!(error["error"]["code"], "over_budget", "{error}");
    // It is no wrong of the client's: the session goes on.
    device.send(json!({"type": "session.update", "session": {"type": "realtime"}})).await;
    device.until("session.updated").await;
    assert_eq!(device.kinds().iter().filter(|kind| **kind == "error").count(), 1);
    assert!(ears.is_left_alone().await);
    leave(device).await;
    for (other, heard) in others {
        leave(other).await;
        assert_eq!(heard.ended().await.0, 1000);
    }
    nothing_is_left(&server).await;
}
