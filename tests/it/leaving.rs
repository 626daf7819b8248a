//! Clients that leave, in every way there is: what they held is free, and the engine's work for them
//! has ended. The large numbers are in `benches/speak.py`.

use std::time::Duration;

use serde_json::json;

use crate::http::{Client, post};
use crate::server::{TestServer, live};

/// Longer than the socket and the ring can hold, so that the server is in the middle of it.
pub fn long_request() -> Vec<u8> {
    let body = json!({"input": "A text that goes on. ".repeat(150), "response_format": "pcm"});
    post("/v1/audio/speech", body.to_string().as_bytes())
}

/// A client that has its head and a little audio, and reads no more.
pub async fn stalled(server: &TestServer) -> Client {
    let mut client = Client::connect_narrow(server.server.listen[0]).await;
    client.send(&long_request()).await;
    assert_eq!(client.head().await.0, 200);
    assert!(client.fill(2048).await);
    client
}

/// A FIN and nothing else: to drop a socket that has unread bytes sends an RST, which is seen by whoever
/// writes.
async fn say_goodbye(client: &mut Client) {
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await.expect("half closed");
}

/// What has to hold after everybody has left.
async fn all_is_free(server: &TestServer) {
    let ledger = server.idle().await;
    assert_eq!((live(&ledger, "job"), live(&ledger, "task")), (0, 0));
    let text = Client::connect(server.server.admin).await.get("/metrics").await;
    let text = String::from_utf8(text.body).expect("text");
    let within = |le: &str| -> u64 {
        let name = "evensong_disconnect_to_free_seconds_bucket";
        let name = format!("{name}{{le=\"{le}\",held=\"stream\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|count| count.parse().ok()).expect("the histogram")
    };
    assert!(within("+Inf") > 0, "the leaving was not seen");
    assert_eq!(within("1.0"), within("+Inf"), "freed more than a second later");
}

#[tokio::test]
async fn by_fin_while_stalled() {
    let server = TestServer::start(&[]).await;
    let client = stalled(&server).await;
    assert_eq!(server.live("speech_stream").await, 1);
    drop(client);
    all_is_free(&server).await;
}

#[tokio::test]
async fn by_rst_while_stalled() {
    let server = TestServer::start(&[]).await;
    let client = stalled(&server).await;
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).expect("linger 0");
    drop(client);
    all_is_free(&server).await;
}

#[tokio::test]
async fn by_fin_behind_a_stray_byte() {
    let server = TestServer::start(&[]).await;
    let mut client = stalled(&server).await;
    client.send(b"\r\n").await;
    say_goodbye(&mut client).await;
    all_is_free(&server).await;
}

#[tokio::test]
async fn by_fin_behind_a_pipelined_request() {
    let server = TestServer::start(&[]).await;
    let mut client = stalled(&server).await;
    client.send(&long_request()).await;
    say_goodbye(&mut client).await;
    all_is_free(&server).await;
}

#[tokio::test]
async fn by_half_close_only() {
    let server = TestServer::start(&[]).await;
    let mut client = stalled(&server).await;
    say_goodbye(&mut client).await;
    all_is_free(&server).await;
}

#[tokio::test]
async fn before_the_first_byte() {
    let server = TestServer::start(&[]).await;
    for _ in 0..20 {
        let mut client = server.connect().await;
        client.send(&long_request()).await;
        drop(client);
    }
    server.idle().await;
}

#[tokio::test]
async fn in_the_middle_of_a_request() {
    let server = TestServer::start(&[]).await;
    for part in [1, 20, 60, 100, 1000] {
        let mut client = server.connect().await;
        client.send(&long_request()[..part]).await;
        drop(client);
    }
    server.idle().await;
}

#[tokio::test]
async fn over_http2_with_several_streams_on_one_connection() {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    let server = TestServer::start(&[]).await;
    let stream = tokio::net::TcpStream::connect(server.server.listen[0]).await.expect("listens");
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.expect("a preface");
    let driver = tokio::spawn(connection);
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let body = json!({"input": "A text that goes on. ".repeat(150), "response_format": "pcm"});
        let request = hyper::Request::post("http://localhost/v1/audio/speech")
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("a request");
        let mut response = sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert!(response.frame().await.is_some_and(|frame| frame.is_ok()));
        bodies.push(response);
    }
    assert_eq!(server.live("speech_stream").await, 3);
    drop(bodies.pop()); // one stream is reset, the others go on
    server.wait("two streams", |ledger| live(ledger, "speech_stream") == 2).await;
    driver.abort();
    drop((bodies, sender));
    all_is_free(&server).await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_and_its_neighbour_is_not() {
    let mut config = crate::server::config(&[]);
    config.door.patience.slow_reader = Duration::from_millis(300);
    config.door.patience.slow_reader_bytes = 1024;
    let server = TestServer::with(&config).await;
    let mut slow = stalled(&server).await;
    let neighbour = server.connect().await.post("/v1/audio/speech", b"{\"input\":\"Hi.\"}").await;
    assert_eq!((neighbour.status, neighbour.whole), (200, true));
    server.wait("cut", |ledger| live(ledger, "speech_stream") == 0).await;
    assert!(slow.ends_within(Duration::from_secs(2)).await);
    let (_, whole) = slow.rest().await;
    assert!(!whole, "a stream that was cut must not look finished");
    let text = Client::connect(server.server.admin).await.get("/metrics").await.body;
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains("evensong_connection_cuts_total{reason=\"slow_consumer\"} 1"), "{text}");
    drop(slow);
    server.idle().await;
}
