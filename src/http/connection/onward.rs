//! What a connection goes on with behind an answer of 101: another protocol. Invariant: it begins only where that answer was
//! sent, and it lives as long as the connection does, with the same watch over it.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::metrics::Cut;

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What is spoken from there on, until it ends or the server leaves; it gives why it cut the peer, if it did.
pub type Next = Box<
    dyn FnOnce(Box<dyn Duplex>, WaitForCancellationFutureOwned) -> BoxFuture<'static, Option<Cut>>
        + Send,
>;

/// Where a handler leaves that; among the extensions of requests that can lead there. Clones share it.
#[derive(Clone, Default)]
pub struct Onward(Arc<Mutex<Option<Next>>>);

impl Onward {
    /// Behind this request's answer comes `next`.
    pub fn lead(&self, next: Next) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
    }

    /// What comes.
    pub fn take(&self) -> Option<Next> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
