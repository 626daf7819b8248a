//! WebSockets (RFC 6455): messages in both directions, behind a handshake. Invariants: reading goes on beside sending; one message
//! at a time is on its way out, and no more of one is taken in than was reserved; whoever breaks the protocol is told so by
//! the right code.

mod gauge;

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::Request;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

pub use gauge::{Gauge, Room};
pub use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::limits;

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// The peer closed it, for a reason of its own.
    Closed(u16),
    /// The peer is gone without a word.
    Gone,
    /// It broke a rule: it is to be closed with this code.
    Broke(u16, &'static str),
}

/// Codes of RFC 6455, 7.4.1, and of its registry.
pub mod code {
    /// All was said.
    pub const NORMAL: u16 = 1000;
    /// The server goes away.
    pub const AWAY: u16 = 1001;
    /// What came breaks the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// What came is of a kind that is not taken.
    pub const UNSUPPORTED: u16 = 1003;
    /// A text that is no UTF-8.
    pub const INVALID: u16 = 1007;
    /// What came breaks a rule of ours.
    pub const POLICY: u16 = 1008;
    /// A message that is larger than may be.
    pub const TOO_BIG: u16 = 1009;
    /// Something failed here.
    pub const SERVER: u16 = 1011;
    /// There is no room at present.
    pub const OVERLOAD: u16 = 1013;
}

/// A connection on which messages are exchanged.
pub struct WebSocket<S> {
    /// There, but for the moment in which it is made anew.
    inner: Option<WebSocketStream<Gauge<S>>>,
    role: Role,
    /// Whether what was handed over was not yet taken by the socket.
    sends: bool,
    /// Whether a message was large that was sent since it was made: it keeps the room for that.
    is_swollen: bool,
}

fn config(role: Role) -> WebSocketConfig {
    let read_bytes = match role {
        Role::Server => limits::SOCKET_READ_BYTES,
        Role::Client => limits::SOCKET_ASKED_READ_BYTES,
    };
    WebSocketConfig::default()
        .read_buffer_size(read_bytes)
        .write_buffer_size(0)
        .max_write_buffer_size(limits::SOCKET_WRITE_BYTES)
        .max_message_size(Some(limits::SOCKET_MESSAGE_BYTES as usize))
        .max_frame_size(Some(limits::SOCKET_MESSAGE_BYTES as usize))
}

/// What happens next on one.
#[derive(Debug)]
pub enum Event {
    /// A message, or a sign of life.
    Received(Message),
    /// What was to be sent was taken; the next may be given.
    Sent,
    /// Nothing more will.
    Over(Over),
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Speaks by `stream`, behind a client's handshake; large messages are reserved from `room`.
    pub async fn new(stream: S, room: Option<Room>) -> Self {
        let gauge = Gauge::new(stream, room);
        let inner =
            WebSocketStream::from_raw_socket(gauge, Role::Server, Some(config(Role::Server))).await;
        Self::of(inner, Role::Server)
    }

    /// Asks for one by `request` and speaks by it. Its messages are as large as may be without being asked about: whoever has
    /// it has reserved that.
    pub async fn ask(stream: S, request: Request<()>) -> Result<Self, Error> {
        let gauge = Gauge::new(stream, None);
        let asked = client_async_with_config(request, gauge, Some(config(Role::Client))).await;
        asked.map(|(inner, _)| Self::of(inner, Role::Client))
    }

    fn of(inner: WebSocketStream<Gauge<S>>, role: Role) -> Self {
        Self { inner: Some(inner), role, sends: false, is_swollen: false }
    }

    fn inner(&mut self) -> &mut WebSocketStream<Gauge<S>> {
        self.inner.as_mut().expect("it is there whenever anybody looks")
    }

    /// Waits for what happens next, while `out` is sent, if there is something. What was received is dealt with by the next call.
    pub async fn next(&mut self, out: &mut Option<Message>) -> Event {
        std::future::poll_fn(|cx| self.poll_next(out, cx)).await
    }

    /// Waits until what is given, or was, is sent; nothing is received meanwhile. Never ready where there is nothing.
    pub async fn sent(&mut self, out: &mut Option<Message>) -> Event {
        std::future::poll_fn(|cx| self.poll_send(out, cx)).await
    }

    fn poll_next(&mut self, out: &mut Option<Message>, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(event) = self.poll_send(out, cx) {
            return Poll::Ready(event);
        }
        let received = match self.inner().poll_next_unpin(cx) {
            Poll::Pending if self.shrinks(cx) => ready!(self.inner().poll_next_unpin(cx)),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(received) => received,
        };
        Poll::Ready(match received {
            Some(Ok(Message::Close(frame))) => {
                let code = frame.map_or(NO_CODE, |frame| frame.code.into());
                Event::Over(Over::Closed(code))
            }
            Some(Ok(message)) => Event::Received(message),
            Some(Err(error)) => Event::Over(self.over(&error)),
            None => Event::Over(Over::Gone),
        })
    }

