//! A plain HTTP/1.1 client over a socket that a test can stall, break or close at any byte.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer of a test server takes longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// False when the transfer broke off.
    pub whole: bool,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as s16 samples, without a WAV header.
    pub fn samples(&self) -> Vec<i16> {
        let start = if self.body.starts_with(b"RIFF") { 44 } else { 0 };
        self.body[start..].chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect()
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        Self { stream, buffer: Vec::new() }
    }

    /// With a small receive buffer, so that the server soon has bytes waiting.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8 * 1024).expect("a small buffer");
        Self { stream: socket.connect(address).await.expect("it listens"), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it takes the request");
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
        self.answer().await
    }

    pub async fn post(&mut self, path: &str, body: &[u8]) -> Answer {
        self.send(&post(path, body)).await;
        self.answer().await
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Answer {
        timeout(PATIENCE, self.read_answer()).await.expect("an answer in time")
    }

    async fn read_answer(&mut self) -> Answer {
        let (status, headers) = self.head().await;
        let (body, whole) = if headers.get("transfer-encoding").is_some_and(|v| v == "chunked") {
            self.chunks().await
        } else {
            let length = headers.get("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
            let whole = self.fill(length).await;
            (self.buffer.drain(..length.min(self.buffer.len())).collect(), whole)
        };
        Answer { status, headers, body, whole }
    }

    /// Status and headers of the next answer.
    pub async fn head(&mut self) -> (u16, HashMap<String, String>) {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            assert!(self.more().await, "the connection ended before a head");
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("an ASCII head");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_string()));
        (status.expect("a status"), headers.collect())
    }

    async fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match find(&self.buffer, b"\r\n") {
                    Some(at) => break at,
                    None if self.more().await => {}
                    None => return (body, false),
                }
            };
            let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let size = std::str::from_utf8(&line[..end]).ok();
            let size = size.and_then(|text| usize::from_str_radix(text, 16).ok()).expect("a size");
            if !self.fill(size + 2).await {
                return (body, false);
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
            if size == 0 {
                return (body, true);
            }
        }
    }

    /// The rest of a chunked body, which must end well.
    pub async fn body(&mut self) -> Vec<u8> {
        let (body, whole) = timeout(PATIENCE, self.chunks()).await.expect("an end in time");
        assert!(whole, "the transfer broke off after {} bytes", body.len());
        body
    }

    /// Bytes of the rest of a chunked body, and whether it ended well.
    pub async fn rest(&mut self) -> (usize, bool) {
        let (body, whole) = timeout(PATIENCE, self.chunks()).await.expect("an end in time");
        (body.len(), whole)
    }

    /// Makes sure that so many bytes are there; false when the connection ended first.
    pub async fn fill(&mut self, bytes: usize) -> bool {
        while self.buffer.len() < bytes {
            if !self.more().await {
                return false;
            }
        }
        true
    }

    /// Reads once; false at the end.
    async fn more(&mut self) -> bool {
        let mut part = [0; 16 * 1024];
        match self.stream.read(&mut part).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&part[..count]);
                true
            }
        }
    }

    /// Whether the server ends the connection within `patience`, whatever it still sends.
    pub async fn ends_within(&mut self, patience: Duration) -> bool {
        let end = async { while self.more().await {} };
        timeout(patience, end).await.is_ok()
    }
}

/// A POST of JSON.
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
