//! How much one principal and one address may ask for. Invariant: what counts is bounded (by address,
//! IPv6 by /64; by key), an address is the peer's own unless a proxy that we trust names another, and
//! a connection's place goes back when the connection ends.

mod counts;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::auth::Principal;
use crate::bounds::limiter::{Limiter, Policy, Reason, Refused, Step};
use crate::ledger::Ledger;
use crate::limits;
use crate::metrics::{Metrics, Refusal};
use counts::Counts;
pub use counts::Place;

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
    #[serde(rename = "requests_per_minute", default, skip_serializing_if = "is_unset")]
    pub requests: T,
    /// Streams and dialogues begun.
    #[serde(rename = "starts_per_minute", default, skip_serializing_if = "is_unset")]
    pub starts: T,
    /// Characters to be spoken.
    #[serde(rename = "characters_per_minute", default, skip_serializing_if = "is_unset")]
    pub characters: T,
}

/// What says nothing is left out of a file.
pub fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
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
    /// Streams at once of one address, and of one key.
    pub streams: (usize, usize),
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
            streams: (limits::STREAMS_AT_ONCE, limits::STREAMS_AT_ONCE),
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

impl Resource {
    fn name(self) -> &'static str {
        match self {
            Resource::Connects => "connections",
            Resource::Requests => "requests",
            Resource::Starts => "streams begun",
            Resource::Characters => "characters",
            Resource::WrongKeys => "wrong keys",
        }
    }
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's own address, as far as proxies that we trust tell it.
    pub address: IpAddr,
    /// Whether it came by such a proxy. Then it is not of this machine, wherever the proxy is.
    pub forwarded: bool,
}

/// More than a limit allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which limit, of whom.
    pub what: String,
    /// Whether the asker is shut out.
    pub blocked: bool,
    /// When asking again may help.
    pub retry_after: Duration,
}

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
    /// Apart, so that a flood of addresses forgets no key.
    addresses: Limiter<Key, RESOURCES>,
    principals: Limiter<Key, RESOURCES>,
    connections: Counts,
    streams: Counts,
    metrics: Metrics,
}

impl Limits {
    /// Limits as configured; `keyed` says whether there are keys.
    pub fn new(config: LimitConfig, keyed: bool, metrics: Metrics) -> Self {
        let limiter = |keys| {
            Limiter::new(Policy {
                keys,
                strike_refusals: limits::STRIKE_REFUSALS,
                strike_every: limits::STRIKE_EVERY,
                warn_at: limits::STRIKES_TO_WARN,
                block_at: limits::STRIKES_TO_BLOCK,
                block_for: config.block_for,
                forget_after: limits::STRIKES_FORGOTTEN,
                sweep_every: limits::SWEEP_EVERY,
            })
        };
        let (addresses, principals) = (limiter(limits::LIMITER_KEYS), limiter(limits::KEYS_MOST));
        let (connections, streams) = (Counts::default(), Counts::default());
        Self(Arc::new(Inner {
            config,
            keyed,
            addresses,
            principals,
            connections,
            streams,
            metrics,
        }))
    }

    /// Sweeps from now on; see [`Limiter::start`].
    pub fn start(&self, ledger: &Ledger) {
        self.0.addresses.start(ledger);
        self.0.principals.start(ledger);
    }

    /// See [`Limiter::stop`].
    pub async fn stop(&self) {
        self.0.addresses.stop().await;
        self.0.principals.stop().await;
    }

    /// Keys that are remembered.
    pub fn remembered(&self) -> usize {
        self.0.addresses.len() + self.0.principals.len()
    }

