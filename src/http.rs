//! The HTTP face: the router, the order of its middleware, and what its handlers work with.
//! Invariant: a handler holds nothing of its own; what lives longer than a request lives in one of
//! the [`Services`], and what a client holds hangs on its connection.

pub mod admin;
mod body;
mod connection;
mod error;
pub mod listen;
mod request_id;
mod speech;
mod status;
mod vitals;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::{get, post};

use crate::bounds::{Budget, Departure};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::speech::Speech;

/// What handlers work with. Clones share it.
#[derive(Clone)]
pub struct Services {
    /// Who speaks.
    pub speech: Speech,
    /// What may be promised to clients.
    pub budget: Budget,
    /// What lives.
    pub ledger: Ledger,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether new work is still welcome.
    pub readiness: Readiness,
}

/// Says whether the server still takes new work. Clones share it.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on `/readyz` answers 503.
    pub fn leave(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether [`Readiness::leave`] was called.
    pub fn is_leaving(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a handler may know of the connection that its request came by.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub address: std::net::SocketAddr,
    /// When the client left, once it has.
    pub departure: Departure,
}

/// The public routes.
pub fn router(services: Services) -> Router {
    Router::new()
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/v1/audio/speech", post(speech::create))
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method)
        .layer(axum::middleware::from_fn(request_id::layer))
        .with_state(services)
}
