//! The lines that operators of the systems before this one verify a deployment by, word for word, in the log
//! of a real process; and the lines that must never be there.

use std::time::Duration;

use crate::child::ChildServer;
use crate::http::Client;
use crate::realtime::Device;
use crate::realtime_relay::{Ears, append};

/// What nothing in health may say.
const NEVER: [&str; 2] =
    ["EXTERNAL MEMORY LEAK DETECTED", "Including thinking sound in POST response (230478 bytes)"];

#[tokio::test]
async fn the_watch_says_that_it_has_started_once() {
    let mut server = ChildServer::start(&["--memory-interval-seconds", "0.05"], &[]).await;
    for n in 0..20 {
        assert_eq!(server.speak(&format!("health-{n}")).await, 200);
    }
    let full = |report: &serde_json::Value| report["samples"].as_array().map(Vec::len) == Some(30);
    let report = server.memory(Duration::from_secs(20), full).await;
    assert_eq!(report["state"], "flat", "{report:#}");
    server.stop().await;
    assert_eq!(server.said("Memory leak tracker started (30 samples max)"), 1);
    for line in NEVER {
        assert_eq!(server.said(line), 0, "{line}");
    }
    let cleanups = server.log();
    let cleanups = cleanups.iter().filter(|line| line["message"] == "cleanup finished");
    assert!(cleanups.clone().count() >= 6, "each cleanup is a line");
    assert!(cleanups.clone().all(|line| line["took_ms"].is_u64() && line["cleanup"].is_string()));
}

#[tokio::test]
async fn the_number_of_samples_is_the_one_that_was_set() {
    let server = ChildServer::start(&["--memory-samples", "60"], &[]).await;
    assert_eq!(server.said("Memory leak tracker started (60 samples max)"), 1);
}

#[tokio::test]
async fn the_tracker_is_turned_off_by_its_old_name() {
    let server = ChildServer::start(&[], &[("DISABLE_MEMORY_TRACKER", "true")]).await;
    let report = server.admin("/debug/memory").await.json();
    assert_eq!((&report["state"], &report["samples"]), (&"off".into(), &serde_json::json!([])));
    let started =
        |line: &serde_json::Value| line["message"].to_string().contains("tracker started");
    assert!(!server.log().iter().any(started));
    let ledger = server.admin("/debug/ledger").await.json();
    let items = ledger["items"].as_array().expect("items");
    assert!(!items.iter().any(|item| item["owner"] == "memory watch"), "no timer, either");
}

#[tokio::test]
async fn each_client_of_a_search_engine_says_so() {
    // Whether anybody listens there or not: clients are made anew all the same.
    let flags = [
        "--search-elasticsearch-url",
        "http://127.0.0.1:9",
        "--search-max-client-age-seconds",
        "1",
    ];
    let mut server = ChildServer::start(&flags, &[]).await;
    let began = std::time::Instant::now();
    while server.said("ES Client created") < 3 {
        assert!(began.elapsed() < Duration::from_secs(10), "it does not grow old");
        assert_eq!(server.admin("/readyz").await.status, 200);
    }
    assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn a_question_and_its_cleanup_say_what_they_do() {
    let data = tempfile::tempdir().expect("a folder");
    let data = data.path().to_str().expect("UTF-8");
    let mut server = ChildServer::start(&["--data", data], &[]).await;
    let body = br#"{"text":"What is Evensong?"}"#;
    let mut client = Client::connect(server.listen).await;
    let answer = client.post("/api/voice/converse", body).await;
    let accepted = answer.json();
    assert_eq!(answer.status, 202, "{accepted}");
    let events = accepted["streams"]["events"].as_str().expect("a stream");
    let mut listener = Client::connect(server.listen).await;
    listener.send(format!("GET {events} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
    assert_eq!(listener.head().await.0, 200);
    // It leaves before anything was heard of it.
    drop(listener);
    let cleared = |line: &serde_json::Value| {
        let message = line["message"].as_str().unwrap_or_default();
        let count = message
            .strip_prefix("[Voice Cleanup] Cleared ")
            .and_then(|rest| rest.strip_suffix(" buffered messages"));
        count.is_some_and(|count| count.parse::<u32>().is_ok())
    };
    let began = std::time::Instant::now();
    while !server.log().iter().any(cleared) {
        assert!(began.elapsed() < Duration::from_secs(5), "nothing was cleaned up");
        assert_eq!(server.admin("/readyz").await.status, 200);
    }
    server.stop().await;
    assert_eq!(server.said("POST /api/voice/converse"), 1);
    assert_eq!(server.said("Client will play local thinking sound (0 bytes transferred)"), 1);
    for line in NEVER {
        assert_eq!(server.said(line), 0, "{line}");
    }
}

#[tokio::test]
async fn a_session_whose_device_is_gone_says_what_becomes_of_it_and_of_who_listened() {
    const NOT_AGAIN: [&str; 3] = [
        "WebSocket is not open for client app state change",
        "Cannot send microphone state change",
        "unexpectedly disconnected, starting grace period",
    ];
    let ears = Ears::start().await;
    let flags =
        ["--realtime-grace-seconds", "7", "--realtime-upstream-base-url", ears.base.as_str()];
    let mut server = ChildServer::start(&flags, &[]).await;
    let mut device = Device::at(server.listen, "").await;
    device.until("evensong.resume_token").await;
    device.send(append()).await;
    let mut heard = ears.heard().await;
    heard.until("input_audio_buffer.append").await;
    drop(device.vanish());
    let began = std::time::Instant::now();
    while server.said("Glasses connection closed") == 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "it was not seen");
        assert_eq!(server.admin("/readyz").await.status, 200);
    }
    // Its server goes as well: it is not revived for nobody.
    drop(heard);
    while server.said("[Session Cleanup] all of it is freed") == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "it stays");
        assert_eq!(server.admin("/readyz").await.status, 200);
    }
    assert!(began.elapsed() > Duration::from_secs(6), "{:?}", began.elapsed());
    server.stop().await;
    let wanted = [
        "Glasses connection closed",
        "App disconnected, starting grace period",
        "Grace period expired, checking state",
        "Glasses WebSocket not open, skipping resurrection",
        "Cleanup grace period expired",
        "Disposing UserSession for ",
    ];
    let log = server.log();
    let places = wanted.map(|wanted| {
        let is_it = |line: &serde_json::Value| {
            line["message"].as_str().is_some_and(|message| message.starts_with(wanted))
        };
        log.iter().position(is_it).unwrap_or_else(|| panic!("{wanted} was not said"))
    });
    assert!(places.is_sorted(), "{places:?}");
    for line in NOT_AGAIN {
        assert_eq!(server.said(line), 0, "{line}");
    }
}
