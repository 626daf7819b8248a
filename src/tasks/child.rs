//! A child process with an owner. Invariant: when the handle is gone, so is the process: it is asked
//! by the end of its standard input, and killed when it does not listen.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::ledger::{Entry, Kind, Ledger, Owned};

/// A running child with both pipes; dropping it kills the process.
pub struct Child {
    /// Its standard input; `None` once it was taken or closed.
    pub stdin: Option<Owned<ChildStdin>>,
    /// Its standard output; `None` once it was taken.
    pub stdout: Option<Owned<ChildStdout>>,
    process: tokio::process::Child,
    _entry: Entry,
}

impl Child {
    /// Starts `command` with its input and output piped to us; its errors go where ours go.
    pub fn start(
        mut command: Command,
        ledger: &Ledger,
        kind: Kind,
        owner: impl Into<Arc<str>>,
    ) -> io::Result<Self> {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let owner = owner.into();
        let entry = ledger.enter(kind, Arc::clone(&owner), 0);
        let pipe = || ledger.enter(Kind::Pipe, Arc::clone(&owner), 0);
        let stdin = stdin.map(|stdin| Owned::new(stdin, pipe()));
        let stdout = stdout.map(|stdout| Owned::new(stdout, pipe()));
        Ok(Self { stdin, stdout, process, _entry: entry })
    }

    /// The process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Closes its input, waits at most `patience` for its end, then kills it. The exit code, if it
    /// left by itself.
    pub async fn end(mut self, patience: Duration) -> Option<i32> {
        drop(self.stdin.take());
        drop(self.stdout.take());
        match tokio::time::timeout(patience, self.process.wait()).await {
            Ok(Ok(status)) => status.code(),
            _ => {
                let _ = self.process.kill().await;
                None
            }
        }
    }

    /// Waits for its end, its input still open.
    pub async fn wait(&mut self) -> io::Result<std::process::ExitStatus> {
        self.process.wait().await
    }
}
