//! `evensong serve`: run until a signal, then leave well; a second signal leaves now. SIGHUP reads keys
//! and certificates again, SIGUSR2 writes a heap profile. A service manager is told when we are ready, and when we leave.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde_json::json;

use crate::config::Config;
use crate::server::Server;
use crate::tasks::{Signal, Signals, manager};

/// Serves; `announce` prints the addresses in use on standard output.
pub async fn run(config: &Config, announce: bool) -> anyhow::Result<ExitCode> {
    super::log::to_stderr("info")?;
    let mut signals = Signals::listen()?;
    let server = tokio::select! {
        server = Server::start(config) => server?,
        _ = signals.leave() => return Ok(ExitCode::SUCCESS),
    };
    say_where(&server, config.access.tls.is_some(), announce)?;
    server.show_life();
    let signal = loop {
        match signals.next().await {
            Signal::Hangup => server.reload(),
            Signal::User2 => server.profile(),
            signal => break signal,
        }
    };
    tracing::info!(?signal, "leaving");
    manager::leaving();
    let stop = async {
        match signal {
            // At a terminal nobody balances.
            Signal::Interrupt => server.stop().await,
            _ => server.stop_behind_balancer().await,
        }
    };
    tokio::select! {
        biased;
        _ = stop => Ok(ExitCode::SUCCESS),
        second = signals.leave() => {
            tracing::warn!(signal = ?second, "second signal: leaving now");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn say_where(server: &Server, tls: bool, announce: bool) -> std::io::Result<()> {
    let scheme = if tls { "https" } else { "http" };
    let urls = server.listen.iter().map(|address| format!("{scheme}://{address}"));
    let urls: Vec<_> = urls.collect();
    let admin = format!("http://{}", server.admin);
    manager::ready(&format!("listens on {}", urls.join(", ")));
    if std::io::stderr().is_terminal() {
        eprintln!("Evensong listens on {} (admin: {admin})", urls.join(", "));
    } else {
        tracing::info!(listen = urls.join(", "), admin, "listening");
    }
    if announce {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", json!({"listen": urls, "admin": admin}))?;
        out.flush()?;
    }
    Ok(())
}
