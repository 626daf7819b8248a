//! Requests whose answers are streamed. Invariants: a request is made at most three times, and more than once only if
//! nothing of its answer was seen and it was surely not acted upon, or may be twice; whoever drops the
//! future or the body closes the connection, and the upstream sees it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::address::Base;
use super::aged::{Aged, Ages, Turn};
use super::body::{Body, Terms};
use super::client::{Client, ClientError, Line, Plan};
use super::dial::{Connect, Dial, DialError, Tcp};
use super::error::{Fault, UpstreamError, reason};
use super::policy::{Asking, Policy};
use super::roll::{Rolled, UpstreamRow};
use super::secret::{Scheme, Secret};
use super::tls::Tls;
use crate::ledger::{Departure, Kind};
use crate::limits;
use crate::metrics::Metrics;
use crate::tasks::Spawner;

/// The media type of most that is said to upstreams.
pub const JSON: &str = "application/json";

/// How an upstream is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamConfig {
    /// Where it is.
    pub base: Base,
    /// What lets us in,
    pub key: Secret,
    /// and how it is said.
    pub scheme: Scheme,
    /// How its clients are replaced.
    pub ages: Ages,
    /// Name lookup, connection and TLS handshake together.
    pub connect: Duration,
    /// From the request to the head of its answer, retries included.
    pub first_byte: Duration,
    /// From one byte of an answer to the next, while somebody waits for it.
    pub between: Duration,
    /// From the request to the last byte of its answer.
    pub total: Duration,
    /// Whether connections are kept for the next request.
    pub keep_alive: bool,
}

/// What every upstream of a server shares.
#[derive(Clone)]
pub struct Parts {
    /// The scope of connections and timers.
    pub spawner: Spawner,
    /// What is counted.
    pub metrics: Metrics,
    /// The authorities that are trusted.
    pub tls: Tls,
}

/// An upstream. Clones share its clients, its breaker and its retries.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    config: UpstreamConfig,
    clients: Aged<Client>,
    policy: Policy,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// How.
    pub method: Method,
    /// Below the base, with a slash in front.
    pub path: Cow<'static, str>,
    /// What is sent, and its media type.
    pub body: Option<(Bytes, Cow<'static, str>)>,
    /// The media types that would do.
    pub accept: HeaderValue,
    /// The id of the request that it is made for.
    pub owner: Arc<str>,
    /// The client that it is made for; none: the server itself.
    pub departure: Option<Departure>,
    /// Whether it may be made twice.
    pub is_safe: bool,
    /// Whether any answer will do, whatever its status, but a redirect; else only 200 will.
    pub takes_any_status: bool,
    /// The longest answer.
    pub most_bytes: u64,
    /// The time for the whole of it, instead of the upstream's own.
    pub within: Option<Duration>,
}

impl Ask {
    /// A request of the server itself for JSON: a GET, or a POST of `body`. It may be made twice.
    pub fn errand(
        path: impl Into<Cow<'static, str>>,
        body: Option<Bytes>,
        owner: Arc<str>,
    ) -> Self {
        Self {
            method: if body.is_some() { Method::POST } else { Method::GET },
            path: path.into(),
            body: body.map(|body| (body, JSON.into())),
            accept: HeaderValue::from_static(JSON),
            owner,
            departure: None,
            is_safe: true,
            takes_any_status: false,
            most_bytes: limits::UPSTREAM_JSON_BYTES as u64,
            within: None,
        }
    }

    fn kind(&self) -> Kind {
        if self.departure.is_some() { Kind::UpstreamRequest } else { Kind::UpstreamErrand }
    }
}

/// An answer, whose body is still to come.
pub struct Answer {
    /// 200, unless any would do.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Whether its end can be told from its connection's: else it may be whole or not.
    pub is_framed: bool,
    /// Its body.
    pub body: Body,
}

impl Answer {
    /// The media type, in lower case and without parameters; empty where none is said.
    pub fn media_type(&self) -> String {
        let said = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = said.unwrap_or_default().split(';').next().unwrap_or_default();
        kind.trim().to_ascii_lowercase()
    }

    /// The parameter `name` of the media type.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let said = self.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let mut parameters = said.split(';').skip(1).filter_map(|part| part.split_once('='));
        let found = parameters.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().trim_matches('"'))
    }
}

impl Upstream {
    /// Builds its first client.
    pub async fn start(config: UpstreamConfig, parts: &Parts) -> Result<Self, String> {
        let connect = Tcp::new(config.ages.name, parts.spawner.clone());
        Self::start_over(config, parts, Arc::new(connect)).await
    }

