//! What the operator sees, on a listener of its own that no client reaches. Invariant: looking costs
//! the clients nothing: its connections and tasks stand outside of what they are counted by.

mod heap;
mod ledger;
mod memory;
mod scrape;
mod upstreams;

use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use http::header;
use serde::Deserialize;

use super::auth::{Access, Auth, Scope};
use super::error::{ApiError, Problem};
use super::origin::OriginConfig;
use super::routes::Routes;
use super::{Services, status};
use crate::ledger::Baseline;

/// The settings in force, without secrets.
#[derive(Clone, Debug)]
pub struct Shown(pub std::sync::Arc<serde_json::Value>);

/// The admin routes behind their own gate. `baseline` is what the process had open before it served.
pub fn router(
    services: Services,
    baseline: Baseline,
    shown: Shown,
    origins: OriginConfig,
    auth: Auth,
) -> Router {
    let admin = Access::Scope(Scope::Admin);
    let routes = Routes::none()
        .get(Access::Public, "/healthz", status::healthz)
        .get(Access::Public, "/readyz", status::readyz)
        .get(admin, "/metrics", scrape::metrics)
        .get(admin, "/debug/ledger", ledger::show)
        .get(admin, "/debug/memory", memory::show)
        .get(admin, "/debug/config", config)
        .get(admin, "/debug/upstreams", upstreams::show)
        .post(admin, "/debug/upstreams/rotate", upstreams::rotate)
        .post(admin, "/debug/heap", heap::write);
    super::guarded(routes, services, origins, auth, None)
        .layer(Extension(baseline))
        .layer(Extension(shown))
}

/// `GET /debug/config`: every setting as it is in force.
async fn config(Extension(Shown(shown)): Extension<Shown>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(&*shown)).into_response()
}

/// `?format=text` is for people; `json`, or nothing, for programs.
#[derive(Deserialize)]
struct Format {
    format: Option<String>,
}

impl Format {
    fn is_text(&self) -> Result<bool, Problem> {
        match self.format.as_deref() {
            None | Some("json") => Ok(false),
            Some("text") => Ok(true),
            Some(_) => Err(ApiError::query("format", "json or text").into()),
        }
    }
}
