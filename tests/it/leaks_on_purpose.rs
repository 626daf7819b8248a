//! Leaks that were built in, and how soon the memory watch names them. These are in builds with the features
//! `leak-guards` and `leak-map` only.

use std::time::Duration;

use serde_json::Value;

use crate::child::ChildServer;

const ALARM: &str = "EXTERNAL MEMORY LEAK DETECTED";
const PATIENCE: Duration = Duration::from_secs(30);
/// Samples from the first that could see the leak to the one that named it.
const SOON: usize = 3;

async fn server() -> ChildServer {
    let server = ChildServer::start(&["--memory-interval-seconds", "0.8"], &[]).await;
    // A process that has just started warms up.
    server.memory(PATIENCE, |report| report["state"] == "flat" && samples(report) >= 6).await;
    server
}

fn samples(report: &Value) -> usize {
    report["samples"].as_array().expect("samples").len()
}

fn finding(report: &Value, begin: &str) -> bool {
    let findings = report["findings"].as_array().expect("findings");
    findings.iter().any(|finding| finding.as_str().is_some_and(|text| text.starts_with(begin)))
}

#[tokio::test]
async fn guards_that_are_forgotten_are_named_by_kind_within_three_samples() {
    let server = server().await;
    assert_eq!(server.speak("leak-guards").await, 200);
    let report = server.memory(PATIENCE, |report| report["state"] == "leak_suspected").await;
    assert!(finding(&report, "speech_stream: "), "{report:#}");
    let with = |sample: &&Value| sample["live"]["speech_stream"].as_u64() > Some(0);
    let seen = report["samples"].as_array().expect("samples").iter().filter(with).count();
    assert!(seen <= SOON, "named after {seen} samples: {report:#}");
    assert_eq!(server.said(ALARM), 1);
    let ledger = server.admin("/debug/ledger").await.json();
    assert_eq!(
        (&ledger["idle"], ledger["budget"]["reserved"].as_u64() > Some(0)),
        (&false.into(), true)
    );
}

#[tokio::test]
async fn guards_that_are_forgotten_are_named_while_others_are_there() {
    let server = server().await;
    let _neighbour = crate::http::Client::connect(server.listen).await;
    assert_eq!(server.speak("leak-guards").await, 200);
    let report = server.memory(PATIENCE, |report| report["state"] == "leak_suspected").await;
    assert!(finding(&report, "speech_stream: "), "{report:#}");
}

#[tokio::test]
async fn a_map_that_grows_outside_of_the_ledger_is_named_within_three_samples() {
    let server = server().await;
    let before = samples(&server.memory(PATIENCE, |_| true).await);
    // One leak between each sample and the next.
    for grown in 1.. {
        assert_eq!(server.speak("leak-map").await, 200);
        let next = |report: &Value| samples(report) >= before + grown;
        let report = server.memory(PATIENCE, next).await;
        if report["state"] == "leak_suspected" {
            assert!(finding(&report, "outside the ledger: "), "{report:#}");
            assert!(samples(&report) - before <= SOON, "{report:#}");
            break;
        }
        assert!(grown < SOON + 1, "not named: {report:#}");
    }
    assert_eq!(server.said(ALARM), 1);
    assert_eq!(
        server.admin("/debug/ledger").await.json()["idle"],
        true,
        "the ledger does not know"
    );
}
