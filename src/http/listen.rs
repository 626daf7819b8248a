//! The accept loop. Invariants: a listener's socket options are inherited by what it accepts, so no
//! connection escapes the plan; a connection is admitted only with its reservation; a failing
//! `accept` backs off and never spins.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth::Principal;
use super::connection::{self, End};
use super::limit::{Client, Limits, Place};
use super::tls::Tls;
use super::vitals::Patience;
use super::{Peer, Readiness, Services};
use crate::bounds::{Budget, Stake};
use crate::ledger::{Departure, Entry, Kind, Owned};
use crate::limits;
use crate::metrics::Refusal;
use crate::tasks::Spawner;

/// What comes in by a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Clients: each connection is reserved in the budget.
    Public,
    /// The operator; these connections stand outside of what clients cost.
    Admin,
}

/// How one side is listened to.
#[derive(Clone, Debug)]
pub struct DoorConfig {
    /// Connections open at once.
    pub connections: usize,
    /// The times that a peer is given.
    pub patience: Patience,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self { connections: limits::CONNECTIONS, patience: Patience::default() }
    }
}

/// Connections for which there are file descriptors, at most `wanted`. The soft limit is raised as far
/// as the hard one allows; a warning says what is missing.
pub fn connections_that_fit(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let each = limits::CONNECTION_FDS;
    let needed = wanted as u64 * each + limits::SPARE_FDS;
    let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
    let mut files = current.unwrap_or(u64::MAX);
    if files < raised
        && setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_ok()
    {
        files = raised;
    }
    let fit = usize::try_from(files.saturating_sub(limits::SPARE_FDS) / each).unwrap_or(wanted);
    let fit = fit.clamp(1, wanted);
    if fit < wanted {
        tracing::warn!(files, wanted, fit, "too few file descriptors for limits.connections");
    }
    fit
}

/// A socket that listens.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Everything an accept loop needs. Clones share it.
#[derive(Clone)]
pub struct Door {
    side: Side,
    service: connection::Service,
    limits: Option<Limits>,
    budget: Budget,
    readiness: Readiness,
    places: Arc<Semaphore>,
    nobody: Arc<Principal>,
    /// The scope of the connections; it outlives the accept loop by the time of draining.
    connections: Spawner,
}

impl Listener {
    /// Listens on `address`; port 0 picks one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(limits::CLIENT_SEND_BUFFER_BYTES as u32)?;
        socket.set_recv_buffer_size(limits::CLIENT_RECEIVE_BUFFER_BYTES as u32)?;
        socket.bind(address)?;
        let socket = socket.listen(limits::LISTEN_BACKLOG)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The address in use.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Door {
    /// A door for `side` that leads to `router`; clients' connections last as long as `connections`.
    pub fn new(
        side: Side,
        router: Router,
        config: DoorConfig,
        services: &Services,
        connections: Spawner,
    ) -> Self {
        let places = Arc::new(Semaphore::new(config.connections));
        let (patience, tls) = (config.patience, None);
        let (budget, metrics) = (services.budget.clone(), services.metrics.clone());
        let (shared, socket) = match side {
            Side::Public => (Some(budget.clone()), Kind::Socket),
            Side::Admin => (None, Kind::AdminSocket),
        };
        let service = connection::Service { router, patience, tls, metrics, shared, socket };
        let readiness = services.readiness.clone();
        let nobody = Arc::new(Principal::anybody(&[]));
        Self { side, service, limits: None, budget, readiness, places, nobody, connections }
    }

    /// Begins each connection with a handshake.
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.service.tls = tls;
        self
    }

    /// Holds each address to its limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Accepts from `listener` as a task of `spawner`'s scope, until that is asked to stop.
    pub fn open(self, listener: Listener, spawner: &Spawner) {
        let name = format!("accept {}", listener.address);
        let entry = spawner.ledger().enter(Kind::Listener, name.as_str(), 0);
        let stop = spawner.clone();
        spawner.spawn(Kind::Service, name, async move {
            let _entry = entry;
            tokio::select! {
                biased;
                () = stop.stopping() => {}
                () = self.accept(&listener.socket) => {}
            }
        });
    }

