//! An answer's body on its way. Invariants: its request is in flight until the last of its bytes was taken
//! by the socket or dropped, also those that the protocol's own buffer still holds; what is ready is sent together,
//! up to [`GATHER_BYTES`], and nothing waits for more.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};

use crate::http::vitals::InFlight;
use crate::limits::{GATHER_BYTES, GATHER_PARTS};

type Found = Option<Result<Frame<Bytes>, axum::Error>>;

pin_project_lite::pin_project! {
    /// See the module.
    pub struct Tracked {
        #[pin]
        body: Body,
        in_flight: Arc<InFlight>,
        // Found behind what was gathered, and no part of it: an end, an error, trailers.
        next: Option<Found>,
    }
}

impl Tracked {
    /// Tracks `body`.
    pub fn new(body: Body, in_flight: InFlight) -> Self {
        if http_body::Body::is_end_stream(&body) {
            in_flight.answered();
        }
        Self { body, in_flight: Arc::new(in_flight), next: None }
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
        let found = match this.next.take() {
            Some(found) => found,
            None => ready!(this.body.as_mut().poll_frame(cx)),
        };
        let in_flight = &*this.in_flight;
        let frame = match found.map(|frame| frame.map(Frame::into_data)) {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(Err(trailers))) => {
                Some(Ok(trailers.map_data(|bytes| Counted::new(bytes, in_flight))))
            }
            Some(Ok(Ok(first))) => {
                let mut data = Counted::new(first, in_flight);
                while data.has_room() {
                    let Poll::Ready(found) = this.body.as_mut().poll_frame(cx) else { break };
                    match found.map(|frame| frame.map(Frame::into_data)) {
                        Some(Ok(Ok(bytes))) => data.push(bytes),
                        Some(Ok(Err(other))) => *this.next = Some(Some(Ok(other))),
                        Some(Err(error)) => *this.next = Some(Some(Err(error))),
                        None => *this.next = Some(None),
                    }
                    if this.next.is_some() {
                        break;
                    }
                }
                Some(Ok(Frame::data(data)))
            }
        };
        let ends = match &this.next {
            None => this.body.is_end_stream(),
            Some(found) => found.is_none(),
        };
        if frame.is_none() || ends {
            in_flight.answered();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.next {
            None => self.body.is_end_stream(),
            Some(found) => found.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of a body that tell when they are gone.
pub struct Counted {
    first: Bytes,
    /// Behind it; most answers have none.
    more: VecDeque<Bytes>,
    left: usize,
    whole: usize,
    in_flight: Arc<InFlight>,
}

impl Counted {
    fn new(first: Bytes, in_flight: &Arc<InFlight>) -> Self {
        let (whole, in_flight) = (first.len(), Arc::clone(in_flight));
        in_flight.handed_over(whole);
        Self { first, more: VecDeque::new(), left: whole, whole, in_flight }
    }

    fn has_room(&self) -> bool {
        self.whole < GATHER_BYTES && self.more.len() + 1 < GATHER_PARTS
    }

    fn push(&mut self, bytes: Bytes) {
        self.in_flight.handed_over(bytes.len());
        self.whole += bytes.len();
        self.left += bytes.len();
        // The first is empty only where all of it is.
        if self.first.is_empty() {
            self.first = bytes;
        } else {
            self.more.push_back(bytes);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.in_flight.taken(self.whole);
    }
}

impl Buf for Counted {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let parts = std::iter::once(&self.first).chain(&self.more).filter(|part| !part.is_empty());
        let mut count = 0;
        for (slot, part) in into.iter_mut().zip(parts) {
            *slot = IoSlice::new(part);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        self.left = self.left.checked_sub(count).expect("no further than there is");
        loop {
            let step = count.min(self.first.len());
            self.first.advance(step);
            count -= step;
            if !self.first.is_empty() {
                return;
            }
            match self.more.pop_front() {
                Some(next) => self.first = next,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::vitals::{Patience, Vitals};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_are_one_run_of_bytes_however_they_are_taken(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 1..6),
            steps in prop::collection::vec(0usize..7, 0..20),
        ) {
            let all = parts.concat();
            let mut iter = parts.into_iter().map(Bytes::from);
            let mut counted = Counted::new(iter.next().expect("one"), &Arc::new(Vitals::new(Patience::default()).request()));
            iter.for_each(|part| counted.push(part));
            let mut taken = Vec::new();
            for step in steps {
                let mut slices = [IoSlice::new(&[]); 3];
                let count = counted.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert!(all[taken.len()..].starts_with(&seen));
                prop_assert_eq!(seen.is_empty(), counted.remaining() == 0);
                let step = step.min(seen.len());
                taken.extend_from_slice(&seen[..step]);
                counted.advance(step);
                prop_assert_eq!(counted.remaining(), all.len() - taken.len());
                prop_assert_eq!(counted.has_remaining(), !counted.chunk().is_empty());
            }
            let rest = counted.copy_to_bytes(counted.remaining());
            prop_assert_eq!(&all[taken.len()..], &rest[..]);
        }
    }
}
