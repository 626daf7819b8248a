//! TLS on the public side, with a client that checks the certificate.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::Client;
use crate::server::{TestServer, config, live};

/// A certificate of our own in two files; gives what a client has to trust.
fn write(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).expect("made");
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("written");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("written");
    made.cert.der().clone()
}

async fn start(folder: &Path) -> TestServer {
    let path = |name: &str| folder.join(name).to_str().expect("a plain path").to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let mut config = config(&[("tls.cert", &cert), ("tls.key", &key)]);
    config.door.patience.first_bytes = Duration::from_millis(300);
    TestServer::with(&config).await
}

async fn connect(
    server: &TestServer,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(server.server.listen[0]).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn request() -> Request<Empty<Bytes>> {
    let uri = "https://localhost/healthz";
    Request::get(uri).header("host", "localhost").body(Empty::new()).expect("a request")
}

#[tokio::test]
async fn both_protocols_are_spoken_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let trusted = write(folder.path());
    let server = start(folder.path()).await;
    let stream = connect(&server, &trusted, b"http/1.1").await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("ready");
    let task = tokio::spawn(connection);
    let answer = sender.send_request(request()).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    assert!(body.starts_with(b"{\"status\":\"ok\"}"));
    let ledger = server.ledger().await;
    assert_eq!(ledger["budget"]["reserved"], (48 + 48) * 1024, "with TLS' own part");
    drop(sender);
    let _ = task.await;

    let stream = connect(&server, &trusted, b"h2").await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("ready");
    let task = tokio::spawn(connection);
    let answer = sender.send_request(request()).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    drop((sender, answer));
    let _ = task.await;
    server.idle().await;
}

#[tokio::test]
async fn half_a_handshake_is_cut_and_plain_text_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path());
    let server = start(folder.path()).await;
    // The first bytes of a ClientHello, and a request by somebody who does not know of TLS.
    for sent in
        [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", b""]
    {
        let mut client = Client::connect(server.server.listen[0]).await;
        client.send(sent).await;
        assert!(client.ends_within(Duration::from_secs(5)).await, "still open after {sent:?}");
    }
    server.wait("closed", |ledger| live(ledger, "connection") == 0).await;
    server.idle().await;
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = write(folder.path());
    let server = start(folder.path()).await;
    let fine = |trusted| {
        let server = &server;
        async move { connect(server, &trusted, b"h2").await.is_ok() }
    };
    let new = write(folder.path());
    assert!(fine(old.clone()).await && !fine(new.clone()).await, "not read yet");
    server.server.reload();
    assert!(!fine(old).await && fine(new.clone()).await);
    std::fs::write(folder.path().join("key.pem"), "nonsense").expect("written");
    server.server.reload();
    assert!(fine(new).await, "what is in force stays");
}
