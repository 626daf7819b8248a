//! What was asked and how it was answered: counted, and one line in the log. Invariant: neither takes a
//! word of the client's that could grow a series or a log without bound: a route stands for its paths, and
//! no query is ever written down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::{Method, StatusCode};

use super::Peer;
use super::routes::Rules;
use crate::metrics::{Metrics, RequestLabel, RouteLabel};

/// Where no route matched.
const NO_ROUTE: &str = "none";

/// Counts the requests of one side of the server. Clones share it.
#[derive(Clone)]
pub struct Observer(Arc<Inner>);

struct Inner {
    routes: Vec<&'static str>,
    metrics: Metrics,
}

impl Observer {
    /// For the routes of `rules`.
    pub fn new(rules: &Rules, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { routes: rules.paths().collect(), metrics }))
    }

    fn route(&self, request: &Request) -> &'static str {
        let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let known = self.0.routes.iter().find(|route| Some(**route) == matched);
        known.copied().unwrap_or(NO_ROUTE)
    }
}

/// A request that is being answered.
pub struct Seen {
    metrics: Metrics,
    began: Instant,
    method: &'static str,
    route: &'static str,
    peer: Option<SocketAddr>,
}

impl Observer {
    /// A request comes.
    pub fn comes(&self, request: &Request) -> Seen {
        let (method, route) = (method(request.method()), self.route(request));
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
        Seen { metrics: self.0.metrics.clone(), began: Instant::now(), method, route, peer }
    }
}

impl Seen {
    /// Its answer goes; `id` is that of both.
    pub fn goes(self, id: &str, response: &Response) {
        let Self { metrics, began, method, route, peer } = self;
        let (status, took) = (response.status(), began.elapsed());
        let status_code = status.as_u16();
        let label = RequestLabel { method, route, status: status_code };
        metrics.requests.get_or_create(&label).inc();
        metrics.request_duration.observe(&RouteLabel { route }, took);
        let took_ms = took.as_secs_f64() * 1e3;
        // An answer that says to come again later is the server's own doing, and no fault of it.
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(
                id,
                method,
                route,
                status = status_code,
                took_ms,
                ?peer,
                "request failed"
            );
        } else {
            tracing::debug!(id, method, route, status = status_code, took_ms, ?peer, "request");
        }
    }
}

/// The methods that HTTP knows; a client may send any other word.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
