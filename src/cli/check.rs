//! `evensong check`: the settings in force, or whether a server lives.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Config, Settings};

/// A server that needs longer than this is not healthy.
const PATIENCE: Duration = Duration::from_secs(3);

/// Prints the settings as a file would have them.
pub fn print(settings: &Settings) -> anyhow::Result<ExitCode> {
    print!("{}", settings.to_toml());
    Ok(ExitCode::SUCCESS)
}

/// Asks `/healthz` of the first configured address; for containers, which have no curl. Where that
/// speaks TLS, of the admin address, which never does.
pub fn health(config: &Config) -> anyhow::Result<ExitCode> {
    let mut address = if config.access.tls.is_some() { config.admin } else { config.listen[0] };
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    let healthy = &answer == b"HTTP/1.1 200";
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
