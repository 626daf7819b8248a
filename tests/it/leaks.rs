//! The sixteen tests that a voice server's leak was closed with (requirement B11), under their groups'
//! names, asked of this one. Invariant of all: what was begun for somebody ends with them, and what
//! stands is counted, named, and ends with the server.

use std::time::Duration;

use evensong::http::limit::{Client, LimitConfig, Limits, Rates};
use evensong::ledger::{Kind, Ledger};
use evensong::metrics::Metrics;
use serde_json::json;

use crate::http::Client as Http;
use crate::leaving::{long_request, stalled};
use crate::server::{TestServer, live};

mod voice {
    use super::*;

    #[tokio::test]
    async fn a_client_that_goes_takes_all_that_was_begun_for_it() {
        let server = TestServer::start(&[]).await;
        let listeners = [stalled(&server).await, stalled(&server).await];
        assert_eq!(server.live("speech_stream").await, 2);
        drop(listeners);
        let ledger = server.idle().await;
        assert_eq!((live(&ledger, "job"), live(&ledger, "task")), (0, 0));
    }

    #[tokio::test]
    async fn shutdown_ends_every_stream_and_every_timer() {
        let server = TestServer::start(&[("shutdown.deadline_seconds", "2")]).await;
        let mut listener = stalled(&server).await;
        let ledger = server.server.services.ledger.clone();
        server.server.stop().await;
        assert!(!listener.rest().await.1, "what broke off does not look finished");
        let left = Kind::ALL.iter().filter(|kind| **kind != Kind::Phrase);
        let left: Vec<_> = left.filter(|kind| ledger.live(**kind) > 0).collect();
        assert!(left.is_empty(), "{left:?} outlived the server");
    }

    #[tokio::test]
    async fn shutdown_can_be_repeated_ten_times_in_a_row() {
        for _ in 0..10 {
            let server = TestServer::start(&[]).await;
            let ledger = server.server.services.ledger.clone();
            assert!(server.server.stop().await);
            assert_eq!((ledger.tasks(), ledger.is_idle()), (0, true));
        }
    }

    #[tokio::test]
    async fn a_connection_that_never_says_anything_is_ended() {
        let mut config = crate::server::config(&[]);
        config.door.patience.first_bytes = Duration::from_millis(100);
        let server = TestServer::with(&config).await;
        let mut silent = server.connect().await;
        assert!(silent.ends_within(Duration::from_secs(5)).await);
        server.idle().await;
    }
}

mod limiter {
    use super::*;

    fn limits() -> (Limits, Ledger) {
        let one = Rates { requests: 1, starts: 1, characters: 1 };
        let config = LimitConfig { loopback: true, address: one, ..LimitConfig::default() };
        (Limits::new(config, false, Metrics::default()), Ledger::new())
    }

    fn ask(limits: &Limits) -> bool {
        let address = "1.2.3.4".parse().expect("an address");
        limits.request(Client { address, forwarded: false }).is_ok()
    }

