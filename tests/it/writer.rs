//! A language model in the test's own process, which writes what the test tells it to, when it tells it to. Invariant: who
//! asks gets an answer that is still open; whether they left is seen by [`Asked::left`].

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What goes wrong in the middle.
type Broken = std::io::Error;

/// See the module. It ends with the test.
pub struct Writer {
    pub base: String,
    asked: mpsc::UnboundedReceiver<Asked>,
}

/// A question that came, and its answer.
pub struct Asked {
    /// What was sent.
    pub body: Value,
    pieces: mpsc::Sender<Result<Bytes, Broken>>,
}

impl Writer {
    pub async fn start() -> Self {
        let (came, asked) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let routes = Router::new().fallback(answer).with_state(came);
        tokio::spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
        Self { base, asked }
    }

    /// The next question.
    pub async fn asked(&mut self) -> Asked {
        let asked = timeout(Duration::from_secs(5), self.asked.recv()).await;
        asked.expect("it is asked").expect("it serves")
    }

    /// Whether nobody has asked anything more.
    pub fn is_idle(&mut self) -> bool {
        self.asked.try_recv().is_err()
    }
}

async fn answer(State(came): State<mpsc::UnboundedSender<Asked>>, body: Bytes) -> Response {
    let (pieces, written) = mpsc::channel(64);
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let _ = came.send(Asked { body, pieces });
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(written));
    ([("content-type", "text/event-stream")], body).into_response()
}

impl Asked {
    /// Writes something as it is.
    pub async fn says(&self, raw: &str) {
        self.pieces.send(Ok(raw.to_string().into())).await.expect("somebody reads");
    }

    /// As [`Asked::says`], to whom it may be too much.
    pub async fn tries(&self, raw: &str) {
        let _ = self.pieces.send(Ok(raw.to_string().into())).await;
    }

    /// Writes so much more of the answer.
    pub async fn writes(&self, text: &str) {
        let chunk = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
        self.says(&format!("data: {chunk}\n\n")).await;
    }

    /// Ends it, for that reason.
    pub async fn ends(self, reason: &str) {
        let chunk = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
        self.says(&format!("data: {chunk}\n\ndata: [DONE]\n\n")).await;
    }

    /// Dies.
    pub async fn dies(self) {
        let _ = self.pieces.send(Err(Broken::other("dead"))).await;
    }

    /// Waits until whoever asked has left.
    pub async fn left(&self) {
        timeout(Duration::from_secs(5), self.pieces.closed()).await.expect("they leave");
    }
}
