//! A turn's sound as plain bytes. Invariant: the head is held back until there is sound, so that a failure before it is a
//! proper status; what ends without its end breaks off.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt};

use crate::bounds::replay::TooSlow;
use crate::bounds::ring::Broken;
use crate::dialogue::DialogueError;
use crate::dialogue::frame::Frame;
use crate::dialogue::listen::Listener;
use crate::http::error::ApiError;
use crate::limits::HEAD_HOLD;
use crate::metrics::Metrics;
use crate::speech::encode::Format;

/// The sound that `listener` hears.
pub async fn answer(listener: Listener, metrics: Metrics) -> Result<Response, ApiError> {
    let format = listener.dialogue().format();
    let mut sound = Sound { listener, first: None, metrics, has_sounded: false, end: None };
    match timeout(HEAD_HOLD, sound.next()).await {
        Ok(Some(Ok(first))) => sound.first = Some(first),
        Ok(Some(Err(broken))) => {
            return Err(match sound.end.take() {
                Some(End::Failed(error)) => error,
                Some(End::Interrupted) => DialogueError::Over.into(),
                None => ApiError::from(DialogueError::Slow(broken)),
            });
        }
        Ok(None) => return Ok(StatusCode::NO_CONTENT.into_response()),
        // It is still being thought about: from here on, a failure breaks off.
        Err(_) => {}
    }
    let mut response = head(format);
    *response.body_mut() = Body::from_stream(sound);
    Ok(response)
}

/// What says of a sound in `format` how it is to be taken.
pub fn head(format: Format) -> Response {
    // Of no length that is known.
    let mut response =
        Body::from_stream(tokio_stream::empty::<Result<Bytes, Broken>>()).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, format.content_type()),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// How a turn ended that did not end well.
enum End {
    Interrupted,
    Failed(ApiError),
}

struct Sound {
    listener: Listener,
    /// Taken already, while the head was held back.
    first: Option<Bytes>,
    metrics: Metrics,
    has_sounded: bool,
    end: Option<End>,
}

impl Stream for Sound {
    type Item = Result<Bytes, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        loop {
            let next = ready!(Pin::new(&mut this.listener).poll_next(cx));
            let broken = |why: &str| Poll::Ready(Some(Err(Broken(why.into()))));
            let frame: Arc<Frame> = match next {
                None => return Poll::Ready(None),
                Some(Err(TooSlow)) => return broken("the listener was too slow"),
                Some(Ok((_, frame))) => frame,
            };
            match &*frame {
                Frame::Audio(part) if !part.audio.is_empty() => {
                    let bytes = this.begin(&part.audio);
                    this.metrics.audio_bytes.inc_by(bytes.len() as u64);
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Frame::Done(_) => return Poll::Ready(None),
                Frame::Interrupted { .. } => {
                    this.end = Some(End::Interrupted);
                    return broken("the turn was interrupted");
                }
                Frame::Failed(error) => {
                    this.end = Some(End::Failed(error.clone().into()));
                    return broken("the turn failed");
                }
                _ => {}
            }
        }
    }
}

impl Sound {
    /// The first sound of somebody who comes late needs the header in front of it.
    fn begin(&mut self, audio: &Bytes) -> Bytes {
        if std::mem::replace(&mut self.has_sounded, true) {
            return audio.clone();
        }
        match self.listener.dialogue().preamble() {
            Some(preamble) if !audio.starts_with(&preamble) => {
                [&preamble[..], audio].concat().into()
            }
            _ => audio.clone(),
        }
    }
}
