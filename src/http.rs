//! The HTTP face: the router, the order of its middleware, and what its handlers work with.
//! Invariant: a handler holds nothing of its own; what lives longer than a request lives in one of
//! the [`Services`], and what a client holds hangs on its connection.

pub mod admin;
mod body;
mod connection;
mod error;
pub mod listen;
mod page;
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
    /// When the server began.
    pub started: std::time::Instant,
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
    /// Who it is; without keys, everybody is one.
    pub principal: Arc<str>,
}

/// The public routes.
pub fn router(services: Services) -> Router {
    Router::new()
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/api/status", get(status::status))
        .route("/v1/audio/speech", post(speech::create))
        .route("/v1/audio/voices", get(speech::list_voices))
        .route("/v1/audio/voices/{voice}/preview", get(speech::preview))
        .route("/v1/text-to-speech/{voice}", post(speech::create_eleven))
        .route("/v1/text-to-speech/{voice}/stream", post(speech::create_eleven))
        .route("/v1/models", get(speech::models))
        .route("/v1/models/{model}", get(speech::model))
        .route("/", get(page::index))
        .route("/assets/{*path}", get(page::asset))
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method)
        .layer(axum::middleware::from_fn(request_id::layer))
        .with_state(services)
}
