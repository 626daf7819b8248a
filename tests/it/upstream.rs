//! Speech that is made on another server: passed through byte by byte, encoded here where that is needed, and every
//! way in which the other server can fail. The other server is an Evensong behind a proxy that breaks what it
//! is told to.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::fault_proxy::{Fault, FaultProxy, Seen};
use crate::http::{Answer, Client, post};
use crate::server::{TestServer, live};

/// Long enough that it is no phrase, so that nothing of it is kept.
pub fn long() -> String {
    "seven words that are not a phrase ".repeat(30)
}

pub fn wish(format: &str) -> Value {
    json!({"input": long(), "response_format": format})
}

/// A server, the proxy that it asks, and the server behind that.
pub struct House {
    pub near: TestServer,
    pub proxy: FaultProxy,
    pub far: TestServer,
}

impl House {
    pub async fn start(pairs: &[(&str, &str)]) -> Self {
        let far = TestServer::start(&[]).await;
        let proxy = FaultProxy::start(Some(far.server.listen[0])).await;
        let near = near(&proxy, pairs).await;
        Self { near, proxy, far }
    }

    pub async fn speak(&self, body: &Value) -> Answer {
        self.near.speech(body).await
    }

    /// What a fault gives for a long text in pcm.
    pub async fn with(&self, fault: Fault) -> Answer {
        self.proxy.set(fault);
        self.speak(&wish("pcm")).await
    }
}

/// A server whose engine is behind `proxy`, with deadlines that a test can wait for.
pub async fn near(proxy: &FaultProxy, pairs: &[(&str, &str)]) -> TestServer {
    let base = proxy.base();
    let mut all = vec![
        ("speech.engine", "openai"),
        ("speech.openai.base_url", base.as_str()),
        ("upstream.connect_seconds", "0.3"),
        ("upstream.first_byte_seconds", "5"),
        // Those that are asked for become known at some time after the start, and change what a name means.
        ("speech.openai.voices", "alloy,nova,tone"),
    ];
    all.retain(|(key, _)| !pairs.iter().any(|(given, _)| given == key));
    all.extend(pairs);
    TestServer::start(&all).await
}

pub fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_string())
}

pub fn canned(head: &str, body: &[u8]) -> Fault {
    let length = body.len();
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n");
    Fault::Canned([head.as_bytes(), body].concat())
}

#[tokio::test]
async fn what_comes_in_the_right_format_is_passed_through_byte_by_byte() {
    let house = House::start(&[]).await;
    for fault in [Fault::None, Fault::Slice] {
        house.proxy.set(fault);
        for format in ["mp3", "opus", "flac", "wav", "pcm"] {
            let far = house.far.speech(&wish(format)).await;
            let near = house.speak(&wish(format)).await;
            assert_eq!((near.status, near.whole), (200, true), "{format}");
            // A stream of Ogg has a serial number, drawn by lot.
            let same = if format == "opus" {
                near.body.len() == far.body.len()
            } else {
                near.body == far.body
            };
            assert!(same, "{format}: {} bytes, not {}", near.body.len(), far.body.len());
            assert_eq!(near.header("content-type"), far.header("content-type"));
            assert_eq!((near.header("x-engine"), near.header("x-cache")), ("openai", "miss"));
            assert_eq!(near.header("x-stream-max-bytes"), "491520");
        }
    }
    house.near.idle().await;
    house.far.idle().await;
}

#[tokio::test]
async fn what_does_not_is_encoded_here() {
    let far = TestServer::start(&[]).await;
    let expected = async |format| far.speech(&wish(format)).await;
    for formats in ["pcm", "wav"] {
        let proxy = FaultProxy::start(Some(far.server.listen[0])).await;
        let near = near(&proxy, &[("speech.openai.formats", formats)]).await;
        for fault in [Fault::None, Fault::Slice] {
            proxy.set(fault);
            let samples = expected("pcm").await.body;
            for format in ["wav", "flac", "mp3", "opus", "pcm"] {
                let answer = near.speech(&wish(format)).await;
                assert_eq!((answer.status, answer.whole), (200, true), "{format} of {formats}");
                assert_eq!(answer.header("x-engine"), "openai");
                match format {
                    "pcm" => assert!(answer.body == samples, "{format} of {formats}"),
                    "wav" => assert!(answer.body[44..] == samples[..], "{format} of {formats}"),
                    "flac" => assert!(decoded(&answer.body) == samples, "{format} of {formats}"),
                    // The same encoder over the same samples.
                    "mp3" => assert!(answer.body == expected("mp3").await.body, "{formats}"),
                    _ => assert_eq!(answer.body.len(), expected("opus").await.body.len()),
                }
            }
        }
        let asked = proxy.asked_to_speak();
        assert!(asked.iter().all(|seen| seen.body["response_format"] == formats));
        near.idle().await;
    }
}

