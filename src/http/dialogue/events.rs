//! A dialogue as server-sent events. Invariant: each event that can be gone on behind has its position as `id`; a stream with
//! nothing to say says so every 15 s.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep};
use tokio_stream::Stream;

use super::told::THINKING;
use crate::bounds::replay::{Position, TooSlow};
use crate::bounds::ring::Broken;
use crate::dialogue::frame::{Frame, Indicator};
use crate::dialogue::listen::Listener;
use crate::http::error::ApiError;
use crate::http::{Services, media};
use crate::limits::HEARTBEAT_EVERY;
use crate::media::Media;
use crate::metrics::Metrics;

/// An event stream of what `listener` hears.
pub fn answer(listener: Listener, asset: &'static str, services: &Services) -> Response {
    let heartbeat = Box::pin(sleep(HEARTBEAT_EVERY));
    let (metrics, media) = (services.metrics.clone(), services.media.clone());
    let (has_begun, is_over) = (false, false);
    let events = Events { listener, asset, metrics, media, heartbeat, has_begun, is_over };
    let mut response = head();
    *response.body_mut() = Body::from_stream(events);
    response
}

/// What says of an event stream how it is to be taken.
pub fn head() -> Response {
    // Of no length that is known.
    let mut response =
        Body::from_stream(tokio_stream::empty::<Result<Bytes, Broken>>()).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

struct Events {
    listener: Listener,
    asset: &'static str,
    metrics: Metrics,
    media: Option<Media>,
    heartbeat: Pin<Box<Sleep>>,
    has_begun: bool,
    is_over: bool,
}

impl Stream for Events {
    type Item = Result<Bytes, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        if !this.has_begun {
            this.has_begun = true;
            // How soon a browser comes back.
            return Poll::Ready(Some(Ok(Bytes::from_static(b"retry: 1000\n\n"))));
        }
        match Pin::new(&mut this.listener).poll_next(cx) {
            Poll::Ready(Some(Ok((position, frame)))) => {
                this.rest();
                Poll::Ready(Some(Ok(this.event(position, &frame))))
            }
            Poll::Ready(Some(Err(TooSlow))) => {
                this.is_over = true;
                Poll::Ready(Some(Err(Broken("the listener was too slow".into()))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if this.heartbeat.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.rest();
                // The new one must know whom to wake.
                let _ = this.heartbeat.as_mut().poll(cx);
                Poll::Ready(Some(Ok(Bytes::from_static(b"event: heartbeat\ndata: {}\n\n"))))
            }
        }
    }
}

impl Events {
    fn rest(&mut self) {
        self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT_EVERY);
    }

    fn event(&self, position: Position, frame: &Arc<Frame>) -> Bytes {
        let Position { epoch, number } = position;
        // It is told in the next one, and is the last of its own.
        let epoch = if let Frame::Interrupted { epoch, .. } = &**frame { *epoch } else { epoch };
        let (name, data) = self.data(epoch, frame);
        Bytes::from(format!("id: {epoch}.{number}\nevent: {name}\ndata: {data}\n\n"))
    }

    fn data(&self, epoch: u32, frame: &Frame) -> (&'static str, Value) {
        match frame {
            Frame::Thinking(Indicator::Sound) => {
                ("thinking", json!({"epoch": epoch, "type": "sound", "asset": self.asset}))
            }
            Frame::Thinking(Indicator::Text) => {
                ("thinking", json!({"epoch": epoch, "type": "text", "text": THINKING}))
            }
            Frame::Text { text, clause } => ("text", json!({"text": text, "clause": clause})),
            Frame::Audio(part) => {
                self.metrics.audio_bytes.inc_by(part.audio.len() as u64);
                let audio = STANDARD.encode(&part.audio);
                let mut data = json!({"audio": audio, "clause": part.clause});
                if !part.words.is_empty() {
                    data["words"] = json!(part.words);
                }
                ("audio", data)
            }
            Frame::Sources(hits) => {
                let mut hits = hits.clone();
                hits.iter_mut().for_each(|hit| media::last(self.media.as_ref(), &mut hit.media));
                ("sources", json!({"hits": hits}))
            }
            Frame::Interrupted { heard_text, history, .. } => (
                "interrupted",
                json!({"epoch": epoch, "heard_text": heard_text, "history": history}),
            ),
            Frame::Done(done) => (
                "done",
                json!({
                    "epoch": epoch,
                    "finish": done.finish,
                    "usage": done.usage,
                    "timings": done.timings,
                    "history": done.history,
                }),
            ),
            Frame::Failed(error) => {
                let error = ApiError::from(error.clone());
                ("error", json!({"epoch": epoch, "error": error.told()}))
            }
        }
    }
}