    /// Its buffers stay as large as the largest message was, in either direction. Once all that came was taken and all that was
    /// given is sent, they are empty: it is made anew, with small ones, and what was reserved goes back.
    fn shrinks(&mut self, cx: &mut Context<'_>) -> bool {
        let (is_swollen, sends) = (self.is_swollen, self.sends);
        let inner = self.inner();
        let gauge = inner.get_ref();
        if !(is_swollen || gauge.holds()) || !gauge.is_between() || sends {
            return false;
        }
        if !matches!(self.inner().poll_flush_unpin(cx), Poll::Ready(Ok(()))) {
            return false;
        }
        let Some(inner) = self.inner.take() else { return false };
        let mut gauge = inner.into_inner();
        gauge.let_go();
        let anew = WebSocketStream::from_raw_socket(gauge, self.role, Some(config(self.role)));
        self.inner = anew.now_or_never();
        self.is_swollen = false;
        true
    }

    fn poll_send(&mut self, out: &mut Option<Message>, cx: &mut Context<'_>) -> Poll<Event> {
        if out.is_some() {
            match self.inner().poll_ready_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {
                    let Some(message) = out.take() else { return Poll::Pending };
                    self.is_swollen |= message.len() as u64 > limits::SOCKET_MESSAGE_FREE_BYTES;
                    if let Err(error) = self.inner().start_send_unpin(message) {
                        return Poll::Ready(Event::Over(self.over(&error)));
                    }
                    self.sends = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Event::Over(self.over(&error))),
            }
        }
        if !self.sends {
            return Poll::Pending;
        }
        match self.inner().poll_flush_unpin(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                self.sends = false;
                Poll::Ready(Event::Sent)
            }
            Poll::Ready(Err(error)) => Poll::Ready(Event::Over(self.over(&error))),
        }
    }

    fn over(&mut self, error: &Error) -> Over {
        if self.inner().get_ref().lacked_room() {
            return Over::Broke(code::OVERLOAD, "no room for a message of this size at present");
        }
        match error {
            Error::Utf8(_) => Over::Broke(code::INVALID, "a text that is not UTF-8"),
            Error::Capacity(CapacityError::MessageTooLong { .. }) => {
                Over::Broke(code::TOO_BIG, "a message larger than 256 KiB")
            }
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Over::Gone,
            Error::Protocol(_) => Over::Broke(code::PROTOCOL, "what came is no frame of RFC 6455"),
            Error::WriteBufferFull(_) => {
                Over::Broke(code::POLICY, "what was asked for was not taken")
            }
            _ => Over::Gone,
        }
    }

    /// Whether something that was handed over was not taken yet.
    pub fn is_sending(&self) -> bool {
        self.sends
    }

    /// Sends one more text, if the peer takes it in a moment.
    pub async fn last_word(&mut self, text: Utf8Bytes) {
        self.say(Message::Text(text)).await;
    }

    /// Sends a message, if the peer takes it in a moment.
    pub async fn say(&mut self, message: Message) {
        let _ = tokio::time::timeout(CLOSING_PATIENCE, self.inner().send(message)).await;
    }

    /// Says good-bye with `code` and waits a moment for the peer to say so, too. Where it was the peer who began, it is answered.
    pub async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let said = async {
            if self.inner().close(Some(frame)).await.is_err() {
                return;
            }
            let mut is_answered = false;
            while let Some(Ok(message)) = self.inner().next().await {
                is_answered |= message.is_close();
            }
            let stream = self.inner().get_mut();
            let _ = stream.shutdown().await;
            if is_answered {
                return;
            }
            // The rest of what was refused may still be coming. A socket that is closed with bytes unread is reset, and that takes
            // along what was said last.
            let mut rest = [0; LEFT_BYTES];
            while matches!(stream.read(&mut rest).await, Ok(1..)) {}
        };
        // Whoever does not answer is gone, or does not know how.
        let _ = tokio::time::timeout(CLOSING_PATIENCE, said).await;
    }

    /// Answers the peer's good-bye.
    pub async fn farewell(mut self) {
        let said = async {
            let _ = self.inner().flush().await;
            let _ = self.inner().get_mut().shutdown().await;
        };
        let _ = tokio::time::timeout(CLOSING_PATIENCE, said).await;
    }
}

/// As which a close without a code is told (RFC 6455, 7.1.5).
pub const NO_CODE: u16 = 1005;
const CLOSING_PATIENCE: Duration = Duration::from_secs(1);
/// What is read at once of what nobody wants any more.
const LEFT_BYTES: usize = 1024;

/// A sign of life that says how far one is.
pub fn ping(number: u64) -> Message {
    Message::Ping(Bytes::copy_from_slice(&number.to_be_bytes()))
}

