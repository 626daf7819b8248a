//! Requests whose end two readers could see in different places: 400, and the connection is over.

use crate::server::TestServer;

async fn status(server: &TestServer, request: &str) -> u16 {
    let mut client = server.connect().await;
    client.send(request.as_bytes()).await;
    let (status, _) = client.head().await;
    if status == 400 {
        assert!(client.ends_within(std::time::Duration::from_secs(5)).await, "{request:?}");
    }
    status
}

#[tokio::test]
async fn an_ambiguous_end_is_refused_and_the_connection_closed() {
    let server = TestServer::start(&[]).await;
    let post = |fields: &str, body: &str| {
        format!("POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n\r\n{body}")
    };
    for (fields, body) in [
        ("content-length: 4\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
        ("transfer-encoding: chunked\r\ncontent-length: 4", "0\r\n\r\n"),
        ("content-length: 4\r\ncontent-length: 5", "abcde"),
        ("content-length: 4\r\ncontent-length: 4", "abcd"),
        ("content-length: 4, 4", "abcd"),
        ("content-length: +4", "abcd"),
        ("content-length: 0x4", "abcd"),
        ("transfer-encoding: identity", ""),
        ("transfer-encoding: chunked, identity", ""),
        ("transfer-encoding: xchunked", ""),
        ("transfer-encoding : chunked", "0\r\n\r\n"),
        ("transfer-encoding:\r\n chunked", "0\r\n\r\n"),
        ("x: a\ncontent-length: 4", "abcd"),
        ("x: a\0b", ""),
        ("transfer-encoding: chunked", "4\nabcd\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked", "zz\r\n"),
    ] {
        assert_eq!(status(&server, &post(fields, body)).await, 400, "{fields:?} {body:?}");
    }
    let old = "POST /healthz HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(status(&server, old).await, 400);
    // The smuggled request must not be answered: one answer, then the end.
    let mut client = server.connect().await;
    let smuggled = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let fields = "content-length: 6\r\ntransfer-encoding: chunked";
    client.send(post(fields, &format!("0\r\n\r\nX{smuggled}")).as_bytes()).await;
    assert_eq!(client.head().await.0, 400);
    assert!(client.ends_within(std::time::Duration::from_secs(5)).await);
    server.idle().await;
}

#[tokio::test]
async fn a_good_request_behind_a_good_one_is_answered() {
    let server = TestServer::start(&[]).await;
    let mut client = server.connect().await;
    let get = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let post = "POST /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n\n\r\n\r";
    client.send(format!("{get}{post}{get}").as_bytes()).await;
    for status in [200, 405, 200] {
        assert_eq!(client.answer().await.status, status);
    }
    let chunked = "POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\n\
                   transfer-encoding: chunked\r\n\r\n";
    let body = "2;x=y\r\n{}\r\n0\r\nx-trailer: 1\r\n\r\n";
    client.send(format!("{chunked}{body}{get}").as_bytes()).await;
    for status in [400, 200] {
        assert_eq!(client.answer().await.status, status, "the first has no input");
    }
}
