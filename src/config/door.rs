//! The part of the configuration that says who may come in, from where, and how much of it. Invariant:
//! what is checked here leaves no address open that nobody meant to open.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Settings, bad, seconds};
use crate::http::auth::Mode;
use crate::http::limit::{LimitConfig, Rates};
use crate::http::listen::DoorConfig;
use crate::http::origin::{self, OriginConfig};
use crate::http::tls::TlsFiles;

/// Who may come in.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// How the public side tells who asks.
    pub public: Mode,
    /// How the admin side does.
    pub admin: Mode,
    /// Hosts and origins.
    pub origins: OriginConfig,
    /// Certificate and key of the public side.
    pub tls: Option<TlsFiles>,
    /// How much is allowed.
    pub limits: LimitConfig,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsSettings {
    cert: String,
    key: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitSettings {
    connections: usize,
    slow_reader_seconds: f64,
    loopback: bool,
    block_seconds: f64,
    address: AddressSettings,
    principal: PrincipalSettings,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AddressSettings {
    connections: usize,
    streams: usize,
    connects_per_minute: u32,
    requests_per_minute: u32,
    starts_per_minute: u32,
    characters_per_minute: u32,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PrincipalSettings {
    streams: usize,
    requests_per_minute: u32,
    starts_per_minute: u32,
    characters_per_minute: u32,
}

impl LimitSettings {
    pub(super) fn door(&self) -> Result<DoorConfig, ConfigError> {
        if self.connections == 0 {
            return Err(bad("limits.connections", 0, "at least 1"));
        }
        let mut door = DoorConfig { connections: self.connections, ..DoorConfig::default() };
        door.patience.slow_reader =
            seconds("limits.slow_reader_seconds", self.slow_reader_seconds, 1.0, 3600.0)?;
        Ok(door)
    }

    fn check(&self, proxies: Vec<IpNet>) -> Result<LimitConfig, ConfigError> {
        let (address, principal) = (&self.address, &self.principal);
        for (key, value) in [
            ("limits.address.connections", address.connections),
            ("limits.address.streams", address.streams),
            ("limits.principal.streams", principal.streams),
        ] {
            if value == 0 {
                return Err(bad(key, 0, "at least 1"));
            }
        }
        Ok(LimitConfig {
            loopback: self.loopback,
            connections: address.connections,
            connects: address.connects_per_minute,
            streams: (address.streams, principal.streams),
            address: Rates {
                requests: address.requests_per_minute,
                starts: address.starts_per_minute,
                characters: address.characters_per_minute,
            },
            principal: Rates {
                requests: principal.requests_per_minute,
                starts: principal.starts_per_minute,
                characters: principal.characters_per_minute,
            },
            block_for: seconds("limits.block_seconds", self.block_seconds, 1.0, 86_400.0)?,
            proxies,
            ..LimitConfig::default()
        })
    }
}

/// Checks who may come in; `listen` and `admin` are the addresses that will be bound.
pub(super) fn check(
    settings: &Settings,
    listen: &[SocketAddr],
    admin: SocketAddr,
) -> Result<AccessConfig, ConfigError> {
    let file = settings.keys_file.trim();
    let keyed = (!file.is_empty()).then(|| Mode::Keyed(PathBuf::from(file)));
    if keyed.is_none() {
        let open = listen.iter().find(|address| !is_local(address.ip()));
        if let Some(address) = open.filter(|_| !settings.insecure) {
            let hint = "without keys only a loopback address may be bound; set keys_file (see \
                        `evensong keys --help`), or --insecure if everybody may use it";
            return Err(bad("listen", address, hint));
        }
    }
    let free_admin = is_local(admin.ip()) || settings.insecure_admin;
    let admin_mode = match (&keyed, free_admin) {
        (_, true) => Mode::Keyless { admin: true },
        (Some(keyed), false) => keyed.clone(),
        (None, false) => {
            let hint = "a loopback address; another one wants keys_file and a key of scope \
                        admin, or --insecure-admin: it shows what clients do";
            return Err(bad("admin", admin, hint));
        }
    };
    let public = keyed.unwrap_or(Mode::Keyless { admin: settings.insecure_admin });
    let proxies = settings.trusted_proxies.iter().map(|text| network(text));
    Ok(AccessConfig {
        public,
        admin: admin_mode,
        origins: origins(settings)?,
        tls: tls(&settings.tls)?,
        limits: settings.limits.check(proxies.collect::<Result<_, _>>()?)?,
    })
}

fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn network(text: &str) -> Result<IpNet, ConfigError> {
    let text = text.trim();
    let one = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    text.parse::<IpNet>().or_else(|_| one()).map_err(|_| {
        bad("trusted_proxies", text, "an address or a network, as 10.0.0.7 or 10.0.0.0/8")
    })
}

fn origins(settings: &Settings) -> Result<OriginConfig, ConfigError> {
    let origin = |text: &String| {
        let hint = "an origin as browsers send it, https://app.example or http://localhost:3000; \
                    there is no wildcard";
        origin::parse(text).ok_or_else(|| bad("allowed_origins", text, hint))
    };
    let host = |text: &String| {
        let name = text.trim().to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if !name.is_empty() && name.chars().all(plain) {
            return Ok(name);
        }
        Err(bad("allowed_hosts", text, "a name without scheme and port, as voice.example"))
    };
    Ok(OriginConfig {
        origins: settings.allowed_origins.iter().map(origin).collect::<Result<_, _>>()?,
        hosts: settings.allowed_hosts.iter().map(host).collect::<Result<_, _>>()?,
        insecure: settings.insecure,
    })
}

fn tls(settings: &TlsSettings) -> Result<Option<TlsFiles>, ConfigError> {
    match (settings.cert.trim(), settings.key.trim()) {
        ("", "") => Ok(None),
        (cert, "") => Err(bad("tls.cert", cert, "tls.key as well: the certificate's private key")),
        ("", key) => Err(bad("tls.key", key, "tls.cert as well: the certificate of that key")),
        (cert, key) => Ok(Some(TlsFiles { cert: cert.into(), key: key.into() })),
    }
}
