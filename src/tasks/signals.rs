//! The signals that end the server. Invariant: they are listened to from before the first client is
//! let in, so none is lost.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// A signal that asks the server to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`, from an init system or an orchestrator.
    Terminate,
    /// `SIGINT`, from a terminal.
    Interrupt,
}

/// Listens for as long as it lives.
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> io::Result<Self> {
        let (terminate, interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}
