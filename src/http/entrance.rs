//! What every request passes first and every answer last. Invariant: nobody's answer leaves without its id, its line in the
//! books, and what browsers must not do with it; nobody comes further whom the gate did not let in.
//!
//! One layer and not four: each layer of axum's copies all that lies below it for every request, and with four of them
//! that was a tenth of what a search costs.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::gate::{self, Gate};
use super::observe::Observer;
use super::request_id;

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Entrance {
    /// Who counts.
    pub seen: Observer,
    /// Who lets in, unless that is decided further in.
    pub gate: Option<Gate>,
}

/// Sees a request come and its answer go.
pub async fn layer(
    State(Entrance { seen, gate }): State<Entrance>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id::give(&mut request);
    let seen = seen.comes(&request);
    let site = gate::site(&request);
    let mut response = match gate {
        None => next.run(request).await,
        Some(gate) => gate.pass(request, next).await,
    };
    gate::security_headers(&mut response, site);
    seen.goes(&id, &response);
    request_id::tell(&id, &mut response);
    response
}
