//! The page and its files, carried in the binary, texts also compressed. Invariant: nothing is loaded from
//! elsewhere, which the content policy makes the browser see to; a file that has not changed is answered by 304, and
//! one that has by bytes that lie there: none is compressed or copied for a request.

mod accept;
mod files;

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use self::accept::Accepted;
use self::files::File;
use super::error::{self, ApiError};
use super::extract::Path;
use super::media::conditions;

const POLICY: &str = "default-src 'self'; media-src 'self' blob:; object-src 'none'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The page: type a text and hear it.
#[utoipa::path(
    get,
    path = "/",
    tag = "Pages",
    operation_id = "get_page",
    responses(
        (status = 200, description = "The page.", body = String,
            content_type = "text/html; charset=utf-8"),
        (status = 304, description = "It has not changed (`If-None-Match`)."),
        (status = 406, description = "None of its forms is one that `Accept-Encoding` allows."),
    ),
)]
pub async fn index(request: Request) -> Response {
    file("index.html", request).await
}

/// This documentation, to be read.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "Pages",
    operation_id = "get_docs",
    responses(
        (status = 200, description = "A page that shows `/openapi.json`.", body = String,
            content_type = "text/html; charset=utf-8"),
        (status = 304, description = "It has not changed (`If-None-Match`)."),
        (status = 406, description = "None of its forms is one that `Accept-Encoding` allows."),
    ),
)]
pub async fn docs(request: Request) -> Response {
    file("docs.html", request).await
}

/// A file of the pages.
#[utoipa::path(
    get,
    path = "/assets/{*path}",
    tag = "Pages",
    operation_id = "get_asset",
    params(("path" = String, Path, description = "Its name.", example = "style.css")),
    responses(
        (status = 200, description = "The file.", content(
            (String = "text/html; charset=utf-8"),
            (String = "text/css; charset=utf-8"),
            (String = "text/javascript; charset=utf-8"),
            (String = "image/svg+xml"),
            (String = "audio/mpeg"),
        )),
        (status = 304, description = "It has not changed (`If-None-Match`)."),
        (status = 406, description = "None of its forms is one that `Accept-Encoding` allows."),
        (status = 404, description = "There is no such file."),
    ),
)]
pub async fn asset(Path(path): Path<String>, request: Request) -> Response {
    file(&path, request).await
}

/// Where the sound is that is played while an answer is thought about. Its name has its hash in it, so that a browser has it
/// for good.
pub fn thinking_sound() -> &'static str {
    static ADDRESS: LazyLock<String> = LazyLock::new(|| {
        let file = File::named(THINKING).expect("the sound is part of the page");
        let (name, ending) = THINKING.rsplit_once('.').expect("it has an ending");
        format!("/assets/{name}.{}.{ending}", file.hash)
    });
    &ADDRESS
}

const THINKING: &str = "thinking.mp3";

/// The file of that name, and whether its name says which of its contents is meant: `name.<hash>.ending`.
fn find(path: &str) -> Option<(&'static File, bool)> {
    if let Some(file) = File::named(path) {
        return Some((file, false));
    }
    let (rest, ending) = path.rsplit_once('.')?;
    let (name, wanted) = rest.rsplit_once('.')?;
    let file = File::named(&format!("{name}.{ending}"))?;
    (file.hash == wanted).then_some((file, true))
}

async fn file(path: &str, request: Request) -> Response {
    let Some((file, is_hashed)) = find(path) else { return error::no_route(request).await };
    let accepted = Accepted::parse(request.headers());
    let Some((coding, bytes)) = accepted.choose(file) else {
        let mut refusal =
            error::shaped(request.uri().path(), ApiError::not_acceptable(&file.codings()));
        vary(refusal.headers_mut());
        return refusal;
    };
    // Strong: each form has its own bytes, and so its own tag.
    let tag = match coding {
        Some(coding) => format!("\"{}-{}\"", file.hash, coding.name()),
        None => format!("\"{}\"", file.hash),
    };
    let unchanged = conditions::has(request.headers(), &tag);
    let mut response = Response::new(match unchanged {
        true => Body::empty(),
        false => Body::from(Bytes::from_static(bytes)),
    });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let caching = if is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type(file.name)),
        (header::CACHE_CONTROL, caching),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A 304 is about what the client has, which it knows how to read.
    if let Some(coding) = coding.filter(|_| !unchanged) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    if !file.coded.is_empty() {
        vary(headers);
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// What a cache in between must know: that the same address has other bytes for others.
fn vary(headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("mp3") => "audio/mpeg",
        Some("json" | "webmanifest") => "application/json",
        _ => "application/octet-stream",
    }
}
