//! The handshake of a WebSocket (RFC 6455, 4.2). Invariant: what is no handshake is told what is missing; what lies behind one
//! is [`crate::bounds::websocket`]'s.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const KEY_LETTERS: usize = 24;

/// Why a request is no handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHandshake(pub &'static str);

/// The answer to a handshake, with the first of `known` among the subprotocols that were offered.
pub fn handshake(request: &Request, known: &[&'static str]) -> Result<Response, NoHandshake> {
    let headers = request.headers();
    let is = |name, value: &str| {
        let all =
            headers.get_all(name).iter().filter_map(|field: &HeaderValue| field.to_str().ok());
        all.flat_map(|field| field.split(',')).any(|part| part.trim().eq_ignore_ascii_case(value))
    };
    if request.method() != Method::GET || !is(header::CONNECTION, "upgrade") {
        return Err(NoHandshake("it wants a WebSocket: Connection must hold Upgrade"));
    }
    if !is(header::UPGRADE, "websocket") {
        return Err(NoHandshake("Upgrade must be websocket"));
    }
    if !is(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(NoHandshake("Sec-WebSocket-Version must be 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == KEY_LETTERS);
    let Some(key) = key else {
        return Err(NoHandshake("Sec-WebSocket-Key must be 16 bytes in base64"));
    };
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let accept = accept.map_err(|_| NoHandshake("Sec-WebSocket-Key must be base64"))?;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(known) = known.iter().find(|known| offers(headers).any(|offer| offer == **known)) {
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(known));
    }
    Ok(response)
}

/// The subprotocols that a client offers.
pub fn offers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let all = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    all.filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(',')).map(str::trim)
}
