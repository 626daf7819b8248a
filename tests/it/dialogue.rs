//! Dialogues over HTTP, with a language model that writes when it is told to. Invariant, after each: everything is back.

use serde_json::{Value, json};

use crate::http::{Answer, Client};
use crate::server::TestServer;
use crate::writer::{Asked, Writer};

pub struct House {
    pub server: TestServer,
    pub writer: Writer,
}

/// An event as it came.
#[derive(Clone, Debug)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

impl House {
    pub async fn start(pairs: &[(&str, &str)]) -> Self {
        let writer = Writer::start().await;
        let llm = [("answer.llm.base_url", &*writer.base), ("answer.llm.model", "small")];
        let server = TestServer::start(&[&llm[..], pairs].concat()).await;
        Self { server, writer }
    }

    /// POSTs a question.
    pub async fn converse(&self, body: &Value) -> Answer {
        self.server.connect().await.post("/api/voice/converse", body.to_string().as_bytes()).await
    }

    /// Asks, and gives what was accepted, with the model's side.
    pub async fn ask(&mut self, body: &Value) -> (Value, Asked) {
        let answer = self.converse(body).await;
        assert_eq!(answer.status, 202, "{}", answer.json());
        (answer.json(), self.writer.asked().await)
    }

    /// Somebody who listens to `path`; the head has come.
    pub async fn listen(&self, path: &str, headers: &str) -> (Client, u16) {
        let mut client = self.server.connect().await;
        client.send(get(path, headers).as_bytes()).await;
        let (status, _) = client.head().await;
        (client, status)
    }

    /// Waits until so much of an answer was made.
    pub async fn said(&self, accepted: &Value, wanted: &str) {
        let path = format!("/api/voice/dialogues/{}/heard", text(accepted, "dialogueId"));
        let began = std::time::Instant::now();
        loop {
            let mut client = self.server.connect().await;
            let told = client.post(&path, br#"{"played_ms":100000}"#).await.json();
            if told["heard_text"] == wanted {
                return;
            }
            assert!(began.elapsed().as_secs() < 5, "{told} was said, not {wanted}");
        }
    }

    pub async fn request(&self, method: &str, path: &str) -> Answer {
        let mut client = self.server.connect().await;
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        client.send(head.as_bytes()).await;
        client.answer().await
    }
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")
}

pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// Where the events of what was accepted come.
pub fn stream(accepted: &Value) -> String {
    text(&accepted["streams"], "events").to_string()
}

/// The events in what a stream has sent.
fn events(body: &[u8]) -> Vec<Event> {
    let all = String::from_utf8(body.to_vec()).expect("text");
    let field = |event: &str, name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_string)
    };
    let event = |event: &str| {
        let name = field(event, "event")?;
        let data = serde_json::from_str(&field(event, "data")?).expect("JSON");
        Some(Event { id: field(event, "id").unwrap_or_default(), name, data })
    };
    all.split("\n\n").filter_map(event).collect()
}

/// All that somebody hears, who leaves then.
pub async fn heard(mut listener: Client) -> Vec<Event> {
    events(&listener.body().await)
}

/// As [`heard`], of sound alone.
async fn bytes(mut listener: Client) -> Vec<u8> {
    listener.body().await
}

pub fn names(events: &[Event]) -> Vec<&str> {
    let mut names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    names.dedup();
    names
}

pub fn sound(events: &[Event]) -> Vec<u8> {
    use base64::Engine as _;
    let sound = events.iter().filter(|event| event.name == "audio");
    let decode = |event: &Event| {
        let audio = text(&event.data, "audio");
        base64::engine::general_purpose::STANDARD.decode(audio).expect("base64")
    };
    sound.flat_map(decode).collect()
}

