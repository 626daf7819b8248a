//! A client of one upstream, over HTTP/1. Invariants: a connection carries one request at a time, and is kept for the
//! next only where its answer was read to its end; so many are kept and no more, none for longer than
//! [`UPSTREAM_IDLE`]; all of them end with the client, and with the grace of its generation whatever is under way.
//!
//! hyper-util's client does the same for any host, and sees by a task of its own for each answer when a connection can
//! be used again. Here whoever has read an answer to its end says so: on a machine with several processors that task
//! woke another one twice a request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::address::Base;
use super::dial::{Dial, DialError};
use crate::ledger::Kind;
use crate::limits::{self, UPSTREAM_IDLE};
use crate::tasks::Spawner;

/// A connection that waits for its answer to be read.
pub struct Line(http1::SendRequest<Full<Bytes>>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It broke, or what came by it is no HTTP.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// How a client is built.
pub struct Plan {
    /// Whom it asks.
    pub base: Base,
    /// By what.
    pub dial: Dial,
    /// How many connections are kept.
    pub kept_most: usize,
    /// As whose its tasks stand in the ledger.
    pub owner: Arc<str>,
    /// Their scope.
    pub spawner: Spawner,
    /// Ends them all.
    pub over: CancellationToken,
}

/// See the module.
pub struct Client {
    shared: Arc<Shared>,
    gone: CancellationToken,
    _gone: DropGuard,
}

struct Shared {
    plan: Plan,
    host: HeaderValue,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The one that was used last is the last.
    lines: VecDeque<(Line, Instant)>,
    /// Whether a task sees to it that they grow no older than is allowed.
    is_swept: bool,
}

impl Client {
    /// Without a connection yet.
    pub fn new(plan: Plan) -> Result<Self, String> {
        let host = HeaderValue::from_str(plan.base.named()).map_err(|error| error.to_string())?;
        let gone = CancellationToken::new();
        let shared = Arc::new(Shared { plan, host, kept: Mutex::default() });
        Ok(Self { shared, _gone: gone.clone().drop_guard(), gone })
    }

    /// Sends `request`, which names its target only, by a connection that was kept or a new one. Its line is to be given
    /// to [`Client::keep`] with the answer's last byte; dropped before, it is closed.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Line), ClientError> {
        request.headers_mut().insert(HOST, self.shared.host.clone());
        loop {
            let kept = self.shared.take().await;
            let was_kept = kept.is_some();
            let mut line = match kept {
                Some(line) => line,
                None => self.connect().await?,
            };
            let mut not_sent = match line.0.try_send_request(request).await {
                Ok(response) => return Ok((response, line)),
                Err(error) => error,
            };
            // The upstream closed it before a byte of this was written: another one, then.
            match not_sent.take_message().filter(|_| was_kept) {
                Some(message) => request = message,
                None => return Err(not_sent.into_error().into()),
            }
        }
    }

    async fn connect(&self) -> Result<Line, ClientError> {
        let Plan { base, dial, owner, spawner, over, .. } = &self.shared.plan;
        let io = dial.dial(base).await?;
        let mut settings = http1::Builder::new();
        settings.max_buf_size(limits::UPSTREAM_BUFFER_BYTES).max_headers(limits::HEADER_FIELDS);
        let (sender, connection) = settings.handshake(io).await?;
        let over = over.clone();
        spawner.spawn(Kind::UpstreamTask, Arc::clone(owner), async move {
            tokio::select! {
                biased;
                () = over.cancelled() => {}
                // What went wrong is said to whoever waits for an answer.
                _ = connection => {}
            }
        });
        Ok(Line(sender))
    }

    /// Keeps `line` for the next request, now that its answer was read to its end.
    pub fn keep(&self, line: Line) {
        let Shared { plan, kept, .. } = &*self.shared;
        if line.0.is_closed() || plan.kept_most == 0 {
            return;
        }
        let mut kept = lock(kept);
        kept.lines.push_back((line, Instant::now()));
        let oldest = (kept.lines.len() > plan.kept_most).then(|| kept.lines.pop_front());
        let is_swept = std::mem::replace(&mut kept.is_swept, true);
        drop(kept);
        drop(oldest);
        if !is_swept {
            let (shared, gone) = (Arc::downgrade(&self.shared), self.gone.clone());
            let sweep = sweep(shared, gone, plan.over.clone());
            plan.spawner.spawn(Kind::UpstreamTask, Arc::clone(&plan.owner), sweep);
        }
    }
}

impl Shared {
    /// The one that was used last, of those that can still be used.
    async fn take(&self) -> Option<Line> {
        loop {
            let (mut line, since) = lock(&self.kept).lines.pop_back()?;
            // One that was read to its end a moment ago may not have come to rest yet.
            if since.elapsed() < UPSTREAM_IDLE && line.0.ready().await.is_ok() {
                return Some(line);
            }
        }
    }

    /// Closes what is too old; when the next one will be.
    fn sweep(&self) -> Option<Instant> {
        let mut kept = lock(&self.kept);
        let old = |(line, since): &(Line, Instant)| {
            line.0.is_closed() || since.elapsed() >= UPSTREAM_IDLE
        };
        let (closed, lines) = std::mem::take(&mut kept.lines).into_iter().partition(old);
        kept.lines = lines;
        let next = kept.lines.front().map(|(_, since)| *since + UPSTREAM_IDLE);
        kept.is_swept = next.is_some();
        drop(kept);
        drop::<VecDeque<_>>(closed);
        next
    }
}

/// Runs for as long as something is kept.
async fn sweep(shared: Weak<Shared>, gone: CancellationToken, over: CancellationToken) {
    while let Some(next) = shared.upgrade().and_then(|shared| shared.sweep()) {
        tokio::select! {
            biased;
            () = gone.cancelled() => return,
            () = over.cancelled() => return,
            () = sleep_until(next) => {}
        }
    }
}

/// A panic while it was locked cannot leave it half changed: each change is one step.
fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
