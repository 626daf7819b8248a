//! The OpenAPI document, made of the routes themselves. Invariant: what holds of many routes is
//! written once, here and in `openapi/common.rs`: who is let in follows from a route's access, the
//! shape of its errors from its path. What a handler alone knows stands beside it.

mod common;

use axum::Extension;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use http::{Method, header};
use utoipa::ToSchema;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Components, HttpMethod, Info, License, OpenApi, RefOr, Schema};

use super::auth::Access;
use super::error::{Envelope, Problem};
use super::routes::Rule;

const ABOUT: &str = "Evensong speaks: text comes in, and sound goes out while it is being made. \
    Speech has the shape of OpenAI's interface, so that its SDKs work unchanged, and of ElevenLabs'.\n\n\
    Errors under `/v1` have OpenAI's shape, elsewhere that of RFC 9457. 429 and 503 say when to come \
    again (`Retry-After`). Each answer carries `x-request-id`: the client's own, if it sent one. `HEAD` \
    is answered wherever `GET` is; any other method is answered with 405.\n\n\
    Where the server has no keys, nobody needs one; then it answers only under names of its own machine, \
    and not to pages of other sites. What is no HTTP, or breaks its limits before a request can be told \
    from it, is answered without a body, and the connection ends.";

const TAGS: [(&str, &str); 9] = [
    ("Speech", "From text to sound."),
    ("Dialogues", "From a question to the sound of its answer."),
    ("Sessions", "A conversation over one socket."),
    ("Voices and models", "What can be asked for."),
    ("Search", "Documents, and whoever knows more by GraphQL."),
    ("Media", "Files that never change under their names."),
    ("Keys", "For those who cannot send headers."),
    ("State", "For balancers and for people."),
    ("Pages", "What is served to browsers."),
];

/// The document, as it is served. Clones share it.
#[derive(Clone)]
pub struct Document(Bytes);

impl Document {
    /// What `document` looks like on the wire.
    pub fn new(document: &OpenApi) -> Self {
        let text = document.to_json().expect("a document of texts and maps is JSON");
        Self(text.into())
    }
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "Pages",
    operation_id = "get_openapi",
    responses((
        status = 200,
        description = "The document, in OpenAPI 3.1.",
        body = serde_json::Value,
        content_type = "application/json",
    )),
)]
pub async fn serve(Extension(Document(bytes)): Extension<Document>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (kind, bytes).into_response()
}

/// The document of these routes and the schemas that they name.
pub fn assemble<'a>(
    routes: impl Iterator<Item = (&'a Rule, Operation)>,
    mut schemas: Vec<(String, RefOr<Schema>)>,
) -> OpenApi {
    let mut paths = Paths::new();
    for (rule, mut operation) in routes {
        common::complete(&mut operation, rule);
        operation.security = security(rule);
        let method = match rule.method {
            Method::POST => HttpMethod::Post,
            Method::PUT => HttpMethod::Put,
            Method::DELETE => HttpMethod::Delete,
            _ => HttpMethod::Get,
        };
        // OpenAPI has no word for a parameter with slashes in it.
        let path = rule.path.replace("{*", "{");
        let item = paths.paths.entry(path).or_default();
        item.merge_operations(PathItem::new(method, operation));
    }
    schemas.push((Envelope::name().into(), <Envelope as utoipa::PartialSchema>::schema()));
    schemas.push((Problem::name().into(), <Problem as utoipa::PartialSchema>::schema()));
    let mut components = Components::new();
    components.schemas.extend(schemas);
    components.headers.extend(common::headers());
    components.security_schemes.extend(schemes());
    let mut info = Info::new("Evensong", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.into());
    info.license = Some(License::new(env!("CARGO_PKG_LICENSE")));
    let mut document = OpenApi::new(info, paths);
    document.components = Some(components);
    let tag = |(name, text)| TagBuilder::new().name(name).description(Some(text)).build();
    document.tags = Some(TAGS.map(tag).to_vec());
    document
}

const BEARER: &str = "bearerAuth";
const ELEVEN: &str = "elevenLabsKey";
const TICKET: &str = "ticket";
const CAPABILITY: &str = "capability";

/// The ways in which a key may come; see `auth.rs`.
fn schemes() -> [(String, RefOr<SecurityScheme>); 4] {
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key. What it is good for are its scopes."))
        .build();
    let eleven = "An API key, in the header that ElevenLabs' clients send.";
    let ticket = "What `POST /api/tickets` gave: good for one `GET`, for half a minute.";
    let capability = "What stands in the addresses that `POST /api/voice/converse` gave: good for that dialogue.";
    let key = |way: fn(ApiKeyValue) -> ApiKey, name, text| {
        SecurityScheme::ApiKey(way(ApiKeyValue::with_description(name, text)))
    };
    [
        (BEARER.into(), SecurityScheme::Http(bearer).into()),
        (ELEVEN.into(), key(ApiKey::Header, "xi-api-key", eleven).into()),
        (TICKET.into(), key(ApiKey::Query, "ticket", ticket).into()),
        (CAPABILITY.into(), key(ApiKey::Query, "capability", capability).into()),
    ]
}

/// Which of them a route takes, each with the scope that it wants.
fn security(rule: &Rule) -> Option<Vec<SecurityRequirement>> {
    let scope = match rule.access {
        Access::Public => return Some(Vec::new()),
        Access::Key => None,
        Access::Scope(scope) | Access::Capability(scope) => Some(scope.name()),
    };
    let eleven = rule.path.starts_with(super::auth::ELEVEN_PATHS).then_some(ELEVEN);
    let ticket = (rule.method == Method::GET).then_some(TICKET);
    let capability = matches!(rule.access, Access::Capability(_)).then_some(CAPABILITY);
    let ways = [Some(BEARER), eleven, ticket, capability].into_iter().flatten();
    Some(ways.map(|way| SecurityRequirement::new(way, scope)).collect())
}