fn decoded(flac: &[u8]) -> Vec<u8> {
    let mut reader = claxon::FlacReader::new(flac).expect("FLAC");
    let samples = reader.samples().map(|sample| sample.expect("a sample") as i16);
    samples.flat_map(i16::to_le_bytes).collect()
}

#[tokio::test]
async fn a_short_phrase_is_asked_for_once_and_kept() {
    let house = House::start(&[]).await;
    let body = json!({"input": "Good evening.", "response_format": "pcm", "voice": "tone"});
    let far = house.far.speech(&json!({"input": "Good evening.", "response_format": "pcm"})).await;
    for cache in ["miss", "hit"] {
        let near = house.speak(&body).await;
        assert_eq!((near.status, near.header("x-cache")), (200, cache));
        assert!(near.body == far.body);
    }
    assert_eq!(house.proxy.asked_to_speak().len(), 1);
    // Another model, and other instructions, are another phrase.
    for (key, value) in [("model", "tts-1-hd"), ("instructions", "softly")] {
        let mut other = body.clone();
        other[key] = value.into();
        assert_eq!(house.speak(&other).await.header("x-cache"), "miss", "{key}");
    }
    house.near.idle().await;
}

#[tokio::test]
async fn the_upstream_is_told_what_the_client_asked_for_and_who_it_is() {
    let house = House::start(&[("speech.openai.api_key", "sk-canary")]).await;
    let body = json!({
        "input": "  Said so.  ", "voice": "nova", "speed": 1.5, "model": "gpt-4o-mini-tts",
        "instructions": "warmly", "response_format": "mp3",
    });
    let request = post("/v1/audio/speech", body.to_string().as_bytes());
    let request = String::from_utf8(request).expect("text");
    let mut client = house.near.connect().await;
    client.send(request.replacen("\r\n", "\r\nx-request-id: from-outside\r\n", 1).as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
    let Seen { head, body, .. } = house.proxy.asked_to_speak().remove(0);
    assert_eq!(
        body,
        json!({
            "input": "Said so.", "voice": "nova", "speed": 1.5, "model": "gpt-4o-mini-tts",
            "instructions": "warmly", "response_format": "mp3",
        })
    );
    for line in [
        "authorization: bearer sk-canary",
        "x-request-id: from-outside",
        "accept-encoding: identity",
        "content-type: application/json",
    ] {
        assert!(head.lines().any(|sent| sent == line), "{line} is missing in {head}");
    }
    // A name of an engine is ours, and a model in the settings wins.
    house.speak(&json!({"input": "Engine.", "model": "openai"})).await;
    let near = near(&house.proxy, &[("speech.openai.model", "kokoro")]).await;
    near.speech(&json!({"input": "Setting.", "model": "tts-1"})).await;
    let models: Vec<_> =
        house.proxy.asked_to_speak().iter().map(|seen| seen.body["model"].clone()).collect();
    assert_eq!(models[1..], [json!("tts-1"), json!("kokoro")]);
}

#[tokio::test]
async fn voices_of_all_engines_stand_in_one_list() {
    let house = House::start(&[("speech.tone", "true"), ("speech.openai.voices", "")]).await;
    let began = Instant::now();
    loop {
        let voices = house.near.get("/v1/audio/voices").await.json();
        let voices = voices["voices"].as_array().expect("a list").clone();
        // The other server speaks with the test signal, which has one voice, of that name.
        let of = |engine: &str| voices.iter().any(|v| v["engine"] == engine && v["id"] == "tone");
        if of("openai") && of("tone") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{voices:?}");
    }
    // Asked for at its start, and from then on known.
    let asked = |seen: &Seen| seen.head.starts_with("get /v1/audio/voices");
    assert!(house.proxy.seen().iter().any(asked));
    let named = near(&house.proxy, &[("speech.openai.voices", "af_bella, bm_george")]).await;
    let voices = named.get("/v1/audio/voices").await.json();
    let ids: Vec<_> =
        voices["voices"].as_array().expect("a list").iter().map(|v| v["id"].clone()).collect();
    assert_eq!(ids, ["af_bella", "bm_george"]);
    let bad = named.speech(&json!({"input": "x", "voice": "nobody"})).await;
    assert_eq!(code(&bad), (400, "unknown_voice".into()));
    named.get("/v1/audio/voices/bm_george/preview?response_format=pcm").await;
    assert_eq!(house.proxy.asked_to_speak()[0].body["voice"], "bm_george");
}

#[tokio::test]
async fn a_closed_port_is_502_and_one_that_never_answers_504_within_the_deadline() {
    let house = House::start(&[]).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("one");
    let base = format!("http://{closed}/v1");
    let refused = near(&house.proxy, &[("speech.openai.base_url", &base)]).await;
    assert_eq!(code(&refused.speech(&wish("pcm")).await), (502, "upstream_unreachable".into()));
    // A queue that is full takes no more connections, and says nothing.
    let full = TcpSocket::new_v4().expect("a socket");
    full.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let full = full.listen(1).expect("it listens");
    let address = full.local_addr().expect("an address");
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        queue.push(stream);
    }
    let base = format!("http://{address}/v1");
    let slow = near(
        &house.proxy,
        &[("speech.openai.base_url", &base), ("upstream.first_byte_seconds", "0.5")],
    )
    .await;
    let began = Instant::now();
    assert_eq!(code(&slow.speech(&wish("pcm")).await), (504, "upstream_timeout".into()));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    slow.idle().await;
    refused.idle().await;
}