    /// As [`Upstream::start`], over connections made by `connect`.
    pub async fn start_over(
        config: UpstreamConfig,
        parts: &Parts,
        connect: Arc<dyn Connect>,
    ) -> Result<Self, String> {
        let Parts { spawner, metrics, tls } = parts.clone();
        let policy = Policy::new(config.ages.name, metrics);
        let (settings, scope) = (config.clone(), spawner.clone());
        let build = move |over| {
            let tls = settings.base.is_tls().then(|| tls.config()).transpose()?;
            let dial = Dial::new(Arc::clone(&connect), tls, settings.connect);
            client(&settings, dial, &scope, over)
        };
        let clients = Aged::start(config.ages.clone(), build, spawner).await?;
        Ok(Self(Arc::new(Inner { config, clients, policy })))
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.0.config.ages.name
    }

    /// Whether it is asked over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.config.base.is_tls()
    }

    /// For the operator's roll.
    pub fn rolled(&self) -> Box<dyn Rolled> {
        Box::new(self.clone())
    }

    /// Whether it is left alone at present, and for how long.
    pub fn open_for(&self) -> Option<Duration> {
        self.0.policy.open_for()
    }

    /// Makes a request, again if that is safe and may help, and waits for the head of its answer.
    pub async fn open(&self, ask: &Ask) -> Result<Answer, UpstreamError> {
        let began = Instant::now();
        let until = began + ask.within.unwrap_or(self.0.config.first_byte);
        let terms = Asking { owner: &ask.owner, is_safe: ask.is_safe, until };
        self.0.policy.ask(terms, || self.once(ask, began, until)).await
    }

    /// As [`Upstream::open`], and waits for the last byte of the answer as well.
    pub async fn whole(&self, ask: &Ask) -> Result<(Answer, Bytes), UpstreamError> {
        let mut answer = self.open(ask).await?;
        let bytes = answer.body.whole().await?;
        Ok((answer, bytes))
    }

    async fn once(&self, ask: &Ask, began: Instant, until: Instant) -> Result<Answer, Fault> {
        let Inner { clients, policy, .. } = &*self.0;
        let leave = policy.leave()?;
        let departure = ask.departure.clone().unwrap_or_default();
        let turn = clients.turn(ask.kind(), &ask.owner, &departure).await?;
        let request = self.request(ask).map_err(|error| Fault::Unreachable(error.to_string()))?;
        let response = match timeout_at(until, turn.send(request)).await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(_)) if turn.is_over() => Err(Fault::Cut),
            Ok(Err(error)) => Err(not_answered(error)),
            Err(_) => Err(Fault::NoAnswer(until - began)),
        };
        // By its head alone: what stands in the body says nothing of whether it lives.
        let fault = match &response {
            Ok((response, _)) if response.status().is_success() => None,
            Ok((response, _)) => {
                Some(Fault::of_status(response.status(), response.headers(), None))
            }
            Err(fault) => Some(fault.clone()),
        };
        Policy::judge(leave, fault.as_ref(), began);
        let (response, line) = response?;
        let status = response.status();
        let answer = self.answer(response, (turn, line), ask, began)?;
        if status == StatusCode::OK || (ask.takes_any_status && !status.is_redirection()) {
            return plain(answer);
        }
        Err(self.refusal(status, answer, until).await)
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, http::Error> {
        let config = &self.0.config;
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(config.base.target(&ask.path)?)
            .header(header::ACCEPT, &ask.accept)
            // What is counted is what came, so nothing may grow behind the count.
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::USER_AGENT, concat!("evensong/", env!("CARGO_PKG_VERSION")))
            .header("x-request-id", &*ask.owner);
        if let Some((_, media_type)) = &ask.body {
            request = request.header(header::CONTENT_TYPE, &**media_type);
        }
        if let Some(key) = config.key.authorization(config.scheme) {
            request = request.header(header::AUTHORIZATION, key);
        }
        if !config.keep_alive {
            request = request.header(header::CONNECTION, "close");
        }
        let body = ask.body.as_ref().map(|(bytes, _)| bytes.clone());
        request.body(Full::new(body.unwrap_or_default()))
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        by: (Turn<Client>, Line),
        ask: &Ask,
        began: Instant,
    ) -> Result<Answer, Fault> {
        if response.body().size_hint().lower() > ask.most_bytes {
            return Err(Fault::TooLong(ask.most_bytes));
        }
        // Where nothing else says so, its end is the connection's, and that may come early.
        let is_framed = response.body().size_hint().exact().is_some()
            || response.headers().contains_key(header::TRANSFER_ENCODING);
        let UpstreamConfig { between, total, .. } = self.0.config;
        let (head, incoming) = response.into_parts();
        let total = ask.within.unwrap_or(total);
        let terms = Terms { between, total, most_bytes: ask.most_bytes };
        let body = Body::new(self.name(), incoming, by, terms, began);
        Ok(Answer { status: head.status, headers: head.headers, body, is_framed })
    }

    /// What an answer without success means.
    async fn refusal(&self, status: StatusCode, mut answer: Answer, until: Instant) -> Fault {
        if !Fault::explains(status) {
            return Fault::of_status(status, &answer.headers, None);
        }
        let reading = answer.body.beginning(limits::UPSTREAM_ERROR_BYTES);
        let read = timeout_at(until, reading).await.ok().and_then(Result::ok).unwrap_or_default();
        Fault::of_status(status, &answer.headers, words(&read, &self.0.config.key))
    }

    /// What it says in the JSON of an error, fit to be passed on.
    pub fn words(&self, error: &[u8]) -> String {
        words(error, &self.0.config.key).unwrap_or_else(|| "it does not say why".into())
    }

    /// As an error of this upstream.
    pub fn error(&self, fault: Fault) -> UpstreamError {
        UpstreamError { upstream: self.name(), fault }
    }
}