    async fn accept(&self, socket: &TcpListener) {
        let mut failing = false;
        loop {
            match socket.accept().await {
                Ok((stream, address)) => {
                    failing = false;
                    self.admit(stream, address);
                }
                Err(error) => {
                    // One line for a row of failures; a peer that left in the queue is none.
                    if !failing && error.kind() != io::ErrorKind::ConnectionAborted {
                        tracing::warn!(%error, "accept failed; trying again");
                    }
                    failing = true;
                    self.readiness.turned_away();
                    tokio::time::sleep(limits::ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        if self.side == Side::Public {
            self.service.metrics.connections.inc();
        }
        let place = match self.limits.as_ref().map(|limits| limits.connect(address.ip())) {
            None => None,
            Some(Ok(place)) => Some(place),
            // Counted where it was refused.
            Some(Err(refused)) => {
                // Who is shut out costs no more than this.
                let answer = (!refused.blocked).then_some(TOO_MANY);
                return self.answer(&stream, answer);
            }
        };
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            self.readiness.turned_away();
            return self.refuse(&stream, Refusal::Connections);
        };
        if let Err(error) = set_options(&stream) {
            // The peer is gone already, or the socket would escape the plan.
            tracing::debug!(%error, "socket options were refused");
            return;
        }
        let (departure, principal) = (Departure::default(), Arc::clone(&self.nobody));
        let client = Client { address: address.ip(), forwarded: false };
        let peer = Peer { address, client, departure, principal };
        let owner: Arc<str> = address.to_string().into();
        let entry = self.connections.ledger().enter(self.service.socket, Arc::clone(&owner), 0);
        let stream = Owned::new(stream, entry);
        let Some(cost) = self.cost(&peer, Arc::clone(&owner), permit, place) else {
            return self.refuse(&stream, Refusal::Budget);
        };
        let (service, metrics) = (self.service.clone(), self.service.metrics.clone());
        let connections = self.connections.clone();
        let kind = if self.side == Side::Public { Kind::Task } else { Kind::AdminTask };
        let departure = peer.departure.clone();
        self.connections.spawn_for(&departure, kind, owner, async move {
            let end = connection::serve(stream, peer, service, &connections).await;
            if let End::Cut(cut) = end {
                metrics.cut(cut);
                // Strangers can cause as many as they like; they are counted, and named in debug.
                tracing::debug!(%address, ?cut, "connection cut");
            }
            drop(cost);
        });
    }

    /// What the connection holds while it is open; `None` when the budget has no room.
    fn cost(
        &self,
        peer: &Peer,
        owner: Arc<str>,
        permit: OwnedSemaphorePermit,
        place: Option<Place>,
    ) -> Option<Cost> {
        let ledger = self.connections.ledger();
        if self.side == Side::Admin {
            let entry = ledger.enter(Kind::AdminConnection, owner, 0);
            let (_stake, _entry) = (None, Some(entry));
            return Some(Cost { _permit: permit, _place: place, _stake, _entry });
        }
        let tls = if self.service.tls.is_some() { limits::TLS_BYTES } else { 0 };
        let bytes = (limits::CONNECTION_BYTES + tls) as u64;
        let reservation = self.budget.reserve(bytes)?;
        let entry = ledger.enter(Kind::Connection, owner, bytes);
        let stake =
            Stake::new(reservation, entry, peer.departure.clone(), self.service.metrics.clone());
        let (_stake, _entry) = (Some(stake), None);
        Some(Cost { _permit: permit, _place: place, _stake, _entry })
    }

    fn refuse(&self, stream: &TcpStream, reason: Refusal) {
        self.service.metrics.refuse(reason);
        self.answer(stream, Some(NO_ROOM));
    }

    /// A refusal in one write, as far as the socket takes it; nobody waits for this client. Who began
    /// a handshake could not read it.
    fn answer(&self, stream: &TcpStream, answer: Option<&[u8]>) {
        if let Some(answer) = answer.filter(|_| self.service.tls.is_none()) {
            let _ = stream.try_write(answer);
        }
        let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
    }
}

/// Given back when the connection is over.
struct Cost {
    _permit: OwnedSemaphorePermit,
    _place: Option<Place>,
    _stake: Option<Arc<Stake>>,
    _entry: Option<Entry>,
}

const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\
    content-length: 109\r\n\r\n\
    {\"type\":\"overloaded\",\"title\":\"Overloaded\",\"status\":503,\
    \"detail\":\"no room at present\",\"retry_after_seconds\":1}";

const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n\
    content-type: application/problem+json\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\
    content-length: 135\r\n\r\n\
    {\"type\":\"rate_limited\",\"title\":\"Too Many Requests\",\"status\":429,\
    \"detail\":\"too many connections of one address\",\"retry_after_seconds\":1}";

fn set_options(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let (idle, interval, probes) = limits::TCP_KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive.with_retries(probes))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(limits::CLIENT_NOT_SENT_BYTES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{NO_ROOM, TOO_MANY};

    #[test]
    fn the_refusals_say_their_own_length() {
        for refusal in [NO_ROOM, TOO_MANY] {
            let text = std::str::from_utf8(refusal).expect("ASCII");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
            assert!(
                head.contains(&format!("content-length: {}\r\n", body.len()))
                    || head.ends_with(&format!("content-length: {}", body.len())),
                "{}",
                body.len()
            );
            assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
        }
    }
}
