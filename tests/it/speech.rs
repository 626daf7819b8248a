//! `POST /v1/audio/speech` from outside: what is made of good input, and what is said of bad.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::http::{Answer, post};
use crate::server::TestServer;

/// Speech is somewhere between these, in characters a second.
const CHARS_PER_SECOND: std::ops::Range<f64> = 6.0..30.0;

fn level(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    (sum / samples.len() as f64).sqrt()
}

#[tokio::test]
async fn wav_has_one_header_and_the_samples_of_pcm() {
    let server = TestServer::start(&[]).await;
    let body = |format| json!({"input": "One two three.", "response_format": format});
    let wav = server.speech(&body("wav")).await;
    let pcm = server.speech(&body("pcm")).await;
    assert_eq!((wav.status, wav.header("content-type")), (200, "audio/wav"));
    assert_eq!(pcm.header("content-type"), "audio/pcm;rate=24000;channels=1");
    assert!(wav.whole && pcm.whole);
    assert_eq!(wav.body.windows(4).filter(|four| four == b"RIFF").count(), 1);
    assert_eq!(wav.body[44..], pcm.body[..]);
    assert_eq!(wav.header("cache-control"), "no-store, no-transform");
    assert_eq!((wav.header("x-cache"), wav.header("x-stream-max-bytes")), ("miss", "450560"));
    let long = json!({"input": "word ".repeat(100), "response_format": "wav"});
    assert_eq!(server.speech(&long).await.header("x-stream-max-bytes"), "450560");
    assert_eq!((wav.header("x-engine"), wav.header("x-voice")), ("tone", "tone"));
    assert!(wav.header("server-timing").starts_with("first;dur="));
    server.idle().await;
}

async fn timestamps(server: &TestServer, body: &Value) -> Answer {
    server.connect().await.post("/v1/audio/speech/timestamps", body.to_string().as_bytes()).await
}

/// The lines of a timed answer, and the sound in them.
fn timed(answer: &Answer) -> (Vec<Value>, Vec<u8>) {
    let text = String::from_utf8(answer.body.clone()).expect("text");
    let parse = |line: &str| serde_json::from_str(line.trim_start_matches("data: ")).expect("JSON");
    let lines: Vec<Value> = text.lines().filter(|line| !line.is_empty()).map(parse).collect();
    let sound = lines.iter().filter_map(|line| line["audio"].as_str());
    let sound = sound.flat_map(|audio| STANDARD.decode(audio).expect("base64")).collect();
    (lines, sound)
}

#[tokio::test]
async fn with_the_times_of_words_it_is_the_same_sound() {
    let server = TestServer::start(&[]).await;
    let text = "It is ten, and all is well.\n\nNobody knows why.";
    for (format, speed) in [("pcm", 0.25), ("wav", 1.0), ("mp3", 1.0), ("opus", 4.0), ("flac", 0.3)]
    {
        let body = json!({"input": text, "response_format": format, "speed": speed});
        let plain = server.speech(&body).await;
        let answer = timestamps(&server, &body).await;
        assert_eq!((answer.status, answer.whole), (200, true), "{format}");
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        let (lines, sound) = timed(&answer);
        assert!(sound == plain.body, "{format}: {} bytes, not {}", sound.len(), plain.body.len());
        let (last, parts) = lines.split_last().expect("lines");
        assert_eq!((&last["type"], &last["usage"]["input_tokens"]), (&json!("done"), &json!(12)));
        // What is told at once is bounded, however slowly it is spoken.
        let longest = parts.iter().map(|part| part["audio"].as_str().map_or(0, str::len)).max();
        assert!(longest <= Some(16 * 1024), "{format}: {longest:?}");
        let words: Vec<_> =
            parts.iter().flat_map(|part| part["words"].as_array().expect("words")).collect();
        let said: Vec<_> = words.iter().filter_map(|word| word["word"].as_str()).collect();
        assert_eq!(said, text.split_whitespace().collect::<Vec<_>>(), "{format}");
        let times = words.iter().flat_map(|word| [&word["start_ms"], &word["end_ms"]]);
        let times: Vec<_> = times.map(|time| time.as_u64().expect("a time")).collect();
        assert!(times.is_sorted(), "{format}: {times:?}");
        if format == "pcm" {
            let whole = sound.len() as u64 / 48;
            assert!(times.last().is_some_and(|last| whole.abs_diff(*last) < 50), "{times:?}");
        }
    }
    server.idle().await;
}