    /// Asks for too much in so many different seconds.
    async fn strike(limits: &Limits, times: u32) {
        ask(limits);
        for _ in 0..times {
            assert!((0..10).all(|_| !ask(limits)));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn starting_it_again_makes_no_second_timer() {
        let (limits, ledger) = limits();
        limits.start(&ledger);
        let timers = ledger.live(Kind::Timer);
        for _ in 0..5 {
            limits.start(&ledger);
        }
        assert_eq!(ledger.live(Kind::Timer), timers);
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_it_clears_the_timer_the_suspicious_and_the_blocked() {
        let (limits, ledger) = limits();
        limits.start(&ledger);
        strike(&limits, 11).await;
        limits.stop().await;
        assert_eq!((ledger.live(Kind::Timer), limits.remembered()), (0, 0));
        assert!(ask(&limits), "nobody is shut out any more");
    }

    #[tokio::test(start_paused = true)]
    async fn it_can_be_started_after_a_stop() {
        let (limits, ledger) = limits();
        for _ in 0..3 {
            limits.start(&ledger);
            assert!(ledger.live(Kind::Timer) > 0);
            limits.stop().await;
            assert_eq!(ledger.live(Kind::Timer), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn entries_expire_whatever_they_counted() {
        for strikes in [0, 2, 3, 10, 11] {
            let (limits, ledger) = limits();
            limits.start(&ledger);
            strike(&limits, strikes).await;
            tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
            assert_eq!(limits.remembered(), 0, "{strikes} strikes");
        }
    }
}

mod integration {
    use super::*;

    #[tokio::test]
    async fn a_hundred_clients_with_errors_among_them_leave_nothing() {
        let server = TestServer::start(&[]).await;
        let one = |n: usize| {
            let server = &server;
            async move {
                match n % 5 {
                    // Listens to the end, leaves in the middle, sends nonsense, breaks off, hangs up.
                    0 => assert_eq!(server.speech(&json!({"input": "Good."})).await.status, 200),
                    1 => drop(stalled(server).await),
                    2 => {
                        let answer = server.connect().await.post("/v1/audio/speech", b"{").await;
                        assert_eq!(answer.status, 400);
                    }
                    3 => {
                        let mut client = server.connect().await;
                        client.send(&long_request()[..200]).await;
                    }
                    _ => {
                        let client = stalled(server).await;
                        client.stream.set_zero_linger().expect("a socket");
                    }
                }
            }
        };
        for round in 0..5 {
            futures_util::future::join_all((0..20).map(|n| one(round + n))).await;
        }
        let ledger = server.idle().await;
        assert_eq!(ledger["process"]["tasks"], ledger["expected"]["tasks"], "{ledger:#}");
    }

    #[tokio::test]
    async fn a_server_that_follows_another_finds_nothing_of_it() {
        let first = TestServer::start(&[("shutdown.deadline_seconds", "2")]).await;
        let address = first.server.listen[0].to_string();
        let _listener = stalled(&first).await;
        first.server.stop().await;
        let second = TestServer::start(&[("listen", &address)]).await;
        assert_eq!(second.get("/healthz").await.status, 200);
        second.idle().await;
    }
}

mod interval {
    use super::*;

    #[tokio::test]
    async fn no_request_starts_a_timer() {
        let server = TestServer::start(&[]).await;
        let before = server.live("timer").await;
        assert!(before >= 1);
        let _listeners = [stalled(&server).await, stalled(&server).await];
        for _ in 0..20 {
            assert_eq!(server.get("/api/status").await.status, 200);
        }
        assert_eq!(server.live("timer").await, before);
    }

    #[tokio::test]
    async fn every_timer_has_a_name_and_ends_with_the_server() {
        let server = TestServer::start(&[]).await;
        let ledger = server.ledger().await;
        let items = ledger["items"].as_array().expect("items");
        let timers = items.iter().filter(|item| item["kind"] == "timer");
        assert!(timers.clone().count() > 0 && timers.clone().all(|timer| timer["owner"] != ""));
        let ledger = server.server.services.ledger.clone();
        server.server.stop().await;
        assert_eq!(ledger.live(Kind::Timer), 0);
    }
}

mod indicators {
    use super::*;

    #[tokio::test]
    async fn the_books_agree_with_the_runtime_while_clients_are_there() {
        let server = TestServer::start(&[]).await;
        let _listeners = [stalled(&server).await, stalled(&server).await];
        let ledger = server.ledger().await;
        assert_eq!(ledger["process"]["tasks"], ledger["expected"]["tasks"], "{ledger:#}");
        assert_eq!(live(&ledger, "speech_stream"), 2);
    }

    #[tokio::test]
    async fn nothing_that_lives_grows_from_round_to_round() {
        let server = TestServer::start(&[]).await;
        let mut rounds = Vec::new();
        for _ in 0..5 {
            for _ in 0..10 {
                assert_eq!(server.speech(&json!({"input": "The same."})).await.status, 200);
                drop(stalled(&server).await);
            }
            let ledger = server.idle().await;
            let kinds = ledger["kinds"].as_array().expect("kinds").iter();
            // The operator who asks is there each time, on one connection more or less.
            let kinds = kinds.filter(|kind| !kind["kind"].to_string().contains("admin"));
            rounds.push(kinds.map(|kind| kind["live"].clone()).collect::<Vec<_>>());
        }
        assert!(rounds.iter().all(|round| *round == rounds[0]), "{rounds:?}");
    }
}

mod error {
    use super::*;

    #[tokio::test]
    async fn an_error_is_counted_answered_and_ends_what_it_struck() {
        let server = TestServer::start(&[]).await;
        let mut client = server.connect().await;
        client
            .send(b"POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n")
            .await;
        assert_eq!(client.head().await.0, 400);
        assert!(client.ends_within(Duration::from_secs(5)).await, "the errored connection, too");
        server.idle().await;
        let metrics = Http::connect(server.server.admin).await.get("/metrics").await;
        let metrics = String::from_utf8(metrics.body).expect("text");
        let line = "evensong_connection_cuts_total{reason=\"malformed\"} 1";
        assert!(metrics.contains(line), "{metrics}");
    }
}

mod performance {
    use evensong::bounds::memory::allocator;

    use super::*;

    #[tokio::test]
    async fn a_hundred_servers_made_and_ended_cost_less_than_ten_megabytes() {
        if !alone(
            "leaks::performance::a_hundred_servers_made_and_ended_cost_less_than_ten_megabytes",
        ) {
            return;
        }
        let round = || async {
            let server = TestServer::start(&[]).await;
            assert_eq!(server.speech(&json!({"input": "Hello."})).await.status, 200);
            drop(stalled(&server).await);
            server.idle().await;
            server.server.stop().await;
        };
        for _ in 0..5 {
            round().await;
        }
        let before = resident_bytes();
        for _ in 0..100 {
            round().await;
        }
        let grown = resident_bytes().saturating_sub(before);
        eprintln!("100 servers: {grown} bytes");
        assert!(grown < 10_000_000, "{grown} bytes");
    }

    /// What is held, without the pages that are free: the allocator keeps those for a while, more or
    /// less of them from one run to the next (2 to 36 MB after the same hundred servers).
    fn resident_bytes() -> u64 {
        allocator::purge().expect("jemalloc is the allocator here, too");
        let statm = std::fs::read_to_string("/proc/self/statm").expect("proc");
        let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
        pages * rustix::param::page_size() as u64
    }
}

/// True in a process of the test's own, which this starts and waits for where it is not yet.
fn alone(test: &str) -> bool {
    const MARK: &str = "EVENSONG_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().expect("this binary"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let heard = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{heard}");
    false
}
