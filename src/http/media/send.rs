//! The bytes of a file on their way. Invariant: a download has reserved what it may hold, its socket's buffers included, until its
//! last byte is gone.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::range::{self, Span, Wanted};
use crate::bounds::Stake;
use crate::http::error::ApiError;
use crate::http::{Peer, Services};
use crate::ledger::Kind;
use crate::limits::MEDIA_DOWNLOAD_BYTES;
use crate::media::cold::Cold;
use crate::media::{Content, Entry};
use crate::metrics::{Refusal, Served};

/// What a download needs, or 503.
pub fn reserve(services: &Services, peer: &Peer, id: &Arc<str>) -> Result<Arc<Stake>, ApiError> {
    let bytes = MEDIA_DOWNLOAD_BYTES as u64;
    let Some(reservation) = services.budget.reserve(bytes) else {
        services.metrics.refuse(Refusal::Budget);
        return Err(ApiError::no_room_to_send());
    };
    let entry = services.ledger.enter(Kind::MediaDownload, Arc::clone(id), bytes);
    Ok(Stake::new(reservation, entry, peer.departure.clone(), services.metrics.clone()))
}

/// A file that is about to be sent.
pub struct Sending<'a> {
    /// Which.
    pub entry: &'a Arc<Entry>,
    /// Its bytes.
    pub content: Content,
    /// What is reserved for it.
    pub stake: Arc<Stake>,
}

/// Bytes of the cache on their way. They are the cache's, and the way is the client's.
struct Sent {
    bytes: Bytes,
    _stake: Arc<Stake>,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What an answer is made of.
enum Segment {
    Text(String),
    Part(Span),
}

impl Sending<'_> {
    /// From where it comes.
    pub fn served(&self) -> Served {
        match self.content {
            Content::Hot(_) => Served::Hot,
            Content::Cold(_) => Served::Cold,
        }
    }

    /// Status, headers of their own, length and body of the answer that has what is wanted.
    pub fn into_body(self, wanted: Wanted) -> (StatusCode, HeaderMap, u64, Body) {
        let length = self.entry.stamp.length;
        let mut headers = HeaderMap::new();
        let mut say = |name, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        let spans = match wanted {
            Wanted::Some(spans) => spans,
            _ => {
                let body = self.run(vec![Segment::Part(Span { from: 0, to: length })]);
                return (StatusCode::OK, headers, length, body);
            }
        };
        if let [span] = spans[..] {
            say(header::CONTENT_RANGE, format!("bytes {}-{}/{length}", span.from, span.to - 1));
            let body = self.run(vec![Segment::Part(span)]);
            return (StatusCode::PARTIAL_CONTENT, headers, span.to - span.from, body);
        }
        let (boundary, kind) =
            (range::boundary(&self.entry.hash, &spans), self.entry.kind.media_type);
        say(header::CONTENT_TYPE, format!("multipart/byteranges; boundary={boundary}"));
        let total = range::total(&boundary, kind, &spans, length);
        let mut segments = Vec::with_capacity(2 * spans.len() + 1);
        for (number, span) in spans.into_iter().enumerate() {
            segments.push(Segment::Text(range::part_head(
                &boundary,
                kind,
                span,
                length,
                number == 0,
            )));
            segments.push(Segment::Part(span));
        }
        segments.push(Segment::Text(range::tail(&boundary)));
        (StatusCode::PARTIAL_CONTENT, headers, total, self.run(segments))
    }

    fn run(self, segments: Vec<Segment>) -> Body {
        let Self { content, stake, .. } = self;
        match content {
            Content::Hot(bytes) => {
                let sent = move |segment| match segment {
                    Segment::Text(text) => Bytes::from(text),
                    Segment::Part(Span { from, to }) => {
                        let bytes = bytes.slice(from as usize..to as usize);
                        Bytes::from_owner(Sent { bytes, _stake: Arc::clone(&stake) })
                    }
                };
                let mut sent = segments.into_iter().map(sent);
                match sent.len() {
                    // In one piece, of which the socket takes as much as it can at once.
                    1 => Body::from(sent.next().unwrap_or_default()),
                    _ => Body::from_stream(stream::iter(sent.map(Ok::<_, io::Error>))),
                }
            }
            Content::Cold(cold) => {
                let parts = stream::iter(segments).map(move |segment| match segment {
                    Segment::Text(text) => stream::iter([Ok(Bytes::from(text))]).left_stream(),
                    Segment::Part(Span { from, to }) => {
                        Cold::stream(Arc::clone(&cold), from, to, Arc::clone(&stake)).right_stream()
                    }
                });
                Body::from_stream(parts.flatten())
            }
        }
    }
}
