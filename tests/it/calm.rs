//! The memory watch under healthy load of every kind: it may say that memory grows, and no more. A false alarm
//! would teach operators to look away.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::child::ChildServer;

/// By the watch's own clock, which is the only one here: milliseconds of its newest sample.
const LASTS_MS: u64 = 4000;
const FINE: [&str; 3] = ["starting", "flat", "growing"];

async fn server() -> ChildServer {
    ChildServer::start(&["--memory-interval-seconds", "0.1"], &[]).await
}

fn request(close: &str) -> String {
    format!("GET /assets/style.css HTTP/1.1\r\nhost: localhost\r\nconnection: {close}\r\n\r\n")
}

/// What the watch saw last.
struct Clock(AtomicU64);

impl Clock {
    fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Until the watch has looked for so many milliseconds more.
    async fn pass(&self, ms: u64) {
        let until = (self.now() + ms).min(LASTS_MS);
        while self.now() < until {
            tokio::task::yield_now().await;
        }
    }
}

/// Lets `clients` do what they do at once, again and again, and looks at the watch meanwhile.
async fn calm_under<F: Future<Output = ()>>(
    clients: usize,
    client: impl Fn(SocketAddr, Arc<Clock>) -> F,
) {
    let (server, clock) = (server().await, Arc::new(Clock(AtomicU64::new(0))));
    let work = async || {
        while clock.now() < LASTS_MS {
            client(server.listen, Arc::clone(&clock)).await;
        }
    };
    let looks = async || {
        while clock.now() < LASTS_MS {
            let report = server.admin("/debug/memory").await.json();
            let state = report["state"].as_str().expect("a state");
            assert!(FINE.contains(&state), "{state}: {:#}", report["findings"]);
            let newest = report["samples"].as_array().and_then(|samples| samples.last());
            let at = newest.and_then(|sample| sample["at_ms"].as_u64()).unwrap_or(0);
            clock.0.store(at, Relaxed);
        }
    };
    let work = futures_util::future::join_all((0..clients).map(|_| work()));
    tokio::join!(work, looks());
    let alarms = ["EXTERNAL MEMORY LEAK DETECTED", "the ledger and the process disagree"];
    assert_eq!(alarms.map(|alarm| server.said(alarm)), [0, 0], "{:?}", server.log());
}

/// A client that takes little at a time.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2304).expect("a narrow one");
    socket.connect(address).await.expect("a connection")
}

/// One request for each connection, as proxies without keep-alive do.
#[tokio::test]
async fn while_connections_come_and_go() {
    calm_under(8, async |address, _| {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request("close").as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    })
    .await;
}

/// The answer stands in the socket, and its reader takes its time.
#[tokio::test]
async fn while_last_bytes_are_taken_slowly() {
    calm_under(8, async |address, clock| {
        let mut stream = narrow(address).await;
        stream.write_all(request("close").as_bytes()).await.expect("sent");
        clock.pass(700).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    })
    .await;
}

/// A FIN behind the request, which counts as leaving, while the answer is on its way.
#[tokio::test]
async fn while_clients_close_their_half() {
    calm_under(8, async |address, clock| {
        let mut stream = narrow(address).await;
        stream.write_all(request("close").as_bytes()).await.expect("sent");
        let mut first = [0; 16];
        stream.read_exact(&mut first).await.expect("an answer");
        let _ = stream.shutdown().await;
        clock.pass(500).await;
    })
    .await;
}

#[tokio::test]
async fn while_streams_are_spoken_and_left() {
    calm_under(4, async |address, _| {
        let mut client = crate::http::Client::connect(address).await;
        client.send(&crate::leaving::long_request()).await;
        client.head().await;
    })
    .await;
}

/// What a client leaves unread when it dies is nobody's: the place and the bytes come back at once.
#[tokio::test]
async fn a_client_that_dies_with_bytes_unread_is_gone_at_once() {
    let server = server().await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut stream = narrow(server.listen).await;
        stream.write_all(request("close").as_bytes()).await.expect("sent");
        let mut first = [0; 16];
        stream.read_exact(&mut first).await.expect("an answer");
        streams.push(stream);
    }
    let connections =
        async || crate::server::live(&server.admin("/debug/ledger").await.json(), "connection");
    assert_eq!(connections().await, 10, "what is unread keeps its place");
    drop(streams);
    let began = Instant::now();
    while connections().await > 0 {
        assert!(began.elapsed() < Duration::from_secs(2), "they still stand");
        tokio::task::yield_now().await;
    }
}

/// Whoever is connecting while it starts, a balancer above all, must not be taken for furniture.
#[tokio::test]
async fn while_it_starts_with_clients_at_the_door() {
    for _ in 0..5 {
        let listen = free_address().to_string();
        let address: SocketAddr = listen.parse().expect("an address");
        let knocking = tokio::spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(address).await {
                    let _ = stream.write_all(request("keep-alive").as_bytes()).await;
                    let mut some = [0; 64];
                    let _ = stream.read(&mut some).await;
                }
                tokio::task::yield_now().await;
            }
        });
        let args = ["--memory-interval-seconds", "0.1", "--listen", &listen];
        let server = ChildServer::start(&args, &[]).await;
        knocking.abort();
        let enough = |report: &Value| report["samples"].as_array().is_some_and(|all| all.len() > 6);
        let report = server.memory(Duration::from_secs(10), enough).await;
        assert!(FINE.contains(&report["state"].as_str().expect("a state")), "{report:#}");
    }
}

/// It was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_nobody() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_evensong"))
        .args(["--announce", "--speech-engine", "tone"])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .env_clear()
        .stdout(std::process::Stdio::piped())
        .stderr(full)
        .kill_on_drop(true)
        .spawn()
        .expect("it runs");
    let out = child.stdout.take().expect("a pipe");
    use tokio::io::{AsyncBufReadExt, BufReader};
    let line = BufReader::new(out).lines().next_line().await.expect("a pipe");
    let said: Value = serde_json::from_str(&line.expect("it announces itself")).expect("JSON");
    let url = said["listen"][0].as_str().expect("a URL").trim_start_matches("http://");
    let mut client = crate::http::Client::connect(url.parse().expect("an address")).await;
    assert_eq!(client.get("/healthz").await.status, 200);
    let pid = rustix::process::Pid::from_raw(child.id().expect("it runs") as i32);
    rustix::process::kill_process(pid.expect("an id"), rustix::process::Signal::TERM)
        .expect("it can be told");
    assert!(child.wait().await.expect("its end").success());
}
