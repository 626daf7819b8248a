//! Who is let in, asked of every route that the router knows: a route added later is in the matrix by
//! itself, and one without a key is refused unless its rule says otherwise.

use evensong::config::Config;
use evensong::http::auth::{Access, Scope, keys};
use evensong::http::limit::Rates;
use evensong::ledger::Kind;
use serde_json::json;

use crate::http::{Answer, Client};
use crate::server::{TestServer, config};

/// A server with keys; they are in `folder`, which goes with it.
pub struct Keyed {
    pub server: TestServer,
    folder: tempfile::TempDir,
}

impl Keyed {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::with(settings, |_| {}).await
    }

    async fn with(settings: &[(&str, &str)], set: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys.toml");
        keys::add(&file, "nobody", &[], Rates::default(), "now").expect("added");
        let file = file.to_str().expect("a plain path");
        let mut config = config(&[settings, &[("keys_file", file)]].concat());
        set(&mut config);
        Self { server: TestServer::with(&config).await, folder }
    }

    pub fn add(&self, name: &str, scopes: &[Scope], rates: Rates<Option<u32>>) -> String {
        let file = self.folder.path().join("keys.toml");
        let key = keys::add(&file, name, scopes, rates, "now").expect("added");
        self.server.server.reload();
        key
    }

    fn revoke(&self, name: &str) {
        keys::revoke(&self.folder.path().join("keys.toml"), name).expect("revoked");
        self.server.server.reload();
    }

    pub async fn ask(&self, method: &str, path: &str, fields: &str) -> Answer {
        ask(&self.server, method, path, fields).await
    }
}

async fn ask(server: &TestServer, method: &str, path: &str, fields: &str) -> Answer {
    let mut client = server.connect().await;
    let fields = if fields.starts_with("host:") {
        fields.to_string()
    } else {
        format!("host: localhost\r\n{fields}")
    };
    let head = format!("{method} {path} HTTP/1.1\r\n{fields}connection: close\r\n\r\n");
    client.send(head.as_bytes()).await;
    if method == "HEAD" {
        let (status, headers) = client.head().await;
        return Answer { status, headers, body: Vec::new(), whole: true };
    }
    client.answer().await
}

pub fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}\r\n")
}

/// A path that the route matches.
fn example(path: &str) -> String {
    path.replace("{*path}", "style.css")
        .replace("{voice}", "tone")
        .replace("{model}", "tone")
        .replace("{id}", "a")
}

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"];

#[tokio::test]
async fn every_route_wants_a_key_of_its_scope_whatever_the_method() {
    let keyed = Keyed::with(&[], |config| config.access.limits.wrong_keys = 0).await;
    let speaker = keyed.add("speaker", &[Scope::Speech], Rates::default());
    let searcher = keyed.add("searcher", &[Scope::Search], Rates::default());
    let talker = keyed.add("talker", &[Scope::Dialogue], Rates::default());
    let admin = keyed.add("admin", &[Scope::Admin], Rates::default());
    let gone = keyed.add("gone", &[Scope::Speech], Rates::default());
    keyed.revoke("gone");
    let rules = evensong::http::rules();
    let paths: std::collections::BTreeSet<_> = rules.iter().map(|rule| rule.path).collect();
    assert!(paths.len() >= 12, "the router has its routes: {paths:?}");
    for path in paths {
        let own: Vec<_> = rules.iter().filter(|rule| rule.path == path).collect();
        let path = example(path);
        for method in METHODS {
            let served = if method == "HEAD" { "GET" } else { method };
            let rule = own.iter().find(|rule| rule.method == served);
            let access = rule.map(|rule| rule.access);
            let (right, other) = match access {
                Some(Access::Scope(Scope::Search)) => (&searcher, &speaker),
                Some(Access::Scope(Scope::Admin)) => (&admin, &searcher),
                Some(Access::Scope(Scope::Dialogue) | Access::Capability(_)) => {
                    (&talker, &searcher)
                }
                _ => (&speaker, &searcher),
            };
            let all_public = own.iter().all(|rule| rule.access == Access::Public);
            let public = access == Some(Access::Public) || (rule.is_none() && all_public);
            for (name, fields) in [
                ("none", String::new()),
                ("nonsense", bearer("evs_nonsense")),
                ("revoked", bearer(&gone)),
                ("no scope", bearer(other)),
                ("right", bearer(right)),
                ("basic", format!("authorization: Basic {right}\r\n")),
                ("in the query", String::new()),
            ] {
                let query =
                    if name == "in the query" { format!("?key={right}") } else { "".into() };
                let status = keyed.ask(method, &format!("{path}{query}"), &fields).await.status;
                let expected: &dyn Fn(u16) -> bool = match (name, access) {
                    _ if public => &|status| !matches!(status, 401 | 403),
                    ("right", _) => &|status| !matches!(status, 401 | 403),
                    ("no scope", Some(Access::Scope(_) | Access::Capability(_))) => {
                        &|status| status == 403
                    }
                    ("no scope", _) => &|status| !matches!(status, 401 | 403),
                    _ => &|status| status == 401,
                };
                assert!(expected(status), "{method} {path} with key {name}: {status}");
            }
        }
    }
    keyed.server.idle().await;
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_past_the_gate() {
    let keyed = Keyed::start(&[]).await;
    for path in [
        "//v1/models",
        "/v1//models",
        "/v1/models/",
        "/V1/models",
        "/v1/%6dodels",
        "/v1/models%00",
        "/healthz/../v1/models",
        "/assets/../v1/models",
        "/assets/..%2fv1%2fmodels",
        "/healthz/v1/models",
        "/v1/models;x=1",
        "/nowhere",
        "/debug/ledger",
        "/metrics",
        "http://localhost/v1/models",
        "*",
    ] {
        let answer = keyed.ask("GET", path, "").await;
        let status = answer.status;
        // What no route knows wants a key like the rest; assets are everybody's, and this is none.
        assert_eq!(status, if path.starts_with("/assets/") { 404 } else { 401 }, "{path}");
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains("\"object\""), "{path}: {text}");
    }
    let upgrade = "upgrade: websocket\r\nconnection: upgrade\r\n";
    assert_eq!(keyed.ask("GET", "/v1/models", upgrade).await.status, 401);
}

