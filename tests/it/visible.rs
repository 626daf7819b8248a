//! What the operator can see: ledger, memory, metrics, settings, heap profiles; and what nobody may see.

use std::time::{Duration, Instant};

use evensong::ledger::{Baseline, Census, Ledger};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::child::ChildServer;
use crate::http::{Answer, Client};
use crate::server::TestServer;

async fn admin(server: &TestServer, path: &str) -> Answer {
    Client::connect(server.server.admin).await.get(path).await
}

fn text(answer: Answer) -> String {
    String::from_utf8(answer.body).expect("text")
}

#[tokio::test]
async fn the_ledger_is_a_table_for_people_and_can_be_asked_for_one_kind() {
    let server = TestServer::start(&[]).await;
    let table = text(admin(&server, "/debug/ledger?format=text").await);
    for word in ["state ", "budget: ", "worker *", "memory watch", "the oldest "] {
        assert!(table.contains(word), "{word} is missing in\n{table}");
    }
    let ledger = admin(&server, "/debug/ledger?kind=timer").await.json();
    let items = ledger["items"].as_array().expect("items");
    assert!(items.len() >= 2 && items.iter().all(|item| item["kind"] == "timer"), "{items:?}");
    for (query, what) in [("kind=cat", "speech_stream"), ("format=xml", "json or text")] {
        let answer = admin(&server, &format!("/debug/ledger?{query}")).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (400, "application/problem+json")
        );
        assert!(answer.json()["detail"].as_str().is_some_and(|text| text.contains(what)));
    }
}

#[tokio::test]
async fn a_task_that_nobody_entered_makes_the_sides_differ() {
    let ledger = Ledger::new();
    let tasks = async || {
        let census = Census::take(&ledger, Baseline::default()).await;
        (census.process.tasks, census.expected.tasks)
    };
    assert_eq!(tasks().await, (0, 0));
    let stray = tokio::spawn(std::future::pending::<()>());
    assert_eq!(tasks().await, (1, 0));
    stray.abort();
}

#[tokio::test]
async fn the_process_and_the_ledger_agree() {
    let server = ChildServer::start(&["--memory-interval-seconds", "0.05"], &[]).await;
    let enough = |report: &Value| report["samples"].as_array().is_some_and(|all| all.len() > 5);
    let report = server.memory(Duration::from_secs(10), enough).await;
    assert_eq!((&report["state"], &report["findings"]), (&json!("flat"), &json!([])));
    let ledger = server.admin("/debug/ledger").await.json();
    assert_eq!((&ledger["state"], &ledger["agrees"]), (&json!("idle"), &json!(true)), "{ledger:#}");
    let last = report["samples"].as_array().and_then(|all| all.last()).expect("a sample");
    for what in ["rss_bytes", "allocated_bytes", "active_bytes", "resident_bytes"] {
        assert!(last[what].as_u64() > Some(1_000_000), "{what}: {last:#}");
    }
    let table = text(server.admin("/debug/memory?format=text").await);
    assert!(table.starts_with("state flat") && table.contains("retain"), "{table}");
}