#[tokio::test]
async fn a_question_is_answered_in_order_and_its_sound_is_the_same_either_way() {
    let mut house = House::start(&[]).await;
    let question = json!({"text": "Why is it dark?", "format": "pcm"});
    let answer = house.converse(&question).await;
    let accepted = answer.json();
    let asset = text(&accepted["thinkingIndicator"], "asset").to_string();
    assert_eq!((answer.status, &accepted["epoch"]), (202, &json!(1)));
    assert!(
        answer.body.len() < 1024,
        "there is more in it than words: {} bytes",
        answer.body.len()
    );
    let (listener, status) = house.listen(&stream(&accepted), "").await;
    let (other, sounding) = {
        let mut client = house.server.connect().await;
        client.send(get(text(&accepted["streams"], "audio"), "").as_bytes()).await;
        let asked = house.writer.asked().await;
        assert_eq!(asked.body["messages"][1]["content"], "Why is it dark?");
        asked.writes("It is night. Then").await;
        let (status, _) = client.head().await;
        // The first sentence is heard, and the answer is not written yet.
        asked.writes(" it is **day**.").await;
        asked.ends("stop").await;
        (client, status)
    };
    assert_eq!((status, sounding), (200, 200));
    let heard = heard(listener).await;
    assert_eq!(names(&heard).first(), Some(&"thinking"));
    assert_eq!(names(&heard).last(), Some(&"done"));
    assert_eq!(heard[0].data, json!({"epoch": 1, "type": "sound", "asset": asset}));
    let numbers: Vec<u64> = heard
        .iter()
        .map(|event| event.id.strip_prefix("1.").and_then(|n| n.parse().ok()).expect("an id"))
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let written: String = heard.iter().filter_map(|event| event.data["text"].as_str()).collect();
    assert_eq!(written, "It is night. Then it is **day**.");
    let words = heard.iter().filter_map(|event| event.data["words"].as_array()).flatten();
    let words: Vec<&str> = words.map(|word| text(word, "word")).collect();
    assert_eq!(words, ["It", "is", "night.", "Then", "it", "is", "day."]);
    let done = &heard.last().expect("done").data;
    assert_eq!(done["history"][1], json!({"role": "assistant", "text": written}));
    assert!(done["timings"]["audio_ms"].as_u64() > Some(1000), "{done}");
    let other = bytes(other).await;
    assert!(sound(&heard) == other, "they heard different things");
    let asset = house.server.get(&asset).await;
    assert!(asset.header("cache-control").contains("immutable") && !asset.body.is_empty());
    let after = house.listen(&stream(&accepted), "").await.1;
    assert_eq!(after, 404, "it is over");
    house.server.idle().await;
}

#[tokio::test]
async fn another_question_interrupts_and_nothing_of_the_first_comes_behind() {
    let mut house = House::start(&[]).await;
    let (accepted, first) = house.ask(&json!({"text": "Tell me all.", "format": "pcm"})).await;
    let (both, _) = house.listen(&(stream(&accepted) + "&follow=1"), "").await;
    let (one, _) = house.listen(&stream(&accepted), "").await;
    first.writes("First this. And then th").await;
    let id = text(&accepted, "dialogueId").to_string();
    let again = json!({"text": "And now?", "dialogueId": id, "played_ms": 400});
    let path = format!("/api/voice/dialogues/{id}/heard");
    house.said(&accepted, "First this.").await;
    let (second, asked) = house.ask(&again).await;
    assert_eq!((&second["epoch"], &second["dialogueId"]), (&json!(2), &json!(id)));
    first.left().await;
    let told = asked.body["messages"].as_array().expect("messages").clone();
    let said: Vec<&str> = told.iter().skip(1).map(|message| text(message, "content")).collect();
    assert!(said[0] == "Tell me all." && said.last() == Some(&"And now?"), "{said:?}");
    assert!(said.len() == 2 || ["First", "First this."].contains(&said[1]), "{said:?}");
    asked.writes("Now that.").await;
    asked.ends("stop").await;
    let one = heard(one).await;
    let last = one.last().expect("an end");
    assert_eq!((last.name.as_str(), &last.data["epoch"]), ("interrupted", &json!(1)));
    assert!(last.id.starts_with("1."), "{}", last.id);
    assert!("First this.".starts_with(text(&last.data, "heard_text")));
    let corrected = json!({"played_ms": 0, "epoch": 1}).to_string();
    let told = house.server.connect().await.post(&path, corrected.as_bytes()).await.json();
    assert_eq!(
        (&told["heard_text"], told["history"].as_array().map(Vec::len)),
        (&json!(""), Some(1))
    );
    let other = json!({"played_ms": 0, "epoch": 7}).to_string();
    let told = house.server.connect().await.post(&path, other.as_bytes()).await;
    assert_eq!((told.status, &told.json()["type"]), (409, &json!("turn_over")));
    let (late, _) = house.listen(text(&second["streams"], "audio"), "").await;
    let late = bytes(late).await;
    let metrics = Client::connect(house.server.server.admin).await.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body).expect("text");
    assert!(metrics.contains("evensong_dialogue_turns_total{end=\"interrupted\"} 1"));
    assert_eq!(house.request("DELETE", &format!("/api/voice/dialogues/{id}")).await.status, 204);
    let both = heard(both).await;
    let place = both.iter().position(|event| event.name == "interrupted").expect("interrupted");
    assert!(both[place + 1..].iter().all(|event| event.id.starts_with("2.")), "{:?}", names(&both));
    assert_eq!(both.iter().filter(|event| event.name == "done").count(), 1);
    // Who comes for the second turn hears it, and nothing of the first.
    assert!(late == sound(&both[place..]), "{} bytes", late.len());
    house.server.idle().await;
}