#[tokio::test]
async fn the_times_of_words_come_in_events_as_well_and_errors_name_what_is_wrong() {
    let server = TestServer::start(&[]).await;
    let events =
        timestamps(&server, &json!({"input": "Good evening.", "stream_format": "sse"})).await;
    assert_eq!((events.status, events.header("content-type")), (200, "text/event-stream"));
    assert!(events.body.ends_with(b"}\n\n") && events.body.starts_with(b"data: {"));
    assert_eq!(timed(&events).0.last().map(|last| last["type"].clone()), Some(json!("done")));
    for (body, param, code) in [
        (json!({"input": " "}), "input", "empty_input"),
        (json!({"input": "..."}), "input", "nothing_to_say"),
        (json!({"input": "a", "stream_format": "audio"}), "stream_format", "unknown_stream_format"),
        (json!({"input": "a", "response_format": "aac"}), "response_format", "unsupported_format"),
        (json!({"input": "a", "voice": "nobody"}), "voice", "unknown_voice"),
        (json!({"input": "a", "speed": 5}), "speed", "speed_out_of_range"),
        (json!({"voice": "a"}), "input", "invalid_parameter"),
    ] {
        let answer = timestamps(&server, &body).await;
        let error = &answer.json()["error"];
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!((&error["param"], &error["code"]), (&json!(param), &json!(code)), "{body}");
    }
    server.idle().await;
}

#[tokio::test]
async fn equal_short_requests_are_made_once_and_kept() {
    let server = TestServer::start(&[]).await;
    let body = json!({"input": "Good evening.", "response_format": "pcm"});
    let request = post("/v1/audio/speech", body.to_string().as_bytes());
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = crate::http::Client::connect_narrow(server.server.listen[0]).await;
        client.send(&request).await;
        clients.push(client);
    }
    // The first of them never reads; the others do not wait for it.
    let stalled = clients.remove(0);
    let mut bodies = Vec::new();
    for client in &mut clients {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.whole), (200, true));
        assert!(["miss", "shared", "hit"].contains(&answer.header("x-cache")));
        bodies.push(answer.body);
    }
    assert!(bodies.windows(2).all(|two| two[0] == two[1]));
    let again = server.speech(&body).await;
    assert_eq!((again.header("x-cache"), &again.body), ("hit", &bodies[0]));
    let faster = json!({"input": "Good evening.", "response_format": "pcm", "speed": 2});
    assert_eq!(server.speech(&faster).await.header("x-cache"), "miss");
    drop((stalled, clients));
    let ledger = server.idle().await;
    let ever = |kind: &str| {
        let kinds = ledger["kinds"].as_array().expect("kinds");
        kinds.iter().find(|row| row["kind"] == kind).expect("known")["ever"].clone()
    };
    assert_eq!((ever("job"), ever("phrase")), (json!(2), json!(2)));
}

#[tokio::test]
async fn a_text_is_spoken_at_the_pace_and_level_of_speech() {
    let Some(server) = TestServer::espeak("a text is spoken").await else { return };
    let text =
        "Evening falls. The lamps are lit, and somebody begins to sing, quietly, in the hall.";
    let body = json!({"input": text, "voice": "alloy", "response_format": "wav"});
    let answer = server.speech(&body).await;
    assert_eq!((answer.status, answer.header("x-voice")), (200, "alloy"));
    let samples = answer.samples();
    let pace = text.len() as f64 / (samples.len() as f64 / 24_000.0);
    assert!(CHARS_PER_SECOND.contains(&pace), "{pace} characters a second");
    assert!((500.0..10_000.0).contains(&level(&samples)), "level {}", level(&samples));
    assert!(samples.iter().all(|s| s.unsigned_abs() < 32_700), "it clips");
    server.idle().await;
}

#[tokio::test]
async fn speed_makes_it_shorter_and_longer() {
    let Some(server) = TestServer::espeak("speed").await else { return };
    let mut lengths = Vec::new();
    for speed in [0.25, 0.5, 1.0, 2.0, 4.0] {
        let body = json!({"input": "A sentence of some words, to be measured.", "speed": speed});
        lengths.push(server.speech(&body).await.samples().len() as f64);
    }
    for pair in lengths.windows(2) {
        let ratio = pair[0] / pair[1];
        assert!((1.5..2.5).contains(&ratio), "double speed gave {ratio} of {lengths:?}");
    }
}

