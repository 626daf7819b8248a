//! Sees the peer's FIN or RST. hyper sees it only while its read buffer is empty: one stray byte or a
//! pipelined request blinds it for good. Invariant: the kernel's readiness tells it within a
//! millisecond, whatever lies unread.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A second handle to a socket, only for watching.
pub struct Watch(TcpStream);

impl Watch {
    /// Watches `stream`.
    pub fn new(stream: &TcpStream) -> io::Result<Self> {
        let dup = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        Ok(Self(TcpStream::from_std(dup)?))
    }

    /// Lets the kernel drop what the peer will not take. Without this it would keep it for as long
    /// as `TCP_USER_TIMEOUT`, outside of every account, for a client that nobody serves any more.
    pub fn forget_unsent(&self) {
        if let Err(error) = SockRef::from(&self.0).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "linger was refused");
        }
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
