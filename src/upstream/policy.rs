//! Whether an upstream is asked, and whether again. Invariants: a request is made at most three times, and more than
//! once only if nothing of its answer was seen and it was surely not acted upon, or may be twice; one that
//! keeps failing is left alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::breaker::{self, Breaker, Leave};
use super::error::{Fault, UpstreamError};
use super::retry::{self, Retries};
use crate::limits;
use crate::metrics::{Metrics, UpstreamLabel, UpstreamRequestLabel};

/// What is counted of a request that was answered.
const ANSWERED: &str = "answered";
/// Times that a request is made again.
const RETRIES_MOST: u32 = 2;

/// That of one upstream.
pub struct Policy {
    upstream: &'static str,
    breaker: Breaker,
    retries: Retries,
    metrics: Metrics,
}

/// A request, as far as it matters here.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The id of the request that it is made for.
    pub owner: &'a Arc<str>,
    /// Whether it may be made twice.
    pub is_safe: bool,
    /// No time is begun that would end behind this.
    pub until: Instant,
}

impl Policy {
    /// For `upstream`.
    pub fn new(upstream: &'static str, metrics: Metrics) -> Self {
        let (open_for, open_most) = limits::BREAKER_OPEN;
        let terms = breaker::Terms { failures: limits::BREAKER_FAILURES, open_for, open_most };
        let (breaker, retries) = (Breaker::new(terms), Retries::default());
        // There from the start, so that the first step up of a series is seen as one.
        drop(metrics.upstream_retries.get_or_create(&UpstreamLabel { upstream }));
        for outcome in std::iter::once(ANSWERED).chain(Fault::NAMES.iter().copied()) {
            let label = UpstreamRequestLabel { upstream, outcome };
            drop(metrics.upstream_requests.get_or_create(&label));
        }
        Self { upstream, breaker, retries, metrics }
    }

    /// Whose it is.
    pub fn upstream(&self) -> &'static str {
        self.upstream
    }

    /// How long the upstream is left alone, if it is.
    pub fn open_for(&self) -> Option<Duration> {
        self.breaker.open_for()
    }

    /// Leave to ask once.
    pub fn leave(&self) -> Result<Leave, Fault> {
        self.breaker.leave().map_err(|open| Fault::Open { retry_after: open.retry_after })
    }

    /// Says what came of an asking that was begun at `began`. Only what says that the upstream is down counts against
    /// it; a 500 does not: it lives, and what it stumbled over may be this one request.
    pub fn judge(leave: Leave, fault: Option<&Fault>, began: Instant) {
        match fault {
            Some(
                Fault::Unreachable(_)
                | Fault::NotConnected(_)
                | Fault::Status(502 | 504)
                | Fault::Busy { status: 503, .. },
            ) => leave.failed(),
            Some(Fault::NoAnswer(_) | Fault::Broke(_) | Fault::Garbage(_) | Fault::Cut) => {
                leave.unanswered(began);
            }
            _ => leave.answered(),
        }
    }

    /// Asks by `once`, and again where that is right.
    pub async fn ask<T, F>(
        &self,
        asking: Asking<'_>,
        mut once: impl FnMut() -> F,
    ) -> Result<T, UpstreamError>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let (began, mut retry) = (Instant::now(), 0);
        self.retries.earn();
        let result = loop {
            let fault = match once().await {
                Ok(answer) => break Ok(answer),
                Err(fault) => fault,
            };
            let Some(pause) = self.pause_before(retry + 1, &fault, asking) else {
                break Err(UpstreamError { upstream: self.upstream, fault });
            };
            retry += 1;
            let (upstream, owner) = (self.upstream, asking.owner);
            tracing::debug!(upstream, %owner, %fault, retry, "asking again");
            self.metrics.upstream_retries.get_or_create(&self.label()).inc();
            sleep(pause).await;
        };
        self.count(&result, asking.owner, began);
        result
    }

    /// How long to wait before the `retry`-th time, if there is to be one.
    fn pause_before(&self, retry: u32, fault: &Fault, asking: Asking<'_>) -> Option<Duration> {
        let may = fault.was_not_begun() || (asking.is_safe && fault.may_pass());
        if retry > RETRIES_MOST || !may {
            return None;
        }
        let chance = retry::chance();
        let pause = match fault {
            Fault::Busy { retry_after: Some(wished), .. } => {
                retry::pause(retry, chance).max(*wished)
            }
            _ => retry::pause(retry, chance),
        };
        (Instant::now() + pause < asking.until && self.retries.spend()).then_some(pause)
    }

    /// Counts what came of an asking that was begun at `began`.
    pub fn count<T>(&self, result: &Result<T, UpstreamError>, owner: &str, began: Instant) {
        let outcome = result.as_ref().map_or_else(|error| error.fault.name(), |_| ANSWERED);
        let label = UpstreamRequestLabel { upstream: self.upstream, outcome };
        self.metrics.upstream_requests.get_or_create(&label).inc();
        match result {
            Ok(_) => self.metrics.upstream_answer.observe(&self.label(), began.elapsed()),
            Err(error) => tracing::warn!(owner, %error, "an upstream did not answer"),
        }
    }

    fn label(&self) -> UpstreamLabel {
        UpstreamLabel { upstream: self.upstream }
    }
}