#[tokio::test]
async fn who_has_not_heard_a_turn_to_its_end_does_not_hear_the_next_one_instead() {
    let mut house = House::start(&[]).await;
    let (accepted, first) = house.ask(&json!({"text": "One?", "format": "pcm"})).await;
    // It reads nothing for the time being, and its socket is narrow.
    let mut slow = Client::connect_narrow(house.server.server.listen[0]).await;
    slow.send(get(text(&accepted["streams"], "audio"), "").as_bytes()).await;
    let (other, _) = house.listen(&(stream(&accepted) + "&follow=1"), "").await;
    first.writes("One two three four five six seven. Eight nine ten and so on.").await;
    first.ends("stop").await;
    house.said(&accepted, "One two three four five six seven. Eight nine ten and so on.").await;
    let id = text(&accepted, "dialogueId").to_string();
    let again = json!({"text": "Two?", "dialogueId": id});
    let (_, second) = house.ask(&again).await;
    second.writes("Two.").await;
    second.ends("stop").await;
    house.said(&accepted, "Two.").await;
    assert_eq!(slow.head().await.0, 200);
    assert!(!slow.rest().await.1, "what it heard looks whole");
    assert_eq!(house.request("DELETE", &format!("/api/voice/dialogues/{id}")).await.status, 204);
    let other = heard(other).await;
    assert!(other.iter().any(|event| event.name == "audio" && event.id.starts_with("2.")));
    drop(slow);
    house.server.idle().await;
}

#[tokio::test]
async fn who_leaves_takes_everything_along_and_the_model_sees_it() {
    let mut house = House::start(&[]).await;
    let (accepted, asked) = house.ask(&json!({"text": "Why?"})).await;
    let (one, _) = house.listen(&stream(&accepted), "").await;
    let (two, _) = house.listen(&stream(&accepted), "").await;
    asked.writes("Because it is so. And so it ").await;
    drop(one);
    asked.writes("goes on. ").await;
    drop(two);
    asked.left().await;
    house.server.idle().await;
    let metrics = Client::connect(house.server.server.admin).await.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body).expect("text");
    assert!(metrics.contains("evensong_dialogues_total{end=\"left\"} 1"));
    assert!(house.writer.is_idle(), "it was asked again");
}

#[tokio::test]
async fn nobody_comes_and_it_expires() {
    let mut house = House::start(&[("dialogue.attach_seconds", "0.2")]).await;
    let (accepted, asked) = house.ask(&json!({"text": "Why?", "resumable": true})).await;
    asked.left().await;
    house.server.idle().await;
    assert_eq!(house.listen(&stream(&accepted), "").await.1, 404);
}

#[tokio::test]
async fn who_was_cut_off_goes_on_where_it_was() {
    let mut house = House::start(&[]).await;
    let question = json!({"text": "Why?", "format": "pcm", "resumable": true});
    let (accepted, asked) = house.ask(&question).await;
    let (first, _) = house.listen(&stream(&accepted), "").await;
    asked.writes("One two three. ").await;
    drop(first);
    house
        .server
        .wait("it left", |ledger| crate::server::live(ledger, "dialogue_listener") == 0)
        .await;
    for (id, status) in [("1.99999", 410), ("7.1", 410), ("nonsense", 400), ("1.2.3", 400)] {
        let header = format!("last-event-id: {id}\r\n");
        assert_eq!(house.listen(&stream(&accepted), &header).await.1, status, "{id}");
    }
    let (back, status) = house.listen(&stream(&accepted), "last-event-id: 1.1\r\n").await;
    let (whole, _) = house.listen(&stream(&accepted), "").await;
    asked.writes("Four.").await;
    asked.ends("length").await;
    let (back, whole) = (heard(back).await, heard(whole).await);
    assert_eq!(
        (status, back.last().map(|event| event.data["finish"].clone())),
        (200, Some(json!("length")))
    );
    assert_eq!(back.len() + 1, whole.len(), "all but the first");
    assert!(
        back.iter()
            .zip(&whole[1..])
            .all(|(one, other)| one.id == other.id && one.data == other.data)
    );
    // It is kept for who may come back once more; whoever has heard the end is told that there is no more.
    let last = format!("last-event-id: {}\r\n", whole.last().expect("an end").id);
    assert_eq!(house.listen(&stream(&accepted), &last).await.1, 204);
    let id = text(&accepted, "dialogueId");
    assert_eq!(house.request("DELETE", &format!("/api/voice/dialogues/{id}")).await.status, 204);
    assert_eq!(house.listen(&stream(&accepted), &last).await.1, 204);
    house.server.idle().await;
}

#[tokio::test]
async fn eight_may_listen_and_the_end_is_everybodys() {
    let mut house = House::start(&[]).await;
    let (accepted, asked) = house.ask(&json!({"text": "Why?"})).await;
    let mut listeners = Vec::new();
    for _ in 0..8 {
        let (listener, status) = house.listen(&stream(&accepted), "").await;
        assert_eq!(status, 200);
        listeners.push(listener);
    }
    let (_, status) = house.listen(&stream(&accepted), "").await;
    assert_eq!(status, 429);
    let id = text(&accepted, "dialogueId");
    assert_eq!(house.request("DELETE", &format!("/api/voice/dialogues/{id}")).await.status, 204);
    for listener in listeners {
        let heard = heard(listener).await;
        assert_eq!(names(&heard).last(), Some(&"interrupted"));
    }
    asked.left().await;
    assert_eq!(house.request("DELETE", &format!("/api/voice/dialogues/{id}")).await.status, 404);
    house.server.idle().await;
}
