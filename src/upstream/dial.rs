//! A connection to an upstream. Invariants: it is made within its deadline or not at all; never to an address at which
//! a cloud keeps its metadata, whatever a name resolves to; its socket's buffers are bounded, and it stands in the
//! ledger from before it is opened until it is closed. Proxies of the environment are not asked.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::{Base, is_metadata};
use crate::ledger::{Kind, Owned};
use crate::limits;
use crate::tasks::Spawner;

type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// Makes connections; TCP's stands below in the program, and a simulation may put its own here.
pub trait Connect: Send + Sync + 'static {
    /// A connection to `port` of `host`, a name or an address.
    fn connect(&self, host: String, port: u16) -> Connecting<Box<dyn Io>, io::Error>;
}

/// What a connection is made of.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// None came about in time.
    #[error("no connection within {} ms", .0.as_millis())]
    Slow(Duration),
    /// There can be none.
    #[error("{0}")]
    Failed(String),
}

/// Connections by TCP. Clones share its lookups of names.
#[derive(Clone)]
pub struct Tcp {
    spawner: Spawner,
    owner: Arc<str>,
    lookups: Arc<Semaphore>,
}

impl Tcp {
    /// For the upstream `owner`, with lookups in the scope of `spawner`.
    pub fn new(owner: impl Into<Arc<str>>, spawner: Spawner) -> Self {
        let lookups = Arc::new(Semaphore::new(limits::LOOKUPS_AT_ONCE));
        Self { spawner, owner: owner.into(), lookups }
    }

    /// The addresses of `host` that may be connected to.
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => {
                // The system's resolver blocks a thread for as long as it likes; those are few.
                let turn = Arc::clone(&self.lookups).acquire_owned().await;
                let theirs =
                    self.spawner.ledger().enter(Kind::ForeignSocket, Arc::clone(&self.owner), 0);
                let lookup = move || {
                    let _held = (turn, theirs);
                    (host.as_str(), port).to_socket_addrs().map(Vec::from_iter)
                };
                let found = self.spawner.blocking("name lookup", lookup).await;
                found.unwrap_or_else(|| Err(io::Error::other("the lookup panicked")))?
            }
        };
        if found.iter().any(|address| is_metadata(address.ip())) {
            return Err(io::Error::other("its name leads to where a cloud keeps its metadata"));
        }
        Ok(found)
    }

    async fn open(&self, address: SocketAddr) -> io::Result<Box<dyn Io>> {
        let entry = self.spawner.ledger().enter(Kind::UpstreamSocket, Arc::clone(&self.owner), 0);
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Before the handshake, since it decides how far the window can ever be scaled.
        socket.set_recv_buffer_size(limits::UPSTREAM_RECEIVE_BUFFER_BYTES)?;
        let stream = socket.connect(address).await?;
        let (idle, interval, probes) = limits::TCP_KEEPALIVE;
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
        let options = SockRef::from(&stream);
        options.set_tcp_nodelay(true)?;
        options.set_tcp_keepalive(&keepalive.with_retries(probes))?;
        #[cfg(target_os = "linux")]
        options.set_tcp_user_timeout(Some(limits::TCP_USER_TIMEOUT))?;
        Ok(Box::new(Owned::new(stream, entry)))
    }
}

impl Connect for Tcp {
    fn connect(&self, host: String, port: u16) -> Connecting<Box<dyn Io>, io::Error> {
        let this = self.clone();
        Box::pin(async move {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
            let addresses = this.resolve(&host, port).await?;
            let last_of_all = addresses.len().saturating_sub(1);
            for (number, address) in addresses.into_iter().enumerate() {
                // One that does not answer must not use up the time of those behind it.
                let patience =
                    if number < last_of_all { limits::ADDRESS_PATIENCE } else { Duration::MAX };
                match timeout(patience, this.open(address)).await {
                    Ok(Ok(io)) => return Ok(io),
                    Ok(Err(error)) => last = error,
                    Err(_) => last = io::ErrorKind::TimedOut.into(),
                }
            }
            Err(last)
        })
    }
}

/// Makes connections: over TLS where the address says so, and within a deadline.
#[derive(Clone)]
pub struct Dial {
    connect: Arc<dyn Connect>,
    tls: Option<Arc<ClientConfig>>,
    deadline: Duration,
}

impl Dial {
    /// By `connect`, with `tls` for addresses that want it.
    pub fn new(
        connect: Arc<dyn Connect>,
        tls: Option<Arc<ClientConfig>>,
        deadline: Duration,
    ) -> Self {
        Self { connect, tls, deadline }
    }

    /// A connection to `base`.
    pub async fn dial(&self, base: &Base) -> Result<TokioIo<Line>, DialError> {
        let until = Instant::now() + self.deadline;
        let slow = || DialError::Slow(self.deadline);
        let failed = |error: io::Error| DialError::Failed(error.to_string());
        let (host, port) = (base.host().to_string(), base.port());
        let name = host.trim_start_matches('[').trim_end_matches(']').to_string();
        let connecting = timeout_at(until, self.connect.connect(host, port));
        let io = connecting.await.map_err(|_| slow())?.map_err(failed)?;
        if !base.is_tls() {
            return Ok(TokioIo::new(Line::Plain(io)));
        }
        let tls = self.tls.clone().ok_or_else(|| DialError::Failed("TLS is not set up".into()))?;
        let name = ServerName::try_from(name)
            .map_err(|_| DialError::Failed("its host is no name that TLS knows".into()))?;
        let shaking = TlsConnector::from(tls).connect_with(name, io, |connection| {
            connection.set_buffer_limit(Some(limits::TLS_BUFFER_BYTES));
        });
        let stream = timeout_at(until, shaking).await.map_err(|_| slow())?.map_err(failed)?;
        Ok(TokioIo::new(Line::Tls(Box::new(stream))))
    }
}

/// A connection, with TLS or without.
pub enum Line {
    /// As it is.
    Plain(Box<dyn Io>),
    /// Encrypted.
    Tls(Box<tokio_rustls::client::TlsStream<Box<dyn Io>>>),
}

impl Line {
    fn io(self: Pin<&mut Self>) -> Pin<&mut dyn Io> {
        match self.get_mut() {
            Line::Plain(io) => Pin::new(io),
            Line::Tls(stream) => Pin::new(stream),
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, buf)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}
