//! Request bodies. Invariants: no body is buffered beyond its cap; what passes the connection's own
//! bytes is reserved before it is read; a body that arrives too slowly is given up.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::Services;
use super::error::ApiError;
use crate::bounds::Reservation;
use crate::ledger::{Entry, Kind};
use crate::limits;

/// A body that was read, and what it cost.
pub struct Received {
    /// The bytes.
    pub bytes: Bytes,
    _cost: Option<Cost>,
}

/// Reads `body` of at most `cap` bytes.
pub async fn read(
    services: &Services,
    owner: &str,
    body: Body,
    cap: usize,
) -> Result<Received, ApiError> {
    let said = body.size_hint().exact();
    if said.is_some_and(|bytes| bytes > cap as u64) {
        return Err(ApiError::too_large(cap));
    }
    let mut body = body;
    let mut cost = None;
    let mut pace = Pace::begin();
    let mut bytes = BytesMut::with_capacity(said.unwrap_or(0).min(cap as u64) as usize);
    if bytes.capacity() > limits::SMALL_BODY_BYTES {
        cost = Some(reserve(services, owner, cap)?);
    }
    while let Some(frame) = pace.within(body.frame()).await? {
        let Ok(data) = frame.map_err(|_| ApiError::broken_body())?.into_data() else { continue };
        if bytes.len() + data.len() > cap {
            return Err(ApiError::too_large(cap));
        }
        pace.came(data.len());
        if cost.is_none() && bytes.len() + data.len() > limits::SMALL_BODY_BYTES {
            cost = Some(reserve(services, owner, cap)?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Received { bytes: bytes.freeze(), _cost: cost })
}

/// A body that is worked off as it comes, and of which nothing is kept here.
pub struct Incoming {
    body: Body,
    cap: usize,
    came: usize,
    pace: Pace,
    /// Of the pace's window.
    left: std::time::Duration,
}

impl Incoming {
    /// Of at most `cap` bytes.
    pub fn new(body: Body, cap: usize) -> Self {
        Self { body, cap, came: 0, pace: Pace::begin(), left: limits::BODY_WINDOW }
    }

    /// The next bytes; none at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        if self.body.size_hint().lower() > (self.cap - self.came) as u64 {
            return Err(ApiError::too_large(self.cap));
        }
        // The time in which nobody read is not the sender's.
        self.pace.until = Instant::now() + self.left;
        loop {
            let Some(frame) = self.pace.within(self.body.frame()).await? else { return Ok(None) };
            let frame = frame.map_err(|_| ApiError::broken_body())?;
            let Ok(data) = frame.into_data() else { continue };
            self.came += data.len();
            if self.came > self.cap {
                return Err(ApiError::too_large(self.cap));
            }
            self.pace.came(data.len());
            self.left = self.pace.until.saturating_duration_since(Instant::now());
            return Ok(Some(data));
        }
    }
}

/// Holds a sender to a rate: so many bytes in each window, or the end.
struct Pace {
    until: Instant,
    bytes: usize,
}

impl Pace {
    fn begin() -> Self {
        Self { until: Instant::now() + limits::BODY_WINDOW, bytes: 0 }
    }

    async fn within<T>(&self, wait: impl Future<Output = T>) -> Result<T, ApiError> {
        tokio::time::timeout_at(self.until, wait).await.map_err(|_| ApiError::slow_body())
    }

    fn came(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= limits::BODY_LEAST_BYTES {
            *self = Self::begin();
        }
    }
}

/// What is kept of a body for as long as this is.
pub type Cost = (Reservation, Entry);

/// Room for so many bytes of a body.
pub fn reserve(services: &Services, owner: &str, cap: usize) -> Result<Cost, ApiError> {
    let reservation = services.budget.reserve(cap as u64).ok_or_else(ApiError::no_room)?;
    let entry = services.ledger.enter(Kind::Body, owner, cap as u64);
    Ok((reservation, entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_sender_keeps_its_pace_or_is_given_up() {
        let second = || tokio::time::sleep(Duration::from_secs(1));
        for (a_second, fine) in [(limits::BODY_LEAST_BYTES / 5, true), (1, false), (0, false)] {
            let mut pace = Pace::begin();
            let mut lived = 0;
            while lived < 60 && pace.within(second()).await.is_ok() {
                pace.came(a_second);
                lived += 1;
            }
            assert_eq!(lived == 60, fine, "{a_second} bytes a second: {lived} s");
        }
    }
}
