//! What a scrape says: names and units by the conventions, every metric documented, and nothing that grows.

use super::*;

/// With one series of each family, since those that have none are left out.
fn rendered() -> String {
    let m = Metrics::default();
    let route = "/healthz";
    drop(m.requests.get_or_create(&RequestLabel { method: "GET", route, status: 200 }));
    m.request_duration.observe(&RouteLabel { route }, Duration::ZERO);
    m.told("session.created");
    for states in [&m.budget_bytes, &m.memory_state, &m.sessions] {
        drop(states.get_or_create(&StateLabel { state: "flat" }));
    }
    for kinds in [&m.ledger_live, &m.ledger_bytes] {
        drop(kinds.get_or_create(&KindLabel { kind: "task" }));
    }
    drop(m.ledger_entries.get_or_create(&KindLabel { kind: "task" }));
    let upstream = "openai";
    let upstreams = UpstreamLabel { upstream };
    m.upstream_answer.observe(&upstreams, Duration::ZERO);
    for counts in [&m.upstream_retries, &m.upstream_cut] {
        drop(counts.get_or_create(&upstreams));
    }
    for gauges in
        [&m.upstream_generation, &m.upstream_draining, &m.upstream_in_flight, &m.upstream_open]
    {
        drop(gauges.get_or_create(&upstreams));
    }
    drop(m.upstream_age.get_or_create(&upstreams));
    drop(m.upstream_requests.get_or_create(&UpstreamRequestLabel { upstream, outcome: "open" }));
    drop(m.speech_fallbacks.get_or_create(&FallbackLabel { from: "openai", to: "espeak" }));
    m.media(Served::Hot, 1);
    drop(m.ledger_disagreement.get_or_create(&WhatLabel { of: "fds" }));
    drop(m.memory_bytes.get_or_create(&MemoryLabel { kind: "rss" }));
    drop(m.memory_slope.get_or_create(&BoundLabel { bound: "low" }));
    let build = BuildLabel { version: "1", revision: "unknown", profile: "debug" };
    drop(m.build_info.get_or_create(&build));
    m.render(Exposition::OpenMetrics)
}

/// The name and type of every metric.
fn families(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn what_was_counted_is_rendered_with_unit_and_label() {
    let m = Metrics::default();
    m.connections.inc();
    m.cut(Cut::SlowConsumer);
    m.freed(Left::Stream, Duration::from_millis(3));
    set_seconds(&m.process_cpu, 1.5);
    let text = m.render(Exposition::OpenMetrics);
    for line in [
        "evensong_connections_total 1",
        "evensong_connection_cuts_total{reason=\"slow_consumer\"} 1",
        "evensong_disconnect_to_free_seconds_bucket{le=\"0.005\",held=\"stream\"} 1",
        "evensong_disconnect_to_free_seconds_bucket{le=\"0.002\",held=\"stream\"} 0",
        "process_cpu_seconds_total 1.5",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    assert!(!m.render(Exposition::Prometheus).contains("# EOF"));
}

/// <https://prometheus.io/docs/practices/naming/>
#[test]
fn names_follow_the_conventions() {
    let text = rendered();
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    for (name, kind) in families(&text) {
        assert!(name.starts_with("evensong_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(plain) && !name.contains("__"), "{name}");
        for wrong in
            ["milliseconds", "_ms", "kilobytes", "_kib", "_mb", "minutes", "_count", "_sum"]
        {
            assert!(!name.ends_with(wrong), "{name}: base units only");
        }
        assert!(!name.ends_with("_total"), "{name}: the encoder adds it to a {kind}");
        let unit = text.lines().find_map(|line| line.strip_prefix(&format!("# UNIT {name} ")));
        assert!(unit.is_none_or(|unit| name.ends_with(unit)), "{name}");
    }
}

#[test]
fn every_metric_has_a_row_in_the_documentation_and_no_row_is_left_over() {
    let documentation = include_str!("../../docs/metrics.md");
    let rows = documentation.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut documented: Vec<_> = rows.map(|name| name.split('{').next().unwrap_or(name)).collect();
    let text = rendered();
    let mut exported: Vec<_> = families(&text)
        .into_iter()
        .map(|(name, kind)| format!("{name}{}", if kind == "counter" { "_total" } else { "" }))
        .collect();
    documented.sort_unstable();
    exported.sort_unstable();
    assert_eq!(documented, exported, "docs/metrics.md against what a scrape says");
}

#[test]
fn no_two_help_lines_are_alike_and_none_is_empty() {
    let text = rendered();
    let mut helps: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '))
        .map(|(_, help)| help)
        .collect();
    assert_eq!(helps.len(), families(&text).len());
    assert!(helps.iter().all(|help| help.len() > 10), "{helps:?}");
    helps.sort_unstable();
    helps.dedup();
    assert_eq!(helps.len(), families(&text).len(), "{helps:?}");
}

/// A histogram that keeps its samples until they are fetched grows when nobody comes.
#[test]
fn nothing_piles_up_when_nobody_scrapes() {
    let m = Metrics::default();
    let observe = |times: u32| {
        for n in 0..times {
            m.first_audio.observe(Duration::from_micros(u64::from(n)));
            m.freed(Left::Stream, Duration::from_micros(u64::from(n)));
            m.cut(Cut::ALL[n as usize % Cut::ALL.len()]);
        }
    };
    observe(1000);
    let balance = || {
        let taken = tikv_jemalloc_ctl::thread::allocatedp::read().expect("counted").get();
        let given = tikv_jemalloc_ctl::thread::deallocatedp::read().expect("counted").get();
        taken as i64 - given as i64
    };
    let before = balance();
    observe(200_000);
    assert_eq!(balance() - before, 0, "bytes that 200,000 observations left");
}
