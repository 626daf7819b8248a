//! What can be wrong with a question, and what can go wrong with its answer. Invariants: each is told by its name, in the shape
//! of problems; an answer that breaks off never looks whole; nothing of it is kept.

use evensong::http::auth::Scope;
use evensong::http::limit::Rates;
use serde_json::{Value, json};

use crate::access::{Keyed, bearer};
use crate::dialogue::{House, heard, names, sound, stream, text};
use crate::fault_proxy::FaultProxy;
use crate::http::{Answer, Client};
use crate::server::TestServer;
use crate::upstream::canned;
use crate::writer::Writer;

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

#[tokio::test]
async fn who_was_cut_off_before_another_question_hears_the_interruption_and_what_follows() {
    let mut house = House::start(&[]).await;
    let question = json!({"text": "One?", "format": "pcm", "resumable": true});
    let (accepted, first) = house.ask(&question).await;
    let follow = stream(&accepted) + "&follow=1";
    let (before, _) = house.listen(&follow, "").await;
    first.writes("One two three. And f").await;
    house.said(&accepted, "One two three.").await;
    drop(before);
    let gone = |ledger: &Value| crate::server::live(ledger, "dialogue_listener") == 0;
    house.server.wait("it left", gone).await;
    let id = text(&accepted, "dialogueId").to_string();
    let again = json!({"text": "Two?", "dialogueId": id, "played_ms": 100_000, "resumable": true});
    let (_, second) = house.ask(&again).await;
    let (back, status) = house.listen(&follow, "last-event-id: 1.1\r\n").await;
    second.writes("Four.").await;
    second.ends("stop").await;
    house.said(&accepted, "Four.").await;
    assert_eq!(
        (status, house.request("DELETE", &format!("/api/voice/dialogues/{id}")).await.status),
        (200, 204)
    );
    let back = heard(back).await;
    assert_eq!(back[0].name, "interrupted", "{:?}", names(&back));
    assert_eq!(back[0].data["heard_text"], "One two three.");
    assert!(
        back[0].id.starts_with("1.") && back[1..].iter().all(|event| event.id.starts_with("2."))
    );
    assert_eq!(names(&back[1..]).first(), Some(&"thinking"));
    assert!(back.iter().any(|event| event.name == "audio"), "{:?}", names(&back));
    house.server.idle().await;
}

#[tokio::test]
async fn past_its_grace_it_is_over_and_who_comes_back_stops_coming() {
    let mut house = House::start(&[("dialogue.grace_seconds", "0.2")]).await;
    let question = json!({"text": "Why?", "resumable": true});
    let (accepted, asked) = house.ask(&question).await;
    let (listener, _) = house.listen(&stream(&accepted), "").await;
    asked.writes("Because it is so. And th").await;
    house.said(&accepted, "Because it is so.").await;
    drop(listener);
    asked.left().await;
    house.server.idle().await;
    let back = house.listen(&stream(&accepted), "last-event-id: 1.1\r\n").await.1;
    assert_eq!((back, house.listen(&stream(&accepted), "").await.1), (204, 404));
    let metrics = Client::connect(house.server.server.admin).await.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body).expect("text");
    assert!(metrics.contains("evensong_dialogues_total{end=\"expired\"} 1"), "{metrics}");
}

/// A request with those header fields, and its answer.
async fn send(
    server: &TestServer,
    (method, path): (&str, &str),
    fields: &str,
    body: &str,
) -> Answer {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{fields}content-length: {length}\r\n\r\n"
    );
    let mut client = server.connect().await;
    client.send(&[head.as_bytes(), body.as_bytes()].concat()).await;
    client.answer().await
}

const CONVERSE: (&str, &str) = ("POST", "/api/voice/converse");

#[tokio::test]
async fn what_is_just_within_the_bounds_is_taken() {
    let mut house = House::start(&[]).await;
    let said = json!({"role": "user", "text": "x"});
    let key = |length: usize| format!("idempotency-key: {}\r\n", "k".repeat(length));
    for (body, fields, status) in [
        (json!({"text": "x".repeat(16 * 1024)}), String::new(), 202),
        (json!({"text": "x", "history": vec![said; 64]}), String::new(), 202),
        (json!({"text": "x", "speed": 4, "played_ms": u32::MAX}), String::new(), 202),
        (json!({"text": "x", "speed": 0.25, "model": null}), key(255), 202),
        (json!({"text": "x"}), key(256), 400),
    ] {
        let answer = send(&house.server, CONVERSE, &fields, &body.to_string()).await;
        assert_eq!(answer.status, status, "{}", answer.json());
        if status == 202 {
            let asked = house.writer.asked().await;
            let path = format!("/api/voice/dialogues/{}", text(&answer.json(), "dialogueId"));
            assert_eq!(house.request("DELETE", &path).await.status, 204);
            asked.left().await;
        }
    }
    house.server.idle().await;
}

