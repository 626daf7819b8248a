//! GraphQL servers that fail, and clients that do not stay; and what the server itself is told when it asks.

use std::time::{Duration, Instant};

use evensong::upstream::graphql::{GraphqlError, Told};
use serde_json::json;
use tokio::net::TcpListener;

use crate::fault_proxy::{Fault, FaultProxy, Seen};
use crate::graphql::{House, brief, fine, problem};
use crate::http::{Client, post};
use crate::server::live;
use crate::upstream::canned;

const MIB: usize = 1024 * 1024;

/// How a fault begins.
fn named(fault: &Fault) -> String {
    match fault {
        Fault::Canned(bytes) | Fault::Endless(bytes, _) => brief(bytes),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn what_went_well_and_is_no_object_of_json_is_502() {
    let mebibyte = format!("{{\"data\":\"{}\"}}", "x".repeat(MIB));
    let elsewhere = FaultProxy::start(None).await;
    let away = |status: &str| format!("{status}\r\nlocation: http://{}/v1", elsewhere.address);
    for (fault, said) in [
        (
            canned("200 OK\r\ncontent-type: text/html", b"<html>{}</html>"),
            "text/html, not with an object",
        ),
        (fine(b"[{\"data\":{}}]"), "not an object of JSON"),
        (fine(b"{\"data\":{}"), "not an object of JSON"),
        (fine(b"{\"data\":{}} and more"), "not an object of JSON"),
        (fine(b""), "not an object of JSON"),
        (canned("204 No Content", b""), "not an object of JSON"),
        (fine(mebibyte.as_bytes()), "longer than 1048576 bytes"),
        (
            Fault::Endless(b"HTTP/1.1 200 OK\r\n\r\n{\"data\":\"".to_vec(), vec![b'x'; 8192]),
            "longer than",
        ),
        (Fault::Endless(b"HTTP/1.1 500 No\r\n\r\n".to_vec(), vec![b'x'; 8192]), "longer than"),
        (
            canned("200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip", b"{}"),
            "gzip",
        ),
        (canned(&away("302 Found"), b"{\"data\":{}}"), "not followed"),
        (canned(&away("307 Temporary Redirect"), b"{\"data\":{}}"), "not followed"),
        (canned("304 Not Modified", b""), "not followed"),
        (fine(b"{\"data\":{\"a\":\"Bearer sk-canary\"}}"), "repeats the key"),
        (canned("401 Unauthorized", b"no key like sk-canary here"), "repeats the key"),
        (Fault::Canned(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "no sense"),
        // Half of what it said that it would send.
        (
            Fault::Canned(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n{\"data\"".to_vec(),
            ),
            "broke off",
        ),
    ] {
        // Each with a breaker of its own.
        let house = House::start(&[("graphql.api_key", "sk-canary")]).await;
        let name = named(&fault);
        let answer = house.with(fault).await;
        assert_eq!(problem(&answer), (502, "upstream_failed".into()), "{name:?}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains(said) && !text.contains("canary"), "{name:?}: {text}");
        house.proxy.wait_for_any("over", |seen| seen.len() == 1).await;
        house.near.idle().await;
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn one_that_is_down_or_silent_or_fails_again_and_again_is_told_apart() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("one");
    let nowhere = format!("http://{nobody}/graphql");
    let house = House::start(&[("graphql.url", &nowhere)]).await;
    assert_eq!(problem(&house.query("{a}").await), (502, "upstream_unreachable".into()));
    let behind = FaultProxy::start(None).await;
    behind.set(fine(&[b' '; 99]));
    let proxy = FaultProxy::start(Some(behind.address)).await;
    let (url, short) = (proxy.base(), "0.3");
    let settings = [("upstream.first_byte_seconds", short), ("upstream.idle_seconds", short)];
    let house = House::start(&[&settings[..], &[("graphql.url", &url)]].concat()).await;
    // Before the head, and in the middle of the body.
    for at in [0, 100] {
        proxy.set(Fault::Stall(at));
        let began = Instant::now();
        assert_eq!(problem(&house.query("{a}").await), (504, "upstream_timeout".into()), "{at}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        house.near.idle().await;
    }
    for at in [50, 100] {
        proxy.set(Fault::Reset(at));
        assert_eq!(problem(&house.query("{a}").await), (502, "upstream_failed".into()), "{at}");
        house.near.idle().await;
    }
    // Its own words come down as long as it is asked at all.
    let house = House::start(&[]).await;
    for _ in 0..5 {
        let answer = house.with(canned("502 Bad Gateway", b"what a proxy says")).await;
        assert_eq!((answer.status, &*answer.body), (502, &b"what a proxy says"[..]));
    }
    let answer = house.with(fine(b"{\"data\":{}}")).await;
    assert_eq!(problem(&answer), (503, "upstream_down".into()));
    assert_eq!((answer.header("retry-after"), house.proxy.seen().len()), ("2", 5));
    assert_eq!(answer.json()["retry_after_seconds"], 2);
    house.near.idle().await;
}

#[tokio::test]
async fn a_mutation_is_never_asked_twice() {
    for (query, name, most) in [
        ("mutation {a}", "", 1),
        ("query A{a} mutation B{b}", "B", 1),
        ("query A{a} mutation B{b}", "A", 3),
        ("{a}", "", 3),
    ] {
        let house = House::start(&[]).await;
        // It takes the request and closes the connection.
        house.proxy.set(Fault::Canned(Vec::new()));
        let body = json!({"query": query, "operationName": name}).to_string();
        let answer = house.post(body.as_bytes()).await;
        assert_eq!(problem(&answer), (502, "upstream_failed".into()), "{query}");
        assert_eq!(house.proxy.seen().len(), most, "{query} {name}");
        house.near.idle().await;
    }
}

#[tokio::test]
async fn an_upstream_sees_that_a_client_of_graphql_has_left() {
    let behind = FaultProxy::start(None).await;
    behind.set(fine(&[b' '; 99]));
    let proxy = FaultProxy::start(Some(behind.address)).await;
    let settings = [("graphql.url", &*proxy.base()), ("upstream.first_byte_seconds", "20")];
    let house = House::start(&settings).await;
    // Before the head, and in the middle of the body.
    for at in [0, 100] {
        proxy.set(Fault::Stall(at));
        let before = proxy.seen().len();
        let mut client = house.near.connect().await;
        client.send(&post("/graphql", br#"{"query":"mutation {a}"}"#)).await;
        let asked = |seen: &[Seen]| seen.len() > before && seen[before].given >= at;
        proxy.wait_for_any("asked", asked).await;
        let left = Instant::now();
        drop(client);
        let seen = proxy.wait_for_any("left", |seen| seen[before].left.is_some()).await;
        let took = seen[before].left.expect("seen").saturating_duration_since(left);
        assert!(took < Duration::from_secs(1), "{took:?}");
        house.near.idle().await;
        assert_eq!(house.near.live("upstream_request").await, 0);
    }
}

#[tokio::test]
async fn no_byte_is_read_that_was_not_reserved() {
    let house = House::start(&[]).await;
    let budget = house.near.server.services.budget.clone();
    // The connection of the client that asks costs 48 KiB as well.
    let leave = |bytes: usize| {
        let state = budget.state();
        budget.reserve(state.total - state.reserved - bytes as u64 - 48 * 1024).expect("is there")
    };
    let long = format!("{{\"data\":\"{}\"}}", "x".repeat(700 * 1024));
    let chunked = format!("HTTP/1.1 200 OK\r\n\r\n{long}");
    for (left, fault, status, asked) in [
        // Not even room for what the upstream's socket may hold.
        (100 * 1024, fine(long.as_bytes()), 503, 0),
        // Room for that, and for small answers.
        (300 * 1024, fine(b"{\"data\":{}}"), 200, 1),
        (400 * 1024, fine(long.as_bytes()), 503, 1),
        (400 * 1024, Fault::Canned(chunked.clone().into_bytes()), 503, 1),
        (1200 * 1024, fine(long.as_bytes()), 200, 1),
        // Its length is not said, so there are two rooms of it for a moment.
        (3 * MIB, Fault::Canned(chunked.into_bytes()), 200, 1),
    ] {
        house.near.idle().await;
        let before = house.proxy.seen().len();
        let taken = leave(left);
        let name = named(&fault);
        let answer = house.with(fault).await;
        assert_eq!(answer.status, status, "{left} {name:?}");
        if status == 503 {
            assert_eq!(problem(&answer), (503, "over_budget".into()));
            assert_eq!(answer.header("retry-after"), "1");
        }
        assert_eq!(house.proxy.seen().len() - before, asked, "{left} {name:?}");
        drop(taken);
    }
    house.near.idle().await;
}

#[tokio::test]
async fn what_a_slow_client_has_not_taken_stays_reserved_and_no_longer() {
    let house = House::start(&[]).await;
    let long = format!("{{\"data\":\"{}\"}}", "x".repeat(1000 * 1024));
    house.proxy.set(fine(long.as_bytes()));
    let mut client = Client::connect_narrow(house.near.server.listen[0]).await;
    client.send(&post("/graphql", br#"{"query":"{a}"}"#)).await;
    assert!(client.fill(1000).await);
    let ledger = house.near.wait("read", |ledger| live(ledger, "body") == 1).await;
    assert!(ledger["budget"]["reserved"].as_u64() >= Some(1000 * 1024), "{ledger:#}");
    // The upstream has done its part.
    assert_eq!((live(&ledger, "upstream_request"), live(&ledger, "upstream_socket")), (0, 0));
    drop(client);
    house.near.idle().await;
}

#[tokio::test]
async fn no_more_are_in_flight_than_may_be() {
    let settings = [("graphql.max_in_flight", "1"), ("upstream.first_byte_seconds", "20")];
    let house = House::start(&settings).await;
    house.proxy.set(Fault::Canned(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n".to_vec()));
    let mut first = house.near.connect().await;
    first.send(&post("/graphql", br#"{"query":"{a}"}"#)).await;
    house.proxy.wait_for_any("asked", |seen| seen.len() == 1).await;
    assert_eq!(problem(&house.query("{b}").await), (503, "upstream_saturated".into()));
    drop(first);
    house.near.idle().await;
    assert_eq!(house.with(fine(b"{\"data\":{}}")).await.status, 200);
}

#[tokio::test]
async fn the_server_itself_is_told_data_and_whether_they_are_all() {
    let house = House::start(&[("graphql.api_key", "sk-canary")]).await;
    let graphql = house.near.server.services.graphql.clone().expect("is configured").server;
    let ask = async |fault: Fault| {
        house.proxy.set(fault);
        graphql.query("query Q($a: Int) {b(a: $a)}", &json!({"a": 1}), "indexer".into()).await
    };
    let told = ask(fine(br#"{"data":{"b":2}}"#)).await;
    assert_eq!(told, Ok(Told { data: json!({"b": 2}), partial: None }));
    let seen = house.proxy.seen().pop().expect("it was asked");
    assert_eq!(seen.body, json!({"query": "query Q($a: Int) {b(a: $a)}", "variables": {"a": 1}}));
    assert!(
        seen.head.contains("accept: application/graphql-response+json, application/json;q=0.9")
    );
    let half = br#"{"data":{"b":null},"errors":[{"message":"no b for sk-canary"}]}"#;
    let told = ask(fine(half)).await.expect("some data");
    assert_eq!((told.data, &*told.partial.expect("not all")), (json!({"b": null}), "no b for ***"));
    let errors = ask(fine(br#"{"data":null,"errors":[{"message":"none"}]}"#)).await;
    assert_eq!(errors, Err(GraphqlError::Errors("none".into())));
    for (fault, said) in [
        (fine(b"{}"), "neither data nor errors"),
        (fine(b"[]"), "not an object of JSON"),
        (canned("200 OK\r\ncontent-type: text/html", b"<html>"), "text/html"),
        (canned("400 Bad Request", br#"{"errors":[{"message":"no field b"}]}"#), "no field b"),
        (canned("302 Found", b""), "not followed"),
        (fine(&[b' '; MIB + 1]), "longer than"),
        (
            fine(format!("{{\"data\":{}{}}}", "[".repeat(999), "]".repeat(999)).as_bytes()),
            "recursion",
        ),
    ] {
        let name = named(&fault);
        let error = ask(fault).await.expect_err("no data").to_string();
        assert!(error.starts_with("GraphQL: ") && error.contains(said), "{name:?}: {error}");
    }
    let before = house.proxy.seen().len();
    assert!(ask(Fault::Canned(Vec::new())).await.is_err());
    assert_eq!(house.proxy.seen().len() - before, 3, "it may be asked again");
    let ledger = house.near.idle().await;
    assert_eq!((live(&ledger, "upstream_errand"), live(&ledger, "upstream_socket")), (0, 0));
}
