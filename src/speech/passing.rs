//! Speech that is made elsewhere in the format that was asked for. Invariants: it is passed through as it comes, without a
//! copy and without a task; what ends without its end never looks whole.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio_stream::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{LEAVING, SpeechError};
use crate::bounds::Stake;
use crate::bounds::budget::Held;
use crate::bounds::ring::Broken;
use crate::limits::PASSED_LEAST_BYTES;
use crate::metrics::{Metrics, StreamEnd};
use crate::upstream::{Body, Fault, UpstreamError};

/// Why a stream had no beginning, for whoever waits for it; its reader hears of it in words alone.
#[derive(Clone, Debug, Default)]
pub struct Failure(Arc<OnceLock<SpeechError>>);

impl Failure {
    /// What it was, once it has happened.
    pub fn get(&self) -> Option<SpeechError> {
        self.0.get().cloned()
    }

    /// Notes it; only the first counts.
    pub fn set(&self, error: SpeechError) {
        let _ = self.0.set(error);
    }
}

/// Bytes of an upstream, passed on as they come.
pub struct Passing {
    body: Body,
    stake: Arc<Stake>,
    metrics: Metrics,
    failure: Failure,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    begun: bool,
    ended: bool,
}

/// Bytes on their way, counted until hyper has sent them.
struct Passed {
    bytes: Bytes,
    _held: Held,
    _stake: Arc<Stake>,
}

impl AsRef<[u8]> for Passed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Passing {
    /// Passes `body` on until its server is `stopping`; all of it is held under `stake`.
    pub fn new(
        body: Body,
        stake: Arc<Stake>,
        metrics: Metrics,
        failure: Failure,
        stopping: WaitForCancellationFutureOwned,
    ) -> Self {
        let stopping = Box::pin(stopping);
        Self { body, stake, metrics, failure, stopping, begun: false, ended: false }
    }

    /// The next bytes.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.stopping.as_mut().poll(cx).is_ready() {
            self.end(StreamEnd::Failed);
            self.failure.set(SpeechError::Leaving);
            return Poll::Ready(Some(Err(Broken(LEAVING.into()))));
        }
        let next = std::task::ready!(Pin::new(&mut self.body).poll_next(cx));
        Poll::Ready(match next {
            Some(Ok(bytes)) => {
                self.begun = true;
                let held = self.stake.hold((bytes.len() as u64).max(PASSED_LEAST_BYTES));
                let passed = Passed { bytes, _held: held, _stake: Arc::clone(&self.stake) };
                Some(Ok(Bytes::from_owner(passed)))
            }
            Some(Err(error)) => Some(Err(self.fail(error))),
            None if !self.begun => Some(Err(self.fail(no_audio(&self.body)))),
            None => {
                self.end(StreamEnd::Done);
                None
            }
        })
    }

    fn fail(&mut self, error: UpstreamError) -> Broken {
        tracing::warn!(%error, "a stream broke off");
        self.end(StreamEnd::Failed);
        let broken = Broken(error.to_string().into());
        self.failure.set(SpeechError::Upstream(error));
        broken
    }

    fn end(&mut self, end: StreamEnd) {
        self.ended = true;
        self.metrics.stream_ended(end);
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if !self.ended {
            self.end(StreamEnd::ReaderGone);
        }
    }
}

/// There is nothing in an answer that should have audio.
pub fn no_audio(body: &Body) -> UpstreamError {
    garbage(body.upstream(), "there is no audio in it".into())
}

/// An answer makes no sense.
pub fn garbage(upstream: &'static str, why: String) -> UpstreamError {
    UpstreamError { upstream, fault: Fault::Garbage(why) }
}
