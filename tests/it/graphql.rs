//! `POST /graphql`: what is passed on as it is, in both directions, and what is looked at before. The server behind is a
//! proxy that answers with what it is told to.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::child::ChildServer;
use crate::fault_proxy::{Fault, FaultProxy, Seen};
use crate::http::{Answer, Client, post};
use crate::server::{TestServer, live};
use crate::upstream::canned;

/// A server, and the one that it asks.
pub struct House {
    pub near: TestServer,
    pub proxy: FaultProxy,
}

impl House {
    pub async fn start(pairs: &[(&str, &str)]) -> Self {
        let proxy = FaultProxy::start(None).await;
        proxy.set(fine(br#"{"data":{"a":1}}"#));
        let url = proxy.base();
        let mut all = vec![
            ("graphql.url", url.as_str()),
            ("upstream.connect_seconds", "0.3"),
            ("upstream.first_byte_seconds", "5"),
        ];
        all.retain(|(key, _)| !pairs.iter().any(|(given, _)| given == key));
        all.extend(pairs);
        Self { near: TestServer::start(&all).await, proxy }
    }

    pub async fn post(&self, body: &[u8]) -> Answer {
        self.near.connect().await.post("/graphql", body).await
    }

    pub async fn query(&self, query: &str) -> Answer {
        self.post(json!({"query": query}).to_string().as_bytes()).await
    }

    /// What a fault gives for a query.
    pub async fn with(&self, fault: Fault) -> Answer {
        self.proxy.set(fault);
        self.query("{a}").await
    }
}

/// 200 and this body.
pub fn fine(body: &[u8]) -> Fault {
    canned("200 OK\r\ncontent-type: application/json", body)
}

/// The beginning of what was said: some of it is a mebibyte.
pub fn brief(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

/// Status and kind of a problem.
pub fn problem(answer: &Answer) -> (u16, String) {
    let kind = answer.header("content-type");
    let said = (answer.status, brief(&answer.body));
    assert_eq!(kind, "application/problem+json", "{said:?}");
    assert_eq!(answer.json()["status"], answer.status);
    (answer.status, answer.json()["type"].as_str().unwrap_or_default().to_string())
}

/// What a problem says for people.
fn detail(answer: &Answer) -> String {
    answer.json()["detail"].as_str().unwrap_or_default().to_string()
}

#[tokio::test]
async fn status_type_and_body_of_an_answer_come_down_as_they_are() {
    let house = House::start(&[]).await;
    for (status, kind, body) in [
        (
            "200 OK",
            "application/json; charset=utf-8",
            &b" {\"data\" : {\"\xc3\xa9\\u00e9\":1e2}}\n"[..],
        ),
        ("200 OK", "application/graphql-response+json", b"{\"data\":null,\"errors\":[{}]}"),
        ("201 Created", "text/odd", b"{}"),
        (
            "400 Bad Request",
            "application/graphql-response+json",
            b"{\"errors\":[{\"message\":\"x\"}]}",
        ),
        ("401 Unauthorized", "text/plain", b"who?"),
        ("404 Not Found", "text/html", b"<html>\xff</html>"),
        ("418 Teapot", "application/json", b""),
        ("500 Internal Server Error", "application/json", b"[1,2"),
        ("503 Service Unavailable", "text/plain", b"later"),
        ("429 Too Many Requests\r\nretry-after: 86400", "text/plain", b"slowly"),
    ] {
        let answer = house
            .with(canned(
                &format!("{status}\r\ncontent-type: {kind}\r\nset-cookie: a=b\r\nx-odd: 1"),
                body,
            ))
            .await;
        assert_eq!(answer.status.to_string(), status[..3], "{status}");
        assert_eq!((answer.header("content-type"), &*answer.body), (kind, body), "{status}");
        assert_eq!(answer.header("x-graphql-partial"), "", "{status}");
        assert!(answer.header("set-cookie").is_empty() && answer.header("x-odd").is_empty());
        let wait = match answer.status {
            429 => "60",
            503 => "1",
            _ => "",
        };
        assert_eq!(answer.header("retry-after"), wait, "{status}");
        assert_eq!(house.near.server.services.ledger.live(evensong::ledger::Kind::Body), 0);
    }
    // Without a word on its type or length, in the smallest pieces, and long.
    let long = format!("{{\"data\":\"{}\"}}", "x".repeat(900_000));
    let bare = |body: &str| [b"HTTP/1.1 200 OK\r\n\r\n", body.as_bytes()].concat();
    let mut chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for byte in &long.as_bytes()[..20_000] {
        chunks.extend_from_slice(&[b'1', b'\r', b'\n', *byte, b'\r', b'\n']);
    }
    chunks.extend_from_slice(b"2\r\n\"}\r\n0\r\n\r\n");
    let cut = format!("{}\"}}", &long[..20_000]);
    for (bytes, body) in [(bare(&long), &long), (chunks, &cut)] {
        let answer = house.with(Fault::Canned(bytes)).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, ""));
        assert!(answer.whole && answer.body == body.as_bytes(), "{} bytes", answer.body.len());
    }
    house.near.idle().await;
}

#[tokio::test]
async fn a_request_goes_up_as_it_came_and_with_our_key() {
    let house = House::start(&[("graphql.api_key", "sk-canary")]).await;
    let body = b" {\"operationName\":\"B\", \"query\":\"query A{a}\\n query B($v: [Int!]){b(v:$v) {c}}\", \
        \"variables\":{\"v\":[1e2, 0.10]},\"extensions\":{\"x\":[]} ,\"more\":1}\n";
    for (said, expected) in [
        ("", "application/graphql-response+json, application/json;q=0.9"),
        ("accept: application/json\r\n", "application/json"),
        ("accept: a/b;q=0.1\r\naccept: */*\r\n", "a/b;q=0.1, */*"),
    ] {
        let request = post("/graphql", body);
        let at = request.windows(2).position(|two| two == b"\r\n").expect("a line") + 2;
        let fields = format!(
            "{said}x-request-id: from-outside\r\ncookie: c=d\r\nauthorization: Bearer theirs\r\n"
        );
        let mut client = house.near.connect().await;
        client.send(&[&request[..at], fields.as_bytes(), &request[at..]].concat()).await;
        assert_eq!(client.answer().await.status, 200);
        let Seen { head, bytes, .. } = house.proxy.seen().pop().expect("it was asked");
        assert!(bytes == body, "{}", String::from_utf8_lossy(&bytes));
        for line in [
            "post /v1 http/1.1".to_string(),
            format!("accept: {expected}"),
            "content-type: application/json".into(),
            "authorization: bearer sk-canary".into(),
            "accept-encoding: identity".into(),
            "x-request-id: from-outside".into(),
            "connection: close".into(),
        ] {
            assert!(head.lines().any(|sent| sent == line), "{line} is missing in {head}");
        }
        assert!(!head.contains("theirs") && !head.contains("cookie"), "{head}");
    }
    house.near.idle().await;
}

#[tokio::test]
async fn data_beside_errors_are_marked() {
    let house = House::start(&[]).await;
    for (body, partial) in [
        (r#"{"data":{"a":1},"errors":[{"message":"b is not there"}]}"#, true),
        (r#"{"errors":[{"message":"x"}],"extensions":{},"data":{"a":null}}"#, true),
        (r#"{"data":{"a":1}}"#, false),
        (r#"{"data":{"a":1},"errors":[]}"#, false),
        (r#"{"data":null,"errors":[{"message":"x"}]}"#, false),
        (r#"{"errors":[{"message":"x"}]}"#, false),
        (r#"{"data":{"errors":[1]},"extensions":{"errors":[1]}}"#, false),
    ] {
        for status in ["200 OK", "207 Multi-Status", "400 Bad Request"] {
            let head = format!("{status}\r\ncontent-type: application/json");
            let answer = house.with(canned(&head, body.as_bytes())).await;
            let marked = answer.header("x-graphql-partial");
            assert_eq!(marked, if partial { "true" } else { "" }, "{status} {body}");
            assert!(answer.body == body.as_bytes());
        }
    }
    // As deep as it is long.
    let deep =
        format!("{{\"data\":{}{},\"errors\":[1]}}", "[".repeat(400_000), "]".repeat(400_000));
    let answer = house.with(fine(deep.as_bytes())).await;
    assert_eq!((answer.status, answer.header("x-graphql-partial")), (200, "true"));
    assert!(answer.body == deep.as_bytes());
    house.near.idle().await;
}

#[tokio::test]
async fn where_no_server_is_configured_that_is_said() {
    let server = TestServer::start(&[]).await;
    let answer = server.connect().await.post("/graphql", br#"{"query":"{a}"}"#).await;
    assert_eq!(problem(&answer), (404, "not_configured".into()));
    assert!(detail(&answer).contains("graphql.url"), "{answer:?}");
    for path in ["/graphql", "/graphql?query=%7Ba%7D"] {
        assert_eq!(problem(&server.get(path).await), (405, "method_not_allowed".into()));
    }
    server.idle().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_nobody_is_asked() {
    let house = House::start(&[("graphql.max_body_bytes", "2048")]).await;
    let deep = format!(r#"{{"query":"{{a}}","variables":{{"v":{}}}}}"#, "[".repeat(500));
    let long = format!(r#"{{"query":"{{a}}","x":"{}"}}"#, "x".repeat(3000));
    for (body, expected, said) in [
        ("", (400, "invalid_json"), "JSON"),
        ("{a}", (400, "invalid_json"), "JSON"),
        ("\"{a}\"", (400, "invalid_json"), "JSON"),
        (deep.as_str(), (400, "invalid_json"), "nested deeper"),
        (r#"[{"query":"{a}"},{"query":"{b}"}]"#, (400, "batch"), "batches"),
        (r#"{"variables":{}}"#, (400, "invalid_parameter"), "query"),
        (r#"{"query":"{a}","variables":[]}"#, (400, "invalid_parameter"), "variables"),
        (r#"{"query":"{a}","Query":"mutation{b}"}"#, (400, "invalid_json"), "Query"),
        (long.as_str(), (413, "body_too_large"), "2048"),
    ] {
        let answer = house.post(body.as_bytes()).await;
        assert_eq!(problem(&answer), (expected.0, expected.1.into()), "{body:.60}");
        assert!(detail(&answer).contains(said), "{body:.60}: {}", detail(&answer));
    }
    // A body whose length nobody said.
    let mut client = house.near.connect().await;
    client
        .send(b"POST /graphql HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    client.send(format!("{:x}\r\n{long}\r\n", long.len()).as_bytes()).await;
    assert_eq!(problem(&client.answer().await), (413, "body_too_large".into()));
    let mut bytes = br#"{"query":"{a}","variables":{"v":""#.to_vec();
    bytes.extend_from_slice(b"\xff\xfe\"}}");
    assert_eq!(problem(&house.post(&bytes).await).0, 400, "no UTF-8");
    assert!(house.proxy.seen().is_empty());
    house.near.idle().await;
}

#[tokio::test]
async fn a_query_is_looked_at_before_it_is_passed_on() {
    let deep = |n: usize| "{a".repeat(n) + &"}".repeat(n);
    for (settings, query, expected, said) in [
        (&[][..], "{a(b: )}".to_string(), (400, "graphql_syntax"), "query, line 1, column 7"),
        (&[], "{\n  a {\n}\n}".into(), (400, "graphql_syntax"), "query, line 3, column 1"),
        (&[], deep(13), (400, "query_too_deep"), "12 levels"),
        (&[], "{".repeat(60_000), (400, "graphql_syntax"), "query, line 1"),
        (&[], "{...A} fragment A on T {b{...A}}".into(), (400, "invalid_query"), "'A' has itself"),
        (&[], "subscription {a}".into(), (400, "no_subscriptions"), "subscriptions"),
        (&[], "query A{a} query B{b}".into(), (400, "unknown_operation"), "operationName"),
        (
            &[("graphql.max_depth", "2")],
            "{a{...F}} fragment F on T{b}".into(),
            (400, "query_too_deep"),
            "2 levels",
        ),
        (
            &[("graphql.introspection", "false")],
            "{a: __schema{types{name}}}".into(),
            (403, "no_introspection"),
            "__schema",
        ),
        (
            &[("graphql.introspection", "false")],
            "{...F} fragment F on Query{__type(name:\"T\"){name}}".into(),
            (403, "no_introspection"),
            "__type",
        ),
        (
            &[("graphql.allow", "A,B")],
            "query C{a}".into(),
            (403, "operation_not_allowed"),
            "operationName: 'C'",
        ),
        (
            &[("graphql.allow", "A,B")],
            "{a}".into(),
            (403, "operation_not_allowed"),
            "operationName",
        ),
    ] {
        let house = House::start(settings).await;
        let answer = house.query(&query).await;
        assert_eq!(problem(&answer), (expected.0, expected.1.into()), "{query:.60}");
        assert!(detail(&answer).contains(said), "{query:.60}: {}", detail(&answer));
        assert!(house.proxy.seen().is_empty(), "{query:.60}");
        house.near.idle().await;
    }
    let house = House::start(&[("graphql.allow", "A,B"), ("graphql.introspection", "false")]).await;
    for (query, name) in [
        ("query A{a}", Value::Null),
        ("query A{a} mutation C{c}", "A".into()),
        ("mutation B{a{__typename}}", "B".into()),
        (&format!("query A{}", deep(12)), Value::Null),
    ] {
        let body = json!({"query": query, "operationName": name, "variables": null});
        assert_eq!(house.post(body.to_string().as_bytes()).await.status, 200, "{query}");
    }
    let refused = json!({"query": "query A{a} mutation C{c}", "operationName": "C"});
    assert_eq!(house.post(refused.to_string().as_bytes()).await.status, 403);
    assert_eq!(house.proxy.seen().len(), 4);
}

#[tokio::test]
async fn without_keep_alive_no_socket_is_left() {
    for (keep_alive, left) in [("false", 0), ("true", 1)] {
        let house = House::start(&[("graphql.keep_alive", keep_alive)]).await;
        for _ in 0..5 {
            assert_eq!(house.query("{a}").await.status, 200);
        }
        let kept = |ledger: &Value| live(ledger, "upstream_socket") == left;
        house.near.wait("closed, but for what is kept", kept).await;
        house.near.idle().await;
    }
}

#[tokio::test]
async fn a_rotation_breaks_nothing_and_leaves_nothing() {
    let house = House::start(&[]).await;
    let admin = async |method: &str, path: &str| {
        let mut client = Client::connect(house.near.server.admin).await;
        match method {
            "POST" => client.post(path, b"").await,
            _ => client.get(path).await,
        }
    };
    let load = async {
        for _ in 0..60 {
            assert_eq!(house.query("{a}").await.body, br#"{"data":{"a":1}}"#);
        }
    };
    tokio::pin!(load);
    let mut rotations = 0;
    loop {
        tokio::select! {
            biased;
            () = &mut load => break,
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(admin("POST", "/debug/upstreams/rotate").await.status, 202);
        rotations += 1;
    }
    assert!(rotations > 20, "{rotations}");
    let began = Instant::now();
    loop {
        let row = admin("GET", "/debug/upstreams").await.json()["upstreams"][0].clone();
        assert_eq!((&row["name"], &row["cut"]), (&"GraphQL".into(), &0.into()));
        if row["draining"] == 0 && row["in_flight"] == 0 {
            assert!(row["generation"].as_u64() > Some(2), "{row}");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{row}");
    }
    let ledger = house.near.idle().await;
    assert_eq!((live(&ledger, "upstream_client"), live(&ledger, "upstream_socket")), (1, 0));
}

#[tokio::test]
async fn each_client_that_is_created_says_so() {
    let proxy = FaultProxy::start(None).await;
    proxy.set(fine(br#"{"data":{}}"#));
    let (url, age) = (proxy.base(), "EVENSONG_GRAPHQL_MAX_CLIENT_AGE_SECONDS");
    let mut server = ChildServer::start(&[], &[("EVENSONG_GRAPHQL_URL", &url), (age, "1")]).await;
    let began = Instant::now();
    while server.said("GraphQL Client created") < 3 {
        assert!(began.elapsed() < Duration::from_secs(10), "it does not grow old");
        let mut client = Client::connect(server.listen).await;
        assert_eq!(client.post("/graphql", br#"{"query":"{a}"}"#).await.status, 200);
    }
    assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
    server.stop().await;
}
