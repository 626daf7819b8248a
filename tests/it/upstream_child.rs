//! The same as a process of its own, with an environment and a log: what it says of its keys, whom it asks on the way,
//! and whom it believes.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::child::ChildServer;
use crate::fault_proxy::{Fault, FaultProxy};
use crate::http::{Answer, Client, post};
use crate::server::TestServer;

const CANARY: &str = "sk-canary-5d1e";

async fn speak(server: &ChildServer, input: &str) -> Answer {
    let body = json!({"input": input, "model": "openai", "response_format": "pcm"});
    let mut client = Client::connect(server.listen).await;
    client.send(&post("/v1/audio/speech", body.to_string().as_bytes())).await;
    client.answer().await
}

/// Everything that a reader of logs, metrics and errors could see.
async fn all_of(server: &mut ChildServer, answers: Vec<Answer>) -> String {
    let mut seen = String::new();
    for path in ["/debug/config", "/debug/upstreams", "/debug/ledger", "/metrics"] {
        let answer = server.admin(path).await;
        seen += &String::from_utf8(answer.body).expect("text");
    }
    for answer in answers {
        seen += &format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
    }
    server.stop().await;
    seen + &server.log().iter().map(ToString::to_string).collect::<String>()
}

#[tokio::test]
async fn a_key_of_an_upstream_is_sent_there_and_said_nowhere() {
    let far = TestServer::start(&[]).await;
    let proxy = FaultProxy::start(Some(far.server.listen[0])).await;
    let (base, says) =
        (proxy.base(), format!("{{\"error\":{{\"message\":\"wrong key {CANARY}\"}}}}"));
    let env = [
        ("EVENSONG_LOG", "trace"),
        ("EVENSONG_SPEECH_OPENAI_BASE_URL", base.as_str()),
        ("EVENSONG_SPEECH_OPENAI_API_KEY", CANARY),
        ("EVENSONG_UPSTREAM_IDLE_SECONDS", "0.3"),
    ];
    let mut server = ChildServer::start(&[], &env).await;
    let mut answers = vec![speak(&server, "It works.").await];
    assert_eq!(answers[0].status, 200);
    for status in ["400 Bad Request", "401 Unauthorized", "500 Internal Server Error"] {
        let length = says.len();
        let canned = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{says}");
        proxy.set(Fault::Canned(canned.into_bytes()));
        answers.push(speak(&server, &format!("It fails with {status}.")).await);
    }
    proxy.set(Fault::Stall(5000));
    answers.push(speak(&server, &"It stalls. ".repeat(100)).await);
    assert!(proxy.seen().iter().all(|seen| seen.head.contains(CANARY)), "it was sent");
    let seen = all_of(&mut server, answers).await;
    assert!(seen.contains("openai") && seen.contains("(set)"), "something was seen");
    let at = seen.find(CANARY).map(|at| &seen[at.saturating_sub(200)..at + 40]);
    assert_eq!(at, None, "a key was said");
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_evensong"))
        .arg("check")
        .env_clear()
        .envs(env)
        .output()
        .expect("it runs");
    let checked = String::from_utf8(checked.stdout).expect("text");
    assert!(!checked.contains(CANARY) && checked.contains("# speech.openai.api_key is set"));
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_asked() {
    let far = TestServer::start(&[]).await;
    let (proxy, other) =
        (FaultProxy::start(Some(far.server.listen[0])).await, FaultProxy::start(None).await);
    let (base, elsewhere) = (proxy.base(), format!("http://{}", other.address));
    let mut env = vec![("EVENSONG_SPEECH_OPENAI_BASE_URL", base.as_str())];
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        env.push((name, elsewhere.as_str()));
    }
    let mut server = ChildServer::start(&[], &env).await;
    assert_eq!(speak(&server, "Straight on.").await.status, 200);
    // Its voices were asked for as well, by the other client.
    let began = Instant::now();
    while !proxy.seen().iter().any(|seen| seen.head.starts_with("get /v1/audio/voices")) {
        assert!(began.elapsed() < Duration::from_secs(5), "nobody asked for voices");
        tokio::task::yield_now().await;
    }
    assert!(other.seen().is_empty(), "{:?}", other.seen());
    server.stop().await;
    assert_eq!(server.said("openai Client created"), 1);
}

