//! Media: served once, and never again. Invariants: an answer's tag names the bytes that it brings; what is not wholly sent
//! is seen to be broken; what a download holds is reserved before its first byte.

pub mod conditions;
pub mod put;
pub mod range;
mod send;
mod told;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::body::Cost;
use super::error::{ApiError, Problem};
use super::extract::{Pairs, Path};
use super::request_id::RequestId;
use super::search::limit;
use super::{Peer, Services, body};
use crate::limits::{MEDIA_LISTED, MEDIA_LISTED_BYTES, MEDIA_LISTED_MOST};
use crate::media::name::Name;
use crate::media::{Entry, Media, MediaError};
use crate::metrics::Served;
use conditions::{Known, Outcome, decide};
use range::{Wanted, wanted};
use send::Sending;
pub use told::{File, Listing};

/// A year: as long as any cache keeps something.
const CACHING: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// A file.
///
/// Its name may carry the hash of its content (`cat.<hash>.gif`), as listings and hits have it: then it is that content or
/// nothing. A browser that has it asks no more for a year; one that asks all the same is answered by 304.
#[utoipa::path(
    get,
    path = "/media/{*path}",
    tag = "Media",
    operation_id = "get_media",
    params(
        ("path" = String, Path, description = "Its name.", example = "cat.gif"),
        ("Range" = Option<String>, Header, description = "Parts of it: `bytes=0-99`."),
        ("If-None-Match" = Option<String>, Header, description = "Tags of what is there already."),
        ("If-Range" = Option<String>, Header, description = "The parts are wanted of this content, else all."),
    ),
    responses(
        (status = 200, description = "The file.", content(
            (String = "image/gif"), (String = "image/png"), (String = "image/jpeg"), (String = "image/webp"),
            (String = "image/avif"), (String = "video/mp4"), (String = "video/webm"), (String = "audio/mpeg"),
            (String = "audio/ogg"), (String = "audio/wav"),
        )),
        (status = 206, description = "Parts of it; several as `multipart/byteranges`."),
        (status = 304, description = "It is what the client has."),
        (status = 404, description = "There is none of this name, or not with this content."),
        (status = 412, description = "It is not what `If-Match` or `If-Unmodified-Since` ask for."),
        (status = 416, description = "It has none of these parts."),
        (status = 503, description = "There is no room for another download."),
    ),
)]
pub async fn get(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let media = enabled(&services)?;
    let name = Name::parse(&path).ok_or_else(|| ApiError::from(MediaError::NotFound))?;
    let asked = Asked { services: &services, peer: &peer, id: &id, media };
    for _ in 0..2 {
        let entry = media.find(&name).await.map_err(ApiError::from)?;
        // Where it changed meanwhile, it is looked at once more.
        if let Some(response) = asked.answer(&entry, request.method(), request.headers()).await? {
            return Ok(response);
        }
    }
    Err(ApiError::from(MediaError::Changing).into())
}

/// Lists files, by name.
#[utoipa::path(
    get,
    path = "/media/",
    tag = "Media",
    operation_id = "list_media",
    params(
        ("after" = Option<String>, Query, description = "Go on behind this name: `next` of the page before."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many, 50 unless said."),
    ),
    responses(
        (status = 200, description = "Files, with the addresses under which they last.", body = Listing),
        (status = 404, description = "No media are served here."),
        (status = 503, description = "There is no room for an answer."),
    ),
)]
pub async fn list(
    State(services): State<Services>,
    Extension(RequestId(id)): Extension<RequestId>,
    Pairs(pairs): Pairs,
) -> Result<Response, Problem> {
    let media = enabled(&services)?;
    let said = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
    let most = limit(said("limit"), MEDIA_LISTED, MEDIA_LISTED_MOST)?;
    let cost = body::reserve(&services, &id, most * MEDIA_LISTED_BYTES)?;
    let (entries, is_more) = media.list(said("after").unwrap_or_default(), most);
    let next = entries.last().filter(|_| is_more).map(|entry| entry.name.to_string());
    let listing = Listing { files: entries.iter().map(|entry| File::of(entry)).collect(), next };
    Ok(json(StatusCode::OK, &listing, cost))
}