#[tokio::test]
async fn one_that_keeps_failing_is_left_alone_and_then_tried_again() {
    let house = House::start(&[]).await;
    // A server that stumbles over a request lives; only a proxy in front of it says that it does not.
    for _ in 0..8 {
        let stumbles = canned("500 Internal Server Error", b"{}");
        assert_eq!(code(&house.with(stumbles).await), (502, "upstream_failed".into()));
    }
    let failing = canned("502 Bad Gateway", b"{}");
    for _ in 0..5 {
        assert_eq!(code(&house.with(failing.clone()).await), (502, "upstream_failed".into()));
    }
    let asked = house.proxy.asked_to_speak().len();
    let answer = house.with(Fault::None).await;
    assert_eq!(code(&answer), (503, "upstream_down".into()));
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(house.proxy.asked_to_speak().len(), asked, "it was left alone");
    assert_eq!(house.near.get("/readyz").await.status, 503);
    let rows = Client::connect(house.near.server.admin).await.get("/debug/upstreams").await.json();
    assert_eq!(rows["upstreams"][0]["open"], true);
    // 2 s later one is tried, which answers.
    let began = Instant::now();
    while house.near.get("/readyz").await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(4), "it stayed closed");
        tokio::task::yield_now().await;
    }
    assert_eq!(house.with(Fault::None).await.status, 200);
}

#[tokio::test]
async fn a_stall_before_the_first_byte_is_504_and_later_the_transfer_breaks() {
    let short = [("upstream.first_byte_seconds", "0.4"), ("upstream.idle_seconds", "0.3")];
    let house = House::start(&short).await;
    assert_eq!(code(&house.with(Fault::Stall(0)).await), (504, "upstream_timeout".into()));
    // Its head, and nothing of its body.
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\ncontent-length: 9\r\n\r\n".to_vec();
    assert_eq!(code(&house.with(Fault::Canned(head)).await), (504, "upstream_timeout".into()));
    let broken = house.with(Fault::Stall(20_000)).await;
    assert_eq!((broken.status, broken.whole), (200, false));
    assert!(!broken.body.is_empty());
    let mut events = wish("pcm");
    events["stream_format"] = "sse".into();
    let answer = house.speak(&events).await;
    let text = String::from_utf8(answer.body.clone()).expect("text");
    let last = text.trim_end().rsplit("\n\n").next().expect("an event");
    assert!(answer.whole && last.contains("\"type\":\"error\""), "{last}");
    assert!(last.contains("nothing came for 300 ms") && !text.contains("audio.done"), "{last}");
    house.near.idle().await;
}

#[tokio::test]
async fn a_reset_is_an_error_and_never_asked_for_again_behind_the_first_byte() {
    let house = House::start(&[]).await;
    for fault in [Fault::Reset(20_000), Fault::Close(20_000)] {
        let before = house.proxy.asked_to_speak().len();
        let broken = house.with(fault.clone()).await;
        assert_eq!((broken.status, broken.whole), (200, false), "{fault:?}");
        assert_eq!(house.proxy.asked_to_speak().len(), before + 1, "{fault:?}");
    }
    for fault in [Fault::Reset(0), Fault::Close(0), Fault::Close(10)] {
        let before = house.proxy.asked_to_speak().len();
        let answer = house.with(fault.clone()).await;
        assert_eq!(answer.status, 502, "{fault:?}: {answer:?}");
        // Who knows whether it was spoken, and paid for.
        assert_eq!(house.proxy.asked_to_speak().len(), before + 1, "{fault:?}");
    }
    // Encoded here, it must not look whole either.
    let near = near(&house.proxy, &[("speech.openai.formats", "pcm")]).await;
    house.proxy.set(Fault::Reset(20_000));
    for format in ["wav", "mp3"] {
        let broken = near.speech(&wish(format)).await;
        assert_eq!((broken.status, broken.whole), (200, false), "{format}");
    }
    near.idle().await;
    house.near.idle().await;
}

