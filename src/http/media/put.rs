//! Files that are put in and taken away, by who may. Invariants: a body is hashed and written as it comes, and no more of it is
//! held than one write takes; what is given up, for whatever reason, leaves nothing behind.

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::conditions::{Known, decide_put};
use super::told::File;
use super::{enabled, json};
use crate::http::Services;
use crate::http::body::{self, Incoming};
use crate::http::error::{ApiError, Problem};
use crate::http::extract::Path;
use crate::http::request_id::RequestId;
use crate::limits::{MEDIA_LISTED_BYTES, MEDIA_WRITE_BYTES};
use crate::media::name::Name;
use crate::media::{Made, Media, MediaError};

/// Puts a file in.
///
/// A name keeps its content, since browsers do not ask again for a year: to put the same once more is fine, and
/// something else is 409. The answer says under which address it lasts.
#[utoipa::path(
    put,
    path = "/media/{*path}",
    tag = "Media",
    operation_id = "put_media",
    params(("path" = String, Path, description = "Its name, without a hash.", example = "cat.gif")),
    request_body(content = String, content_type = "image/gif", description = "The file: a GIF, PNG, JPEG, WebP, AVIF, \
        MP4, WebM, MP3, Ogg or WAV."),
    responses(
        (status = 201, description = "It is there.", body = File),
        (status = 200, description = "It was there already, with this content.", body = File),
        (status = 400, description = "It cannot have this name."),
        (status = 409, description = "There is another file of this name."),
        (status = 412, description = "`If-Match` or `If-None-Match` do not hold."),
        (status = 413, description = "It is larger than files may be (`media.max_file_bytes`)."),
        (status = 415, description = "It is none of the kinds that are taken, or not what its name says."),
        (status = 503, description = "There is no room for the body, or the file is changing."),
        (status = 507, description = "There is no space left on the disk."),
    ),
)]
pub async fn put(
    State(services): State<Services>,
    Extension(RequestId(id)): Extension<RequestId>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let media = enabled(&services)?;
    let name = plain(&path)?;
    check(media, &name, request.headers()).await?;
    let cap = usize::try_from(media.max_file_bytes()).unwrap_or(usize::MAX);
    let _cost = body::reserve(&services, &id, MEDIA_WRITE_BYTES)?;
    let mut body = Incoming::new(request.into_body(), cap);
    // Before anything is written: a body that is too long and says so.
    let mut next = body.next().await?;
    let mut incoming = media.begin(&name.plain).await.map_err(ApiError::from)?;
    let (mut parts, mut waiting) = (Vec::new(), 0);
    while let Some(part) = next {
        waiting += part.len();
        parts.push(part);
        if waiting >= MEDIA_WRITE_BYTES / 2 {
            incoming = incoming.write(std::mem::take(&mut parts)).await.map_err(ApiError::from)?;
            waiting = 0;
        }
        next = body.next().await?;
    }
    incoming = incoming.write(parts).await.map_err(ApiError::from)?;
    let (made, entry) = incoming.finish().await.map_err(ApiError::from)?;
    let status = if made == Made::New { StatusCode::CREATED } else { StatusCode::OK };
    let cost = body::reserve(&services, &id, MEDIA_LISTED_BYTES)?;
    let mut response = json(status, &File::of(&entry), cost);
    if let Ok(address) = HeaderValue::from_str(&entry.address()) {
        response.headers_mut().insert(header::LOCATION, address);
    }
    Ok(response)
}

/// Takes a file away.
///
/// Browsers that have it keep it for as long as they like.
#[utoipa::path(
    delete,
    path = "/media/{*path}",
    tag = "Media",
    operation_id = "delete_media",
    params(("path" = String, Path, description = "Its name, without a hash.", example = "cat.gif")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 400, description = "It cannot have this name."),
        (status = 404, description = "There is none of this name."),
        (status = 412, description = "`If-Match` does not hold."),
    ),
)]
pub async fn delete(
    State(services): State<Services>,
    Path(path): Path<String>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let media = enabled(&services)?;
    let name = plain(&path)?;
    check(media, &name, request.headers()).await?;
    media.delete(&name.plain).await.map_err(ApiError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The name of a file, which carries no hash: that is for us to say.
fn plain(path: &str) -> Result<Name, ApiError> {
    let name = Name::parse(path).filter(|name| name.hash.is_none());
    name.ok_or_else(ApiError::media_name)
}

/// RFC 9110, 13: whether what the client asks of the file that is there holds.
async fn check(media: &Media, name: &Name, headers: &HeaderMap) -> Result<(), ApiError> {
    let asks =
        [header::IF_MATCH, header::IF_NONE_MATCH].iter().any(|name| headers.contains_key(name));
    if !asks {
        return Ok(());
    }
    let there = match media.find(name).await {
        Ok(entry) => Some(entry),
        Err(MediaError::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    let tag = there.as_ref().map(|entry| format!("\"{}\"", entry.hash));
    let known = there.as_ref().zip(tag.as_deref());
    let known = known.map(|(entry, etag)| Known { etag, modified: entry.stamp.modified() });
    match decide_put(headers, known.as_ref()) {
        true => Ok(()),
        false => Err(ApiError::precondition_failed()),
    }
}