    /// Where the request came from: the peer, or whom proxies that we trust name.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let mut client = Client { address: peer, forwarded: false };
        if !self.is_proxy(peer) {
            return client;
        }
        let values = headers.get_all("x-forwarded-for").iter().rev();
        // From the last: each was added by the one behind it, whom we trust.
        for hop in values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')) {
            client.forwarded = true;
            // What is not an address ends the chain: nothing in front of it can be believed.
            let Some(address) = hop_address(hop) else { return client };
            client.address = address;
            if !self.is_proxy(address) {
                return client;
            }
        }
        client
    }

    /// Admits a connection; its place lasts until the guard is dropped.
    pub fn connect(&self, peer: IpAddr) -> Result<Place, Exceeded> {
        let client = Client { address: peer, forwarded: false };
        if self.is_exempt(client) || self.is_proxy(peer) {
            return Ok(Place::default());
        }
        let (key, config) = (Key::of(peer), &self.0.config);
        self.charge(&key, Resource::Connects, 1, config.connects)?;
        self.0.connections.enter(key, config.connections).ok_or_else(|| {
            self.0.metrics.refuse(Refusal::AddressConnections);
            at_once("connections", config.connections, "this address")
        })
    }

    /// Whether a peer speaks for many.
    fn is_proxy(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.config.proxies.iter().any(|net| net.contains(&address))
    }

    /// Counts a request of `client`, before it is known who it is.
    pub fn request(&self, client: Client) -> Result<(), Exceeded> {
        if self.is_exempt(client) {
            return Ok(());
        }
        let rate = self.0.config.address.requests;
        self.charge(&Key::of(client.address), Resource::Requests, 1, rate)
    }

    /// Counts a key or ticket that was wrong.
    pub fn wrong_key(&self, client: Client) -> Result<(), Exceeded> {
        let rate = self.0.config.wrong_keys;
        self.charge(&Key::of(client.address), Resource::WrongKeys, 1, rate)
    }

    /// Counts a request of somebody who was let in.
    pub fn admitted(&self, principal: &Principal) -> Result<(), Exceeded> {
        self.principal(principal, Resource::Requests, 1, |rates| rates.requests)
    }

    /// Admits a stream that is to speak `characters`; its place lasts until the guard is dropped.
    pub fn start_stream(
        &self,
        client: Client,
        principal: &Principal,
        characters: usize,
    ) -> Result<[Place; 2], Exceeded> {
        let characters = u32::try_from(characters).unwrap_or(u32::MAX);
        let (config, mut places) = (&self.0.config, [Place::default(), Place::default()]);
        let enter = |key: Key, most: usize, whose| {
            let place = self.0.streams.enter(key, most);
            place.ok_or_else(|| {
                self.0.metrics.refuse(Refusal::Rate);
                at_once("streams", most, whose)
            })
        };
        if !self.is_exempt(client) {
            let key = Key::of(client.address);
            self.charge(&key, Resource::Characters, characters, config.address.characters)?;
            self.charge(&key, Resource::Starts, 1, config.address.starts)?;
            places[0] = enter(key, config.streams.0, "this address")?;
        }
        self.principal(principal, Resource::Characters, characters, |rates| rates.characters)?;
        self.principal(principal, Resource::Starts, 1, |rates| rates.starts)?;
        if !principal.keyless {
            let key = Key::Principal(Arc::clone(&principal.id));
            places[1] = enter(key, config.streams.1, "this key")?;
        }
        Ok(places)
    }

    fn principal(
        &self,
        principal: &Principal,
        resource: Resource,
        amount: u32,
        of: impl Fn(&Rates<u32>) -> u32,
    ) -> Result<(), Exceeded> {
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

    fn charge(&self, key: &Key, what: Resource, amount: u32, rate: u32) -> Result<(), Exceeded> {
        let (limiter, whose) = match key {
            Key::Principal(_) => (&self.0.principals, "this key"),
            _ => (&self.0.addresses, "this address"),
        };
        limiter.charge(key, what as usize, amount, rate).map_err(|refused| {
            self.note(key, refused);
            let Refused { reason, retry_after, .. } = refused;
            let blocked = reason == Reason::Blocked;
            let what = match blocked {
                true => format!("{whose} is shut out for a while, after asking too often"),
                false => format!("{whose} has used up its {rate} {} a minute", what.name()),
            };
            Exceeded { what, blocked, retry_after }
        })
    }

    fn note(&self, key: &Key, refused: Refused) {
        let reason = match refused.reason {
            Reason::Rate => Refusal::Rate,
            Reason::Blocked => Refusal::Blocked,
        };
        self.0.metrics.refuse(reason);
        match refused.step {
            Step::None => {}
            Step::Warn(strikes) => tracing::warn!(%key, strikes, "asks for more than its limit"),
            Step::Block(strikes) => {
                let seconds = refused.retry_after.as_secs();
                tracing::warn!(%key, strikes, seconds, "shut out for a while");
            }
        }
    }

    fn is_exempt(&self, client: Client) -> bool {
        let free = !self.0.keyed && !self.0.config.loopback && !client.forwarded;
        free && client.address.to_canonical().is_loopback()
    }
}

fn at_once(what: &str, most: usize, whose: &str) -> Exceeded {
    let what = format!("{whose} has {most} {what} at once, and may have no more");
    Exceeded { what, blocked: false, retry_after: Duration::from_secs(1) }
}

/// An address as proxies write it: bare, with a port, in brackets.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let bare = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    bare.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests;
