//! What can go wrong with an upstream. Invariant: an error names the upstream and what happened, and holds nothing of
//! what was sent to it.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::aged::Saturated;
use crate::limits::RETRY_AFTER_MOST;

/// Something went wrong with the upstream `upstream`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{upstream}: {fault}")]
pub struct UpstreamError {
    /// Which.
    pub upstream: &'static str,
    /// What.
    pub fault: Fault,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No turn came in time.
    #[error("{in_flight} requests are in flight, and none ended within {} ms", .waited.as_millis())]
    Saturated {
        /// How many that are.
        in_flight: usize,
        /// How long it waited.
        waited: Duration,
    },
    /// It failed so often that it is left alone for a while.
    #[error("it failed again and again and is left alone for {} s", .retry_after.as_secs().max(1))]
    Open {
        /// For so long.
        retry_after: Duration,
    },
    /// No connection could be made.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// Nothing answered at its address.
    #[error("no connection came about within {} ms", .0.as_millis())]
    NotConnected(Duration),
    /// No head of an answer came.
    #[error("no answer came within {} ms", .0.as_millis())]
    NoAnswer(Duration),
    /// The connection ended before the answer's end.
    #[error("the connection broke off: {0}")]
    Broke(String),
    /// It does not want this request, and says why; the fault is the asker's.
    #[error("it refused the request ({status}): {message}")]
    Refused {
        /// 400, 404, 413 or 422.
        status: u16,
        /// In its own words, shortened.
        message: String,
    },
    /// It does not know our key.
    #[error("it does not let us in ({0}); see the key in the settings")]
    Denied(u16),
    /// It has too much to do.
    #[error("it is busy ({status})")]
    Busy {
        /// 429 or 503.
        status: u16,
        /// When it may be less so, if it says that.
        retry_after: Option<Duration>,
    },
    /// Any other answer that is not the one that was asked for.
    #[error("it answered with {0}")]
    Status(u16),
    /// It wants to send us elsewhere.
    #[error("it answered with a redirect ({0}), which is not followed")]
    Redirect(u16),
    /// The answer is of another kind than the one that was asked for.
    #[error("it answered with {got}, not with {wanted}")]
    WrongType {
        /// What its answer says of itself.
        got: String,
        /// What would do.
        wanted: &'static str,
    },
    /// The answer cannot be understood.
    #[error("its answer makes no sense: {0}")]
    Garbage(String),
    /// It said in the middle of its answer that there will be no more.
    #[error("it gave up in the middle of its answer: {0}")]
    GaveUp(String),
    /// The answer is longer than it may be.
    #[error("its answer is longer than {0} bytes")]
    TooLong(u64),
    /// The next byte did not come.
    #[error("it stopped in the middle of its answer, and nothing came for {} ms", .0.as_millis())]
    Stalled(Duration),
    /// The answer took too long as a whole.
    #[error("its answer was not over after {} s", .0.as_secs())]
    Endless(Duration),
    /// The answer's connection was closed since its generation is over.
    #[error("its connection has grown old and was closed")]
    Cut,
}

impl Fault {
    /// Every [`Fault::name`].
    pub const NAMES: &[&str] = &[
        "saturated",
        "open",
        "unreachable",
        "connect_timeout",
        "timeout",
        "broke",
        "refused",
        "denied",
        "busy",
        "status",
        "garbage",
        "too_long",
        "stalled",
        "cut",
    ];

    /// Whether an answer of this status says in its body what the asker did wrong.
    pub fn explains(status: StatusCode) -> bool {
        matches!(status.as_u16(), 400 | 404 | 413 | 422)
    }

    /// What an answer without success means; `said` are its words, where it [explains](Fault::explains) and has any.
    pub fn of_status(status: StatusCode, headers: &HeaderMap, said: Option<String>) -> Self {
        let code = status.as_u16();
        match (code, said) {
            (_, Some(message)) => Fault::Refused { status: code, message },
            (400 | 413 | 422, None) => {
                Fault::Refused { status: code, message: "it does not say why".into() }
            }
            (300..=399, _) => Fault::Redirect(code),
            (401 | 403, _) => Fault::Denied(code),
            (429 | 503, _) => Fault::Busy { status: code, retry_after: retry_after(headers) },
            _ => Fault::Status(code),
        }
    }

    /// Whether a request that ended so was surely not acted upon.
    pub fn was_not_begun(&self) -> bool {
        match self {
            Fault::Unreachable(_) | Fault::NotConnected(_) | Fault::Busy { status: 429, .. } => {
                true
            }
            // A proxy in front says the same of a request that it had passed on; whoever names a time means it.
            Fault::Busy { retry_after, .. } => retry_after.is_some(),
            _ => false,
        }
    }

    /// Whether asking the same again at once may help.
    pub fn may_pass(&self) -> bool {
        self.was_not_begun()
            || matches!(self, Fault::Broke(_) | Fault::Status(500 | 502 | 504) | Fault::NoAnswer(_))
    }

    /// Whether the request itself is to blame, so that nobody else would answer it either.
    pub fn is_the_askers(&self) -> bool {
        matches!(self, Fault::Refused { .. })
    }

    /// Under which name it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Saturated { .. } => "saturated",
            Fault::Open { .. } => "open",
            Fault::Unreachable(_) => "unreachable",
            Fault::NotConnected(_) => "connect_timeout",
            Fault::NoAnswer(_) => "timeout",
            Fault::Broke(_) | Fault::GaveUp(_) => "broke",
            Fault::Refused { .. } => "refused",
            Fault::Denied(_) => "denied",
            Fault::Busy { .. } => "busy",
            Fault::Status(_) | Fault::Redirect(_) => "status",
            Fault::WrongType { .. } | Fault::Garbage(_) => "garbage",
            Fault::TooLong(_) | Fault::Endless(_) => "too_long",
            Fault::Stalled(_) => "stalled",
            Fault::Cut => "cut",
        }
    }
}

impl From<Saturated> for Fault {
    fn from(Saturated { in_flight, waited, .. }: Saturated) -> Self {
        Fault::Saturated { in_flight, waited }
    }
}

/// The innermost cause, in which what happened is said.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// In seconds, and no longer than is worth passing on; dates are not read.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = said.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_is_passed_on_of_a_wait_is_capped() {
        let after = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", HeaderValue::from_static(text));
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!((after("7"), after("86400"), after("Wed, 21 Oct")), (Some(7), Some(60), None));
    }
}
