//! What every request passes before its handler: the host it names, the site it comes from, how much
//! its address asks for, who it is, how much they ask for. Invariant: nothing is read of a body, and
//! nothing reserved, before the gate has let the request in.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::Peer;
use super::auth::{self, Auth, Denied};
use super::error::{self, ApiError};
use super::limit::{Client, Limits};
use super::origin::OriginConfig;
use super::routes::Rules;
use crate::limits::{HEADER_FIELDS, TARGET_BYTES};

/// The gate of one side of the server. Clones share it.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    rules: Rules,
    auth: Auth,
    origins: OriginConfig,
    /// None where the few who come are not counted.
    limits: Option<Limits>,
}

impl Gate {
    /// A gate by these rules.
    pub fn new(rules: Rules, auth: Auth, origins: OriginConfig, limits: Option<Limits>) -> Self {
        Self(Arc::new(Inner { rules, auth, origins, limits }))
    }

    /// What is asked of every request, also of a browser's question whether it may ask.
    fn check(&self, request: &Request) -> Result<Client, ApiError> {
        let Inner { auth, origins, limits, .. } = &*self.0;
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > TARGET_BYTES {
            return Err(ApiError::target_too_long());
        }
        // The parser sees to it on HTTP/1; on HTTP/2 nobody does.
        if request.headers().len() > HEADER_FIELDS {
            return Err(ApiError::too_many_fields());
        }
        let host = origins.host(request)?;
        if !auth.is_keyed() {
            origins.check(host.as_ref(), request.method(), request.headers())?;
        }
        let Some(peer) = request.extensions().get::<Peer>() else {
            return Err(ApiError::unauthorized());
        };
        let Some(limits) = limits else { return Ok(peer.client) };
        let client = limits.client(peer.address.ip(), request.headers());
        limits.request(client)?;
        Ok(client)
    }

    /// Lets a request in or says why not.
    pub async fn pass(&self, mut request: Request, next: Next) -> Response {
        match self.admit(&mut request) {
            Ok(()) => next.run(request).await,
            Err(refused) => error::shaped(request.uri().path(), refused),
        }
    }

    fn admit(&self, request: &mut Request) -> Result<(), ApiError> {
        let client = self.check(request)?;
        let Inner { rules, auth, limits, .. } = &*self.0;
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let access = rules.access(request.method(), path);
        let (uri, headers) = (request.uri(), request.headers());
        let principal = match auth.admit(access, request.method(), uri, headers) {
            Ok(principal) => principal,
            Err(denied) => {
                if let (Denied::WrongKey, Some(limits)) = (denied, limits) {
                    limits.wrong_key(client)?;
                }
                return Err(denied.into());
            }
        };
        if let Some(limits) = limits {
            limits.admitted(&principal)?;
        }
        if let Some(peer) = request.extensions_mut().get_mut::<Peer>() {
            (peer.client, peer.principal) = (client, principal);
        }
        Ok(())
    }
}

/// As [`Gate::pass`], for what stands before it.
pub async fn layer(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    gate.pass(request, next).await
}

/// Stands in front of what answers browsers' preflights, which would else answer any `OPTIONS` of
/// anybody: a real one is let through to it as far as every request is, the rest goes to the gate.
pub async fn preflights(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    if request.method() != Method::OPTIONS {
        return next.run(request).await;
    }
    let asks = [header::ORIGIN, header::ACCESS_CONTROL_REQUEST_METHOD];
    let real = asks.iter().all(|name| request.headers().contains_key(name));
    let fine = if real { gate.check(&request).map(drop) } else { gate.admit(&mut request) };
    match fine {
        Ok(()) if real => next.run(request).await,
        // No route answers OPTIONS.
        Ok(()) if request.extensions().get::<MatchedPath>().is_some() => {
            error::no_method(request).await
        }
        Ok(()) => error::no_route(request).await,
        Err(refused) => error::shaped(request.uri().path(), refused),
    }
}

/// Whose elements may show the answer to `request`. A ticket is for those of other sites' pages, too; who has one was let in.
pub fn site(request: &Request) -> &'static str {
    if auth::ticket(request.uri()).is_some() { "cross-origin" } else { "same-origin" }
}

/// What a browser must not do with any answer; a handler that knows better has said so already.
pub fn security_headers(response: &mut Response, site: &'static str) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), site),
    ] {
        insert_if_absent(response.headers_mut(), name, value);
    }
}

fn insert_if_absent(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.entry(name).or_insert(HeaderValue::from_static(value));
}
