//! Formats, events, voices, models, and ElevenLabs' shape.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::server::TestServer;

fn request(format: &str) -> Value {
    json!({"input": "A longer text for a stream. ".repeat(20), "response_format": format})
}

#[tokio::test]
async fn each_format_is_whole_has_its_type_and_one_header() {
    let server = TestServer::start(&[]).await;
    let pcm = server.speech(&request("pcm")).await.body.len() as f64 / 48_000.0;
    for (format, content_type, magic, rate) in [
        ("mp3", "audio/mpeg", &[0xff, 0xf3][..], 7_500.0..8_500.0),
        ("opus", "audio/ogg", b"OggS", 2_000.0..6_000.0),
        ("flac", "audio/flac", b"fLaC", 5_000.0..40_000.0),
        ("wav", "audio/wav", b"RIFF", 47_900.0..48_100.0),
    ] {
        let answer = server.speech(&request(format)).await;
        assert_eq!((answer.status, answer.whole), (200, true), "{format}");
        assert_eq!(answer.header("content-type"), content_type);
        assert!(answer.body.starts_with(magic), "{format}: {:?}", &answer.body[..8]);
        let bytes = answer.body.len() as f64 / pcm;
        assert!(rate.contains(&bytes), "{format}: {bytes} bytes a second");
        let bound: u64 = answer.header("x-stream-max-bytes").parse().expect("a number");
        assert!(bound <= 448 * 1024, "{format}: {bound}");
    }
    let default = server.speech(&json!({"input": "Hello."})).await;
    assert_eq!(default.header("content-type"), "audio/mpeg");
    server.idle().await;
}

#[tokio::test]
async fn events_carry_the_same_bytes_and_end_with_usage() {
    let server = TestServer::start(&[]).await;
    let mut body = request("mp3");
    let plain = server.speech(&body).await.body;
    body["stream_format"] = json!("sse");
    let answer = server.speech(&body).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
    let text = String::from_utf8(answer.body).expect("text");
    let events: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").expect("a data line"))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    let (done, deltas) = events.split_last().expect("events");
    let mut audio = Vec::new();
    for delta in deltas {
        assert_eq!(delta["type"], "speech.audio.delta");
        let part = delta["audio"].as_str().expect("base64");
        audio.extend(base64::engine::general_purpose::STANDARD.decode(part).expect("base64"));
    }
    assert!(audio == plain, "{} bytes in events, {} plain", audio.len(), plain.len());
    assert_eq!(done["type"], "speech.audio.done");
    let usage = |name: &str| done["usage"][name].as_u64().expect("a number");
    assert_eq!(usage("total_tokens"), usage("input_tokens") + usage("output_tokens"));
    server.idle().await;
}

#[tokio::test]
async fn a_format_that_is_not_made_is_refused_with_those_that_are() {
    let server = TestServer::start(&[]).await;
    for name in ["aac", "midi"] {
        let answer = server.speech(&request(name)).await;
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["param"]), (400, &json!("response_format")));
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("mp3, opus, flac, wav, pcm"), "{message}");
    }
}

#[tokio::test]
async fn elevenlabs_shape_speaks_and_names_what_is_wrong() {
    let server = TestServer::start(&[]).await;
    let post = async |path: &str, body: Value| {
        server.connect().await.post(path, body.to_string().as_bytes()).await
    };
    let path = "/v1/text-to-speech/tone/stream?output_format=pcm_24000";
    let answer = post(path, json!({"text": "Hello there.", "model_id": "eleven_flash_v2_5"})).await;
    assert_eq!((answer.status, answer.header("x-voice")), (200, "tone"));
    assert_eq!(answer.header("content-type"), "audio/pcm;rate=24000;channels=1");
    let slower =
        post(path, json!({"text": "Hello there.", "voice_settings": {"speed": 0.5}})).await;
    let ratio = slower.body.len() as f64 / answer.body.len() as f64;
    assert!((1.9..2.1).contains(&ratio), "half speed gave {ratio}");
    let mp3 = post("/v1/text-to-speech/tone", json!({"text": "Hello there."})).await;
    assert_eq!((mp3.status, mp3.header("content-type")), (200, "audio/mpeg"));
    for (path, body, param) in [
        ("/v1/text-to-speech/nobody", json!({"text": "x"}), "voice"),
        ("/v1/text-to-speech/tone", json!({"text": ""}), "text"),
        ("/v1/text-to-speech/tone", json!({}), "text"),
        ("/v1/text-to-speech/tone?output_format=ulaw_8000", json!({"text": "x"}), "output_format"),
    ] {
        let answer = post(path, body).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(param)));
    }
}