#[tokio::test]
async fn over_tls_only_whom_the_system_vouches_for_is_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_string();
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).expect("made");
    std::fs::write(path("cert.pem"), made.cert.pem()).expect("written");
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).expect("written");
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let far = TestServer::start(&[("tls.cert", &cert), ("tls.key", &key)]).await;
    let base = format!("https://localhost:{}/v1", far.server.listen[0].port());
    let env =
        [("EVENSONG_SPEECH_OPENAI_BASE_URL", base.as_str()), ("SSL_CERT_FILE", cert.as_str())];
    let mut believes = ChildServer::start(&[], &env).await;
    let answer = speak(&believes, "Over TLS.").await;
    assert_eq!(
        (answer.status, answer.whole),
        (200, true),
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    assert!(answer.body.len() > 10_000);
    let long = speak(&believes, &"Over TLS. ".repeat(100)).await;
    assert_eq!(long.header("x-stream-max-bytes"), (528 * 1024).to_string(), "48 KiB for TLS");
    believes.stop().await;
    let mut doubts = ChildServer::start(&[], &env[..1]).await;
    let answer = speak(&doubts, "Over TLS.").await;
    assert_eq!(answer.status, 502);
    assert!(String::from_utf8_lossy(&answer.body).contains("certificate"), "{answer:?}");
    doubts.stop().await;
}

#[tokio::test]
async fn the_books_agree_while_upstreams_are_asked_and_after() {
    let far = TestServer::start(&[]).await;
    let proxy = FaultProxy::start(Some(far.server.listen[0])).await;
    let base = proxy.base();
    let server =
        ChildServer::start(&[], &[("EVENSONG_SPEECH_OPENAI_BASE_URL", base.as_str())]).await;
    proxy.set(Fault::Stall(30_000));
    let body =
        json!({"input": "Many words. ".repeat(100), "model": "openai", "response_format": "pcm"});
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(server.listen).await;
        client.send(&post("/v1/audio/speech", body.to_string().as_bytes())).await;
        assert!(client.fill(10_000).await);
        clients.push(client);
    }
    let ledger = |state: &'static str| {
        let server = &server;
        async move {
            let began = Instant::now();
            loop {
                let ledger = server.admin("/debug/ledger").await.json();
                if ledger["state"] == state {
                    return ledger;
                }
                assert!(began.elapsed() < Duration::from_secs(5), "not {state}: {ledger:#}");
            }
        }
    };
    let busy = ledger("busy").await;
    assert_eq!(crate::server::live(&busy, "upstream_request"), 20);
    assert_eq!(crate::server::live(&busy, "upstream_socket"), 20);
    drop(clients);
    let idle = ledger("idle").await;
    assert_eq!(crate::server::live(&idle, "upstream_socket"), 0);
    assert_eq!((&idle["budget"]["reserved"], &idle["budget"]["held"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn who_waits_for_an_upstream_while_the_server_leaves_is_told() {
    let far = TestServer::start(&[]).await;
    let proxy = FaultProxy::start(Some(far.server.listen[0])).await;
    // A head, and nothing more of the body; and not even a head.
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 9\r\n\r\n".to_vec();
    let base = proxy.base();
    let env = [
        ("EVENSONG_SPEECH_OPENAI_BASE_URL", base.as_str()),
        ("EVENSONG_SHUTDOWN_DEADLINE_SECONDS", "2"),
    ];
    for fault in [Fault::Canned(head), Fault::Stall(0)] {
        let mut server = ChildServer::start(&[], &env).await;
        proxy.set(fault);
        let mut clients = Vec::new();
        for input in ["Short.", &"Many words. ".repeat(50)] {
            let before = proxy.asked_to_speak().len();
            let body = json!({"input": input, "model": "openai"});
            let mut client = Client::connect(server.listen).await;
            client.send(&post("/v1/audio/speech", body.to_string().as_bytes())).await;
            clients.push(client);
            proxy.wait("asked", |seen| seen.len() > before).await;
        }
        server.signal(rustix::process::Signal::TERM);
        for client in &mut clients {
            let answer = client.answer().await;
            assert_eq!(
                (answer.status, &answer.json()["error"]["code"]),
                (503, &json!("shutting_down"))
            );
        }
        assert!(server.child.wait().await.expect("its end").success());
    }
}

#[tokio::test]
async fn the_voices_of_an_upstream_are_waited_for_where_they_are_listed_and_an_error_is_said_once()
{
    let far = TestServer::start(&[]).await;
    let proxy = FaultProxy::start(Some(far.server.listen[0])).await;
    let run = async |args: &[&str], base: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_evensong"));
        command.args(args).args(["--speech-engine", "openai", "--speech-openai-base-url", base]);
        command.env_clear().output().await.expect("it runs")
    };
    let listed = run(&["voices", "list"], &proxy.base()).await;
    let listed = String::from_utf8(listed.stdout).expect("text");
    assert!(listed.starts_with("tone") && !listed.contains("alloy"), "{listed}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.mp3");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let base = format!("http://{}/v1", closed.local_addr().expect("an address"));
    drop(closed);
    let said = run(&["say", "x", "-o", file.to_str().expect("UTF-8")], &base).await;
    let said = String::from_utf8(said.stderr).expect("text");
    assert_eq!(said.matches("cannot be reached").count(), 1, "{said}");
}
