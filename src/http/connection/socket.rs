//! The socket as hyper sees it: first what was read to know the protocol, then the rest. Invariant:
//! nothing reaches hyper that its guard has not seen, and what goes in and out is told to the vitals.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{CALM_DOWN, Frames};
use super::framing::{Fault, Framing, POISON};
use crate::http::vitals::Vitals;

/// See the module.
pub struct Socket<S> {
    prefix: BytesMut,
    stream: S,
    vitals: Vitals,
    guard: Guard,
    /// What comes from now on is passed to nobody.
    poisoned: bool,
}

const TARGET_TOO_LONG: &[u8] = b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\n\
    content-length: 0\r\n\r\n";

/// What looks at the bytes that come in, by protocol.
enum Guard {
    One(Framing),
    Two(Frames),
    Off,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// `prefix` was read already, and looked at by nobody.
    pub fn http1(mut prefix: BytesMut, stream: S, vitals: Vitals) -> Self {
        let mut framing = Framing::default();
        let ambiguous = framing.check(&prefix);
        // So short a prefix holds no target that is too long.
        if let Some(Fault::Ambiguous(at)) = ambiguous {
            prefix.truncate(at);
            prefix.extend_from_slice(POISON);
        }
        let (guard, poisoned) = (Guard::One(framing), ambiguous.is_some());
        Self { prefix, stream, vitals, guard, poisoned }
    }

    /// `preface` is HTTP/2's.
    pub fn http2(preface: BytesMut, stream: S, vitals: Vitals) -> Self {
        vitals.owes(true);
        let guard = Guard::Two(Frames::new());
        Self { prefix: preface, stream, vitals, guard, poisoned: false }
    }

    /// HTTP is over, of which `left` was not read: what comes from now on is looked at by somebody else.
    pub fn let_go(mut self, left: Bytes) -> Self {
        let rest = std::mem::replace(&mut self.prefix, BytesMut::from(&*left));
        self.prefix.extend_from_slice(&rest);
        self.guard = Guard::Off;
        self
    }

    /// Shows the guard what came in behind the first `before` bytes.
    fn look(
        &mut self,
        buf: &mut ReadBuf<'_>,
        before: usize,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let bytes = &buf.filled()[before..];
        match &mut self.guard {
            Guard::One(_) if self.vitals.has_switched() => self.guard = Guard::Off,
            Guard::Off => {}
            Guard::One(framing) => {
                let Some(fault) = framing.check(bytes) else { return Ok(()) };
                tracing::debug!(?fault, "a request that is refused before it is read");
                self.poisoned = true;
                let (Fault::Ambiguous(at) | Fault::TargetTooLong(at)) = fault;
                buf.set_filled(before + at);
                // The parser would call it a head that is too large; where it is in the middle of an
                // answer, that has to do.
                if matches!(fault, Fault::TargetTooLong(_)) && !self.vitals.is_busy() {
                    self.vitals.malformed();
                    let _ = Pin::new(&mut self.stream).poll_write(cx, TARGET_TOO_LONG);
                    let _ = Pin::new(&mut self.stream).poll_flush(cx);
                    return Err(io::Error::other("a target that is too long"));
                }
                self.prefix = BytesMut::from(POISON);
                // Never nothing, which would be the end.
                self.pass_prefix(buf);
            }
            Guard::Two(frames) => {
                frames.answered(self.vitals.take_answered());
                let fine = frames.check(bytes);
                self.vitals.owes(frames.owes());
                if !fine {
                    self.vitals.flooded();
                    // As far as the peer takes it; what hyper is in the middle of does not matter.
                    let _ = Pin::new(&mut self.stream).poll_write(cx, &CALM_DOWN);
                    let _ = Pin::new(&mut self.stream).poll_flush(cx);
                    return Err(io::Error::other("a flood of frames"));
                }
            }
        }
        Ok(())
    }

    fn pass_prefix(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..count]);
        self.prefix.advance(count);
    }

    fn tell(&mut self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(count)) => {
                self.vitals.sent(*count);
                if let Guard::Two(frames) = &mut self.guard {
                    frames.sent(*count);
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.vitals.write_waits(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.has_remaining() {
            self.pass_prefix(buf);
            return Poll::Ready(Ok(()));
        }
        if self.poisoned {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.vitals.received();
            self.look(buf, before, cx)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.tell(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.tell(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
