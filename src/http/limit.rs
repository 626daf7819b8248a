//! How much one principal and one address may ask for. Invariant: what counts is bounded (by address,
//! IPv6 by /64; by key), an address is the peer's own unless a proxy that we trust names another, and
//! a connection's place goes back when the connection ends.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::auth::Principal;
use crate::bounds::limiter::{Limiter, Policy, Reason, Refused, Step};
use crate::ledger::Ledger;
use crate::limits;
use crate::metrics::{Metrics, Refusal};

/// Limits a minute; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    bound(
        serialize = "T: Serialize + Default + PartialEq",
        deserialize = "T: Deserialize<'de> + Default"
    )
)]
pub struct Rates<T> {
    /// Requests of any kind.
    #[serde(rename = "requests_per_minute", default, skip_serializing_if = "is_none")]
    pub requests: T,
    /// Streams and dialogues begun.
    #[serde(rename = "starts_per_minute", default, skip_serializing_if = "is_none")]
    pub starts: T,
    /// Characters to be spoken.
    #[serde(rename = "characters_per_minute", default, skip_serializing_if = "is_none")]
    pub characters: T,
}

/// Absent ones are left out of a file.
fn is_none<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The limits of the door.
#[derive(Clone, Debug)]
pub struct LimitConfig {
    /// Whether loopback clients without keys are held to these limits, too.
    pub loopback: bool,
    /// Connections open at once from one address.
    pub connections: usize,
    /// Connections a minute from one address.
    pub connects: u32,
    /// Wrong keys and tickets a minute from one address.
    pub wrong_keys: u32,
    /// For one address.
    pub address: Rates<u32>,
    /// For one key, unless it has its own.
    pub principal: Rates<u32>,
    /// How long one is shut out that kept on asking for more.
    pub block_for: Duration,
    /// Proxies whose word on a client's address is taken.
    pub proxies: Vec<IpNet>,
}

impl Default for LimitConfig {
    fn default() -> Self {
        let usual = Rates {
            requests: limits::REQUESTS_A_MINUTE,
            starts: limits::STARTS_A_MINUTE,
            characters: limits::CHARACTERS_A_MINUTE,
        };
        Self {
            loopback: false,
            connections: limits::CONNECTIONS_AN_ADDRESS,
            connects: limits::CONNECTS_A_MINUTE,
            wrong_keys: limits::WRONG_KEYS_A_MINUTE,
            address: usual,
            principal: usual,
            block_for: limits::BLOCK_LASTS,
            proxies: Vec::new(),
        }
    }
}

/// What is counted of a key.
#[derive(Clone, Copy)]
enum Resource {
    Connects,
    Requests,
    Starts,
    Characters,
    WrongKeys,
}

const RESOURCES: usize = 5;

/// Whom it is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    V4(Ipv4Addr),
    /// The network of one customer.
    V6([u8; 8]),
    Principal(Arc<str>),
}

impl Key {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Key::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Key::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::V4(address) => address.fmt(f),
            Key::V6(network) => {
                let mut octets = [0; 16];
                octets[..8].copy_from_slice(network);
                write!(f, "{}/64", std::net::Ipv6Addr::from(octets))
            }
            Key::Principal(id) => write!(f, "key {id}"),
        }
    }
}

/// Holds clients to their limits. Clones share it.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    config: LimitConfig,
    keyed: bool,
    limiter: Limiter<Key, RESOURCES>,
    /// Open connections by address; an address is in it only while it has some.
    open: Mutex<HashMap<Key, usize>>,
    metrics: Metrics,
}

impl Limits {
    /// Limits as configured; `keyed` says whether there are keys.
    pub fn new(config: LimitConfig, keyed: bool, metrics: Metrics) -> Self {
        let limiter = Limiter::new(Policy {
            keys: limits::LIMITER_KEYS,
            strike_every: limits::STRIKE_EVERY,
            warn_at: limits::STRIKES_TO_WARN,
            block_at: limits::STRIKES_TO_BLOCK,
            block_for: config.block_for,
            forget_after: limits::STRIKES_FORGOTTEN,
            sweep_every: limits::SWEEP_EVERY,
        });
        let open = Mutex::default();
        Self(Arc::new(Inner { config, keyed, limiter, open, metrics }))
    }

    /// Sweeps from now on; see [`Limiter::start`].
    pub fn start(&self, ledger: &Ledger) {
        self.0.limiter.start(ledger);
    }

    /// See [`Limiter::stop`].
    pub async fn stop(&self) {
        self.0.limiter.stop().await;
    }

    /// Keys that are remembered.
    pub fn remembered(&self) -> usize {
        self.0.limiter.len()
    }

