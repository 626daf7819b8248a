//! What can be wrong with a question, and what can go wrong with its answer. Invariants: each is told by its name, in the shape
//! of problems; an answer that breaks off never looks whole; nothing of it is kept.

use serde_json::{Value, json};

use crate::dialogue::{House, heard, names, sound, stream, text};
use crate::http::Client;

#[tokio::test]
async fn what_is_wrong_with_a_question_is_said_by_its_name() {
    let mut house = House::start(&[]).await;
    let long = "x".repeat(16 * 1024 + 1);
    let said = json!({"role": "user", "text": "x"});
    for (body, status, param, kind) in [
        (json!({}), 400, "text", "invalid_parameter"),
        (json!({"text": " \n"}), 400, "text", "empty_text"),
        (json!({"text": long}), 400, "text", "text_too_long"),
        (json!({"text": 5}), 400, "text", "invalid_parameter"),
        (json!({"text": "x", "dialogueId": "0"}), 404, "dialogueId", "dialogue_not_found"),
        (json!({"text": "x", "voice": "klingon"}), 400, "voice", "unknown_voice"),
        (json!({"text": "x", "model": "piper"}), 400, "model", "unknown_engine"),
        (json!({"text": "x", "speed": 4.000000000000001}), 400, "speed", "speed_out_of_range"),
        (json!({"text": "x", "format": "aac"}), 400, "format", "unsupported_format"),
        (json!({"text": "x", "thinking": "loud"}), 400, "thinking", "unknown_indicator"),
        (json!({"text": "x", "resumable": "yes"}), 400, "resumable", "invalid_parameter"),
        (json!({"text": "x", "history": vec![said; 65]}), 400, "history", "history_too_long"),
        (
            json!({"text": "x", "history": [{"role": "cat", "text": "x"}]}),
            400,
            "history",
            "invalid_parameter",
        ),
        (json!({"text": "x", "played_ms": -1}), 400, "played_ms", "invalid_parameter"),
        (json!([]), 400, "", "invalid_json"),
    ] {
        let answer = house.converse(&body).await;
        let told = answer.json();
        let short = &body.to_string()[..body.to_string().len().min(80)];
        assert_eq!(answer.header("content-type"), "application/problem+json", "{short}");
        assert_eq!(
            (answer.status, told["param"].as_str().unwrap_or_default()),
            (status, param),
            "{told}"
        );
        assert_eq!(told["type"], kind, "{short}");
    }
    let wide = vec![b' '; 256 * 1024 + 1];
    let wide = house.server.connect().await.post("/api/voice/converse", &wide).await;
    assert_eq!(wide.status, 413);
    for (query, param) in [("", "dialogueId"), ("?dialogueId=0&follow=maybe", "follow")] {
        let answer = house.server.get(&format!("/api/voice/open-stream{query}")).await;
        assert_eq!((answer.status, &answer.json()["param"]), (400, &json!(param)));
    }
    assert!(house.writer.is_idle(), "something of it was asked");
    house.server.idle().await;
}

#[tokio::test]
async fn ids_and_capabilities_cannot_be_guessed() {
    let mut house = House::start(&[]).await;
    let (accepted, asked) = house.ask(&json!({"text": "Why?"})).await;
    let id = text(&accepted, "dialogueId").to_string();
    let mut client = house.server.connect().await;
    // Near ones, and far ones.
    let near = |n: usize| {
        let mut near = id.clone().into_bytes();
        let place = n % near.len();
        near[place] = if near[place] == b'0' { b'1' } else { b'0' };
        String::from_utf8(near).expect("hex")
    };
    for n in 0..10_000 {
        let guess = if n < 32 { near(n) } else { format!("{n:032x}") };
        let answer = client.get(&format!("/api/voice/open-stream?dialogueId={guess}")).await;
        assert_eq!((answer.status, &answer.json()["type"]), (404, &json!("dialogue_not_found")));
    }
    let guess = format!("/api/voice/open-stream?dialogueId={id}&capability={id}");
    let statuses = async |client: &mut Client| client.get(&guess).await.status;
    let mut guesses = 0;
    while statuses(&mut client).await == 404 {
        guesses += 1;
        assert!(guesses < 200, "who guesses is not slowed down");
    }
    assert_eq!(statuses(&mut client).await, 429);
    drop((asked, client));
    let deleted = house.request("DELETE", &format!("/api/voice/dialogues/{id}")).await;
    assert_eq!(deleted.status, 204);
    house.server.idle().await;
}