#[tokio::test]
async fn difficult_text_is_spoken_as_far_as_can_be_and_ends() {
    let Some(server) = TestServer::espeak("difficult text").await else { return };
    let digits = "7".repeat(200);
    let endless = "a".repeat(4096);
    let words = "seven ".repeat(600);
    for (name, input) in [
        ("digits", digits.as_str()),
        ("4,096 letters without a space", &endless),
        ("many words", &words),
        ("emoji and words", "Good 😀 morning 🎉!"),
        ("controls", "a\u{1}b\u{200b}c \u{202e}d\u{7f} e"),
        ("scripts", "Hello 你好 Привет مرحبا नमस्ते"),
        ("markup", "<speak><break time='10h'/>Hi & bye</speak>"),
        ("phonemes", "[[h@l'oU]] there"),
    ] {
        let answer = server.speech(&json!({"input": input, "response_format": "pcm"})).await;
        assert_eq!((answer.status, answer.whole), (200, true), "{name}");
        assert!(answer.body.len() > 4800, "{name}: only {} bytes", answer.body.len());
    }
    server.idle().await;
}

#[tokio::test]
async fn short_texts_that_sound_long_are_whole() {
    let Some(server) = TestServer::espeak("short texts that sound long").await else { return };
    for (input, voice) in [
        ("It is 1,234,567.", "en-us"),
        ("192.168.100.254", "en-us"),
        ("123456789012 777777777777", "en-us"),
        ("2024-05-03 10:30", "en"),
        ("今天天气很好，我们走吧。", "zh"),
        ("今日は天気がいいです", "ja"),
        ("Das Zeichen 好 bedeutet gut, und ㄱ ist koreanisch, ก ist Thai.", "de"),
        // A row of dashes in front of a foreign letter makes some of espeak's voices crash.
        ("---好", "hi"),
    ] {
        let body = json!({"input": input, "voice": voice, "response_format": "pcm"});
        let slow = json!({"input": input, "voice": voice, "response_format": "pcm", "speed": 0.25});
        for body in [body, slow] {
            let answer = server.speech(&body).await;
            assert_eq!((answer.status, answer.whole), (200, true), "{body}");
            assert!(answer.body.len() > 24_000, "{body}: {} bytes", answer.body.len());
        }
    }
    assert_eq!(server.server.services.metrics.worker_crashes.get(), 0);
    server.idle().await;
}

#[tokio::test]
async fn bad_input_is_answered_by_naming_the_parameter() {
    let server = TestServer::start(&[]).await;
    let long = "x".repeat(4097);
    for (body, param, code) in [
        (json!({}), json!("input"), "invalid_parameter"),
        (json!({"input": ""}), json!("input"), "empty_input"),
        (json!({"input": " \n\t"}), json!("input"), "empty_input"),
        (json!({"input": "😀 …"}), json!("input"), "nothing_to_say"),
        (json!({"input": 5}), json!("input"), "invalid_parameter"),
        (json!({"input": long}), json!("input"), "input_too_long"),
        (json!({"input": "x", "voice": "klingon"}), json!("voice"), "unknown_voice"),
        (json!({"input": "x", "voice": 7}), json!("voice"), "invalid_parameter"),
        (json!({"input": "x", "model": "piper"}), json!("model"), "unknown_engine"),
        (json!({"input": "x", "speed": 9}), json!("speed"), "speed_out_of_range"),
        (json!({"input": "x", "speed": "fast"}), json!("speed"), "invalid_parameter"),
        (
            json!({"input": "x", "response_format": "aac"}),
            json!("response_format"),
            "unsupported_format",
        ),
        (
            json!({"input": "x", "response_format": "zip"}),
            json!("response_format"),
            "unsupported_format",
        ),
        (
            json!({"input": "x", "stream_format": "smoke"}),
            json!("stream_format"),
            "unknown_stream_format",
        ),
        (json!([1]), Value::Null, "invalid_json"),
    ] {
        let answer = server.speech(&body).await;
        let error = &answer.json()["error"];
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!((&error["param"], &error["code"]), (&param, &json!(code)), "{body}");
        assert_eq!(error["type"], "invalid_request_error", "{body}");
        assert!(!error["message"].as_str().unwrap_or("").is_empty());
    }
    let known = server.speech(&json!({"input": "x", "response_format": "aac"})).await.json();
    assert!(known["error"]["message"].as_str().is_some_and(|m| m.contains("wav, pcm")));
    server.idle().await;
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused_without_harm() {
    let server = TestServer::start(&[]).await;
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_inside = format!("{{\"input\":\"x\",\"other\":{deep}}}");
    let broken: [&[u8]; 5] = [
        b"{\"input\":",
        b"\"input\": \"\xff\xfe\"",
        deep.as_bytes(),
        deep_inside.as_bytes(),
        b"{} {}",
    ];
    for body in broken {
        let answer = server.connect().await.post("/v1/audio/speech", body).await;
        assert_eq!(answer.status, 400, "{:?}", String::from_utf8_lossy(&body[..8]));
    }
    let invalid = server.connect().await.post("/v1/audio/speech", b"{\"input\":\"a\xffb\"}").await;
    assert_eq!(invalid.status, 400);
    server.idle().await;
}

#[tokio::test]
async fn a_body_beyond_its_cap_is_refused_before_it_is_read() {
    let server = TestServer::start(&[]).await;
    let mut said = server.connect().await;
    said.send(
        b"POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\ncontent-length: 65537\r\n\r\n",
    )
    .await;
    assert_eq!(said.answer().await.status, 413);
    let mut endless = server.connect().await;
    endless
        .send(b"POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = [b"1000\r\n".as_slice(), &[b' '; 4096], b"\r\n"].concat();
    for _ in 0..17 {
        endless.send(&chunk).await;
    }
    assert_eq!(endless.answer().await.status, 413);
    // Between the connection's own bytes and the cap a body is read, and paid for.
    let spaces = format!("{{\"input\":\"Hi.\"{}}}", " ".repeat(30_000));
    assert_eq!(
        server.connect().await.post("/v1/audio/speech", spaces.as_bytes()).await.status,
        200
    );
    drop((said, endless));
    server.idle().await;
}

#[tokio::test]
async fn other_routes_and_methods_say_so_in_the_shape_of_their_place() {
    let server = TestServer::start(&[]).await;
    let lost = server.get("/v1/nothing").await;
    assert_eq!((lost.status, &lost.json()["error"]["code"]), (404, &json!("not_found")));
    let lost = server.get("/nothing").await;
    assert_eq!((lost.status, lost.header("content-type")), (404, "application/problem+json"));
    let wrong = server.get("/v1/audio/speech").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "POST"));
    assert_eq!(wrong.json()["error"]["code"], "method_not_allowed");
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/debug/ledger").await.status, 404, "not on the public side");
}

