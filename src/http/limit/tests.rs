//! Whose address counts, and what it may do.

use super::*;
use crate::http::auth::Scope;

fn limits(set: impl FnOnce(&mut LimitConfig)) -> Limits {
    let mut config = LimitConfig { loopback: true, ..LimitConfig::default() };
    set(&mut config);
    Limits::new(config, false, Metrics::default())
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn at(text: &str) -> Client {
    Client { address: ip(text), forwarded: false }
}

fn value_of(text: &str) -> http::HeaderValue {
    let bytes: Vec<u8> = text.chars().map(|c| c as u8).collect();
    http::HeaderValue::from_bytes(&bytes).expect("a value")
}

fn forwarded(values: &[&str]) -> HeaderMap {
    let pair = |value: &&str| (http::HeaderName::from_static("x-forwarded-for"), value_of(value));
    let mut headers = HeaderMap::new();
    headers.extend(values.iter().map(pair));
    headers
}

#[test]
fn a_client_s_own_word_on_its_address_counts_for_nothing() {
    let limits = limits(|config| config.proxies = vec!["10.0.0.0/8".parse().expect("a net")]);
    for (peer, values, client) in [
        ("1.2.3.4", &["9.9.9.9"][..], "1.2.3.4"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["9.9.9.9"], "9.9.9.9"),
        ("::ffff:10.0.0.1", &["9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", &["6.6.6.6, 9.9.9.9, 10.0.0.2"], "9.9.9.9"),
        ("10.0.0.1", &["6.6.6.6", "9.9.9.9"], "9.9.9.9"),
        ("10.0.0.1", &["6.6.6.6, nonsense"], "10.0.0.1"),
        ("10.0.0.1", &["6.6.6.6, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", &["10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", &["9.9.9.9:1234"], "9.9.9.9"),
        ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", &["::ffff:9.9.9.9"], "9.9.9.9"),
        // What is no text is not passed over for an earlier line, which is the client's own word.
        ("10.0.0.1", &["6.6.6.6", "\u{ff}"], "10.0.0.1"),
    ] {
        let found = limits.client(ip(peer), &forwarded(values)).address;
        assert_eq!(found, ip(client), "{peer} {values:?}");
    }
}

#[test]
fn who_comes_by_a_proxy_is_not_of_this_machine() {
    let one = Rates { requests: 1, starts: 1, characters: 1 };
    let proxies = vec!["127.0.0.0/8".parse().expect("a net")];
    let config = LimitConfig { address: one, proxies, ..LimitConfig::default() };
    let limits = Limits::new(config, false, Metrics::default());
    for value in ["\u{ff}, 9.9.9.9", "nonsense", "127.0.0.1"] {
        let client = limits.client(ip("127.0.0.1"), &forwarded(&[value]));
        let _ = limits.request(client);
        assert!(limits.request(client).is_err(), "{value}");
    }
    let own = limits.client(ip("127.0.0.1"), &HeaderMap::new());
    assert!((0..10).all(|_| limits.request(own).is_ok()), "the proxy's own probes");
}

#[test]
fn a_customer_of_ipv6_is_one_network_and_a_mapped_address_is_its_ipv4() {
    let key = |text: &str| Key::of(ip(text));
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_eq!(key("::ffff:1.2.3.4"), key("1.2.3.4"));
    assert_eq!(key("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
}

#[tokio::test]
async fn forged_addresses_leave_a_bounded_map() {
    let limits = limits(|config| config.proxies = vec!["10.0.0.0/8".parse().expect("a net")]);
    let mut forged = HeaderMap::new();
    for n in 0..100_000u32 {
        let address = Ipv4Addr::from(0x2000_0000 + n).to_string();
        forged.insert("x-forwarded-for", address.parse().expect("a value"));
        let client = limits.client(ip("10.0.0.1"), &forged);
        let _ = limits.request(client);
    }
    assert_eq!(limits.remembered(), crate::limits::LIMITER_KEYS);
    let before = limits.remembered();
    for n in 0..1000u32 {
        forged.insert("x-forwarded-for", n.to_string().parse().expect("a value"));
        let _ = limits.request(limits.client(ip("1.2.3.4"), &forged));
    }
    assert!(limits.remembered() <= before, "the peer's own word opens no entry");
    limits.stop().await;
    assert_eq!(limits.remembered(), 0);
}

#[test]
fn an_address_has_so_many_connections_and_their_places_come_back() {
    let limits = limits(|config| config.connections = 2);
    let connect = |text: &str| limits.connect(ip(text));
    let first = connect("1.2.3.4").expect("room");
    let _second = connect("1.2.3.4").expect("room");
    assert!(connect("1.2.3.4").is_err());
    let _other = connect("1.2.3.5").expect("others have their own");
    drop(first);
    let third = connect("1.2.3.4").expect("room again");
    drop((third, _second, _other));
    assert!(limits.0.connections.lock().is_empty(), "an address without any is forgotten");
}

#[test]
fn loopback_is_exempt_only_without_keys_and_only_if_not_said_otherwise() {
    let ask = |keyed: bool, loopback: bool, address: &str| {
        let one = Rates { requests: 1, starts: 1, characters: 10 };
        let config = LimitConfig { loopback, address: one, ..LimitConfig::default() };
        let limits = Limits::new(config, keyed, Metrics::default());
        limits.request(at(address)).expect("the first");
        limits.request(at(address)).is_ok()
    };
    assert!(ask(false, false, "127.0.0.1") && ask(false, false, "::1"));
    assert!(!ask(false, true, "127.0.0.1"));
    assert!(!ask(true, false, "127.0.0.1"));
    assert!(!ask(false, false, "1.2.3.4"));
}

#[test]
fn a_key_has_its_own_limits_wherever_it_comes_from() {
    let limits = limits(|config| {
        config.principal = Rates { requests: 2, starts: 2, characters: 100 };
    });
    let mut key = Principal::anybody(&Scope::USUAL);
    key.keyless = false;
    for n in 0..2 {
        limits.start_stream(at(&format!("1.2.3.{n}")), &key, 10).expect("within");
    }
    assert!(limits.start_stream(at("1.2.3.9"), &key, 10).is_err());
    key.id = "other".into();
    key.rates.starts = Some(0);
    for _ in 0..10 {
        limits.start_stream(at("1.2.3.4"), &key, 10).expect("0 is no limit");
    }
    assert!(limits.start_stream(at("1.2.3.4"), &key, 10).is_err(), "characters are counted, too");
}

#[test]
fn an_address_and_a_key_have_so_many_streams_at_once() {
    let limits = limits(|config| config.streams = (2, 3));
    let mut key = Principal::anybody(&Scope::USUAL);
    key.keyless = false;
    let start = |address: &str| limits.start_stream(at(address), &key, 10);
    let places = [start("1.2.3.4").expect("room"), start("1.2.3.4").expect("room")];
    let refused = start("1.2.3.4").err().expect("the address has its two");
    assert!(refused.what.contains("2 streams at once"), "{refused:?}");
    let _third = start("1.2.3.5").expect("room");
    assert!(start("1.2.3.6").is_err(), "the key has its three");
    drop(places);
    drop(start("1.2.3.4").expect("room again"));
    drop(_third);
    assert!(limits.0.streams.lock().is_empty());
}