#[tokio::test]
async fn the_same_question_under_a_key_is_asked_once() {
    let mut house = House::start(&[]).await;
    let ask = async |house: &House, key: &str, question: &str| {
        let body = json!({"text": question}).to_string();
        let head = format!(
            "POST /api/voice/converse HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n{key}\r\n",
            body.len()
        );
        let mut client = house.server.connect().await;
        client.send(&[head.as_bytes(), body.as_bytes()].concat()).await;
        client.answer().await
    };
    let key = "idempotency-key: once\r\n";
    let many: Vec<_> = (0..20).map(|_| ask(&house, key, "Why?")).collect();
    let many = futures_util::future::join_all(many).await;
    assert!(many.iter().all(|answer| answer.status == 202 && answer.body == many[0].body));
    let asked = house.writer.asked().await;
    assert!(house.writer.is_idle(), "it was asked twice");
    let other = ask(&house, key, "Why not?").await;
    assert_eq!((other.status, &other.json()["type"]), (422, &json!("idempotency_mismatch")));
    let accepted = many[0].json();
    let id = text(&accepted, "dialogueId");
    assert_eq!(house.request("DELETE", &format!("/api/voice/dialogues/{id}")).await.status, 204);
    asked.left().await;
    let over = ask(&house, key, "Why?").await;
    assert_eq!((over.status, &over.json()["type"]), (409, &json!("turn_over")));
    for key in ["idempotency-key: \r\n", "idempotency-key: a\r\nidempotency-key: b\r\n"] {
        let bad = ask(&house, key, "Why?").await;
        assert_eq!((bad.status, &bad.json()["param"]), (400, &json!("Idempotency-Key")));
    }
    // Without one, twice is twice, and is counted.
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(text(&ask(&house, "", "Where?").await.json(), "dialogueId").to_string());
    }
    assert_ne!(ids[0], ids[1]);
    let metrics = Client::connect(house.server.server.admin).await.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body).expect("text");
    assert!(metrics.contains("suspected_duplicates_total 1"), "{metrics}");
    for id in ids {
        house.request("DELETE", &format!("/api/voice/dialogues/{id}")).await;
    }
    house.server.idle().await;
}

/// How a model goes wrong.
enum Way {
    Dies,
    Nonsense,
    Ends,
    NeverEnds,
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_spoken_as_far_as_it_came_and_never_done() {
    let mut house = House::start(&[]).await;
    for (way, code) in [
        (Way::Dies, "upstream_failed"),
        (Way::Nonsense, "upstream_failed"),
        (Way::NeverEnds, "answer_too_long"),
    ] {
        let (accepted, asked) =
            house.ask(&json!({"text": "Why?", "format": "pcm", "speed": 4})).await;
        let (listener, _) = house.listen(&stream(&accepted), "").await;
        asked.writes("This was said. And this was n").await;
        house.said(&accepted, "This was said.").await;
        match way {
            Way::Dies => asked.dies().await,
            Way::Nonsense => asked.says("data: {nonsense}\n\n").await,
            _ => {
                let more = "ever said and ".repeat(100);
                // It is not read to its end.
                for _ in 0..40 {
                    let line = json!({"choices": [{"delta": {"content": more}}]});
                    asked.tries(&format!("data: {line}\n\n")).await;
                }
            }
        }
        let heard = heard(listener).await;
        let error = &heard.last().expect("an end").data["error"];
        assert_eq!(
            (names(&heard).last(), &error["code"]),
            (Some(&"error"), &json!(code)),
            "{error}"
        );
        assert!(
            sound(&heard).len() > 4800,
            "{code}: what was said is not heard: {}",
            sound(&heard).len()
        );
        house.server.idle().await;
    }
}

#[tokio::test]
async fn an_answer_that_never_begins_is_a_failure_of_whoever_answers() {
    let mut house = House::start(&[]).await;
    for (way, code) in [(Way::Ends, "empty_answer"), (Way::Dies, "upstream_failed")] {
        let (accepted, asked) = house.ask(&json!({"text": "Why?"})).await;
        let (listener, _) = house.listen(&stream(&accepted), "").await;
        let mut sound = house.server.connect().await;
        let path = text(&accepted["streams"], "audio");
        sound.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
        let both = |ledger: &Value| crate::server::live(ledger, "dialogue_listener") == 2;
        house.server.wait("both listen", both).await;
        match way {
            Way::Ends => asked.ends("stop").await,
            _ => asked.dies().await,
        }
        let heard = heard(listener).await;
        assert_eq!(heard.last().map(|last| &last.data["error"]["code"]), Some(&json!(code)));
        assert_eq!(sound.answer().await.status, 502, "{code}");
        drop(sound);
        house.server.idle().await;
    }
}

#[tokio::test]
async fn where_nobody_answers_that_is_said() {
    let server = crate::server::TestServer::start(&[]).await;
    let answer = server.connect().await.post("/api/voice/converse", br#"{"text":"Why?"}"#).await;
    assert_eq!((answer.status, &answer.json()["type"]), (404, &json!("not_configured")));
    server.idle().await;
}
