//! Peers that are asked for bytes and do not send them, with deadlines short enough to be waited for.

use std::time::Duration;

use evensong::config::Config;

use crate::http::Client;
use crate::server::{TestServer, config, live};

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(10);

async fn server(set: impl Fn(&mut Config)) -> TestServer {
    let mut config = config(&[]);
    let patience = &mut config.door.patience;
    (patience.first_bytes, patience.head, patience.idle) = (LONG, LONG, LONG);
    set(&mut config);
    TestServer::with(&config).await
}

async fn is_cut(server: &TestServer, sent: &[u8]) {
    let mut client = Client::connect(server.server.listen[0]).await;
    client.send(sent).await;
    assert!(client.ends_within(Duration::from_secs(5)).await, "still open after {sent:?}");
    server.wait("closed", |ledger| live(ledger, "connection") == 0).await;
}

#[tokio::test]
async fn silent_connections_and_half_prefaces_are_cut() {
    let server = server(|config| config.door.patience.first_bytes = SHORT).await;
    is_cut(&server, b"").await;
    is_cut(&server, b"PRI * HTTP/2.0\r\n\r\nSM").await;
    server.idle().await;
}

#[tokio::test]
async fn a_head_that_drips_is_cut_by_its_first_byte_s_time() {
    let server = server(|config| config.door.patience.head = SHORT).await;
    is_cut(&server, b"GET /healthz HTTP/1.1\r\nhost: t").await;
    let mut client = Client::connect(server.server.listen[0]).await;
    client.send(b"GET /").await;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    // A byte now and then: the time is not begun anew by each.
    let drip = async {
        loop {
            ticks.tick().await;
            if tokio::io::AsyncWriteExt::write_all(&mut client.stream, b"x").await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), drip).await.expect("cut while it drips");
    server.idle().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_later_than_a_slow_head() {
    let server = server(|config| config.door.patience.idle = SHORT).await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/healthz").await.status, 200);
    assert_eq!(client.get("/healthz").await.status, 200, "it is kept alive");
    assert!(client.ends_within(Duration::from_secs(5)).await);
    server.idle().await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let server = server(|_| {}).await;
    let fields = |count: usize| "x: y\r\n".repeat(count);
    for (request, status) in [
        (format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{}\r\n", fields(62)), 200),
        (format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{}\r\n", fields(70)), 431),
        (
            format!(
                "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
                "y".repeat(20_000)
            ),
            431,
        ),
    ] {
        let mut client = server.connect().await;
        client.send(request.as_bytes()).await;
        assert_eq!(client.answer().await.status, status);
    }
    server.idle().await;
}

#[tokio::test]
async fn connections_beyond_the_cap_are_told_so() {
    let server = TestServer::start(&[("limits.connections", "2")]).await;
    let mut first = server.connect().await;
    assert_eq!(first.get("/healthz").await.status, 200);
    let _second = server.connect().await;
    server.wait("two connections", |ledger| live(ledger, "connection") == 2).await;
    let refused = server.connect().await.answer().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    assert_eq!(first.get("/healthz").await.status, 200, "those who are in stay in");
    drop(first);
    server.wait("room again", |ledger| live(ledger, "connection") == 1).await;
    assert_eq!(server.get("/healthz").await.status, 200);
}
