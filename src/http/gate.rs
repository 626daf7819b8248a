//! What every request passes before its handler: the host it names, the site it comes from, how much
//! its address asks for, who it is, how much they ask for. Invariant: nothing is read of a body, and
//! nothing reserved, before the gate has let the request in.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Peer;
use super::auth::{Auth, Denied};
use super::error::{self, ApiError};
use super::limit::Limits;
use super::origin::OriginConfig;
use super::routes::Rules;
use crate::limits::TARGET_BYTES;

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

    fn admit(&self, request: &mut Request) -> Result<(), ApiError> {
        let Inner { rules, auth, origins, limits } = &*self.0;
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > TARGET_BYTES {
            return Err(ApiError::target_too_long());
        }
        let host = origins.host(request)?;
        if !auth.is_keyed() {
            origins.check(host.as_ref(), request.method(), request.headers())?;
        }
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let access = rules.access(request.method(), path);
        let Some(peer) = request.extensions().get::<Peer>() else {
            return Err(ApiError::unauthorized());
        };
        let client = match limits {
            Some(limits) => limits.client(peer.address.ip(), request.headers()),
            None => peer.address.ip(),
        };
        if let Some(limits) = limits {
            limits.request(client)?;
        }
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
        let peer = Peer { client, principal, ..peer.clone() };
        request.extensions_mut().insert(peer);
        Ok(())
    }
}

/// Lets a request in or says why not.
pub async fn layer(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    match gate.admit(&mut request) {
        Ok(()) => next.run(request).await,
        Err(refused) => error::shaped(request.uri().path(), refused),
    }
}

/// What a browser must not do with any answer; a handler that knows better has said so already.
pub async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        insert_if_absent(response.headers_mut(), name, value);
    }
    response
}

fn insert_if_absent(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.entry(name).or_insert(HeaderValue::from_static(value));
}