#[tokio::test]
async fn voices_and_models_are_listed_and_can_be_asked_for() {
    let server = TestServer::start(&[]).await;
    let voices = server.get("/v1/audio/voices").await.json()["voices"].clone();
    let voice = &voices[0];
    assert_eq!((&voice["id"], &voice["engine"]), (&json!("tone"), &json!("tone")));
    let preview = server.get(voice["preview_url"].as_str().expect("a path")).await;
    assert_eq!((preview.status, preview.header("content-type")), (200, "audio/mpeg"));
    assert_eq!(server.get("/v1/audio/voices/nobody/preview").await.status, 400);
    let models = server.get("/v1/models").await.json();
    let names: Vec<_> =
        models["data"].as_array().expect("a list").iter().map(|m| &m["id"]).collect();
    assert_eq!(names, ["tone", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]);
    assert_eq!(server.get("/v1/models/tts-1").await.json()["object"], "model");
    assert_eq!(server.get("/v1/models/nope").await.status, 404);
}

#[tokio::test]
async fn every_voice_of_espeak_previews_itself() {
    let Some(server) = TestServer::espeak("voices preview themselves").await else { return };
    let voices = server.get("/v1/audio/voices").await.json()["voices"].clone();
    let voices = voices.as_array().expect("a list").clone();
    assert!(voices.len() > 100, "only {} voices", voices.len());
    assert_eq!(voices[0]["id"], "alloy");
    for voice in voices.iter().filter(|voice| {
        ["alloy", "de", "fr-fr", "cmn", "hi", "ka"].iter().any(|id| voice["id"] == *id)
    }) {
        let path = voice["preview_url"].as_str().expect("a path").to_string();
        let preview = server.get(&format!("{path}&response_format=pcm")).await;
        assert_eq!(preview.status, 200, "{voice}");
        assert!(preview.body.len() > 24_000, "{voice}: {} bytes", preview.body.len());
    }
}

#[tokio::test]
async fn the_page_and_its_files_are_there_with_their_policy() {
    let server = TestServer::start(&[]).await;
    let page = server.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'self'"));
    let html = String::from_utf8(page.body).expect("UTF-8");
    let mut files = 0;
    for reference in html.split('"').filter(|part| part.starts_with("assets/")) {
        let reference = &format!("/{reference}");
        let file = server.get(reference).await;
        assert_eq!(file.status, 200, "{reference}");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        files += 1;
        let mut client = server.connect().await;
        let tag = file.header("etag");
        client
            .send(
                format!(
                    "GET {reference} HTTP/1.1\r\nhost: localhost\r\nif-none-match: {tag}\r\n\r\n"
                )
                .as_bytes(),
            )
            .await;
        assert_eq!(client.head().await.0, 304, "{reference}");
    }
    assert!(files >= 2, "{html}");
    assert!(
        !html.contains("https://") && !html.contains("//cdn"),
        "something comes from elsewhere"
    );
    assert_eq!(server.get("/assets/../Cargo.toml").await.status, 404);
    let status = server.get("/api/status").await.json();
    assert_eq!((&status["status"], &status["live"]["speech_stream"]), (&json!("ok"), &json!(0)));
    assert_eq!(status["formats"], json!(["mp3", "opus", "flac", "wav", "pcm"]));
    assert!(status["memory"]["rss_bytes"].as_u64() > Some(1_000_000));
}
