//! One client connection from its first byte to its last. Invariants: its peer's leaving is seen
//! within a millisecond, whatever lies unread on the socket, and ends everything that hangs on it;
//! every wait for the peer has a deadline; it holds no more than it reserved.

mod frames;
mod framing;
pub mod onward;
mod socket;
mod tracked;
mod watch;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::BytesMut;
use http::StatusCode;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::sleep_until;
use tower::ServiceExt;

use super::Peer;
use super::error::{self, ApiError};
use super::tls::Tls;
use super::vitals::{InFlight, Overdue, Patience, Vitals};
use crate::bounds::{Budget, Stake};
use crate::ledger::{Kind, Ledger, Owned};
use crate::limits;
use crate::metrics::{Cut, Metrics, Refusal};
use crate::tasks::{self, Executor, Scope, Spawner};
use onward::{Duplex, Next, Onward};
use socket::Socket;
use tracked::Tracked;
use watch::Watch;

/// What a connection is served with.
#[derive(Clone)]
pub struct Service {
    /// Where its requests go.
    pub router: Router,
    /// The times that its peer is given.
    pub patience: Patience,
    /// If it begins with a handshake.
    pub tls: Option<Tls>,
    /// Where streams that were cut are counted.
    pub metrics: Metrics,
    /// What requests that share a connection are reserved from, if they are.
    pub shared: Option<Budget>,
    /// As what a descriptor of its socket stands in the ledger.
    pub socket: Kind,
}

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

/// What the steps of serving one connection share.
struct Line<'a> {
    peer: Peer,
    router: Router,
    vitals: Vitals,
    watch: &'a Watch,
    spawner: &'a Spawner,
    shared: Option<Budget>,
    metrics: Metrics,
}

/// Serves `stream` until it ends; `spawner` is the scope that may ask it to. When this is over the
/// kernel holds nothing for the peer, either.
pub async fn serve(
    stream: Owned<TcpStream>,
    peer: Peer,
    service: Service,
    spawner: &Spawner,
) -> End {
    let (ledger, owner) = (spawner.ledger(), peer.address.to_string());
    let watch = match Watch::new(&stream, ledger, service.socket, owner.into()) {
        Ok(watch) => watch,
        Err(error) => {
            tracing::warn!(%error, "a connection could not be watched");
            return End::Failed;
        }
    };
    let departure = peer.departure.clone();
    let Service { router, patience, tls, metrics, shared, .. } = service;
    let vitals = Vitals::new(patience.clone());
    let line = Line {
        peer,
        router,
        vitals: vitals.clone(),
        watch: &watch,
        spawner,
        shared,
        metrics: metrics.clone(),
    };
    let spoken = pin!(open(stream, tls, line));
    let spoken = deadlines(spoken, &vitals, &watch, &metrics);
    // Asked while everything is still in place: below, what was served is gone already.
    let seen_leaving = async {
        watch.left().await;
        departure.note();
    };
    // A server that leaves does not wait for who has not even asked.
    let not_invited = async {
        spawner.stopping().await;
        tokio::time::sleep(limits::LEAVING_GRACE).await;
        if vitals.is_busy() {
            std::future::pending::<()>().await;
        }
    };
    let end = tokio::select! {
        biased;
        // First, since a peer that has left must not cost another byte of work.
        () = seen_leaving => End::PeerLeft,
        end = spoken => end,
        () = not_invited => End::Closed,
    };
    let patience = match end {
        End::PeerLeft | End::Failed => Duration::ZERO,
        End::Cut(Cut::SlowConsumer | Cut::Unacknowledged) => Duration::ZERO,
        End::Closed | End::Cut(_) => patience.slow_reader,
    };
    watch.hand_over(patience, &departure).await;
    end
}

/// The handshake, if there is to be one, and what follows.
async fn open(stream: Owned<TcpStream>, tls: Option<Tls>, line: Line<'_>) -> End {
    match tls {
        None => speak(stream, line).await,
        // On the heap, so that connections without it do not carry its room.
        Some(tls) => Box::pin(secured(stream, tls, line)).await,
    }
}

async fn secured(stream: Owned<TcpStream>, tls: Tls, line: Line<'_>) -> End {
    match tls.accept(stream).await {
        Ok(stream) => speak(Box::new(stream), line).await,
        Err(error) => {
            tracing::debug!(%error, "no handshake");
            End::Failed
        }
    }
}