#[tokio::test]
async fn the_kernels_memory_of_a_stalled_reader_is_seen() {
    let server = TestServer::start(&[("memory.interval_seconds", "0.05")]).await;
    let _reader = crate::leaving::stalled(&server).await;
    let began = Instant::now();
    loop {
        let status = server.get("/api/status").await.json();
        let samples = status["memory"]["samples"].as_array().expect("samples").clone();
        let seen = samples.iter().any(|sample| {
            sample["kernel_bytes"].as_u64() > Some(16_000) && sample["speech_streams"] == 1
        });
        if seen {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{samples:?}");
    }
}

#[tokio::test]
async fn status_shows_kinds_and_samples_and_no_owner() {
    let server = TestServer::start(&[]).await;
    let status = server.get("/api/status").await;
    let body = status.json();
    assert_eq!(body["live"]["worker"], 2);
    assert_eq!(body["memory"]["interval_seconds"], 10.0);
    assert!(body["memory"]["samples"].as_array().is_some_and(|samples| samples.len() <= 1));
    let text = text(status);
    for word in ["owner", "127.0.0.1", "req_", "ticket sweep"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[tokio::test]
async fn metrics_come_in_both_formats() {
    let server = TestServer::start(&[]).await;
    let mut client = Client::connect(server.server.admin).await;
    let plain = client.get("/metrics").await;
    assert_eq!(plain.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let plain = text(plain);
    assert!(
        plain.contains("# TYPE evensong_connections_total counter") && !plain.contains("# EOF")
    );
    client
        .send(
            b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\
              accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n\r\n",
        )
        .await;
    let open = client.answer().await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text"));
    let open = text(open);
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE evensong_connections counter"));
    for line in ["evensong_build_info{version=\"", "process_open_fds ", "evensong_ledger_idle "] {
        assert!(open.contains(line), "{line} is missing in\n{open}");
    }
    assert!(open.contains("evensong_memory_state{state=\"starting\"} 1"), "{open}");
}

#[tokio::test]
async fn no_client_can_make_a_series() {
    let server = TestServer::start(&[]).await;
    async fn series(server: &TestServer) -> usize {
        text(admin(server, "/metrics").await).lines().filter(|line| !line.starts_with('#')).count()
    }
    let mut client = server.connect().await;
    let mut ask = async |n: usize| {
        assert_eq!(client.get(&format!("/nothing/{n}")).await.status, 404);
        assert_eq!(client.get(&format!("/v1/models/model-{n}")).await.status, 404);
        let request = format!("WORD{n} /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
        client.send(request.as_bytes()).await;
        assert_eq!(client.answer().await.status, 405);
    };
    ask(0).await;
    series(&server).await;
    let before = series(&server).await;
    for n in 1..50 {
        ask(n).await;
    }
    assert_eq!(series(&server).await, before);
    let metrics = text(admin(&server, "/metrics").await);
    let line = "evensong_http_requests_total{method=\"GET\",route=\"/v1/models/{model}\",status=\"404\"} 50";
    assert!(metrics.contains(line), "{metrics}");
}

/// Waits for a profile in `folder`.
async fn profile(folder: &std::path::Path) -> String {
    let began = Instant::now();
    loop {
        let mut files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let text = files.next().and_then(|file| std::fs::read_to_string(file.path()).ok());
        if let Some(text) = text.filter(|text| text.contains("MAPPED_LIBRARIES")) {
            return text;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "no profile");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn sigusr2_writes_a_heap_profile() {
    let folder = tempfile::tempdir().expect("a folder");
    let profiles = folder.path().join("made when it is needed");
    let path = profiles.to_str().expect("UTF-8");
    let mut server = ChildServer::start(&["--memory-profile-dir", path], &[]).await;
    let answer = Client::connect(server.admin).await.post("/debug/heap", b"").await;
    assert_eq!((answer.status, &answer.json()["type"]), (404, &json!("not_configured")));
    server.signal(Signal::USR2);
    let profile = profile(&profiles).await;
    assert!(profile.starts_with("heap_v2/524288\n"), "{}", &profile[..80]);
    server.stop().await;
    assert_eq!(server.said("heap profile written"), 1);
}

#[tokio::test]
async fn sigusr2_without_a_folder_says_what_to_set() {
    let mut server = ChildServer::start(&[], &[]).await;
    server.signal(Signal::USR2);
    let began = Instant::now();
    while server.said("no heap profile") == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", server.log());
        tokio::task::yield_now().await;
    }
    let log = server.log();
    let line = log.iter().find(|line| line["message"] == "no heap profile").expect("the line");
    assert!(line["error"].as_str().is_some_and(|error| error.contains("memory.profile_dir")));
    server.stop().await;
}

#[tokio::test]
async fn a_heap_profile_can_be_asked_for_where_that_is_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let args = ["--memory-profile-dir", path, "--memory-heap-endpoint"];
    let server = ChildServer::start(&args, &[]).await;
    let answer = Client::connect(server.admin).await.post("/debug/heap", b"").await;
    assert_eq!(answer.status, 201);
    let said = answer.json();
    let written = std::fs::read(said["file"].as_str().expect("a path")).expect("the profile");
    assert_eq!(said["bytes"], written.len());
    assert!(said["read_with"].as_str().is_some_and(|text| text.contains("jeprof")));
    assert_eq!(Client::connect(server.listen).await.post("/debug/heap", b"").await.status, 404);
    let nowhere = ["--memory-profile-dir", "/proc/nowhere", "--memory-heap-endpoint"];
    let server = ChildServer::start(&nowhere, &[]).await;
    let answer = Client::connect(server.admin).await.post("/debug/heap", b"").await;
    assert_eq!((answer.status, &answer.json()["type"]), (507, &json!("not_written")));
}

/// What must not be seen is put everywhere where it could come from.
#[tokio::test]
async fn secrets_are_nowhere_to_be_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys.toml");
    let keys = file.to_str().expect("UTF-8");
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_evensong"))
        .args(["keys", "add", "one", "--scope", "admin", "--scope", "speech", "--keys-file", keys])
        .env_clear()
        .output()
        .expect("it runs");
    let key = String::from_utf8(made.stdout).expect("text").trim().to_string();
    assert!(key.len() > 30, "{key}");
    let canary = "canary-7f3a9c";
    let env = [("EVENSONG_LOG", "trace"), ("EVENSONG_KEYS_FILE", keys)];
    let mut server = ChildServer::start(&[], &env).await;
    let mut seen = String::new();
    for (address, target, token) in [
        (server.listen, "/v1/models", key.as_str()),
        (server.listen, "/v1/models", canary),
        (server.listen, "/v1/nothing?ticket=canary-7f3a9c", canary),
        (server.listen, "/v1/audio/voices/x/preview?ticket=canary-7f3a9c", key.as_str()),
        (server.admin, "/debug/config?key=canary-7f3a9c", canary),
        (server.admin, "/debug/ledger", canary),
        (server.admin, "/metrics", canary),
    ] {
        let mut client = Client::connect(address).await;
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
             cookie: session={canary}\r\n\r\n"
        );
        client.send(request.as_bytes()).await;
        let answer = client.answer().await;
        seen += &format!("{:?}\n", answer.headers);
        seen += &text(answer);
    }
    server.stop().await;
    seen += &server.log().iter().map(ToString::to_string).collect::<String>();
    assert!(seen.contains("keys_file") && seen.contains("/v1/models"), "something was seen");
    for secret in [key.as_str(), canary] {
        let at = seen.find(secret).map(|at| &seen[at.saturating_sub(200)..at + 40]);
        assert_eq!(at, None, "a secret was said");
    }
}
