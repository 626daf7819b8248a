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
    /// `SIGUSR2`: to write a heap profile.
    User2,
}

/// Listens for as long as it lives.
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
    user2: Stream,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> io::Result<Self> {
        let (terminate, interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (hangup, user2) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined2())?);
        Ok(Self { terminate, interrupt, hangup, user2 })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.hangup.recv() => Signal::Hangup,
            _ = self.user2.recv() => Signal::User2,
        }
    }

    /// The next signal that asks the server to leave.
    pub async fn leave(&mut self) -> Signal {
        loop {
            match self.next().await {
                Signal::Hangup | Signal::User2 => {}
                signal => return signal,
            }
        }
    }
}

/// For worker processes: a terminal's Ctrl-C and a `pkill -HUP` or `-USR2` reach them as well, and are meant for
/// the server, which ends them when it needs them no more.
#[allow(unsafe_code)]
pub fn leave_signals_to_the_server() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGUSR2] {
        // SAFETY: ignoring a signal installs no handler, so nothing of ours runs at a wrong moment.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
