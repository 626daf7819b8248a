//! The HTTP face: the router, the order of its middleware, and what its handlers work with.
//! Invariant: a handler holds nothing of its own; what lives longer than a request lives in one of
//! the [`Services`], and what a client holds hangs on its connection.

pub mod admin;
pub mod auth;
mod body;
mod connection;
mod dialogue;
mod entrance;
mod error;
mod extract;
pub mod gate;
pub mod graphql;
mod json;
pub mod limit;
pub mod listen;
mod media;
mod observe;
pub mod openapi;
pub mod origin;
mod page;
pub mod realtime;
mod request_id;
pub mod routes;
mod search;
mod speech;
mod status;
pub mod tls;
mod vitals;
pub mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use utoipa_axum::routes;

use crate::answer::transcriber::Transcriber;
use crate::bounds::Budget;
use crate::bounds::memory::Watch;
use crate::bounds::memory::profile::Profiles;
use crate::dialogue::Dialogues;
use crate::ledger::{Departure, Ledger};
use crate::limits;
use crate::media::Media;
use crate::metrics::Metrics;
use crate::realtime::Sessions;
use crate::search::Search;
use crate::search::indexer::Indexer;
use crate::speech::Speech;
use crate::upstream::Roll;
use auth::{Access, Auth, Principal, Scope};
use entrance::Entrance;
use gate::Gate;
use graphql::Forwarding;
use limit::{Client, Limits};
use observe::Observer;
use origin::OriginConfig;
use routes::{Documented, Routes, Rule};

/// What handlers work with. Clones share it.
#[derive(Clone)]
pub struct Services(Arc<Service>);

/// See [`Services`].
pub struct Service {
    /// Who speaks.
    pub speech: Speech,
    /// Who is asked, and answers.
    pub dialogues: Dialogues,
    /// Who talks over a socket.
    pub sessions: Sessions,
    /// Who writes down what is said, if somebody does.
    pub transcriber: Option<Transcriber>,
    /// What is searched, if something is.
    pub search: Option<Search>,
    /// What brings records there, if something does.
    pub indexer: Option<Indexer>,
    /// Whom GraphQL is asked of, if somebody is.
    pub graphql: Option<Forwarding>,
    /// What is asked elsewhere.
    pub roll: Roll,
    /// What may be promised to clients.
    pub budget: Budget,
    /// What lives.
    pub ledger: Ledger,
    /// Pictures and other files, if any are served.
    pub media: Option<Media>,
    /// What is counted.
    pub metrics: Metrics,
    /// Who asks.
    pub auth: Auth,
    /// How much they may.
    pub limits: Limits,
    /// Whether new work is still welcome.
    pub readiness: Readiness,
    /// How the memory does.
    pub watch: Watch,
    /// Heap profiles, if the admin side may ask for them.
    pub heap_endpoint: Option<Profiles>,
    /// When the server began.
    pub started: Instant,
}

impl From<Service> for Services {
    fn from(service: Service) -> Self {
        Self(Arc::new(service))
    }
}

impl std::ops::Deref for Services {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.0
    }
}

/// Says whether the server still takes new work. Clones share it.
#[derive(Clone)]
pub struct Readiness(Arc<Ready>);

struct Ready {
    leaving: AtomicBool,
    since: Instant,
    /// Milliseconds after `since` at which the door last turned somebody away, plus one.
    turned_away: AtomicU64,
}

impl Default for Readiness {
    fn default() -> Self {
        let (leaving, turned_away) = (AtomicBool::default(), AtomicU64::default());
        Self(Arc::new(Ready { leaving, since: Instant::now(), turned_away }))
    }
}

impl Readiness {
    /// From now on `/readyz` answers 503.
    pub fn leave(&self) {
        self.0.leaving.store(true, Ordering::Release);
    }

    /// Whether [`Readiness::leave`] was called.
    pub fn is_leaving(&self) -> bool {
        self.0.leaving.load(Ordering::Acquire)
    }

    /// The door had no place, or no file descriptor, for somebody.
    pub fn turned_away(&self) {
        self.0.turned_away.store(self.now() + 1, Ordering::Release);
    }

    /// Whether that was a moment ago.
    pub fn is_full(&self) -> bool {
        let last = self.0.turned_away.load(Ordering::Acquire);
        last > 0 && self.now() < last + limits::DOOR_FULL_FOR.as_millis() as u64
    }

    fn now(&self) -> u64 {
        self.0.since.elapsed().as_millis() as u64
    }
}

/// What a handler may know of the connection that its request came by.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// Where the client is, also behind a proxy that we trust.
    pub client: Client,
    /// When the client left, once it has.
    pub departure: Departure,
    /// Who it is, once the gate has let it in.
    pub principal: Arc<Principal>,
}

