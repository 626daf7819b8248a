//! An answer's body on its way. Invariants: its request is in flight until the last of its bytes was taken
//! by the socket or dropped, also those that the protocol's own buffer still holds; what is ready, or will be when the other
//! tasks have had their turn, is sent together, up to [`GATHER_BYTES`]; nothing waits for more by the clock, and the first
//! bytes wait for nothing.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http_body::{Frame, SizeHint};

use crate::http::vitals::InFlight;
use crate::limits::{FRAMES_MOST, GATHER_BYTES, GATHER_PARTS, GATHER_TURNS};

/// An answer on its way: its request, and how much of it nobody has taken yet.
struct Way {
    in_flight: InFlight,
    /// Frames that were handed over and still live: HTTP/2 counts its buffer in bytes of theirs, of which a
    /// frame may have one.
    frames: AtomicUsize,
    waits: AtomicWaker,
}

type Found = Option<Result<Frame<Bytes>, axum::Error>>;

pin_project_lite::pin_project! {
    /// See the module.
    pub struct Tracked {
        #[pin]
        body: Body,
        way: Arc<Way>,
        // Of the next frame.
        gathered: Option<Counted>,
        // Found behind what was gathered, and no part of it: an end, an error, trailers.
        next: Option<Found>,
        // Whether a first frame was given: nothing is waited for before.
        begun: bool,
        // That the others had since the last bytes came.
        turns: u8,
    }
}

impl Tracked {
    /// Tracks `body`.
    pub fn new(body: Body, in_flight: InFlight) -> Self {
        if http_body::Body::is_end_stream(&body) {
            in_flight.answered();
        }
        let (frames, waits) = (AtomicUsize::new(0), AtomicWaker::new());
        let way = Arc::new(Way { in_flight, frames, waits });
        Self { body, way, gathered: None, next: None, begun: false, turns: 0 }
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
        if this.way.is_full() {
            this.way.waits.register(cx.waker());
            // One may have been taken just before.
            if this.way.is_full() {
                return Poll::Pending;
            }
        }
        while this.next.is_none() && this.gathered.as_ref().is_none_or(Counted::has_room) {
            let found = match this.body.as_mut().poll_frame(cx) {
                Poll::Ready(found) => found.map(|frame| frame.map(Frame::into_data)),
                Poll::Pending if this.gathered.is_none() => return Poll::Pending,
                // Whoever makes it may have more by the time that the others have had their turn.
                Poll::Pending if *this.begun && *this.turns < GATHER_TURNS => {
                    *this.turns += 1;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => break,
            };
            *this.turns = 0;
            match (found, &mut this.gathered) {
                (Some(Ok(Ok(bytes))), None) => {
                    *this.gathered = Some(Counted::new(bytes, this.way));
                }
                (Some(Ok(Ok(bytes))), Some(gathered)) => gathered.push(bytes),
                (Some(Ok(Err(trailers))), _) => *this.next = Some(Some(Ok(trailers))),
                (Some(Err(error)), _) => *this.next = Some(Some(Err(error))),
                (None, _) => *this.next = Some(None),
            }
        }
        *this.begun = true;
        *this.turns = 0;
        let way = &*this.way;
        let frame =
            match this.gathered.take() {
                Some(data) => Some(Ok(Frame::data(data))),
                None => this.next.take().flatten().map(|found| {
                    found.map(|frame| frame.map_data(|bytes| Counted::new(bytes, way)))
                }),
            };
        let ends = match &this.next {
            None => this.body.is_end_stream(),
            Some(found) => found.is_none(),
        };
        if frame.is_none() || ends {
            way.in_flight.answered();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.next {
            _ if self.gathered.is_some() => false,
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
    way: Arc<Way>,
}

impl Way {
    fn is_full(&self) -> bool {
        self.frames.load(Acquire) >= FRAMES_MOST
    }
}

impl Counted {
    fn new(first: Bytes, way: &Arc<Way>) -> Self {
        let (whole, way) = (first.len(), Arc::clone(way));
        way.frames.fetch_add(1, AcqRel);
        way.in_flight.handed_over(whole);
        Self { first, more: VecDeque::new(), left: whole, whole, way }
    }

    fn has_room(&self) -> bool {
        self.whole < GATHER_BYTES && self.more.len() + 1 < GATHER_PARTS
    }

    fn push(&mut self, bytes: Bytes) {
        self.way.in_flight.handed_over(bytes.len());
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
        self.way.in_flight.taken(self.whole);
        self.way.frames.fetch_sub(1, AcqRel);
        self.way.waits.wake();
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
    use futures_util::FutureExt;
    use proptest::prelude::*;

    fn a_way() -> Arc<Way> {
        let in_flight = Vitals::new(Patience::default()).request();
        Arc::new(Way { in_flight, frames: AtomicUsize::new(0), waits: AtomicWaker::new() })
    }

    #[tokio::test]
    async fn no_more_frames_are_on_their_way_than_may_be_and_the_next_comes_when_one_is_taken() {
        let body = Body::from_stream(tokio_stream::iter((0..1000u16).map(|n| {
            // Each is large enough to be a frame of its own.
            Ok::<_, std::io::Error>(Bytes::from(vec![n as u8; GATHER_BYTES]))
        })));
        let request = Vitals::new(Patience::default()).request();
        let mut tracked = std::pin::pin!(Tracked::new(body, request));
        let mut frames = Vec::new();
        let mut next = async || {
            std::future::poll_fn(|cx| http_body::Body::poll_frame(tracked.as_mut(), cx)).await
        };
        for _ in 0..FRAMES_MOST {
            frames.push(next().await.expect("a frame").expect("good"));
        }
        assert!(next().now_or_never().is_none(), "one more than may be");
        frames.remove(0);
        assert!(next().now_or_never().is_some());
    }

    proptest! {
        #[test]
        fn parts_are_one_run_of_bytes_however_they_are_taken(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 1..6),
            steps in prop::collection::vec(0usize..7, 0..20),
        ) {
            let all = parts.concat();
            let mut iter = parts.into_iter().map(Bytes::from);
            let mut counted = Counted::new(iter.next().expect("one"), &a_way());
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
