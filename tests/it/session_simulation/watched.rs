//! The server's side of a connection in memory, with as much of a watch over it as it has in earnest. Invariant: a peer that takes
//! nothing of what waits for it for 20 s is cut, and one that was seen leaving is gone at once.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
pub struct Watched {
    stream: DuplexStream,
    waits: Waits,
}

/// Since when something waits for the peer, if it does.
#[derive(Clone, Default)]
pub struct Waits(Arc<Mutex<Option<Instant>>>);

impl Watched {
    pub fn new(stream: DuplexStream) -> (Self, Waits) {
        let waits = Waits::default();
        (Self { stream, waits: waits.clone() }, waits)
    }
}

impl Waits {
    fn told(&self, is_waiting: bool) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *waits = if is_waiting { waits.or(Some(Instant::now())) } else { None };
    }

    /// Ready when the peer is to be cut, or was seen leaving.
    pub async fn cut(self, left: CancellationToken) {
        let is_late = || {
            let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waits.is_some_and(|since| since.elapsed() >= PATIENCE)
        };
        while !is_late() {
            tokio::select! {
                biased;
                () = left.cancelled() => return,
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.waits.told(written.is_pending());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