#[tokio::test]
async fn what_is_refused_says_why_in_the_shape_of_the_place() {
    let keyed = Keyed::start(&[]).await;
    let searcher = keyed.add("searcher", &[Scope::Search], Rates::default());
    let answer = keyed.ask("GET", "/v1/models", "").await;
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    assert_eq!(answer.json()["error"]["type"], "authentication_error");
    assert_eq!(answer.json()["error"]["code"], "missing_api_key");
    let answer = keyed.ask("GET", "/v1/models", &bearer("evs_x")).await;
    assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
    let answer = keyed.ask("GET", "/v1/models", &bearer(&searcher)).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &json!("missing_scope")));
    let answer = keyed.ask("POST", "/api/tickets", "").await;
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!((answer.status, &answer.json()["type"]), (401, &json!("missing_api_key")));
    for name in ["x-content-type-options", "content-security-policy", "referrer-policy"] {
        assert!(!answer.header(name).is_empty(), "{name}");
    }
    assert!(answer.header("x-request-id").starts_with("req_"));
}

#[tokio::test]
async fn a_ticket_opens_one_get_and_is_used_up() {
    let keyed = Keyed::start(&[]).await;
    let key = keyed.add("page", &[Scope::Speech], Rates::default());
    let ticket = || async {
        let answer = keyed.ask("POST", "/api/tickets", &bearer(&key)).await;
        assert_eq!((answer.status, &answer.json()["expires_in_seconds"]), (200, &json!(30)));
        answer.json()["ticket"].as_str().expect("a ticket").to_string()
    };
    let path = format!("/v1/models?a=b&ticket={}", ticket().await);
    let tickets = || keyed.server.server.services.ledger.live(Kind::Ticket);
    assert_eq!(tickets(), 1);
    assert_eq!(keyed.ask("GET", &path, "").await.status, 200);
    assert_eq!(keyed.ask("GET", &path, "").await.status, 401, "it is used up");
    assert_eq!(tickets(), 0);
    let path = format!("/v1/models?ticket={}", ticket().await);
    let answer = keyed.ask("GET", &path, "").await;
    assert_eq!(answer.header("cross-origin-resource-policy"), "cross-origin");
    let path = format!("/v1/audio/speech?ticket={}", ticket().await);
    assert_eq!(keyed.ask("POST", &path, "").await.status, 401, "only for reading");
    for _ in 0..63 {
        ticket().await;
    }
    let answer = keyed.ask("POST", "/api/tickets", &bearer(&key)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "30"));
    let brief = keyed.add("brief", &[Scope::Speech], Rates::default());
    let answer = keyed.ask("POST", "/api/tickets", &bearer(&brief)).await;
    let ticket = answer.json()["ticket"].as_str().expect("a ticket").to_string();
    keyed.revoke("brief");
    let path = format!("/v1/models?ticket={ticket}");
    assert_eq!(keyed.ask("GET", &path, "").await.status, 401, "it ends with its key");
    let twice = format!("{}{}", bearer(&key), bearer("evs_x"));
    assert_eq!(keyed.ask("GET", "/v1/models", &twice).await.status, 401, "one or the other?");
}