/// The first bytes, as many as it takes to tell the protocol.
async fn greeting(stream: &mut (impl AsyncRead + Unpin)) -> Option<BytesMut> {
    let mut start = [0; H2_PREFACE.len()];
    let mut got = 0;
    while got < start.len() && start[..got] == H2_PREFACE[..got] {
        match stream.read(&mut start[got..]).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => got += count,
        }
    }
    Some(BytesMut::from(&start[..got]))
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut stream: S,
    line: Line<'_>,
) -> End {
    let Line { peer, router, vitals, watch, spawner, shared, metrics } = line;
    let Some(prefix) = greeting(&mut stream).await else { return End::Closed };
    let multiplexed = prefix[..] == *H2_PREFACE;
    vitals.greeted(multiplexed);
    let departure = peer.departure.clone();
    let owner: Arc<str> = peer.address.to_string().into();
    // hyper may see the end before the watcher does: then this is the moment, with all still in place.
    let ended = |result| {
        if watch.has_left() {
            departure.note();
        }
        outcome(result, &vitals)
    };
    let told = vitals.clone();
    // A connection's own bytes pay for one request at a time.
    let ledger = spawner.ledger().clone();
    let share = shared.filter(|_| multiplexed);
    let share = share.map(|budget| Share { budget, ledger, metrics, owner: Arc::clone(&owner) });
    let onward = Onward::default();
    let leading = (!multiplexed).then(|| onward.clone());
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (in_flight, leading) = (told.request(), leading.clone());
        answer(request, router.clone(), peer.clone(), in_flight, share.clone(), leading)
    });
    if multiplexed {
        let io = TokioIo::new(Socket::http2(prefix, stream, vitals.clone()));
        // Its own scope: hyper's tasks of this connection end with it, whatever they wait for.
        let scope = Scope::new("connection", spawner.ledger().clone());
        // On the heap, so that the many HTTP/1 connections do not carry its room.
        let executor = scope.spawner().executor(owner, departure.clone());
        let mut connection = Box::pin(h2(executor).serve_connection(io, service));
        let result = tokio::select! {
            biased;
            result = connection.as_mut() => result,
            () = asked_to_end(spawner, &vitals) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        return ended(result);
    }
    let io = TokioIo::new(Socket::http1(prefix, stream, vitals.clone()));
    let mut connection = h1().serve_connection(io, service);
    let result = tokio::select! {
        biased;
        result = &mut connection => result,
        () = asked_to_end(spawner, &vitals) => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    match onward.take().filter(|_| result.is_ok()) {
        None => ended(result),
        Some(next) => {
            let hyper::server::conn::http1::Parts { io, read_buf, .. } = connection.into_parts();
            let stream = Box::new(io.into_inner().let_go(read_buf));
            let end = go_on(next, stream, &vitals, spawner).await;
            if watch.has_left() {
                departure.note();
            }
            end
        }
    }
}

/// What comes behind HTTP.
async fn go_on(next: Next, stream: Box<dyn Duplex>, vitals: &Vitals, spawner: &Spawner) -> End {
    // A request that is answered for as long as the other protocol is spoken.
    let _spoken = vitals.request();
    next(stream, spawner.stopping_owned()).await.map_or(End::Closed, End::Cut)
}

/// Ready when the connection is to finish what it is at, and no more.
async fn asked_to_end(spawner: &Spawner, vitals: &Vitals) {
    tokio::select! {
        biased;
        () = spawner.stopping() => {}
        () = vitals.closing() => {}
    }
}

fn outcome(result: hyper::Result<()>, vitals: &Vitals) -> End {
    if let Some(cut) = vitals.fault() {
        return End::Cut(cut);
    }
    match result {
        Ok(()) => End::Closed,
        Err(error) if error.is_parse() => End::Cut(Cut::Malformed),
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

fn h2(executor: Executor) -> hyper::server::conn::http2::Builder<Executor> {
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

/// What a request on a shared connection is reserved from.
#[derive(Clone)]
struct Share {
    budget: Budget,
    ledger: Ledger,
    metrics: Metrics,
    owner: Arc<str>,
}

impl Share {
    /// What the head of a request and its stream cost; none where the budget has no room.
    fn stake(&self, peer: &Peer) -> Option<Arc<Stake>> {
        let bytes = limits::H2_REQUEST_BYTES as u64;
        let reservation = self.budget.reserve(bytes)?;
        let entry = self.ledger.enter(Kind::H2Request, Arc::clone(&self.owner), bytes);
        Some(Stake::new(reservation, entry, peer.departure.clone(), self.metrics.clone()))
    }
}

async fn answer(
    request: hyper::Request<hyper::body::Incoming>,
    router: Router,
    peer: Peer,
    mut in_flight: InFlight,
    share: Option<Share>,
    onward: Option<Onward>,
) -> Result<hyper::Response<Tracked>, Infallible> {
    if let Some(share) = &share {
        let Some(stake) = share.stake(&peer) else {
            share.metrics.refuse(Refusal::Budget);
            let path = request.uri().path().to_string();
            drop(request);
            let response = error::shaped(&path, ApiError::no_room());
            return Ok(response.map(|body| Tracked::new(body, in_flight)));
        };
        in_flight.holds(stake);
    }
    if let Some(stream) = tasks::current_stream() {
        in_flight.on_stream(stream);
    }
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    if let Some(onward) = &onward {
        request.extensions_mut().insert(onward.clone());
    }
    let Ok(response): Result<Response, Infallible> = router.oneshot(request).await;
    match response.status() {
        // From here on what comes in is no request.
        StatusCode::SWITCHING_PROTOCOLS => in_flight.switches(),
        _ => drop(onward.and_then(|onward| onward.take())),
    }
    Ok(response.map(|body| Tracked::new(body, in_flight)))
}

/// Runs `connection` until it ends or a deadline of `vitals` has passed.
async fn deadlines(
    mut connection: Pin<&mut impl Future<Output = End>>,
    vitals: &Vitals,
    watch: &Watch,
    metrics: &Metrics,
) -> End {
    let mut timer = pin!(sleep_until(tokio::time::Instant::now()));
    std::future::poll_fn(move |cx| {
        vitals.unattended();
        if let Poll::Ready(end) = connection.as_mut().poll(cx) {
            return Poll::Ready(end);
        }
        while let Some(due) = vitals.due(cx.waker()) {
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
            match vitals.overdue() {
                Overdue::Connection(cut) => return Poll::Ready(End::Cut(cut)),
                Overdue::Close => return Poll::Ready(End::Closed),
                Overdue::Stream => metrics.cut(Cut::SlowConsumer),
                Overdue::Look => {
                    if let Some(cut) = vitals.kernel_holds(watch.unsent()) {
                        return Poll::Ready(End::Cut(cut));
                    }
                }
                Overdue::Not => {}
            }
        }
        Poll::Pending
    })
    .await
}
