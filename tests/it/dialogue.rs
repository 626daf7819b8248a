//! Dialogues over HTTP, with a language model that writes when it is told to. Invariant, after each: everything is back.

use serde_json::{Value, json};

use crate::http::{Answer, Client};
use crate::search::Searching;
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
        listen(&self.server, path, headers).await
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

/// As [`House::listen`], to any server.
async fn listen(server: &TestServer, path: &str, headers: &str) -> (Client, u16) {
    let mut client = server.connect().await;
    client.send(get(path, headers).as_bytes()).await;
    let (status, _) = client.head().await;
    (client, status)
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
async fn what_one_was_cut_off_from_waits_for_it_while_another_hears_on() {
    let mut house = House::start(&[]).await;
    let question = json!({"text": "Why?", "format": "pcm", "resumable": true});
    let (accepted, asked) = house.ask(&question).await;
    let (mut cut, _) = house.listen(&stream(&accepted), "").await;
    let (other, _) = house.listen(&stream(&accepted), "").await;
    // More than is ever held, by far.
    asked.writes(&"This is one of many sentences. ".repeat(60)).await;
    asked.ends("stop").await;
    cut.fill(40_000).await;
    drop(cut);
    let goes_on = async {
        // Of pcm 208 KiB are kept and 400 behind them; there is no room for the next part before all of it is used.
        let is_full = |ledger: &Value| ledger["budget"]["held"].as_u64() > Some(500 * 1024);
        house.server.wait("what it may come back for is kept", is_full).await;
        let (back, status) = house.listen(&stream(&accepted), "last-event-id: 1.3\r\n").await;
        assert_eq!(status, 200, "what it was cut off from is gone");
        heard(back).await
    };
    let (whole, back) = tokio::join!(heard(other), goes_on);
    assert!(sound(&whole).len() > 2_000_000, "{}", sound(&whole).len());
    let is_same = |(one, other): (&Event, &Event)| one.id == other.id && one.data == other.data;
    assert_eq!(back.len() + 3, whole.len());
    assert!(back.iter().zip(&whole[3..]).all(is_same));
    let id = text(&accepted, "dialogueId");
    assert_eq!(house.request("DELETE", &format!("/api/voice/dialogues/{id}")).await.status, 204);
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
    let ninth = house.server.get(&stream(&accepted)).await;
    assert_eq!((ninth.status, &ninth.json()["type"]), (429, &json!("too_many_listeners")));
    assert!(!ninth.header("retry-after").is_empty(), "they are not told when to come again");
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

/// Documents of which one says something about rings.
fn documents() -> [Value; 2] {
    let text =
        "A ring is made of pages. A page goes back to the budget when its listener has taken it.";
    let ring = json!({
        "id": "ring", "type": "note", "title": "Rings and pages", "text": text,
        "creator": "Ada", "url": "https://example.org/ring", "created_at": "2026-01-01T00:00:00Z",
    });
    let other = json!({
        "id": "tea", "type": "note", "title": "Tea", "text": "Tea is made with hot water.",
        "created_at": "2026-01-02T00:00:00Z",
    });
    [ring, other]
}

#[tokio::test]
async fn without_a_model_a_document_answers_and_is_named_before_its_words() {
    let searching = Searching::embedded().await;
    searching.put(&documents()).await;
    let server = &searching.server;
    let question = json!({"text": "When does a page go back to the budget?", "format": "pcm"});
    let asked = question.to_string();
    let answer = server.connect().await.post("/api/voice/converse", asked.as_bytes()).await;
    let accepted = answer.json();
    assert_eq!((answer.status, &accepted["answering"]), (202, &json!("found")), "{accepted}");
    assert!(answer.body.len() < 1024, "there is more in it than words: {}", answer.body.len());
    let (listener, _) = listen(server, &stream(&accepted), "").await;
    let (other, status) = listen(server, text(&accepted["streams"], "audio"), "").await;
    let raw = bytes(listener).await;
    assert_eq!(status, 200);
    assert!(raw.starts_with(b"retry: "), "nobody says how soon to come back");
    let heard = events(&raw);
    let mut order: Vec<&str> = Vec::new();
    names(&heard).into_iter().for_each(|name| {
        if !order.contains(&name) {
            order.push(name);
        }
    });
    assert_eq!(order, ["thinking", "sources", "text", "audio", "done"]);
    let hit = &heard.iter().find(|event| event.name == "sources").expect("sources").data["hits"][0];
    let named = ["id", "title", "creator", "url"].map(|key| text(hit, key));
    assert_eq!(named, ["ring", "Rings and pages", "Ada", "https://example.org/ring"]);
    let words = heard.iter().filter_map(|event| event.data["words"].as_array()).flatten();
    let times: Vec<(u64, u64)> = words
        .map(|word| ["start_ms", "end_ms"].map(|key| word[key].as_u64().expect("a time")).into())
        .collect();
    assert!(times.len() > 10 && times.iter().all(|(start, end)| start <= end), "{times:?}");
    assert!(times.is_sorted_by(|one, next| one.1 <= next.0), "{times:?}");
    let done = &heard.last().expect("done").data;
    let said = text(&done["history"][1], "text");
    assert!(said.contains("A page goes back to the budget") && said.contains("Ada"), "{said}");
    assert_eq!((&done["finish"], &done["usage"]), (&json!("stop"), &Value::Null));
    let audio_ms = done["timings"]["audio_ms"].as_u64().expect("a time");
    assert_eq!(sound(&heard).len() as u64 / 48, audio_ms, "it is longer or shorter than is said");
    assert!(times.last().expect("words").1 <= audio_ms, "a word behind the end");
    assert!(bytes(other).await == sound(&heard), "they heard different things");
    server.idle().await;
}

#[tokio::test]
async fn what_is_shown_meanwhile_is_what_was_wished_for() {
    let mut house = House::start(&[]).await;
    let shown = json!({"type": "text", "text": "Thinking …"});
    for (wish, told) in [("text", shown), ("none", json!({"type": "none"}))] {
        let question = json!({"text": "Why?", "thinking": wish, "format": "pcm"});
        let (accepted, asked) = house.ask(&question).await;
        assert_eq!(accepted["thinkingIndicator"], told);
        let (listener, _) = house.listen(&stream(&accepted), "").await;
        asked.writes("So.").await;
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9});
        asked.says(&format!("data: {}\n\n", json!({"choices": [], "usage": usage}))).await;
        asked.ends("stop").await;
        let heard = heard(listener).await;
        match wish {
            "text" => {
                let event = json!({"epoch": 1, "type": "text", "text": "Thinking …"});
                assert_eq!((heard[0].name.as_str(), &heard[0].data), ("thinking", &event));
            }
            _ => assert!(!names(&heard).contains(&"thinking"), "{:?}", names(&heard)),
        }
        assert_eq!(heard.last().expect("done").data["usage"], usage);
        house.server.idle().await;
    }
}

