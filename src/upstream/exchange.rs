//! Short exchanges of JSON. Invariants: an answer is read whole, within one deadline and one bound, and let go of
//! whatever came of it; a redirect is not followed, a proxy of the environment is not asked.
//!
//! reqwest keeps tasks and sockets of its own, so no connection is kept here behind its exchange, and one that runs
//! says in the ledger that there may be one of each beside what is entered.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::{Instant, timeout_at};

use super::aged::Aged;
use super::dial::Tcp;
use super::error::{Fault, UpstreamError, reason};
use super::policy::{Asking, Policy};
use super::roll::{Rolled, UpstreamRow};
use super::stream::{Parts, UpstreamConfig, words};
use super::tls::Tls;
use crate::ledger::{Departure, Kind, Ledger};
use crate::limits;

/// Exchanges with one upstream. Clones share its clients.
#[derive(Clone)]
pub struct Exchange(Arc<Inner>);

struct Inner {
    config: UpstreamConfig,
    clients: Aged<reqwest::Client>,
    policy: Policy,
    ledger: Ledger,
}

impl Exchange {
    /// Builds its first client.
    pub async fn start(config: UpstreamConfig, parts: &Parts) -> Result<Self, String> {
        let Parts { spawner, metrics, tls } = parts.clone();
        let policy = Policy::new(config.ages.name, metrics);
        let ledger = spawner.ledger().clone();
        let names = Arc::new(Names(Tcp::new(config.ages.name, spawner.clone())));
        let settings = config.clone();
        let build = move |_| client(&settings, &tls, Arc::clone(&names));
        let clients = Aged::start(config.ages.clone(), build, spawner).await?;
        Ok(Self(Arc::new(Inner { config, clients, policy, ledger })))
    }

    /// For the operator's roll.
    pub fn rolled(&self) -> Box<dyn Rolled> {
        Box::new(self.clone())
    }

    /// GETs `path` for the server itself, which is `owner` in the ledger.
    pub async fn errand(
        &self,
        path: &str,
        owner: &Arc<str>,
    ) -> Result<serde_json::Value, UpstreamError> {
        let until = Instant::now() + self.0.config.first_byte;
        let asking = Asking { owner, is_safe: true, until };
        self.0.policy.ask(asking, || self.once(path, owner, until)).await
    }

    async fn once(
        &self,
        path: &str,
        owner: &Arc<str>,
        until: Instant,
    ) -> Result<serde_json::Value, Fault> {
        let Inner { config, clients, policy, ledger } = &*self.0;
        let began = Instant::now();
        let leave = policy.leave()?;
        let turn = clients.turn(Kind::UpstreamErrand, owner, &Departure::default()).await?;
        let _theirs = ledger.enter(Kind::ForeignSocket, Arc::clone(owner), 0);
        let exchange = self.exchange(&turn, path, owner);
        let result = tokio::select! {
            biased;
            () = turn.over() => Err(Fault::Cut),
            result = timeout_at(until, exchange) => {
                result.unwrap_or(Err(Fault::NoAnswer(config.first_byte)))
            }
        };
        Policy::judge(leave, result.as_ref().err(), began);
        result
    }

    async fn exchange(
        &self,
        client: &reqwest::Client,
        path: &str,
        owner: &str,
    ) -> Result<serde_json::Value, Fault> {
        let config = &self.0.config;
        let url = config.base.join(path).map_err(|error| Fault::Unreachable(error.to_string()))?;
        let mut request = client
            .get(url.to_string())
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close")
            .header("x-request-id", owner);
        if let Some(key) = config.key.bearer() {
            request = request.header(header::AUTHORIZATION, key);
        }
        let mut response =
            request.send().await.map_err(|error| not_answered(&error, config.connect))?;
        let most = limits::UPSTREAM_JSON_BYTES;
        if response.content_length().is_some_and(|length| length > most as u64) {
            return Err(Fault::TooLong(most as u64));
        }
        let mut body = Vec::new();
        while let Some(part) =
            response.chunk().await.map_err(|error| Fault::Broke(reason(&error)))?
        {
            if body.len() + part.len() > most {
                return Err(Fault::TooLong(most as u64));
            }
            body.extend_from_slice(&part);
        }
        let status = response.status();
        if !status.is_success() {
            let said = Fault::explains(status).then(|| words(&body, &config.key)).flatten();
            return Err(Fault::of_status(status, response.headers(), said));
        }
        serde_json::from_slice(&body).map_err(|error| Fault::Garbage(format!("no JSON: {error}")))
    }
}

impl Rolled for Exchange {
    fn row(&self) -> UpstreamRow {
        let Inner { config, clients, policy, .. } = &*self.0;
        UpstreamRow::new(&config.base, policy, clients.state())
    }

    fn rotate(&self) {
        self.0.clients.rotate();
    }
}

fn client(
    config: &UpstreamConfig,
    tls: &Tls,
    names: Arc<Names>,
) -> Result<reqwest::Client, String> {
    let tls = if config.base.is_tls() { tls.with_http2()? } else { Tls::none() };
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(names)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(config.connect)
        .pool_max_idle_per_host(0)
        .tcp_user_timeout(Some(limits::TCP_USER_TIMEOUT))
        .user_agent(concat!("evensong/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| reason(&error))
}

fn not_answered(error: &reqwest::Error, connect: Duration) -> Fault {
    if error.is_connect() && error.is_timeout() {
        return Fault::NotConnected(connect);
    }
    if error.is_connect() { Fault::Unreachable(reason(error)) } else { Fault::Broke(reason(error)) }
}

/// Names as they are looked up for streams.
struct Names(Tcp);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let tcp = self.0.clone();
        Box::pin(async move {
            let found = tcp.resolve(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