/// What a pong answers, where it is one of ours.
pub fn pong(bytes: &Bytes) -> Option<u64> {
    bytes.as_ref().try_into().ok().map(u64::from_be_bytes)
}

#[cfg(all(test, not(evensong_loom)))]
mod tests {
    use super::*;
    use crate::bounds::Budget;
    use crate::ledger::Ledger;
    use proptest::prelude::*;
    use tokio::io::DuplexStream;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

    const LARGE: usize = limits::SOCKET_MESSAGE_FREE_BYTES as usize + 1;

    async fn pair() -> (WebSocket<DuplexStream>, DuplexStream, Budget) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let budget = Budget::new(limits::SOCKET_PIECES_BYTES);
        let room = Room { budget: budget.clone(), ledger: Ledger::default(), owner: "test".into() };
        (WebSocket::new(ours, Some(room)).await, theirs, budget)
    }

    /// A frame as a client sends it.
    fn frame(opcode: OpCode, is_final: bool, payload: Vec<u8>) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, mask: Some([0; 4]), ..Default::default() };
        let mut out = Vec::new();
        Frame::from_payload(header, payload.into()).format(&mut out).expect("a frame");
        out
    }

    /// What has come by now.
    fn said(socket: &mut WebSocket<DuplexStream>, out: &mut Option<Message>) -> Option<Event> {
        // A test is one poll of a task, whose share of them tokio limits.
        tokio::task::unconstrained(socket.next(out)).now_or_never()
    }

    #[tokio::test]
    async fn what_a_large_message_took_goes_back_once_nothing_of_it_is_left() {
        let (mut socket, mut theirs, budget) = pair().await;
        let message = frame(OpCode::Data(Data::Text), true, vec![b' '; LARGE]);
        // Behind it comes the beginning of another one.
        theirs.write_all(&message).await.expect("there is room");
        theirs.write_all(&message[..3]).await.expect("there is room");
        assert!(matches!(said(&mut socket, &mut None), Some(Event::Received(Message::Text(_)))));
        assert!(said(&mut socket, &mut None).is_none());
        assert_eq!(budget.state().reserved, limits::SOCKET_MESSAGE_BYTES, "another one is coming");
        theirs.write_all(&message[3..]).await.expect("there is room");
        assert!(matches!(said(&mut socket, &mut None), Some(Event::Received(Message::Text(_)))));
        assert!(said(&mut socket, &mut None).is_none());
        assert_eq!(budget.state().reserved, 0);
        // And it goes on.
        theirs
            .write_all(&frame(OpCode::Control(Control::Ping), true, vec![1]))
            .await
            .expect("room");
        assert!(matches!(said(&mut socket, &mut None), Some(Event::Received(Message::Ping(_)))));
    }

    proptest! {
        #[test]
        fn every_message_comes_once_whatever_its_size_and_however_it_is_cut(
            messages in prop::collection::vec(prop::collection::vec(0usize..24_000, 1..4), 1..8),
            cuts in prop::collection::vec(1usize..30_000, 1..20),
            answers in prop::collection::vec(any::<bool>(), 1..8),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let (mut socket, mut theirs, budget) = pair().await;
                let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
                for (number, pieces) in messages.iter().enumerate() {
                    for (place, length) in pieces.iter().enumerate() {
                        let opcode = if place == 0 { Data::Binary } else { Data::Continue };
                        let is_final = place + 1 == pieces.len();
                        bytes.extend(frame(OpCode::Data(opcode), is_final, vec![number as u8; *length]));
                        // A sign of life comes in between.
                        bytes.extend(frame(OpCode::Control(Control::Pong), true, vec![number as u8]));
                    }
                    wanted.push((number as u8, pieces.iter().sum::<usize>()));
                }
                let (mut rest, mut came, mut pongs) = (&bytes[..], Vec::new(), 0);
                let mut sizes = cuts.iter().cycle();
                let mut answers = answers.iter().cycle();
                while !rest.is_empty() {
                    let (now, then) = rest.split_at((*sizes.next().expect("endless")).min(rest.len()));
                    theirs.write_all(now).await.expect("there is room");
                    rest = then;
                    let mut out = answers.next().expect("endless").then(|| Message::binary(vec![1; LARGE]));
                    while let Some(event) = said(&mut socket, &mut out) {
                        match event {
                            Event::Received(Message::Binary(message)) => {
                                came.push((message.first().copied().unwrap_or(came.len() as u8), message.len()));
                            }
                            Event::Received(Message::Pong(_)) => pongs += 1,
                            Event::Sent => {
                                let mut sent = vec![0; LARGE + 4];
                                theirs.read_exact(&mut sent).await.expect("it was sent");
                                assert!(sent[4..].iter().all(|byte| *byte == 1));
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                }
                assert_eq!((came, pongs), (wanted, messages.iter().map(Vec::len).sum::<usize>()));
                assert_eq!(budget.state().reserved, 0);
                assert!(!socket.is_swollen);
            });
        }
    }
}
