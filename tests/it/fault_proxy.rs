//! A proxy in front of an upstream that misbehaves as it is told. Invariant: what it was asked, what it gave and when
//! it was left can be read from it at any time; whoever left it is seen at once, since it always reads.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What it does to an answer. Bytes are those of the answer, its head included.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Passes on so many bytes, then nothing, and stays.
    Stall(usize),
    /// Passes on so many bytes, then resets the connection.
    Reset(usize),
    /// Passes on so many bytes, then closes the connection in good order.
    Close(usize),
    /// Passes on pieces of 1, 2, … 7 bytes.
    Slice,
    /// Asks nobody, and answers with these bytes.
    Canned(Vec<u8>),
    /// Answers with these bytes, and then the others again and again.
    Endless(Vec<u8>, Vec<u8>),
}

/// A request that came.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// As it came, in lower case.
    pub head: String,
    /// As it came; `Null` where it is no JSON.
    pub body: Value,
    /// The same, byte by byte.
    pub bytes: Vec<u8>,
    /// Bytes of the answer that were handed over.
    pub given: usize,
    /// When the asker left before the end of the answer.
    pub left: Option<Instant>,
}

/// See the module. It ends with the test.
pub struct FaultProxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: Option<SocketAddr>,
    fault: Mutex<Fault>,
    seen: Mutex<Vec<Seen>>,
    news: Notify,
}

impl FaultProxy {
    /// In front of `target`; without one, only what is canned can be had.
    pub async fn start(target: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            target,
            fault: Mutex::new(Fault::None),
            seen: Mutex::default(),
            news: Notify::new(),
        });
        let this = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&this), stream));
            }
        });
        Self { address, shared }
    }

    /// The base address of its API.
    pub fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        *lock(&self.shared.fault) = fault;
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Requests to speak so far; there are others.
    pub fn asked_to_speak(&self) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.head.starts_with("post /v1/audio/speech"));
        seen
    }

    /// Waits until `wanted` holds of the requests to speak; panics after 5 s.
    pub async fn wait(&self, what: &str, wanted: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        self.wait_for(what, Self::asked_to_speak, wanted).await
    }

    /// Waits until `wanted` holds of all requests; panics after 5 s.
    pub async fn wait_for_any(&self, what: &str, wanted: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        self.wait_for(what, Self::seen, wanted).await
    }

    async fn wait_for(
        &self,
        what: &str,
        those: impl Fn(&Self) -> Vec<Seen>,
        wanted: impl Fn(&[Seen]) -> bool,
    ) -> Vec<Seen> {
        let waiting = async {
            loop {
                let news = self.shared.news.notified();
                let seen = those(self);
                if wanted(&seen) {
                    return seen;
                }
                news.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(5), waiting).await;
        waited.unwrap_or_else(|_| panic!("not {what}: {:#?}", those(self)))
    }
}

/// Serves one connection, on which one request after the other may come.
async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let (mut from, mut to) = stream.into_split();
    let mut read = Vec::new();
    while let Some(request) = request(&mut from, &mut read).await {
        let number = shared.note(&request);
        let fault = lock(&shared.fault).clone();
        let left = {
            let answering = answer(&shared, number, &request, &fault, &mut to);
            tokio::pin!(answering);
            tokio::select! {
                stays = &mut answering => !stays,
                () = gone(&mut from, &mut read) => {
                    shared.change(number, |seen| seen.left = Some(Instant::now()));
                    true
                }
            }
        };
        if let (Fault::Reset(_), true) = (&fault, left) {
            let stream = from.reunite(to).expect("two halves of one");
            let _ = stream.set_zero_linger();
            return;
        }
        if left {
            return;
        }
    }
}

/// Answers; false when the connection is over with it.
async fn answer(
    shared: &Shared,
    number: usize,
    request: &[u8],
    fault: &Fault,
    to: &mut OwnedWriteHalf,
) -> bool {
    let mut give = Give { shared, number, to };
    match fault {
        Fault::Canned(bytes) => {
            give.all(bytes).await;
            // Without a length its end is the connection's.
            contains(bytes, b"content-length")
        }
        Fault::Endless(head, again) => {
            give.all(head).await;
            while give.all(again).await {}
            false
        }
        _ => pass(shared.target.expect("somebody to ask"), request, fault, &mut give).await,
    }
}

async fn pass(target: SocketAddr, request: &[u8], fault: &Fault, give: &mut Give<'_>) -> bool {
    let mut upstream = TcpStream::connect(target).await.expect("it listens");
    // One request a connection, so that the answer's end is seen.
    let request = with_close(request);
    upstream.write_all(&request).await.expect("it takes the request");
    let (mut part, mut passed, mut slice) = ([0; 4096], 0, 0);
    loop {
        let count = upstream.read(&mut part).await.unwrap_or(0);
        if count == 0 {
            return false;
        }
        let left = match fault {
            Fault::Stall(at) | Fault::Reset(at) | Fault::Close(at) => at - passed,
            _ => usize::MAX,
        };
        let mut bytes = &part[..count.min(left)];
        passed += bytes.len();
        while !bytes.is_empty() {
            slice = slice % 7 + 1;
            let size = if *fault == Fault::Slice { slice.min(bytes.len()) } else { bytes.len() };
            if !give.all(&bytes[..size]).await {
                return false;
            }
            bytes = &bytes[size..];
        }
        if count >= left {
            match fault {
                Fault::Stall(_) => std::future::pending().await,
                _ => return false,
            }
        }
    }
}

struct Give<'a> {
    shared: &'a Shared,
    number: usize,
    to: &'a mut OwnedWriteHalf,
}

impl Give<'_> {
    /// False when nobody takes it.
    async fn all(&mut self, bytes: &[u8]) -> bool {
        let given = self.to.write_all(bytes).await.is_ok();
        self.shared.change(self.number, |seen| match given {
            true => seen.given += bytes.len(),
            false => seen.left = Some(Instant::now()),
        });
        given
    }
}

impl Shared {
    fn note(&self, request: &[u8]) -> usize {
        let end = find(request, b"\r\n\r\n").unwrap_or(request.len());
        let body = &request[(end + 4).min(request.len())..];
        let seen = Seen {
            head: String::from_utf8_lossy(&request[..end]).to_lowercase(),
            body: serde_json::from_slice(body).unwrap_or_default(),
            bytes: body.to_vec(),
            ..Seen::default()
        };
        let mut all = lock(&self.seen);
        all.push(seen);
        let number = all.len() - 1;
        drop(all);
        self.news.notify_waiters();
        number
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut Seen)) {
        change(&mut lock(&self.seen)[number]);
        self.news.notify_waiters();
    }
}

/// The next request, whole; `None` at the connection's end.
async fn request(from: &mut OwnedReadHalf, read: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = find(read, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if read.len() >= end + 4 + length {
                return Some(read.drain(..end + 4 + length).collect());
            }
        }
        let mut part = [0; 4096];
        match from.read(&mut part).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => read.extend_from_slice(&part[..count]),
        }
    }
}

/// Ready when the other side has left.
async fn gone(from: &mut OwnedReadHalf, read: &mut Vec<u8>) {
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut part).await {
        read.extend_from_slice(&part[..count]);
    }
}

fn with_close(request: &[u8]) -> Vec<u8> {
    let end = find(request, b"\r\n").expect("a request line");
    [&request[..end], b"\r\nconnection: close", &request[end..]].concat()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    find(&haystack.to_ascii_lowercase(), needle).is_some()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
