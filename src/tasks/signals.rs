//! The signals that the server listens to. Invariant: they are listened to from before the first client is
//! let in, so none is lost.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What somebody asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`, from an init system or an orchestrator.
    Terminate,
    /// `SIGINT`, from a terminal.
    Interrupt,
    /// `SIGHUP`: to read keys and certificates again.
    Hangup,
}

/// Listens for as long as it lives.
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> io::Result<Self> {
        let (terminate, interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let hangup = signal(SignalKind::hangup())?;
        Ok(Self { terminate, interrupt, hangup })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.hangup.recv() => Signal::Hangup,
        }
    }

    /// The next signal that asks the server to leave.
    pub async fn leave(&mut self) -> Signal {
        loop {
            match self.next().await {
                Signal::Hangup => {}
                signal => return signal,
            }
        }
    }
}

/// For worker processes: a terminal's Ctrl-C and a `pkill -HUP` reach them as well, and are meant for
/// the server, which ends them when it needs them no more.
#[allow(unsafe_code)]
pub fn leave_signals_to_the_server() {
    for signal in [libc::SIGHUP, libc::SIGINT] {
        // SAFETY: ignoring a signal installs no handler, so nothing of ours runs at a wrong moment.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
