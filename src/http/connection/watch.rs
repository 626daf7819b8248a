//! Sees the peer's FIN or RST. hyper sees it only while its read buffer is empty: one stray byte or a
//! pipelined request blinds it for good. Invariant: the kernel's readiness tells it within a
//! millisecond, whatever lies unread.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::ledger::{Departure, Kind, Ledger, Owned};

/// Longest pause between two looks at what is not taken yet.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(250);

/// A second handle to a socket, only for watching.
pub struct Watch(Owned<TcpStream>);

impl Watch {
    /// Watches `stream`; the second handle stands in `ledger` as `kind`.
    pub fn new(
        stream: &TcpStream,
        ledger: &Ledger,
        kind: Kind,
        owner: Arc<str>,
    ) -> io::Result<Self> {
        let dup = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        let entry = ledger.enter(kind, owner, 0);
        Ok(Self(Owned::new(TcpStream::from_std(dup)?, entry)))
    }

    /// Ends our side behind what was sent, and waits until the peer took all of it or `patience` is over.
    /// Then the kernel drops the rest: it would keep it for as long as it sends again, outside of every
    /// account, for a client that nobody serves any more. A peer that leaves meanwhile takes nothing
    /// more, which is noted in `departure`.
    pub async fn hand_over(&self, patience: Duration, departure: &Departure) {
        let until = Instant::now() + patience;
        let _ = SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write);
        let mut pause = Duration::from_millis(1);
        // The kernel does not say when; most is taken within the first look.
        while self.unsent() > 0 {
            let left = self.has_left();
            if left {
                departure.note();
            }
            if left || Instant::now() >= until {
                if let Err(error) = SockRef::from(&*self.0).set_linger(Some(Duration::ZERO)) {
                    tracing::debug!(%error, "linger was refused");
                }
                return;
            }
            tokio::time::sleep(pause.min(until - Instant::now())).await;
            pause = (pause * 2).min(LOOKED_AT_EVERY);
        }
    }

    /// Bytes that the peer has not acknowledged.
    #[allow(unsafe_code)]
    pub fn unsent(&self) -> u64 {
        // SAFETY: TIOCOUTQ (SIOCOUTQ of a socket, tcp(7)) writes one c_int.
        let asked = unsafe {
            rustix::ioctl::ioctl(
                &*self.0,
                rustix::ioctl::Getter::<{ libc::TIOCOUTQ as rustix::ioctl::Opcode }, i32>::new(),
            )
        };
        asked.map_or(0, |bytes| u64::try_from(bytes).unwrap_or(0))
    }

    /// Whether the peer has closed its side, as the kernel knows at this moment: what the runtime knows
    /// of this handle may be a step behind what it knows of the other.
    pub fn has_left(&self) -> bool {
        #[cfg(target_os = "linux")]
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        #[cfg(not(target_os = "linux"))]
        let gone = PollFlags::HUP | PollFlags::ERR;
        let mut asked = [PollFd::new(&*self.0, gone)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut asked, Some(&now)).is_ok() && asked[0].revents().intersects(gone)
    }

    /// Ready when the peer has closed its side.
    pub async fn left(&self) {
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
