//! An answer's body on its way. Invariant: its request is in flight until the last of its bytes was taken
//! by the socket or dropped, also those that the protocol's own buffer still holds.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};

use crate::http::vitals::InFlight;

pin_project_lite::pin_project! {
    /// See the module.
    pub struct Tracked {
        #[pin]
        body: Body,
        in_flight: Arc<InFlight>,
    }
}

impl Tracked {
    /// Tracks `body`.
    pub fn new(body: Body, in_flight: InFlight) -> Self {
        if http_body::Body::is_end_stream(&body) {
            in_flight.answered();
        }
        Self { body, in_flight: Arc::new(in_flight) }
    }
}

impl http_body::Body for Tracked {
    type Data = Counted;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Counted>, axum::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        if frame.is_none() || this.body.is_end_stream() {
            this.in_flight.answered();
        }
        let in_flight = &*this.in_flight;
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| frame.map_data(|bytes| Counted::new(bytes, Arc::clone(in_flight))))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of a body that tell when they are gone.
pub struct Counted {
    bytes: Bytes,
    whole: usize,
    in_flight: Arc<InFlight>,
}

impl Counted {
    fn new(bytes: Bytes, in_flight: Arc<InFlight>) -> Self {
        let whole = bytes.len();
        in_flight.handed_over(whole);
        Self { bytes, whole, in_flight }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.in_flight.taken(self.whole);
    }
}

impl Buf for Counted {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.bytes.copy_to_bytes(count)
    }
}