#[tokio::test]
async fn a_dialogue_of_another_key_is_none_and_so_is_what_was_asked_under_it() {
    let mut writer = Writer::start().await;
    let llm = [("answer.llm.base_url", &*writer.base), ("answer.llm.model", "small")];
    let keyed = Keyed::start(&llm).await;
    let ann = bearer(&keyed.add("ann", &[Scope::Dialogue], Rates::default()));
    let bob = bearer(&keyed.add("bob", &[Scope::Dialogue], Rates::default()));
    let (server, once) = (&keyed.server, "idempotency-key: once\r\n");
    let question = r#"{"text":"Why?"}"#;
    let mut accepted = Vec::new();
    for key in [&ann, &bob] {
        let answer = send(server, CONVERSE, &format!("{key}{once}"), question).await;
        assert_eq!(answer.status, 202, "{}", answer.json());
        accepted.push((answer.json(), writer.asked().await));
    }
    let [anns, bobs] = [0, 1].map(|n| text(&accepted[n].0, "dialogueId").to_string());
    assert_ne!(anns, bobs, "a key of one of them is another's as well");
    // Hers, and one that never was: nothing tells them apart.
    for id in [&anns, &"0".repeat(32)] {
        let body = json!({"text": "Why?", "dialogueId": id}).to_string();
        let answer = send(server, CONVERSE, &bob, &body).await;
        assert_eq!((answer.status, &answer.json()["param"]), (404, &json!("dialogueId")));
        let dialogue = format!("/api/voice/dialogues/{id}");
        let events = format!("/api/voice/open-stream?dialogueId={id}");
        let own = stream(&accepted[1].0);
        let capability = own.split_once("&capability=").expect("a capability").1;
        for (method, path, body) in [
            ("GET", events.clone(), ""),
            ("GET", format!("{events}&capability={capability}"), ""),
            ("GET", format!("{dialogue}/audio"), ""),
            ("POST", format!("{dialogue}/heard"), r#"{"played_ms":1}"#),
            ("DELETE", dialogue.clone(), ""),
        ] {
            let answer = send(server, (method, &path), &bob, body).await;
            let told = answer.json();
            assert_eq!(
                (answer.status, &told["type"]),
                (404, &json!("dialogue_not_found")),
                "{told}"
            );
            assert!(!told.to_string().contains(id.as_str()), "{told}");
        }
        assert_eq!(send(server, ("GET", &events), "", "").await.status, 401);
    }
    // The capability lets in who has no key, and ends with the dialogue.
    let mut listener = server.connect().await;
    let events = stream(&accepted[0].0);
    listener.send(format!("GET {events} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
    assert_eq!(listener.head().await.0, 200);
    for (key, id) in [(&ann, &anns), (&bob, &bobs)] {
        let path = format!("/api/voice/dialogues/{id}");
        assert_eq!(send(server, ("DELETE", &path), key, "").await.status, 204);
    }
    assert_eq!(names(&heard(listener).await).last(), Some(&"interrupted"));
    assert_eq!(send(server, ("GET", &events), "", "").await.status, 404);
    server.idle().await;
}

#[tokio::test]
async fn none_of_ten_thousand_guesses_is_a_capability() {
    let mut house = House::start(&[]).await;
    let (accepted, asked) = house.ask(&json!({"text": "Why?"})).await;
    let (id, events) = (text(&accepted, "dialogueId").to_string(), stream(&accepted));
    let real = events.split_once("&capability=").expect("a capability").1.to_string();
    let dialogues = house.server.server.services.dialogues.clone();
    assert!(dialogues.find_by_capability(&id, &real).is_ok());
    // All that differ in one digit, and what is longer, shorter or written otherwise.
    let near = (0..real.len()).flat_map(|place| {
        let real = &real;
        "0123456789abcdef"
            .chars()
            .map(move |digit| format!("{}{digit}{}", &real[..place], &real[place + 1..]))
    });
    let odd =
        [String::new(), real[1..].into(), format!("{real}0"), real.to_uppercase(), id.clone()];
    let far = (0..10_000u128).map(|n| format!("{:032x}", (n + 1).wrapping_mul(u128::MAX / 9_973)));
    let mut guesses = 0;
    for guess in near.chain(odd).chain(far).filter(|guess| *guess != real) {
        assert!(dialogues.find_by_capability(&id, &guess).is_err(), "{guess} is as good as {real}");
        guesses += 1;
    }
    assert!(guesses > 10_000, "only {guesses}");
    assert!(dialogues.find_by_capability(&real, &real).is_err(), "it is no id");
    dialogues.find_by_capability(&id, &real).expect("there").delete(None);
    assert!(dialogues.find_by_capability(&id, &real).is_err(), "it outlived its dialogue");
    asked.left().await;
    house.server.idle().await;
}

#[tokio::test]
async fn a_model_that_refuses_is_an_error_either_way_and_its_key_is_never_told() {
    let proxy = FaultProxy::start(None).await;
    let base = proxy.base();
    let llm = [
        ("answer.llm.base_url", &*base),
        ("answer.llm.model", "small"),
        ("answer.llm.api_key", "sk-canary"),
    ];
    let server = TestServer::start(&llm).await;
    let why = br#"{"error":{"message":"no such model for sk-canary","code":"sk-canary"}}"#;
    let event = [b"data: ", &why[..], b"\n\n"].concat();
    for (answer, body, code) in [
        ("400 Bad Request\r\ncontent-type: application/json", &why[..], "upstream_refused"),
        ("401 Unauthorized\r\ncontent-type: application/json", why, "upstream_denied"),
        ("302 Found\r\nlocation: http://169.254.169.254/", b"", "upstream_failed"),
        ("200 OK\r\ncontent-type: application/json", why, "upstream_failed"),
        ("200 OK\r\ncontent-type: text/event-stream", &event, "upstream_failed"),
    ] {
        proxy.set(canned(answer, body));
        let mut asked = Vec::new();
        for _ in 0..2 {
            let question = r#"{"text":"Why?","format":"pcm"}"#;
            let accepted = send(&server, CONVERSE, "", question).await;
            assert_eq!(accepted.status, 202, "{answer}: {}", accepted.json());
            asked.push(accepted.json());
        }
        let told = server.get(&stream(&asked[0])).await;
        let told = String::from_utf8(told.body).expect("text");
        let error = told.lines().rev().find_map(|line| line.strip_prefix("data: "));
        let error: Value = serde_json::from_str(error.expect("an event")).expect("JSON");
        assert!(told.contains("event: error\n") && !told.contains("event: done"), "{told}");
        assert_eq!((&error["epoch"], &error["error"]["code"]), (&json!(1), &json!(code)));
        assert!(!text(&error["error"], "message").is_empty(), "{error}");
        let sound = server.get(text(&asked[1]["streams"], "audio")).await;
        assert_eq!((sound.status, &sound.json()["type"]), (502, &json!(code)), "{answer}");
        for told in [told, sound.json().to_string()] {
            assert!(!told.contains("canary") && !told.contains("169.254"), "{told}");
        }
        server.idle().await;
    }
    assert!(proxy.seen().iter().all(|seen| seen.head.contains("authorization: bearer sk-canary")));
}

#[tokio::test]
async fn an_event_id_that_none_has_is_refused() {
    let mut house = House::start(&[]).await;
    let question = json!({"text": "Why?", "format": "pcm", "resumable": true});
    let (accepted, asked) = house.ask(&question).await;
    asked.writes("Because it is so. And").await;
    house.said(&accepted, "Because it is so.").await;
    for id in [
        "+1.1",
        "1.+1",
        "01.1",
        "1.01",
        "0.1",
        "0.0",
        "1.0",
        "1",
        "1.",
        ".1",
        "1.1.1",
        "1.99999999999999999999",
    ] {
        let header = format!("last-event-id: {id}\r\n");
        let path = stream(&accepted);
        let refused = send(&house.server, ("GET", &path), &header, "").await;
        let told = refused.json();
        assert_eq!((refused.status, &told["type"]), (400, &json!("invalid_event_id")), "{id}");
        assert_eq!(told["param"], "Last-Event-ID", "{id}");
    }
}
