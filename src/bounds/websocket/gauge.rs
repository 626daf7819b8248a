//! Looks at the sizes of messages before their bytes are taken in. Invariants: what of a message is more than its connection pays
//! for was reserved before it is read; that goes back only once whoever read it is known to hold none of it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::bounds::budget::{Budget, Reservation};
use crate::ledger::{Entry, Kind, Ledger};
use crate::limits::{SOCKET_MESSAGE_BYTES, SOCKET_MESSAGE_FREE_BYTES, SOCKET_PIECES_BYTES};

/// From what large messages are reserved.
#[derive(Clone)]
pub struct Room {
    /// What may be promised.
    pub budget: Budget,
    /// Where it is written down.
    pub ledger: Ledger,
    /// Whose it is.
    pub owner: Arc<str>,
}

/// A connection's bytes as they come in (RFC 6455, 5.2).
pub struct Gauge<S> {
    stream: S,
    room: Option<Room>,
    sizes: Sizes,
    held: Option<(Reservation, Entry)>,
    /// There was none for the message that comes.
    lacked: bool,
}

/// A frame of a message, by its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Begun {
    /// Bytes of the message, up to the end of this frame.
    message: u64,
    /// Whether it is all of the message.
    is_whole: bool,
}

/// Follows the frames of one connection.
#[derive(Debug, Default)]
struct Sizes {
    /// What there is of the next frame's head.
    head: [u8; 10],
    got: usize,
    /// Bytes of the frame, its mask included, that are still to come.
    left: u64,
    /// Bytes of the message so far.
    message: u64,
    /// Whether the frame ends it.
    ends: bool,
    /// What its mask adds to the frame whose head is read.
    masked: bool,
}

impl Sizes {
    /// Takes some of what came in. Gives how much that was, and a frame of a message where one begins.
    fn take(&mut self, bytes: &[u8]) -> (usize, Option<Begun>) {
        if self.left > 0 {
            let taken = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= taken as u64;
            self.finish();
            return (taken, None);
        }
        self.head[self.got] = bytes[0];
        self.got += 1;
        let short = self.head[1] & 0x7f;
        let whole = match (self.got, short) {
            (1, _) => return (1, None),
            (_, 126) => 4,
            (_, 127) => 10,
            _ => 2,
        };
        if self.got < whole {
            return (1, None);
        }
        let length = match whole {
            2 => u64::from(short),
            _ => self.head[2..whole].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        let (first, is_control) = (self.head[0], self.head[0] & 0x08 != 0);
        self.got = 0;
        self.masked = self.head[1] & 0x80 != 0;
        self.left = length.saturating_add(if self.masked { 4 } else { 0 });
        // One between the frames of a message is none of it.
        self.ends = !is_control && first & 0x80 != 0;
        let told = (!is_control).then(|| {
            self.message = self.message.saturating_add(length);
            Begun { message: self.message, is_whole: self.ends && first & 0x0f != CONTINUES }
        });
        self.finish();
        (1, told)
    }

    fn finish(&mut self) {
        if self.left == 0 && self.ends {
            (self.message, self.ends) = (0, false);
        }
    }

    /// Whether all that came is whole messages.
    fn is_between(&self) -> bool {
        self.message == 0 && self.left == 0 && self.got == 0
    }
}

/// The opcode of a frame that goes on with a message (RFC 6455, 5.2).
const CONTINUES: u8 = 0;

impl<S> Gauge<S> {
    /// Looks at `stream`, which must begin with a frame; without `room` nothing is asked for.
    pub fn new(stream: S, room: Option<Room>) -> Self {
        Self { stream, room, sizes: Sizes::default(), held: None, lacked: false }
    }

    /// Whether there was no room for a message.
    pub fn lacked_room(&self) -> bool {
        self.lacked
    }

    /// Whether all that came is whole messages, as far as it looks.
    pub fn is_between(&self) -> bool {
        self.room.is_some() && self.sizes.is_between()
    }

    /// Whether something is reserved.
    pub fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Nothing is left of the messages that came: what was reserved for them goes back.
    pub fn let_go(&mut self) {
        self.held = None;
    }