#[tokio::test]
async fn a_request_keeps_its_id_and_gets_one_if_it_has_none() {
    let server = TestServer::start(&[]).await;
    let mut client = server.connect().await;
    client.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-request-id: mine-1\r\n\r\n").await;
    assert_eq!(client.answer().await.header("x-request-id"), "mine-1");
    client
        .send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-request-id: a b\x1b[31m\r\n\r\n")
        .await;
    let given = client.answer().await;
    assert!(given.status == 400 || given.header("x-request-id").starts_with("req_"), "{given:?}");
    assert!(server.get("/healthz").await.header("x-request-id").starts_with("req_"));
}

#[tokio::test]
async fn over_budget_is_503_at_once_and_the_running_stream_does_not_notice() {
    // Room for one stream, its connection and a few more connections.
    let server = TestServer::start(&[("budget_bytes", "4194304")]).await;
    let long = json!({"input": "A long text. ".repeat(300), "response_format": "pcm"});
    let request = post("/v1/audio/speech", long.to_string().as_bytes());
    let whole = server.speech(&long).await.body.len();
    let mut running = Vec::new();
    let refused = loop {
        let mut client = crate::http::Client::connect_narrow(server.server.listen[0]).await;
        client.send(&request).await;
        let (status, headers) = client.head().await;
        if status != 200 {
            break (status, headers);
        }
        running.push(client);
        assert!(running.len() <= 9, "more streams than the budget holds");
    };
    assert_eq!((refused.0, refused.1["retry-after"].as_str()), (503, "1"));
    assert_eq!(running.len(), 8, "4 MiB hold eight streams of 448 KiB and their connections");
    let budget = server.ledger().await["budget"].clone();
    assert!(budget["held"].as_u64() <= budget["reserved"].as_u64());
    assert!(budget["reserved"].as_u64() <= budget["total"].as_u64());
    // Each of the running ones still gets every byte.
    let mut last = running.pop().expect("one");
    drop(running);
    let (body, ended) = last.rest().await;
    assert_eq!((body, ended), (whole, true));
    drop(last);
    server.idle().await;
}

#[tokio::test]
async fn without_an_engine_it_starts_and_says_so() {
    let mut config = crate::server::config(&[]);
    config.speech.worker_program = "/bin/false".into();
    let server = TestServer::with(&config).await;
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, ready.header("retry-after")), (503, "1"));
    assert!(ready.json()["detail"].as_str().is_some_and(|d| d.contains("tone cannot speak")));
    assert_eq!(server.get("/healthz").await.status, 200);
    let speech = server.speech(&json!({"input": "Hello."})).await;
    assert_eq!((speech.status, speech.header("retry-after")), (503, "15"));
    assert_eq!(speech.json()["error"]["code"], "engine_unavailable");
    server.idle().await;
}