#[tokio::test]
async fn one_that_is_busy_is_asked_again_a_little_and_the_wait_is_passed_on() {
    let house = House::start(&[]).await;
    let answer = house.with(canned("429 Too Many Requests\r\nretry-after: 86400", b"{}")).await;
    assert_eq!(code(&answer), (503, "upstream_busy".into()));
    assert_eq!(answer.header("retry-after"), "60", "capped");
    assert_eq!(house.proxy.asked_to_speak().len(), 1, "whoever says when is not asked before");
    // A proxy in front says 503 also of what it had passed on: it may have been spoken.
    let answer = house.with(canned("503 Service Unavailable", b"{}")).await;
    assert_eq!(
        (code(&answer), house.proxy.asked_to_speak().len()),
        ((503, "upstream_busy".into()), 2)
    );
    // Twice more at most; and over many requests a tenth of them, and ten that were saved.
    let busy = canned("429 Too Many Requests", b"{}");
    house.with(busy.clone()).await;
    assert_eq!(house.proxy.asked_to_speak().len(), 2 + 3);
    for _ in 0..38 {
        house.with(busy.clone()).await;
    }
    let asked = house.proxy.asked_to_speak().len();
    assert!((41 + 10..=41 + 14).contains(&asked), "{asked} times for 41 requests");
}

#[tokio::test]
async fn what_the_upstream_refuses_is_the_clients_fault_in_its_words() {
    let house =
        House::start(&[("speech.openai.api_key", "sk-canary"), ("speech.fallback", "tone")]).await;
    let said = br#"{"error":{"message":"input is too\u0007 long for sk-canary"}}"#;
    let answer = house.with(canned("400 Bad Request", said)).await;
    assert_eq!(code(&answer), (400, "upstream_refused".into()));
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains("input is too long for ***"), "{message}");
    assert_eq!(house.proxy.asked_to_speak().len(), 1);
}

#[tokio::test]
async fn who_is_let_in_finds_no_engine_starting() {
    let house = House::start(&[("speech.fallback", "tone")]).await;
    let status = house.near.get("/api/status").await.json();
    let engines = status["engines"].as_array().expect("there are two").clone();
    assert!(
        engines.len() == 2 && engines.iter().all(|engine| engine["ready"] == true),
        "{engines:?}"
    );
}

#[tokio::test]
async fn another_engine_speaks_when_the_first_cannot_and_says_so() {
    let house =
        House::start(&[("speech.fallback", "tone"), ("upstream.first_byte_seconds", "0.3")]).await;
    for input in [long(), "Short.".into()] {
        for fault in [
            Fault::Reset(0),
            Fault::Stall(0),
            canned("500 No", b""),
            canned("200 OK\r\ncontent-type: text/html", b""),
            // A head, and then nothing.
            Fault::Canned(
                b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 9\r\n\r\n"
                    .to_vec(),
            ),
        ] {
            house.proxy.set(fault.clone());
            let answer = house.speak(&json!({"input": input, "voice": "alloy"})).await;
            assert_eq!((answer.status, answer.header("x-engine")), (200, "tone"), "{fault:?}");
            assert!(answer.whole);
        }
    }
    // The server is as ready as ever.
    assert_eq!(house.near.get("/readyz").await.status, 200);
    let answer = house.speak(&wish("mp3")).await;
    assert_eq!((answer.status, answer.header("x-engine")), (200, "tone"));
    // Whoever names an engine means it.
    let mut named = wish("mp3");
    named["model"] = "openai".into();
    assert_eq!(house.speak(&named).await.status, 504);
    let scrape = Client::connect(house.near.server.admin).await.get("/metrics").await;
    let scrape = String::from_utf8(scrape.body).expect("text");
    assert!(
        scrape.contains("evensong_speech_fallbacks_total{from=\"openai\",to=\"tone\"} 11"),
        "{scrape}"
    );
    house.near.idle().await;
}

