//! `evensong serve`: run until a signal, then leave well; a second signal leaves now.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::ArgMatches;
use serde_json::json;

use crate::config::Config;
use crate::server::Server;
use crate::tasks::Signals;

/// Serves.
pub async fn run(config: &Config, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    super::log_to_stderr("info");
    let mut signals = Signals::listen()?;
    let server = tokio::select! {
        server = Server::start(config) => server?,
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    say_where(&server, matches.get_flag("announce"))?;
    let signal = signals.next().await;
    tracing::info!(?signal, "leaving");
    tokio::select! {
        biased;
        _ = server.stop() => Ok(ExitCode::SUCCESS),
        second = signals.next() => {
            tracing::warn!(signal = ?second, "second signal: leaving now");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn say_where(server: &Server, announce: bool) -> std::io::Result<()> {
    let urls: Vec<_> = server.listen.iter().map(|address| format!("http://{address}")).collect();
    let admin = format!("http://{}", server.admin);
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
