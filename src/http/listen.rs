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

use super::Peer;
use super::connection::{self, End};
use super::vitals::Patience;
use crate::bounds::{Budget, Departure, Stake};
use crate::ledger::{Entry, Kind};
use crate::limits;
use crate::metrics::{Metrics, Refusal};
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

/// A socket that listens.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Everything an accept loop needs. Clones share it.
#[derive(Clone)]
pub struct Door {
    side: Side,
    router: Router,
    budget: Budget,
    metrics: Metrics,
    places: Arc<Semaphore>,
    patience: Patience,
    anybody: Arc<str>,
    /// The scope of the connections; it outlives the accept loop by the time of draining.
    connections: Spawner,
}

impl Listener {
    /// Listens on `address`; port 0 picks one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(limits::CLIENT_SEND_BUFFER_BYTES as u32)?;
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
    /// A door for `side` that leads to `router`.
    pub fn new(
        side: Side,
        router: Router,
        config: DoorConfig,
        budget: Budget,
        metrics: Metrics,
        connections: Spawner,
    ) -> Self {
        let places = Arc::new(Semaphore::new(config.connections));
        let patience = config.patience;
        let anybody = "anybody".into();
        Self { side, router, budget, metrics, places, patience, anybody, connections }
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
                    tokio::time::sleep(limits::ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        if self.side == Side::Public {
            self.metrics.connections.inc();
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return self.refuse(&stream, Refusal::Connections);
        };
        if let Err(error) = set_options(&stream) {
            // The peer is gone already, or the socket would escape the plan.
            tracing::debug!(%error, "socket options were refused");
            return;
        }
        let (departure, principal) = (Departure::default(), Arc::clone(&self.anybody));
        let peer = Peer { address, departure, principal };
        let owner: Arc<str> = address.to_string().into();
        let Some(cost) = self.cost(&peer, Arc::clone(&owner), place) else {
            return self.refuse(&stream, Refusal::Budget);
        };
        let this = self.clone();
        let kind = if self.side == Side::Public { Kind::Task } else { Kind::AdminTask };
        self.connections.spawn(kind, owner, async move {
            let Door { router, patience, connections, .. } = this;
            let end = connection::serve(stream, peer, router, patience, &connections).await;
            if let End::Cut(cut) = end {
                this.metrics.cut(cut);
                tracing::info!(%address, ?cut, "connection cut");
            }
            drop(cost);
        });
    }

    /// What the connection holds while it is open; `None` when the budget has no room.
    fn cost(&self, peer: &Peer, owner: Arc<str>, place: OwnedSemaphorePermit) -> Option<Cost> {
        let ledger = self.connections.ledger();
        if self.side == Side::Admin {
            let entry = ledger.enter(Kind::AdminConnection, owner, 0);
            return Some(Cost { _place: place, _stake: None, _entry: Some(entry) });
        }
        let bytes = limits::CONNECTION_BYTES as u64;
        let reservation = self.budget.reserve(bytes)?;
        let entry = ledger.enter(Kind::Connection, owner, bytes);
        let stake = Stake::new(reservation, entry, peer.departure.clone(), self.metrics.clone());
        Some(Cost { _place: place, _stake: Some(stake), _entry: None })
    }

    /// A 503 in one write, as far as the socket takes it; nobody waits for this client.
    fn refuse(&self, stream: &TcpStream, reason: Refusal) {
        self.metrics.refuse(reason);
        let _ = stream.try_write(REFUSED);
        let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
    }
}

/// Given back when the connection is over.
struct Cost {
    _place: OwnedSemaphorePermit,
    _stake: Option<Arc<Stake>>,
    _entry: Option<Entry>,
}

const REFUSED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\
    content-length: 109\r\n\r\n\
    {\"type\":\"overloaded\",\"title\":\"Overloaded\",\"status\":503,\
    \"detail\":\"no room at present\",\"retry_after_seconds\":1}";

fn set_options(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let (idle, interval, probes) = limits::TCP_KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive.with_retries(probes))?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_user_timeout(Some(limits::TCP_USER_TIMEOUT))?;
        socket.set_tcp_notsent_lowat(limits::CLIENT_NOT_SENT_BYTES)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::REFUSED;

    #[test]
    fn the_refusal_says_its_own_length() {
        let text = std::str::from_utf8(REFUSED).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
