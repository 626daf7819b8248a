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

/// A client of HTTP/2 that asks for minutes of audio on two streams and reads only one of them.
#[tokio::test]
async fn a_stream_of_http2_that_is_not_read_is_ended_and_its_neighbour_is_not() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let server =
        server(|config| config.door.patience.slow_reader = Duration::from_millis(400)).await;
    let stream = tokio::net::TcpStream::connect(server.server.listen[0]).await.expect("listens");
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(2000)
        .handshake(TokioIo::new(stream))
        .await
        .expect("ready");
    let task = tokio::spawn(connection);
    let mut ask = |method: &str, path: &str, body: serde_json::Value| {
        let uri = format!("http://localhost{path}");
        let body = Full::new(hyper::body::Bytes::from(body.to_string()));
        let request = hyper::Request::builder().method(method).uri(uri).body(body);
        sender.send_request(request.expect("a request"))
    };
    let text = "A text that goes on. ".repeat(150);
    let long = |format| serde_json::json!({"input": text, "response_format": format});
    let starved = ask("POST", "/v1/audio/speech", long("pcm")).await.expect("an answer");
    let read = ask("POST", "/v1/audio/speech", long("wav")).await.expect("an answer");
    let mut read = read.into_body();
    let ends = async {
        while server.live("speech_stream").await > 1 {
            assert!(read.frame().await.expect("more of it").is_ok(), "the neighbour goes on");
        }
    };
    tokio::time::timeout(LONG, ends).await.expect("the starved stream is ended");
    assert!(starved.into_body().collect().await.is_err(), "and does not look finished");
    // All of this is one frame, so that the task of its stream is over at once.
    let whole = ask("GET", "/assets/app.js", serde_json::Value::Null).await.expect("an answer");
    let ends = async {
        while !task.is_finished() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(LONG, ends).await.expect("what nobody can end alone ends them all");
    drop((whole, read));
    server.idle().await;
}

#[tokio::test]
async fn more_than_64_fields_are_refused_on_http2_as_well() {
    use http_body_util::Empty;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let server = server(|_| {}).await;
    let stream = tokio::net::TcpStream::connect(server.server.listen[0]).await.expect("listens");
    let io = TokioIo::new(stream);
    let ready = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = ready.expect("ready");
    let task = tokio::spawn(connection);
    for (fields, status) in [(60, 200), (70, 431)] {
        let mut request = hyper::Request::get("http://localhost/healthz");
        for field in 0..fields {
            request = request.header(format!("x-{field}"), "y");
        }
        let request = request.body(Empty::<hyper::body::Bytes>::new()).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), status, "{fields} fields");
    }
    drop(sender);
    let _ = task.await;
    server.idle().await;
}

/// Kernel memory of connections that ended in good order is somebody's as well.
#[tokio::test]
async fn what_a_closed_connection_still_holds_is_accounted_until_it_is_taken_or_dropped() {
    let server =
        server(|config| config.door.patience.slow_reader = Duration::from_millis(600)).await;
    let mut greedy = Client::connect_narrow(server.server.listen[0]).await;
    // More than its own buffer takes, and less than ours: for us the answer is sent.
    let page = "GET /assets/style.css HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(4);
    let last = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    greedy.send(format!("{page}{last}").as_bytes()).await;
    let mut other = server.connect().await;
    for _ in 0..3 {
        assert_eq!(other.get("/healthz").await.status, 200);
    }
    assert_eq!(server.live("connection").await, 2, "it is still there");
    drop(other);
    server.wait("dropped", |ledger| live(ledger, "connection") == 0).await;
    server.idle().await;
}

#[tokio::test]
async fn who_has_come_and_asked_nothing_does_not_hold_up_a_server_that_leaves() {
    let server = server(|_| {}).await;
    let _silent = server.connect().await;
    let mut half = server.connect().await;
    half.send(b"GET /healthz HT").await;
    server.wait("both are in", |ledger| live(ledger, "connection") == 2).await;
    let began = std::time::Instant::now();
    assert!(server.server.stop().await, "nobody had to be cut off");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