    fn look(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(room) = &self.room else { return Ok(()) };
        while !bytes.is_empty() {
            let (taken, begun) = self.sizes.take(bytes);
            bytes = &bytes[taken..];
            // What is larger than may be is refused by whoever reads it, before it is there.
            let is_large = |begun: &Begun| {
                (SOCKET_MESSAGE_FREE_BYTES + 1..=SOCKET_MESSAGE_BYTES).contains(&begun.message)
            };
            let Some(begun) = begun.filter(is_large) else { continue };
            let wanted = if begun.is_whole { SOCKET_MESSAGE_BYTES } else { SOCKET_PIECES_BYTES };
            if self.held.as_ref().is_some_and(|(held, _)| held.bytes() >= wanted) {
                continue;
            }
            // One that is held for a smaller one goes back first: there is never both.
            self.held = None;
            let Some(reservation) = room.budget.reserve(wanted) else {
                self.lacked = true;
                return Err(io::Error::other("no room for a message of this size"));
            };
            let entry = room.ledger.enter(Kind::Body, Arc::clone(&room.owner), wanted);
            self.held = Some((reservation, entry));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gauge<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(self.look(&buf.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gauge<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(all(test, not(evensong_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

    fn gauge(total: u64) -> Gauge<tokio::io::Empty> {
        let room =
            Room { budget: Budget::new(total), ledger: Ledger::default(), owner: "test".into() };
        Gauge::new(tokio::io::empty(), Some(room))
    }

    fn head(length: u64, is_final: bool, opcode: OpCode) -> Vec<u8> {
        let header =
            FrameHeader { is_final, opcode, mask: Some([1, 2, 3, 4]), ..Default::default() };
        let mut out = Vec::new();
        header.format(length, &mut out).expect("a head");
        out
    }

    #[test]
    fn a_large_message_is_reserved_before_it_comes_and_given_back_behind_it() {
        let mut gauge = gauge(SOCKET_MESSAGE_BYTES);
        let budget = gauge.room.as_ref().expect("given").budget.clone();
        let text = OpCode::Data(Data::Text);
        gauge.look(&head(SOCKET_MESSAGE_FREE_BYTES, true, text)).expect("small");
        gauge.look(&vec![0; SOCKET_MESSAGE_FREE_BYTES as usize]).expect("small");
        assert!(budget.state().reserved == 0 && gauge.is_between());
        gauge.look(&head(SOCKET_MESSAGE_BYTES, true, text)).expect("there is room");
        assert_eq!(budget.state().reserved, SOCKET_MESSAGE_BYTES);
        assert!(!gauge.is_between(), "it is still coming");
        gauge.look(&vec![0; SOCKET_MESSAGE_BYTES as usize]).expect("the rest");
        // The first byte of the next one.
        gauge.look(&head(5, true, text)[..1]).expect("small");
        assert!(!gauge.is_between());
        gauge.look(&head(5, true, text)[1..]).expect("small");
        gauge.look(&[0; 5]).expect("small");
        assert!(gauge.is_between() && gauge.holds());
        gauge.let_go();
        assert_eq!(budget.state().reserved, 0);
        assert!(!gauge.lacked_room() && !gauge.holds());
    }

    #[test]
    fn fragments_are_summed_and_reserved_twice_and_without_room_nothing_is_read() {
        for (total, is_room) in [(SOCKET_PIECES_BYTES, true), (SOCKET_PIECES_BYTES - 1, false)] {
            let mut gauge = gauge(total);
            let half = SOCKET_MESSAGE_FREE_BYTES / 2 + 1;
            // A large one that came whole is still held.
            let text = OpCode::Data(Data::Text);
            gauge.look(&head(SOCKET_MESSAGE_BYTES, true, text)).expect("there is room");
            gauge.look(&vec![0; SOCKET_MESSAGE_BYTES as usize]).expect("the rest");
            gauge.look(&head(half, false, text)).expect("small");
            gauge.look(&vec![0; half as usize]).expect("small");
            // One between them is none of it.
            gauge.look(&head(5, true, OpCode::Control(Control::Ping))).expect("small");
            gauge.look(&[0; 5]).expect("small");
            let rest = gauge.look(&head(half, true, OpCode::Data(Data::Continue)));
            assert_eq!((rest.is_ok(), gauge.lacked_room()), (is_room, !is_room));
            let reserved = gauge.room.as_ref().expect("given").budget.state().reserved;
            assert_eq!(reserved, if is_room { SOCKET_PIECES_BYTES } else { 0 });
        }
    }

    proptest! {
        #[test]
        fn frames_are_followed_however_they_are_cut(
            frames in prop::collection::vec((0usize..70_000, any::<bool>(), any::<bool>(), any::<bool>()), 1..6),
            cuts in prop::collection::vec(1usize..40_000, 1..30),
        ) {
            let (mut bytes, mut wanted, mut message) = (Vec::new(), Vec::new(), 0);
            for (length, is_final, is_masked, is_control) in frames {
                let (length, is_final) = if is_control { (length % 126, true) } else { (length, is_final) };
                let opcode = match is_control {
                    true => OpCode::Control(Control::Pong),
                    false => OpCode::Data(Data::Binary),
                };
                let mask = is_masked.then_some([9; 4]);
                let header = FrameHeader { is_final, opcode, mask, ..Default::default() };
                Frame::from_payload(header, vec![7; length].into()).format(&mut bytes).expect("a frame");
                if !is_control {
                    message += length as u64;
                    wanted.push(message);
                    if is_final {
                        message = 0;
                    }
                }
            }
            let (mut sizes, mut told, mut rest) = (Sizes::default(), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (mut now, then) = rest.split_at((*cut).min(rest.len()));
                while !now.is_empty() {
                    let (taken, size) = sizes.take(now);
                    told.extend(size.map(|begun| begun.message));
                    now = &now[taken..];
                }
                rest = then;
            }
            prop_assert_eq!(told, wanted);
            prop_assert_eq!(sizes.left, 0);
        }
    }
}