impl Rolled for Upstream {
    fn row(&self) -> UpstreamRow {
        let Inner { config, clients, policy } = &*self.0;
        UpstreamRow::new(&config.base, policy, clients.state())
    }

    fn rotate(&self) {
        self.0.clients.rotate();
    }
}

/// A client of one generation: when that is `over`, so are its connections.
fn client(
    config: &UpstreamConfig,
    dial: Dial,
    scope: &Spawner,
    over: CancellationToken,
) -> Result<Client, String> {
    Client::new(Plan {
        base: config.base.clone(),
        dial,
        kept_most: if config.keep_alive { limits::UPSTREAM_IDLE_MOST } else { 0 },
        owner: config.ages.name.into(),
        spawner: scope.clone(),
        over,
    })
}

/// Why there was no answer.
fn not_answered(error: ClientError) -> Fault {
    match error {
        ClientError::Dial(DialError::Slow(after)) => Fault::NotConnected(after),
        ClientError::Dial(DialError::Failed(why)) => Fault::Unreachable(why),
        ClientError::Http(error) if error.is_parse() => Fault::Garbage(reason(&error)),
        ClientError::Http(error) => Fault::Broke(reason(&error)),
    }
}

/// An answer as it is, without a coding in which a little may become much, or that nobody here can read.
fn plain(answer: Answer) -> Result<Answer, Fault> {
    let coded = |name, plain| {
        let all = answer.headers.get_all(name).into_iter();
        let mut values = all.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        values.find(|coding| !coding.trim_ascii().eq_ignore_ascii_case(plain)).map(<[u8]>::to_vec)
    };
    let coding = coded(header::CONTENT_ENCODING, b"identity")
        .or_else(|| coded(header::TRANSFER_ENCODING, b"chunked"));
    match coding {
        None => Ok(answer),
        Some(coding) => {
            let coding: String = String::from_utf8_lossy(&coding).chars().take(32).collect();
            Err(Fault::WrongType { got: format!("the coding {coding:?}"), wanted: "none" })
        }
    }
}

/// The words of an error, from the JSON of any of the usual shapes. The key is taken out before they are
/// shortened: half of it would not be found.
pub(super) fn words(body: &[u8], key: &Secret) -> Option<String> {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let json = json.unwrap_or_default();
    let said = [
        "/error/message",
        "/error/reason",
        "/detail/message",
        "/detail",
        "/message",
        "/error",
        "/errors/0/message",
    ];
    let said = said.into_iter().find_map(|place| json.pointer(place)?.as_str())?;
    let said: String = said.chars().filter(|c| !c.is_control()).collect();
    Some(key.taken_out_of(&said).chars().take(limits::UPSTREAM_ERROR_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_error_are_found_and_kept_short() {
        for (body, said) in [
            (&br#"{"error":{"message":"no such voice","type":"x"}}"#[..], "no such voice"),
            (br#"{"detail":"bad input"}"#, "bad input"),
            (br#"{"errors":[{"message":"no field x"}]}"#, "no field x"),
            (br#"{"detail":{"error":"x","message":"Invalid model"}}"#, "Invalid model"),
            (b"{\"error\":\"a\\u001b[31mb\\n\"}", "a[31mb"),
        ] {
            assert_eq!(words(body, &Secret::default()).as_deref(), Some(said));
        }
        for body in [&b"<html>"[..], b"", b"{}"] {
            assert_eq!(words(body, &Secret::default()), None);
        }
        let key = Secret::new("sk-canary");
        let long = format!(r#"{{"message":"{}"}}"#, "sk-canary".repeat(1000));
        let said = words(long.as_bytes(), &key);
        assert_eq!(
            said.expect("words"),
            "*".repeat(limits::UPSTREAM_ERROR_CHARS),
            "no part of it is left"
        );
    }
}