    /// Whose address the request came from: the peer's, or the one that proxies we trust name.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusted = |address: IpAddr| self.is_proxy(address);
        if !trusted(peer) {
            return peer;
        }
        let values = headers.get_all("x-forwarded-for").iter().rev();
        let hops = values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.rsplit(','));
        let mut client = peer;
        // From the last: each was added by the one behind it, whom we trust. What is not an address
        // ends the chain: nothing in front of it can be believed.
        for hop in hops {
            let Ok(address) = hop.trim().parse::<IpAddr>() else { return client };
            client = address.to_canonical();
            if !trusted(client) {
                return client;
            }
        }
        client
    }

    /// Admits a connection; its place lasts until the guard is dropped.
    pub fn connect(&self, peer: IpAddr) -> Result<Place, Refused> {
        if self.is_exempt(peer) || self.is_proxy(peer) {
            return Ok(Place(None));
        }
        let (key, config) = (Key::of(peer), &self.0.config);
        self.charge(&key, Resource::Connects, 1, config.connects)?;
        let mut open = self.open();
        let count = open.entry(key.clone()).or_default();
        if *count >= config.connections {
            self.0.metrics.refuse(Refusal::AddressConnections);
            let (reason, step) = (Reason::Rate, Step::None);
            return Err(Refused { reason, retry_after: Duration::from_secs(1), step });
        }
        *count += 1;
        Ok(Place(Some((self.clone(), key))))
    }

    /// Counts a request of `client`, before it is known who it is.
    pub fn request(&self, client: IpAddr) -> Result<(), Refused> {
        if self.is_exempt(client) {
            return Ok(());
        }
        self.charge(&Key::of(client), Resource::Requests, 1, self.0.config.address.requests)
    }

    /// Counts a key or ticket that was wrong.
    pub fn wrong_key(&self, client: IpAddr) -> Result<(), Refused> {
        self.charge(&Key::of(client), Resource::WrongKeys, 1, self.0.config.wrong_keys)
    }

    /// Counts a request of somebody who was let in.
    pub fn admitted(&self, principal: &Principal) -> Result<(), Refused> {
        self.principal(principal, Resource::Requests, 1, |rates| rates.requests)
    }

    /// Counts a stream that is to speak `characters`.
    pub fn start_stream(
        &self,
        client: IpAddr,
        principal: &Principal,
        characters: usize,
    ) -> Result<(), Refused> {
        let characters = u32::try_from(characters).unwrap_or(u32::MAX);
        let address = self.0.config.address;
        if !self.is_exempt(client) {
            let key = Key::of(client);
            self.charge(&key, Resource::Starts, 1, address.starts)?;
            self.charge(&key, Resource::Characters, characters, address.characters)?;
        }
        self.principal(principal, Resource::Starts, 1, |rates| rates.starts)?;
        self.principal(principal, Resource::Characters, characters, |rates| rates.characters)
    }

    fn principal(
        &self,
        principal: &Principal,
        resource: Resource,
        amount: u32,
        of: impl Fn(&Rates<u32>) -> u32,
    ) -> Result<(), Refused> {
        // Without keys all are one principal; it is their addresses that are told apart.
        if principal.keyless {
            return Ok(());
        }
        let (own, usual) = (principal.rates, self.0.config.principal);
        let rates = Rates {
            requests: own.requests.unwrap_or(usual.requests),
            starts: own.starts.unwrap_or(usual.starts),
            characters: own.characters.unwrap_or(usual.characters),
        };
        self.charge(&Key::Principal(Arc::clone(&principal.id)), resource, amount, of(&rates))
    }

    fn charge(&self, key: &Key, what: Resource, amount: u32, rate: u32) -> Result<(), Refused> {
        self.0.limiter.charge(key, what as usize, amount, rate).inspect_err(|refused| {
            let reason = match refused.reason {
                Reason::Rate => Refusal::Rate,
                Reason::Blocked => Refusal::Blocked,
            };
            self.0.metrics.refuse(reason);
            match refused.step {
                Step::None => {}
                Step::Warn(strikes) => {
                    tracing::warn!(%key, strikes, "asks for more than its limit")
                }
                Step::Block(strikes) => {
                    let seconds = refused.retry_after.as_secs();
                    tracing::warn!(%key, strikes, seconds, "shut out for a while");
                }
            }
        })
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.config.proxies.iter().any(|net| net.contains(&address))
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        !self.0.keyed && !self.0.config.loopback && address.to_canonical().is_loopback()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among those of its address.
pub struct Place(Option<(Limits, Key)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((limits, key)) = self.0.take() else { return };
        let mut open = limits.open();
        if let Some(count) = open.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&key);
                // A flood's map is given back once the flood is over.
                if open.is_empty() {
                    open.shrink_to_fit();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
