//! `POST /api/tickets`: a word that stands for a key, once and for half a minute, where a browser
//! cannot send headers (a WebSocket, an element's `src`). Invariant: a ticket opens what its key
//! opens and nothing more.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Serialize;
use utoipa::ToSchema;

use super::Principal;
use crate::bounds::lease::{Full, Leases, Terms};
use crate::http::error::{ApiError, Problem};
use crate::http::{Peer, Services};
use crate::ledger::{Entry, Kind, Ledger};
use crate::limits::{TICKET_LASTS, TICKETS_A_PRINCIPAL, TICKETS_MOST};

/// The tickets that are out. Clones share them.
#[derive(Clone)]
pub struct Tickets(Leases<(Arc<Principal>, Entry)>);

impl Default for Tickets {
    fn default() -> Self {
        let (per_owner, most) = (TICKETS_A_PRINCIPAL, TICKETS_MOST);
        Self(Leases::new(Terms { lasts: TICKET_LASTS, per_owner, most }))
    }
}

impl Tickets {
    /// A ticket for `principal`, which stands in `ledger` until it is used or forgotten.
    pub fn issue(&self, principal: Arc<Principal>, ledger: &Ledger) -> Result<String, Full> {
        let owner = Arc::clone(&principal.id);
        let entry = ledger.enter(Kind::Ticket, Arc::clone(&owner), 0);
        self.0.grant(owner, (principal, entry))
    }

    /// Whose `ticket` it is; it is used up by this.
    pub fn redeem(&self, ticket: &str) -> Option<Arc<Principal>> {
        self.0.take(ticket).map(|(principal, _)| principal)
    }

    /// Forgets those that nobody used in time.
    pub fn sweep(&self) {
        self.0.sweep();
    }
}

/// A word that stands for a key, once.
#[derive(Serialize, ToSchema)]
struct Ticket {
    /// To be sent as `?ticket=` with one `GET`.
    ticket: String,
    /// How long it is good for.
    expires_in_seconds: u64,
}

/// A word that stands for the key, once, where a browser cannot send headers.
///
/// It goes into the query, as `?ticket=`, of one `GET` of what the key opens.
#[utoipa::path(
    post,
    path = "/api/tickets",
    tag = "Keys",
    operation_id = "create_ticket",
    responses(
        (status = 200, description = "The ticket.", body = Ticket),
        (status = 429, description = "There are too many unused tickets."),
    ),
)]
pub async fn create(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Problem> {
    let ticket =
        services.auth.tickets().issue(peer.principal, &services.ledger).map_err(|full| {
            let whose = if full.by_owner { "this key has" } else { "there are" };
            ApiError::rate_limited(&format!("{whose} too many unused tickets"), full.retry_after)
        })?;
    let body = Ticket { ticket, expires_in_seconds: TICKET_LASTS.as_secs() };
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}
