//! Questions that are spoken: a recording is written down elsewhere, and what was understood is asked. Invariant: whatever
//! becomes of it, nothing of a recording is kept.

use serde_json::{Value, json};

use crate::fault_proxy::{Fault, FaultProxy};
use crate::http::Answer;
use crate::server::TestServer;
use crate::upstream::canned;

const BOUNDARY: &str = "here-and-there";

/// A form of such parts: name, what else is said of it, value.
fn form(parts: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, more, value) in parts {
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"{more}\r\n\r\n"
        );
        body.extend_from_slice(&[head.as_bytes(), value, b"\r\n"].concat());
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

const WAV: &str = "; filename=\"q.wav\"\r\ncontent-type: audio/wav";

async fn asks(server: &TestServer, body: &[u8], headers: &str) -> Answer {
    let length = body.len();
    let head = format!(
        "POST /api/voice/converse HTTP/1.1\r\nhost: localhost\r\n\
         content-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    let mut client = server.connect().await;
    client.send(&[head.as_bytes(), body].concat()).await;
    client.answer().await
}

/// A server, and who writes down for it what is said: by default `What is the ring?`.
async fn house() -> (TestServer, FaultProxy) {
    let proxy = FaultProxy::start(None).await;
    proxy.set(canned(
        "200 OK\r\ncontent-type: application/json",
        br#"{"text":" What is the ring? "}"#,
    ));
    let base = proxy.base();
    let pairs = [
        ("answer.transcriber.base_url", base.as_str()),
        ("answer.transcriber.api_key", "canary"),
        ("answer.transcriber.model", "small"),
        // Nobody is there; what is asked is taken all the same.
        ("answer.llm.base_url", "http://127.0.0.1:9/v1"),
        ("answer.llm.model", "none"),
        ("upstream.connect_seconds", "0.3"),
    ];
    (TestServer::start(&pairs).await, proxy)
}

#[tokio::test]
async fn what_was_understood_is_asked_and_told() {
    let (server, proxy) = house().await;
    let sound: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let request = br#"{"format":"pcm","thinking":"none"}"#;
    let body = form(&[("audio", WAV, &sound), ("request", "", request)]);
    let answer = asks(&server, &body, "").await;
    let told = answer.json();
    assert_eq!((answer.status, &told["text"]), (202, &json!("What is the ring?")), "{told}");
    assert_eq!(
        (&told["format"], &told["thinkingIndicator"]["type"]),
        (&json!("pcm"), &json!("none"))
    );
    let seen = proxy.wait_for_any("asked", |seen| seen.len() == 1).await;
    let (head, sent) = (&seen[0].head, &seen[0].bytes);
    assert!(head.starts_with("post /v1/audio/transcriptions http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer canary\r\n"), "{head}");
    let place = sent.windows(sound.len()).position(|window| window == sound).expect("the sound");
    let (before, behind) = (&sent[..place], &sent[place + sound.len()..]);
    let before = String::from_utf8(before.to_vec()).expect("text");
    let boundary = head.split("boundary=").nth(1).and_then(|rest| rest.split("\r\n").next());
    assert_eq!(before.to_lowercase().matches(boundary.expect("a boundary")).count(), 3, "{before}");
    for said in ["name=\"model\"\r\n\r\nsmall\r\n", "name=\"file\"; filename=\"question.wav\"\r\n"]
    {
        assert!(before.contains(said), "{before}");
    }
    assert!(behind.starts_with(b"\r\n--") && behind.ends_with(b"--\r\n"));
    // A text is no less a question, and is not told back.
    let text = json!({"text": "What is the ring?"}).to_string();
    let plain = server.connect().await.post("/api/voice/converse", text.as_bytes()).await;
    assert_eq!((plain.status, plain.json().get("text")), (202, None));
    for told in [told, plain.json()] {
        let id = told["dialogueId"].as_str().expect("an id");
        let delete =
            format!("DELETE /api/voice/dialogues/{id} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let mut client = server.connect().await;
        client.send(delete.as_bytes()).await;
        assert_eq!(client.answer().await.status, 204);
    }
    server.idle().await;
}

#[tokio::test]
async fn the_same_recording_under_a_key_is_written_down_once() {
    let (server, proxy) = house().await;
    let body = form(&[("audio", WAV, b"once"), ("request", "", b"{}")]);
    let key = "idempotency-key: again\r\n";
    let (one, other) = tokio::join!(asks(&server, &body, key), asks(&server, &body, key));
    assert_eq!((one.status, one.json()), (202, other.json()));
    assert_eq!(proxy.seen().len(), 1);
    let body = form(&[("audio", WAV, b"another"), ("request", "", b"{}")]);
    assert_eq!(asks(&server, &body, key).await.status, 422);
}

#[tokio::test]
async fn what_is_wrong_with_a_recording_is_said_by_its_name() {
    let (server, proxy) = house().await;
    let long = vec![0; 10_000_001];
    let wide = " ".repeat(300_000);
    let plain = "; filename=\"q.txt\"\r\ncontent-type: text/plain";
    for (parts, status, param, code) in [
        (vec![("request", "", b"{}".as_slice())], 400, "audio", "missing_audio"),
        (vec![("audio", WAV, b"".as_slice())], 400, "audio", "missing_audio"),
        (vec![("audio", plain, b"x".as_slice())], 400, "audio", "unknown_audio_type"),
        (vec![("audio", WAV, &*long)], 413, "audio", "about:blank"),
        (
            vec![("audio", WAV, b"x"), ("request", "", wide.as_bytes())],
            413,
            "request",
            "about:blank",
        ),
        (vec![("audio", WAV, b"x"), ("request", "", b"{")], 400, "", "invalid_json"),
        (
            vec![("audio", WAV, b"x"), ("request", "", br#"{"speed":9}"#)],
            400,
            "speed",
            "speed_out_of_range",
        ),
        (
            vec![("audio", WAV, b"x"), ("request", "", br#"{"text":"y"}"#)],
            400,
            "text",
            "text_and_audio",
        ),
    ] {
        let answer = asks(&server, &form(&parts), "").await;
        let told = answer.json();
        let param_told = told["param"].as_str().unwrap_or_default();
        assert_eq!((answer.status, param_told), (status, param), "{told}");
        assert!(status == 413 || told["type"] == code, "{told}");
    }
    let cut = asks(&server, b"--here-and-there\r\nnonsense", "").await;
    assert_eq!((cut.status, &cut.json()["param"]), (400, &json!("audio")));
    assert_eq!(proxy.seen().iter().filter(|seen| seen.bytes.len() > 600).count(), 0);
    server.idle().await;
}

#[tokio::test]
async fn what_goes_wrong_elsewhere_is_told_and_keeps_nothing() {
    let (server, proxy) = house().await;
    let body = form(&[("audio", WAV, b"who?")]);
    let json = "200 OK\r\ncontent-type: application/json";
    let refusal = br#"{"error":{"message":"canary: could not decode audio"}}"#;
    for (fault, status, param, code) in [
        (canned("400 Bad Request", refusal), 400, json!("audio"), "upstream_refused"),
        (canned("401 Unauthorized", b"{}"), 502, Value::Null, ""),
        (canned("500 Oh", b"{}"), 502, Value::Null, ""),
        (canned(json, b"{\"words\":[]}"), 502, Value::Null, ""),
        (canned(json, br#"{"text":"  "}"#), 400, json!("audio"), "nothing_said"),
        (Fault::Reset(0), 502, Value::Null, ""),
    ] {
        proxy.set(fault);
        let answer = asks(&server, &body, "").await;
        let told = answer.json();
        assert_eq!((answer.status, &told["param"]), (status, &param), "{code}: {told}");
        assert!(status == 502 || told["type"] == code, "{told}");
        assert!(!told.to_string().contains("canary"), "{told}");
    }
    server.idle().await;
}

#[tokio::test]
async fn where_nobody_writes_down_what_is_said_that_is_said_before_it_is_read() {
    let somebody = [("answer.llm.base_url", "http://127.0.0.1:9/v1"), ("answer.llm.model", "none")];
    let server = TestServer::start(&somebody).await;
    let head = format!(
        "POST /api/voice/converse HTTP/1.1\r\nhost: localhost\r\n\
         content-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: 9000000\r\n\r\n"
    );
    let mut client = server.connect().await;
    client.send(head.as_bytes()).await;
    let answer = client.answer().await;
    let told = answer.json();
    assert_eq!((answer.status, &told["param"]), (400, &json!("audio")));
    assert_eq!(told["type"], "audio_input_unavailable");
    assert!(
        told["detail"].as_str().is_some_and(|said| said.contains("answer.transcriber.base_url"))
    );
    let status = server.get("/api/status").await.json();
    assert_eq!((&status["transcribing"], &status["answering"]), (&json!(false), &json!("llm")));
    drop(client);
    server.idle().await;
}
