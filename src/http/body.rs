//! Request bodies. Invariants: no body is buffered beyond its cap; what passes the connection's own
//! bytes is reserved before it is read; a body that does not arrive in time is given up.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::Services;
use super::error::ApiError;
use crate::bounds::Reservation;
use crate::ledger::{Entry, Kind};
use crate::limits;

/// A body that was read, and what it cost.
pub struct Received {
    /// The bytes.
    pub bytes: Bytes,
    _cost: Option<(Reservation, Entry)>,
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
    let read = read_within(services, owner, body, cap, said);
    match tokio::time::timeout(limits::BODY_DEADLINE, read).await {
        Ok(received) => received,
        Err(_) => Err(ApiError::slow_body()),
    }
}

async fn read_within(
    services: &Services,
    owner: &str,
    mut body: Body,
    cap: usize,
    said: Option<u64>,
) -> Result<Received, ApiError> {
    let mut cost = None;
    let mut bytes = BytesMut::with_capacity(said.unwrap_or(0).min(cap as u64) as usize);
    if bytes.capacity() > limits::SMALL_BODY_BYTES {
        cost = Some(reserve(services, owner, cap)?);
    }
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ApiError::broken_body())?.into_data() else { continue };
        if bytes.len() + data.len() > cap {
            return Err(ApiError::too_large(cap));
        }
        if cost.is_none() && bytes.len() + data.len() > limits::SMALL_BODY_BYTES {
            cost = Some(reserve(services, owner, cap)?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Received { bytes: bytes.freeze(), _cost: cost })
}

fn reserve(services: &Services, owner: &str, cap: usize) -> Result<(Reservation, Entry), ApiError> {
    let reservation = services.budget.reserve(cap as u64).ok_or_else(ApiError::no_room)?;
    let entry = services.ledger.enter(Kind::Body, owner, cap as u64);
    Ok((reservation, entry))
}