#[tokio::test]
async fn without_keys_foreign_names_and_pages_are_refused() {
    let server = TestServer::start(&[("allowed_origins", "https://app.example")]).await;
    for (method, fields, status) in [
        ("GET", "", 200),
        ("GET", "host: evil.example\r\n", 421),
        ("GET", "host: 127.0.0.1:8080\r\n", 200),
        ("GET", "host: app.example\r\n", 200),
        ("GET", "origin: https://evil.example\r\n", 200),
        ("GET", "origin: https://evil.example\r\nupgrade: websocket\r\n", 403),
        ("DELETE", "origin: https://evil.example\r\n", 403),
        ("DELETE", "origin: null\r\n", 403),
        ("DELETE", "origin: https://app.example\r\n", 405),
        ("DELETE", "origin: http://localhost\r\n", 405),
        ("GET", "host: a\r\nhost: a\r\n", 400),
    ] {
        let answer = ask(&server, method, "/v1/models", fields).await;
        assert_eq!(answer.status, status, "{method} {fields:?}");
    }
    let mut client = Client::connect(server.server.admin).await;
    client.send(b"GET /debug/ledger HTTP/1.1\r\nhost: evil.example\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 421, "the admin side as well");
}

#[tokio::test]
async fn only_listed_origins_are_told_that_they_may() {
    let keyed = Keyed::start(&[("allowed_origins", "https://app.example, http://localhost:3000")]);
    let keyed = keyed.await;
    let key = keyed.add("page", &[Scope::Speech], Rates::default());
    for (origin, allowed) in [
        ("https://app.example", true),
        ("http://localhost:3000", true),
        ("https://evil.example", false),
        ("https://app.example.evil.example", false),
        ("null", false),
    ] {
        let fields = format!(
            "origin: {origin}\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: authorization\r\n"
        );
        let preflight = keyed.ask("OPTIONS", "/v1/audio/speech", &fields).await;
        let said = preflight.header("access-control-allow-origin");
        assert_eq!(said, if allowed { origin } else { "" }, "{origin}");
        let fields = format!("{}origin: {origin}\r\n", bearer(&key));
        let answer = keyed.ask("GET", "/v1/models", &fields).await;
        assert_eq!(answer.status, 200);
        let said = answer.header("access-control-allow-origin");
        assert_eq!(said, if allowed { origin } else { "" }, "{origin}");
        assert!(answer.header("vary").contains("origin"), "{:?}", answer.headers);
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
}

#[tokio::test]
async fn what_answers_preflights_opens_no_way_around_the_gate() {
    let settings = [("allowed_origins", "https://app.example"), ("limits.loopback", "true")];
    let rate = [("limits.address.requests_per_minute", "12")];
    let server = TestServer::start(&[&settings[..], &rate].concat()).await;
    let preflight = "origin: https://app.example\r\naccess-control-request-method: POST\r\n";
    for (path, fields, status) in [
        ("/v1/models", preflight.to_string(), 200),
        ("/v1/models", String::new(), 405),
        ("/nowhere", String::new(), 404),
        ("/v1/models", format!("host: evil.example\r\n{preflight}"), 421),
        ("/v1/models", preflight.replace("app", "evil"), 403),
        ("/v1/models", format!("host: a\r\nhost: b\r\n{preflight}"), 400),
        (&format!("/{}", "a".repeat(9000)), preflight.to_string(), 414),
    ] {
        assert_eq!(ask(&server, "OPTIONS", path, &fields).await.status, status, "{path} {fields}");
    }
    let mut last = 0;
    for _ in 0..12 {
        last = ask(&server, "OPTIONS", "/v1/models", preflight).await.status;
    }
    assert_eq!(last, 429, "they are counted as well");
}

#[tokio::test]
async fn a_key_has_its_limits_and_wrong_ones_are_counted_by_address() {
    let keyed = Keyed::start(&[]).await;
    let rates = Rates { requests: Some(3), ..Rates::default() };
    let key = keyed.add("slow", &[Scope::Speech], rates);
    let other = keyed.add("other", &[Scope::Speech], Rates::default());
    for _ in 0..3 {
        assert_eq!(keyed.ask("GET", "/v1/models", &bearer(&key)).await.status, 200);
    }
    let answer = keyed.ask("GET", "/v1/models", &bearer(&key)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "20"));
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    assert_eq!(keyed.ask("GET", "/v1/models", &bearer(&other)).await.status, 200);
    let mut statuses = Vec::new();
    for n in 0..61 {
        statuses.push(keyed.ask("GET", "/v1/models", &bearer(&format!("evs_{n}"))).await.status);
    }
    assert_eq!((statuses[0], statuses[59], statuses[60]), (401, 401, 429));
}

#[tokio::test]
async fn the_admin_side_beyond_this_machine_wants_a_key_of_its_scope() {
    let keyed = Keyed::start(&[("admin", "0.0.0.0:0")]).await;
    let (admin, speaker) = (
        keyed.add("operator", &[Scope::Admin], Rates::default()),
        keyed.add("speaker", &[Scope::Speech], Rates::default()),
    );
    let port = keyed.server.server.admin.port();
    for (fields, status) in [(String::new(), 401), (bearer(&speaker), 403), (bearer(&admin), 200)] {
        for path in ["/metrics", "/debug/ledger"] {
            let mut client = Client::connect(([127, 0, 0, 1], port).into()).await;
            let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
            client.send(head.as_bytes()).await;
            assert_eq!(client.answer().await.status, status, "{path}");
        }
    }
}
