//! The body of an upstream's answer. Invariants: it is whole or it ends with an error; it is never longer, and never
//! takes longer, than was allowed; when it is dropped before its end, the connection under it is closed.
//!
//! It holds the [`Turn`] that it came by, so that its generation stays for it. A generation whose grace is over drops
//! the task of each of its connections, whoever reads or does not read what came by it; hyper takes that for
//! an end, and this does not.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_stream::{Stream, StreamExt};

use super::aged::Turn;
use super::client::{Client, Line};
use super::error::{Fault, UpstreamError, reason};

/// How much of a body there may be, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// From one byte to the next, as long as somebody waits for it.
    pub between: Duration,
    /// From the request to the last byte.
    pub total: Duration,
    /// Bytes.
    pub most_bytes: u64,
}

/// See the module.
pub struct Body {
    upstream: &'static str,
    incoming: Option<Incoming>,
    turn: Turn<Client>,
    /// Until it is told whether the connection may be kept.
    line: Option<Line>,
    terms: Terms,
    began: Instant,
    bytes: u64,
    /// Since when its reader has been waiting.
    waiting: Option<Instant>,
    /// Set once somebody waits, and moved only when it rings: most waits are over before.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Body {
    pub(super) fn new(
        upstream: &'static str,
        incoming: Incoming,
        (turn, line): (Turn<Client>, Line),
        terms: Terms,
        began: Instant,
    ) -> Self {
        let (incoming, line) = (Some(incoming), Some(line));
        let (bytes, waiting, timer) = (0, None, None);
        Self { upstream, incoming, turn, line, terms, began, bytes, waiting, timer }
    }

    /// Which upstream it comes from.
    pub fn upstream(&self) -> &'static str {
        self.upstream
    }

    /// All of it.
    pub async fn whole(&mut self) -> Result<Bytes, UpstreamError> {
        let Some(first) = self.next().await.transpose()? else { return Ok(Bytes::new()) };
        let expected = self.incoming.as_ref().and_then(|left| left.size_hint().exact());
        let Some(second) = self.next().await.transpose()? else { return Ok(first) };
        // What it says it will be is within its bound, or it would not be read.
        let left = usize::try_from(expected.unwrap_or_default()).unwrap_or_default();
        let mut all = Vec::with_capacity(first.len() + left.max(second.len()));
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(bytes) = self.next().await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all.into())
    }

    /// All of it, if it is not longer than `most` bytes; else its beginning.
    pub async fn beginning(&mut self, most: usize) -> Result<Vec<u8>, UpstreamError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await {
            let bytes = bytes?;
            all.extend_from_slice(&bytes[..bytes.len().min(most - all.len())]);
            if all.len() == most {
                break;
            }
        }
        Ok(all)
    }

    /// Whether the next byte is overdue, or the last one.
    fn overdue(&mut self, cx: &mut Context<'_>) -> Option<Fault> {
        let Terms { between, total, .. } = self.terms;
        let since = *self.waiting.get_or_insert_with(Instant::now);
        let end = self.began + total;
        let due = end.min(since + between);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if end <= now {
                return Some(Fault::Endless(total));
            }
            if since + between <= now {
                return Some(Fault::Stalled(between));
            }
            timer.as_mut().reset(due);
        }
        None
    }

    /// Ends it, and closes its connection.
    fn end(&mut self, fault: Fault) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        (self.incoming, self.line) = (None, None);
        Poll::Ready(Some(Err(UpstreamError { upstream: self.upstream, fault })))
    }
}

impl Stream for Body {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(incoming) = this.incoming.as_mut() else { return Poll::Ready(None) };
            let frame = match Pin::new(incoming).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    return match this.overdue(cx) {
                        Some(fault) => this.end(fault),
                        None => Poll::Pending,
                    };
                }
            };
            this.waiting = None;
            match frame {
                Some(Ok(frame)) => {
                    // Trailers say nothing that is asked for here.
                    let Ok(bytes) = frame.into_data() else { continue };
                    this.bytes += bytes.len() as u64;
                    if this.bytes > this.terms.most_bytes {
                        return this.end(Fault::TooLong(this.terms.most_bytes));
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                _ if this.turn.is_over() => return this.end(Fault::Cut),
                Some(Err(error)) => return this.end(Fault::Broke(reason(&error))),
                None => {
                    this.incoming = None;
                    if let Some(line) = this.line.take() {
                        this.turn.keep(line);
                    }
                    return Poll::Ready(None);
                }
            }
        }
    }
}