/// Asks again while the first turn is listened to, and by the first's listener alone, who does not follow.
async fn another_question_outlives_the_first_ones_listener(of: &str) {
    let mut house = House::start(&[]).await;
    let (accepted, first) = house.ask(&json!({"text": "One?", "format": "pcm"})).await;
    let mut one = house.server.connect().await;
    let path = text(&accepted["streams"], of);
    one.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
    first.writes("First this. And then th").await;
    assert_eq!(one.head().await.0, 200);
    house.said(&accepted, "First this.").await;
    let id = text(&accepted, "dialogueId");
    let again = json!({"text": "Two?", "dialogueId": id, "format": "pcm"});
    let (second, asked) = house.ask(&again).await;
    one.rest().await;
    drop(one);
    let gone = |ledger: &Value| crate::server::live(ledger, "dialogue_listener") == 0;
    house.server.wait("the first one heard its end", gone).await;
    // There is half a minute to come and listen to what was accepted.
    let (two, status) = house.listen(&stream(&second), "").await;
    assert_eq!(status, 200, "{of}: the first listener's leaving ended the second turn");
    asked.writes("Now that.").await;
    asked.ends("stop").await;
    assert_eq!(names(&heard(two).await).last(), Some(&"done"));
    house.server.idle().await;
}

#[tokio::test]
async fn another_question_outlives_who_listened_to_the_first_ones_events() {
    another_question_outlives_the_first_ones_listener("events").await;
}

#[tokio::test]
async fn another_question_outlives_who_listened_to_the_first_ones_sound() {
    another_question_outlives_the_first_ones_listener("audio").await;
}

/// Asks for nothing but the head of a stream, which nobody else listens to.
async fn a_head_ends_nothing(of: &str) {
    let mut house = House::start(&[]).await;
    let (accepted, asked) = house.ask(&json!({"text": "Why?", "format": "pcm"})).await;
    asked.writes("Because it is so. And").await;
    house.said(&accepted, "Because it is so.").await;
    let mut client = house.server.connect().await;
    let path = text(&accepted["streams"], of);
    client.send(format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
    client.head().await;
    // Once the next one on the same connection is answered, the first is over.
    assert_eq!(client.get("/healthz").await.status, 200);
    let (_, status) = house.listen(&stream(&accepted), "").await;
    assert_eq!(status, 200, "HEAD of {of} ended the dialogue");
}

#[tokio::test]
async fn who_asks_for_the_head_of_events_ends_nothing() {
    a_head_ends_nothing("events").await;
}

#[tokio::test]
async fn who_asks_for_the_head_of_the_sound_ends_nothing() {
    a_head_ends_nothing("audio").await;
}