fn public() -> Documented<Services> {
    let speech = Access::Scope(Scope::Speech);
    let (searching, admin) = (Access::Scope(Scope::Search), Access::Scope(Scope::Admin));
    let talking = Access::Scope(Scope::Dialogue);
    let listening = Access::Capability(Scope::Dialogue);
    let eleven = "/v1/text-to-speech/{voice}";
    let eleven_stream = "/v1/text-to-speech/{voice}/stream";
    Documented::none()
        .get(Access::Public, "/healthz", routes!(status::healthz))
        .get(Access::Public, "/readyz", routes!(status::readyz))
        .get(Access::Public, "/api/status", routes!(status::status))
        .post(Access::Key, "/api/tickets", routes!(auth::tickets::create))
        .post(speech, "/v1/audio/speech", routes!(speech::create))
        .post(speech, "/v1/audio/speech/timestamps", routes!(speech::timestamps::create))
        .get(speech, "/v1/audio/voices", routes!(speech::voices::list))
        .get(speech, "/v1/audio/voices/{voice}/preview", routes!(speech::voices::preview))
        .post(speech, eleven, routes!(speech::eleven::create))
        .post(speech, eleven_stream, routes!(speech::eleven::create_stream))
        .get(speech, "/v1/models", routes!(speech::voices::models))
        .get(speech, "/v1/models/{model}", routes!(speech::voices::model))
        .post(talking, "/api/voice/converse", routes!(dialogue::converse::converse))
        .get(listening, "/api/voice/open-stream", routes!(dialogue::open_stream))
        .get(listening, "/api/voice/dialogues/{id}/audio", routes!(dialogue::audio))
        .delete(talking, "/api/voice/dialogues/{id}", routes!(dialogue::delete))
        .post(talking, "/api/voice/dialogues/{id}/heard", routes!(dialogue::heard))
        .get(talking, "/v1/realtime", routes!(realtime::open))
        .get(searching, "/api/search", routes!(search::find))
        .get(searching, "/api/search/suggest", routes!(search::suggest))
        .get(searching, "/api/search/indexer", routes!(search::indexer))
        .get(searching, "/api/search/{id}", routes!(search::document))
        .post(admin, "/api/search/documents", routes!(search::documents::bulk))
        .delete(admin, "/api/search/documents/{id}", routes!(search::documents::delete))
        .post(Access::Scope(Scope::Search), "/graphql", routes!(graphql::forward))
        .get(Access::Public, "/media/", routes!(media::list))
        .get(Access::Public, "/media/{*path}", routes!(media::get))
        .put(admin, "/media/{*path}", routes!(media::put::put))
        .delete(admin, "/media/{*path}", routes!(media::put::delete))
        .get(Access::Public, "/", routes!(page::index))
        .get(Access::Public, "/assets/{*path}", routes!(page::asset))
        .get(Access::Public, "/docs", routes!(page::docs))
        .get(Access::Public, "/openapi.json", routes!(openapi::serve))
}

/// Whom the public routes let in.
pub fn rules() -> Vec<Rule> {
    public().split().0.rules()
}

/// The public routes behind their gate.
pub fn router(services: Services, origins: OriginConfig) -> Router {
    let (auth, limits) = (services.auth.clone(), services.limits.clone());
    let (routes, document) = public().split();
    let document = axum::Extension(openapi::Document::new(&document));
    guarded(routes, services, origins, auth, Some(limits)).layer(document)
}

/// `routes` behind a gate. A request passes the layers from the last to the first.
fn guarded(
    routes: Routes<Services>,
    services: Services,
    origins: OriginConfig,
    auth: Auth,
    limits: Option<Limits>,
) -> Router {
    let (router, rules) = routes.split();
    let seen = Observer::new(&rules, services.metrics.clone());
    let cors = origins.cors();
    let gate = Gate::new(rules, auth, origins, limits);
    let router = router.fallback(error::no_route).method_not_allowed_fallback(error::no_method);
    let (router, gate) = match cors {
        None => (router, Some(gate)),
        // What a browser asks first is answered before anybody is let in.
        Some(cors) => {
            let inner = axum::middleware::from_fn_with_state(gate.clone(), gate::layer);
            let preflights = axum::middleware::from_fn_with_state(gate, gate::preflights);
            (router.layer(inner).layer(cors).layer(preflights), None)
        }
    };
    let entrance = Entrance { seen, gate };
    router
        .layer(axum::middleware::from_fn_with_state(entrance, entrance::layer))
        .with_state(services)
}