/// Has a picture's address be the one under which it lasts, where it is a file of ours that is known.
pub fn last(media: Option<&Media>, address: &mut Option<String>) {
    if let (Some(media), Some(plain)) = (media, &address)
        && let Some(lasting) = media.lasting(plain)
    {
        *address = Some(lasting);
    }
}

fn enabled(services: &Services) -> Result<&Media, Problem> {
    let missing =
        || Problem::not_configured("no media are served here: media.root has no place for them");
    services.media.as_ref().ok_or_else(missing)
}

/// `body` as JSON that nobody keeps, which holds its cost until its last byte is gone.
fn json(status: StatusCode, body: &impl serde::Serialize, cost: Cost) -> Response {
    struct Paid(Vec<u8>, #[allow(dead_code)] Cost);
    impl AsRef<[u8]> for Paid {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let bytes = Bytes::from_owner(Paid(serde_json::to_vec(body).unwrap_or_default(), cost));
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, bytes).into_response()
}

/// A request for a file.
struct Asked<'a> {
    services: &'a Services,
    peer: &'a Peer,
    id: &'a Arc<str>,
    media: &'a Media,
}

impl Asked<'_> {
    /// The answer that `entry` gives. None where it is not what the file has any more.
    async fn answer(
        &self,
        entry: &Arc<Entry>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<Response>, ApiError> {
        let tag = format!("\"{}\"", entry.hash);
        let known = Known { etag: &tag, modified: entry.stamp.modified() };
        let length = entry.stamp.length;
        let ranges = match decide(headers, &known) {
            Outcome::Failed => return Err(ApiError::precondition_failed()),
            Outcome::NotModified => {
                self.served(Served::NotModified, 0);
                return Ok(Some(said_of(entry, &tag, StatusCode::NOT_MODIFIED)));
            }
            Outcome::Go { ranges } => ranges,
        };
        // RFC 9110, 14.2: for GET alone.
        let asked = headers.get(header::RANGE).filter(|_| ranges && method == Method::GET);
        let wanted = wanted(asked, length);
        if matches!(wanted, Wanted::None) {
            return Ok(Some(unsatisfiable(length)));
        }
        if method == Method::HEAD {
            let mut response = said_of(entry, &tag, StatusCode::OK);
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            self.served(Served::Hot, 0);
            return Ok(Some(response));
        }
        let stake = send::reserve(self.services, self.peer, self.id)?;
        let content = match self.media.content(entry).await {
            Err(MediaError::Changing) => return Ok(None),
            content => content?,
        };
        let sending = Sending { entry, content, stake };
        let served = sending.served();
        let (status, special, bytes, body) = sending.into_body(wanted);
        let mut response = said_of(entry, &tag, status);
        *response.body_mut() = body;
        response.headers_mut().extend(special);
        response.headers_mut().insert(header::CONTENT_LENGTH, bytes.into());
        self.served(served, bytes);
        Ok(Some(response))
    }

    fn served(&self, how: Served, bytes: u64) {
        self.services.metrics.media(how, bytes);
    }
}

/// What is said with every content of `entry`, and with none.
fn said_of(entry: &Entry, tag: &str, status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, CACHING);
    for (name, value) in [
        (header::ETAG, tag),
        (header::LAST_MODIFIED, &httpdate::fmt_http_date(entry.stamp.modified())),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    // It is public: pages of other sites may show it.
    let policy = header::HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("cross-origin"));
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(entry.kind.media_type));
    }
    response
}

fn unsatisfiable(length: u64) -> Response {
    let mut response = Problem::from(ApiError::unsatisfiable(length)).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{length}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}
