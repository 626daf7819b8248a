//! What was asked and how it was answered: counted, and one line in the log. Invariant: neither takes a
//! word of the client's that could grow a series or a log without bound: a route stands for its paths, and
//! no query is ever written down.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, StatusCode};

use super::Peer;
use super::request_id::RequestId;
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

/// Sees a request come and its answer go.
pub async fn layer(State(seen): State<Observer>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (method, route) = (method(request.method()), seen.route(&request));
    let id = request.extensions().get::<RequestId>().map(|id| Arc::clone(&id.0));
    let peer = request.extensions().get::<Peer>().map(|peer| peer.address);
    let response = next.run(request).await;
    let (status, took) = (response.status(), began.elapsed());
    let label = RequestLabel { method, route, status: status.as_u16() };
    seen.0.metrics.requests.get_or_create(&label).inc();
    seen.0.metrics.request_duration.observe(&RouteLabel { route }, took);
    let took_ms = took.as_secs_f64() * 1e3;
    let (id, status_code) = (id.as_deref().unwrap_or_default(), status.as_u16());
    // An answer that says to come again later is the server's own doing, and no fault of it.
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        tracing::warn!(id, method, route, status = status_code, took_ms, ?peer, "request failed");
    } else {
        tracing::debug!(id, method, route, status = status_code, took_ms, ?peer, "request");
    }
    response
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
