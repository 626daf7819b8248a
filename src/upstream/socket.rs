//! A WebSocket to an upstream. Invariants: it is made within its deadline or not at all, by the same dial, key and breaker as
//! whatever else is asked of upstreams; its key is sent in a header and stands in nothing that is written down.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, header};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use super::address::Base;
use super::dial::{Connect, Dial, DialError, Line, Tcp};
use super::error::{Fault, UpstreamError, reason};
use super::policy::Policy;
use super::secret::Secret;
use super::stream::Parts;
use crate::bounds::websocket::WebSocket;

/// A connection on which messages are exchanged.
pub type Socket = WebSocket<Line>;

/// How such an upstream is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketConfig {
    /// What it is called.
    pub name: &'static str,
    /// Where it is; its scheme is that of HTTP.
    pub base: Base,
    /// What of it is asked: a path and a query, behind the base's.
    pub target: String,
    /// What lets us in.
    pub key: Secret,
    /// Name lookup, connection, TLS and handshake together.
    pub connect: Duration,
}

/// An upstream that is talked to over sockets. Clones share its breaker.
#[derive(Clone)]
pub struct Sockets(Arc<Inner>);

struct Inner {
    config: SocketConfig,
    dial: Dial,
    policy: Policy,
}

impl Sockets {
    /// Of that upstream. Reads the authorities that are trusted if it is the first that needs them, which blocks.
    pub fn new(config: SocketConfig, parts: &Parts) -> Result<Self, String> {
        let connect = Tcp::new(config.name, parts.spawner.clone());
        Self::over(config, parts, Arc::new(connect))
    }

    /// The same, over connections made by `connect`.
    pub fn over(
        config: SocketConfig,
        parts: &Parts,
        connect: Arc<dyn Connect>,
    ) -> Result<Self, String> {
        let tls = config.base.is_tls().then(|| parts.tls.config()).transpose()?;
        let dial = Dial::new(connect, tls, config.connect);
        let policy = Policy::new(config.name, parts.metrics.clone());
        Ok(Self(Arc::new(Inner { config, dial, policy })))
    }

    /// One more, for `owner`. It is asked for once: whoever wants it knows when to ask again.
    pub async fn open(&self, owner: &str) -> Result<Socket, UpstreamError> {
        let Inner { config, policy, .. } = &*self.0;
        let began = Instant::now();
        let opened = async {
            let leave = policy.leave()?;
            let opened = self.once(began + config.connect).await;
            Policy::judge(leave, opened.as_ref().err(), began);
            opened
        };
        let opened = opened.await.map_err(|fault| UpstreamError { upstream: config.name, fault });
        policy.count(&opened, owner, began);
        opened
    }

    async fn once(&self, until: Instant) -> Result<Socket, Fault> {
        let Inner { config, dial, .. } = &*self.0;
        let stream = dial.dial(&config.base).await.map_err(|error| match error {
            DialError::Slow(waited) => Fault::NotConnected(waited),
            DialError::Failed(why) => Fault::Unreachable(why),
        })?;
        let asked = WebSocket::ask(stream.into_inner(), self.request()?);
        let asked = timeout_at(until, asked).await;
        asked.map_err(|_| Fault::NoAnswer(config.connect))?.map_err(|error| match error {
            Error::Http(response) => Fault::of_status(response.status(), response.headers(), None),
            Error::Io(error) => Fault::Broke(reason(&error)),
            error => Fault::Garbage(self.hide(&reason(&error))),
        })
    }

    /// The handshake (RFC 6455, 4.1).
    fn request(&self) -> Result<Request<()>, Fault> {
        let SocketConfig { base, target, key, .. } = &self.0.config;
        let uri = base.join(target).map_err(|error| Fault::Unreachable(error.to_string()))?;
        // What it is made of is only looked at for its scheme; on the wire stands the target.
        let uri = uri.to_string().replacen("http", "ws", 1);
        let mut request = Request::get(uri)
            .header(header::HOST, base.named())
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, generate_key())
            .header(header::USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(bearer) = key.bearer() {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        request.body(()).map_err(|error| Fault::Unreachable(error.to_string()))
    }

    /// `text` with the key taken out, wherever the upstream repeats it.
    pub fn hide(&self, text: &str) -> String {
        self.0.config.key.taken_out_of(text)
    }

    /// Whether the key stands in `text`.
    pub fn shows(&self, text: &str) -> bool {
        self.0.config.key.is_in(text.as_bytes())
    }
}

const AGENT: &str = concat!("evensong/", env!("CARGO_PKG_VERSION"));
