//! The page and its files, carried in the binary. Invariant: nothing is loaded from elsewhere, which
//! the content policy makes the browser see to; a file that has not changed is answered by 304.

use std::sync::LazyLock;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use rust_embed::{Embed, EmbeddedFile};

use super::error;
use super::extract::Path;

#[derive(Embed)]
#[folder = "assets/page"]
struct Files;

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
        let file = Files::get(THINKING).expect("the sound is part of the page");
        let (name, ending) = THINKING.rsplit_once('.').expect("it has an ending");
        format!("/assets/{name}.{}.{ending}", hash(&file))
    });
    &ADDRESS
}

const THINKING: &str = "thinking.mp3";

/// The file of that name, and whether its name says which of its contents is meant: `name.<hash>.ending`.
fn find(path: &str) -> Option<(EmbeddedFile, bool)> {
    if let Some(file) = Files::get(path) {
        return Some((file, false));
    }
    let (rest, ending) = path.rsplit_once('.')?;
    let (name, wanted) = rest.rsplit_once('.')?;
    let file = Files::get(&format!("{name}.{ending}"))?;
    (hash(&file) == wanted).then_some((file, true))
}

fn hash(file: &EmbeddedFile) -> String {
    let bytes = &file.metadata.sha256_hash()[..16];
    bytes.iter().fold(String::new(), |hash, byte| hash + &format!("{byte:02x}"))
}

async fn file(path: &str, request: Request) -> Response {
    let Some((file, is_hashed)) = find(path) else { return error::no_route(request).await };
    let tag = format!("\"{}\"", hash(&file));
    let caching = if is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged = known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        axum::body::Body::from(axum::body::Bytes::from(file.data.into_owned())).into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type(path)),
        (header::CACHE_CONTROL, caching),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
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
