//! Connections that are two ends of memory, under a clock that the test turns.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use super::super::dial::{Connect, Io};
use super::*;
use crate::ledger::Ledger;
use crate::limits::UPSTREAM_IDLE_MOST;
use crate::tasks::Scope;

/// Each connection's other end goes to the test.
struct Wire(mpsc::Sender<DuplexStream>);

impl Connect for Wire {
    fn connect(
        &self,
        host: String,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>> {
        assert_eq!((&*host, port), ("engine.test", 9200));
        let (ours, theirs) = duplex(4096);
        self.0.try_send(theirs).expect("the test listens");
        Box::pin(std::future::ready(Ok(Box::new(ours) as Box<dyn Io>)))
    }
}

struct House {
    client: Client,
    peers: mpsc::Receiver<DuplexStream>,
    ledger: Ledger,
    over: CancellationToken,
    _scope: Scope,
}

impl House {
    fn new(kept_most: usize) -> Self {
        let ledger = Ledger::new();
        let scope = Scope::new("test", ledger.clone());
        let (sender, peers) = mpsc::channel(16);
        let over = CancellationToken::new();
        let client = Client::new(Plan {
            base: Base::parse("http://engine.test:9200/below").expect("a base"),
            dial: Dial::new(Arc::new(Wire(sender)), None, Duration::from_secs(1)),
            kept_most,
            owner: "engine".into(),
            spawner: scope.spawner(),
            over: over.clone(),
        });
        Self { client: client.expect("a client"), peers, ledger, over, _scope: scope }
    }

    /// Connections that were made since somebody last asked.
    fn made(&mut self) -> Vec<DuplexStream> {
        std::iter::from_fn(|| self.peers.try_recv().ok()).collect()
    }

    /// Asks by a connection that is to be made, and hears the answer to its end; the other end.
    async fn ask_anew(&mut self) -> DuplexStream {
        let Self { client, peers, .. } = self;
        let serve = async {
            let mut peer = peers.recv().await.expect("a connection");
            answer(&mut peer).await;
            peer
        };
        tokio::join!(hear(client), serve).1
    }

    async fn until_idle(&self) {
        while !self.ledger.is_idle() {
            tokio::task::yield_now().await;
        }
    }
}

fn request() -> Request<Full<Bytes>> {
    Request::get("/below/x").body(Full::default()).expect("a request")
}

async fn hear(client: &Client) {
    let (response, line) = client.send(request()).await.expect("an answer");
    assert_eq!(response.into_body().collect().await.expect("whole").to_bytes(), "so");
    client.keep(line);
}

/// Reads a request and answers it.
async fn answer(peer: &mut DuplexStream) -> String {
    let asked = asked(peer).await;
    peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nso").await.expect("it is there");
    asked
}

async fn asked(peer: &mut DuplexStream) -> String {
    let mut read = String::new();
    while !read.ends_with("\r\n\r\n") {
        read.push(peer.read_u8().await.expect("a request").into());
    }
    read
}

/// Whether nothing more will come.
async fn is_closed(peer: &mut DuplexStream) -> bool {
    matches!(peer.read(&mut [0]).await, Ok(0) | Err(_))
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_answer_was_heard_is_asked_again_and_names_its_host() {
    let mut house = House::new(1);
    let mut peer = house.ask_anew().await;
    for _ in 0..3 {
        let (asked, ()) = tokio::join!(answer(&mut peer), hear(&house.client));
        assert!(
            asked.starts_with("GET /below/x HTTP/1.1\r\nhost: engine.test:9200\r\n"),
            "{asked}"
        );
    }
    assert!(house.made().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_was_not_heard_to_its_end_is_closed() {
    let mut house = House::new(4);
    let (sent, mut peer) = tokio::join!(house.client.send(request()), async {
        let mut peer = house.peers.recv().await.expect("a connection");
        asked(&mut peer).await;
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\ns";
        peer.write_all(half).await.expect("it is there");
        peer
    });
    drop(sent.expect("an answer"));
    assert!(is_closed(&mut peer).await);
    house.until_idle().await;
    house.ask_anew().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_the_upstream_closed_meanwhile_is_not_asked() {
    let mut house = House::new(4);
    drop(house.ask_anew().await);
    house.ask_anew().await;
}

#[tokio::test(start_paused = true)]
async fn none_is_kept_for_longer_than_is_allowed_and_nobody_stays_to_see_to_it() {
    let mut house = House::new(4);
    let mut peer = house.ask_anew().await;
    let kept = Instant::now();
    assert!(is_closed(&mut peer).await);
    let after = kept.elapsed();
    assert!(after >= UPSTREAM_IDLE && after < UPSTREAM_IDLE * 11 / 10, "{after:?}");
    house.until_idle().await;
    // One that is used now and then is not too old for that.
    let mut peer = house.ask_anew().await;
    for _ in 0..5 {
        tokio::time::advance(UPSTREAM_IDLE * 9 / 10).await;
        tokio::join!(answer(&mut peer), hear(&house.client));
    }
    assert!(house.made().is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_more_are_kept_than_is_allowed() {
    for most in [0, 2] {
        let mut house = House::new(most);
        let mut peers = Vec::new();
        let asking =
            async { tokio::join!(hear(&house.client), hear(&house.client), hear(&house.client)) };
        let serving = async {
            for _ in 0..3 {
                peers.push(house.peers.recv().await.expect("a connection"));
            }
            for peer in &mut peers {
                answer(peer).await;
            }
        };
        tokio::join!(asking, serving);
        // Those that are not kept are closed at once, and before any could be too old.
        for peer in peers.iter_mut().take(3 - most) {
            assert!(is_closed(peer).await);
        }
        let tasks = house.ledger.live(Kind::UpstreamTask);
        assert_eq!(tasks, if most == 0 { 0 } else { most as u64 + 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn all_end_with_the_client_and_with_its_generations_grace() {
    let mut house = House::new(UPSTREAM_IDLE_MOST);
    house.ask_anew().await;
    let mut peer = house.ask_anew().await;
    let House { client, ledger, .. } = house;
    let began = Instant::now();
    drop(client);
    assert!(is_closed(&mut peer).await);
    while !ledger.is_idle() {
        tokio::task::yield_now().await;
    }
    assert!(began.elapsed() < UPSTREAM_IDLE / 2, "it was waited for");

    let mut house = House::new(1);
    let mut sent = std::pin::pin!(house.client.send(request()));
    let mut peer = tokio::select! {
        _ = &mut sent => panic!("nobody answered"),
        peer = async {
            let mut peer = house.peers.recv().await.expect("a connection");
            asked(&mut peer).await;
            peer
        } => peer,
    };
    house.over.cancel();
    assert!(matches!(sent.await, Err(ClientError::Http(_))));
    assert!(is_closed(&mut peer).await);
    while !house.ledger.is_idle() {
        tokio::task::yield_now().await;
    }
}
