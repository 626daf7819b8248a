//! One client connection from its first byte to its last. Invariants: its peer's leaving is seen
//! within a millisecond, whatever lies unread on the socket, and ends everything that hangs on it;
//! every wait for the peer has a deadline; it holds no more than it reserved.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep_until;
use tower::ServiceExt;

use super::Peer;
use super::vitals::{InFlight, Patience, Vitals};
use crate::bounds::Departure;
use crate::limits;
use crate::metrics::Cut;
use crate::tasks::{Scope, Spawner};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Either side closed it in good order.
    Closed,
    /// The peer was seen leaving.
    PeerLeft,
    /// We cut it.
    Cut(Cut),
    /// What came was no HTTP, or the socket failed.
    Failed,
}

/// HTTP/2's preface (RFC 9113, 3.4): what tells it from HTTP/1.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves `stream` with `router` until it ends; `spawner` is the scope that may ask it to.
pub async fn serve(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    patience: Patience,
    spawner: &Spawner,
) -> End {
    let departure = peer.departure.clone();
    let watch = match Watch::new(&stream) {
        Ok(watch) => watch,
        Err(error) => {
            tracing::warn!(%error, "a connection could not be watched");
            return End::Failed;
        }
    };
    let vitals = Vitals::new(patience);
    let spoken = speak(stream, peer, router, vitals.clone(), spawner);
    let spoken = deadlines(spoken, &vitals);
    // Both are asked while everything is still in place: below, what was served is gone already.
    let seen_leaving = async {
        watch.left().await;
        departure.note();
        vitals.is_busy()
    };
    let (end, unsent) = tokio::select! {
        biased;
        // First, since a peer that has left must not cost another byte of work.
        busy = seen_leaving => (End::PeerLeft, busy),
        end = spoken => (end, matches!(end, End::Failed | End::Cut(Cut::SlowConsumer))),
    };
    if unsent {
        watch.forget_unsent();
    }
    end
}

async fn speak(
    mut stream: TcpStream,
    peer: Peer,
    router: Router,
    vitals: Vitals,
    spawner: &Spawner,
) -> End {
    let mut start = [0; H2_PREFACE.len()];
    let mut got = 0;
    while got < start.len() && start[..got] == H2_PREFACE[..got] {
        match stream.read(&mut start[got..]).await {
            Ok(0) | Err(_) => return End::Closed,
            Ok(count) => got += count,
        }
    }
    let multiplexed = start[..got] == *H2_PREFACE;
    vitals.greeted(multiplexed);
    let prefix = Bytes::copy_from_slice(&start[..got]);
    let departure = peer.departure.clone();
    let owner: Arc<str> = peer.address.to_string().into();
    let io = TokioIo::new(Socket { prefix, stream, vitals: vitals.clone() });
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        answer(request, router.clone(), peer.clone(), vitals.request())
    });
    if multiplexed {
        // Its own scope: hyper's tasks of this connection end with it, whatever they wait for.
        let scope = Scope::new("connection", spawner.ledger().clone());
        // On the heap, so that the many HTTP/1 connections do not carry its room.
        let mut connection = Box::pin(h2(&scope, owner).serve_connection(io, service));
        let result = tokio::select! {
            biased;
            result = connection.as_mut() => result,
            () = spawner.stopping() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        return outcome(result, &departure);
    }
    let mut connection = pin!(h1().serve_connection(io, service));
    let result = tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = spawner.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    outcome(result, &departure)
}

/// hyper may see the end before the watcher does: then this is the moment, with all still in place.
fn outcome(result: hyper::Result<()>, departure: &Departure) -> End {
    departure.note();
    match result {
        Ok(()) => End::Closed,
        Err(error) => {
            tracing::debug!(%error, "a connection failed");
            End::Failed
        }
    }
}

fn h1() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .max_buf_size(limits::HYPER_BUFFER_BYTES)
        .max_headers(limits::HEADER_FIELDS)
        .half_close(false)
        .keep_alive(true);
    builder
}

fn h2(
    scope: &Scope,
    owner: Arc<str>,
) -> hyper::server::conn::http2::Builder<crate::tasks::Executor> {
    let executor = scope.spawner().executor(owner);
    let mut builder = hyper::server::conn::http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::H2_STREAMS)
        .initial_stream_window_size(limits::H2_WINDOW_BYTES)
        .initial_connection_window_size(limits::H2_WINDOW_BYTES)
        .max_send_buf_size(limits::H2_SEND_BUFFER_BYTES)
        .max_header_list_size(limits::HYPER_BUFFER_BYTES as u32)
        .max_pending_accept_reset_streams(limits::H2_RESETS);
    builder
}

async fn answer(
    request: hyper::Request<hyper::body::Incoming>,
    router: Router,
    peer: Peer,
    in_flight: InFlight,
) -> Result<hyper::Response<Tracked>, Infallible> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    let Ok(response): Result<Response, Infallible> = router.oneshot(request).await;
    Ok(response.map(|body| Tracked { body, _in_flight: in_flight }))
}

/// Runs `connection` until it ends or a deadline of `vitals` has passed.
async fn deadlines(connection: impl Future<Output = End>, vitals: &Vitals) -> End {
    let mut connection = pin!(connection);
    let mut timer = pin!(sleep_until(tokio::time::Instant::now()));
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(end) = connection.as_mut().poll(cx) {
            return Poll::Ready(end);
        }
        // The poll above may have moved the deadline; it runs in this task and nowhere else.
        while let Some(due) = vitals.due() {
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
            if let Some(cut) = vitals.overdue() {
                return Poll::Ready(End::Cut(cut));
            }
        }
        Poll::Pending
    })
    .await
}

/// Sees the peer's FIN or RST. hyper sees it only while its read buffer is empty: one stray byte or
/// a pipelined request blinds it for good. The kernel's readiness tells it whatever lies unread.
struct Watch(TcpStream);

impl Watch {
    fn new(stream: &TcpStream) -> io::Result<Self> {
        let dup = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        Ok(Self(TcpStream::from_std(dup)?))
    }

    /// Lets the kernel drop what the peer will not take. Without this it would keep it for as long
    /// as `TCP_USER_TIMEOUT`, outside of every account, for a client that nobody serves any more.
    fn forget_unsent(&self) {
        if let Err(error) = SockRef::from(&self.0).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "linger was refused");
        }
    }

    async fn left(&self) {
        // An error is the end of watching, and with it of the connection.
        while let Ok(ready) = self.0.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            // Data came, which hyper reads: to say "would block" makes the next edge wake us again.
            let _ = self.0.try_io(Interest::READABLE, || {
                Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock))
            });
        }
    }
}

/// The socket as hyper sees it: first what was read to know the protocol, then the rest; what goes
/// in and out is told to the vitals.
struct Socket {
    prefix: Bytes,
    stream: TcpStream,
    vitals: Vitals,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.has_remaining() {
            let count = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix[..count]);
            self.prefix.advance(count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.vitals.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    fn tell(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(count)) => self.vitals.sent(*count),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.vitals.write_waits(),
        }
    }
}

impl AsyncWrite for Socket {
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

pin_project_lite::pin_project! {
    /// An answer's body; the request is in flight until it was sent or dropped.
    struct Tracked {
        #[pin]
        body: Body,
        _in_flight: InFlight,
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