#[tokio::test]
async fn an_upstream_sees_that_a_client_has_left() {
    let house = House::start(&[]).await;
    let endless = |hold: bool| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\n\r\n".to_vec();
        if hold { Fault::Stall(0) } else { Fault::Endless(head, vec![1; 8192]) }
    };
    for (hold, formats) in [(true, "pcm"), (false, "pcm"), (false, "mp3,opus,flac,wav,pcm")] {
        let near = near(
            &house.proxy,
            &[("speech.openai.formats", formats), ("upstream.first_byte_seconds", "20")],
        )
        .await;
        house.proxy.set(endless(hold));
        for format in ["pcm", "wav"] {
            let before = house.proxy.asked_to_speak().len();
            let mut client = Client::connect_narrow(near.server.listen[0]).await;
            client.send(&post("/v1/audio/speech", wish(format).to_string().as_bytes())).await;
            if !hold && (format == "pcm" || formats == "pcm") {
                assert!(client.fill(30_000).await);
            } else {
                house.proxy.wait("asked", |seen| seen.len() > before).await;
            }
            let left = Instant::now();
            drop(client);
            let seen =
                house.proxy.wait("left", |seen| seen.iter().all(|seen| seen.left.is_some())).await;
            let took = seen[before].left.expect("seen").duration_since(left);
            assert!(took < Duration::from_secs(1), "{took:?}");
            near.idle().await;
        }
    }
}

#[tokio::test]
async fn a_new_generation_serves_while_the_old_one_ends_and_then_it_is_cut() {
    let pairs = [
        ("upstream.grace_seconds", "0.2"),
        ("upstream.idle_seconds", "60"),
        // Asked for, by a client of their own.
        ("speech.openai.voices", ""),
    ];
    let house = House::start(&pairs).await;
    let rotate = || async {
        let mut admin = Client::connect(house.near.server.admin).await;
        admin.post("/debug/upstreams/rotate", b"").await
    };
    assert_eq!(house.with(Fault::None).await.status, 200);
    // One that nobody reads, on the generation that goes; and one that reads, and waits for what does not come.
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\n\r\n".to_vec();
    house.proxy.set(Fault::Endless(head, vec![1; 8192]));
    let mut unread = Client::connect_narrow(house.near.server.listen[0]).await;
    unread.send(&post("/v1/audio/speech", wish("pcm").to_string().as_bytes())).await;
    assert!(unread.fill(5_000).await);
    house.proxy.set(Fault::Stall(20_000));
    let mut waiting = house.near.connect().await;
    waiting.send(&post("/v1/audio/speech", wish("pcm").to_string().as_bytes())).await;
    assert!(waiting.fill(10_000).await);
    assert_eq!(rotate().await.status, 202);
    house.proxy.set(Fault::None);
    let rows = || async {
        Client::connect(house.near.server.admin).await.get("/debug/upstreams").await.json()["upstreams"][0].clone()
    };
    let began = Instant::now();
    while rows().await["generation"] != 2 {
        assert!(began.elapsed() < Duration::from_secs(2), "no new generation");
    }
    assert_eq!(house.speak(&wish("pcm")).await.status, 200);
    house.proxy.wait("cut", |seen| seen[1].left.is_some() && seen[2].left.is_some()).await;
    let (_, headers) = waiting.head().await;
    assert_eq!(headers["x-engine"], "openai");
    assert!(!waiting.rest().await.1, "a clean end of what was cut");
    unread.head().await;
    assert!(!unread.rest().await.1, "a clean end of what was cut");
    let ledger = house.near.idle().await;
    assert_eq!(live(&ledger, "upstream_client"), 2, "one of speech, and one of its voices");
    assert_eq!(rows().await["draining"], 0);
}

#[tokio::test]
async fn rotation_under_load_breaks_nothing() {
    let house = House::start(&[]).await;
    let expected = house.far.speech(&wish("pcm")).await.body;
    let load = async {
        for _ in 0..40 {
            let answer = house.speak(&wish("pcm")).await;
            assert!(answer.whole && answer.body == expected);
        }
    };
    tokio::pin!(load);
    let mut rotations = 0;
    loop {
        tokio::select! {
            biased;
            () = &mut load => break,
            () = tokio::task::yield_now() => {}
        }
        let mut admin = Client::connect(house.near.server.admin).await;
        assert_eq!(admin.post("/debug/upstreams/rotate", b"").await.status, 202);
        rotations += 1;
    }
    assert!(rotations > 40, "{rotations}");
    house.near.idle().await;
}
