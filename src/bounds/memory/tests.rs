//! The watch as a whole: a ring that keeps its size, a scope that ends it, and a memory that it does not
//! add to.

use super::*;
use crate::ledger::Kind;
use crate::tasks::Scope;

fn books() -> Books {
    Books { budget: Budget::new(1), ledger: Ledger::new(), baseline: Baseline::default() }
}

fn config(samples: usize) -> WatchConfig {
    WatchConfig { samples, ..WatchConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn the_ring_keeps_the_newest_and_ends_with_its_scope() {
    let (watch, books) = (Watch::new(config(4)), books());
    let scope = Scope::new("test", books.ledger.clone());
    assert_eq!((watch.report().state, watch.report().samples.len()), (State::Off, 0));
    watch.start(&scope.spawner(), books.clone());
    let mut last = 0;
    for seen in [1, 2, 3, 4, 4, 4, 4] {
        tokio::time::sleep(Duration::from_millis(if last == 0 { 1 } else { 10_000 })).await;
        let samples = watch.report().samples;
        let newest = samples.last().expect("a sample").at_ms;
        assert!(samples.len() == seen && (newest > last || seen == 1), "{seen}: {samples:?}");
        last = newest.max(1);
    }
    assert_eq!(books.ledger.live(Kind::Timer), 1);
    scope.stop(Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(watch.report().samples.last().expect("a sample").at_ms, last, "it has ended");
    assert_eq!(books.ledger.live(Kind::Timer), 0);
}

#[tokio::test]
async fn after_warming_up_it_adds_nothing() {
    let (watch, books) = (Watch::new(config(30)), books());
    let mut at_ms = 0;
    let mut round = async || {
        for _ in 0..100 {
            at_ms += 10_000;
            watch.see(Sample::take(&books, at_ms).await.expect("proc"));
        }
        watch.lock().ring.capacity()
    };
    let capacity = round().await;
    assert_eq!((capacity, round().await), (30, 30));
    // Other tests allocate at the same time: what this thread took and gave back is what counts.
    let balance = || {
        let taken = tikv_jemalloc_ctl::thread::allocatedp::read().expect("counted").get();
        let given = tikv_jemalloc_ctl::thread::deallocatedp::read().expect("counted").get();
        taken as i64 - given as i64
    };
    let before = balance();
    round().await;
    assert!((balance() - before).abs() < 4096, "{} bytes in 100 samples", balance() - before);
}

#[test]
fn an_alarm_is_not_raised_anew_with_every_sample() {
    let watch = Watch::new(config(30));
    let alarms = |count: u64| {
        let mut raised = 0;
        for n in 0..count {
            let mut sample = Sample { at_ms: n * 10_000, ..Sample::default() };
            sample.live[Kind::Job as usize] = 1;
            watch.see(sample);
            let seen = watch.lock();
            let suspected = seen.verdict.state == State::LeakSuspected;
            raised += usize::from(suspected && seen.since_alarm == 0);
        }
        raised
    };
    // When it begins, and once more when the ring has gone round.
    assert_eq!(alarms(40), 2);
    assert_eq!(watch.report().state, State::LeakSuspected);
    // And when there is something new to name.
    let mut sample = Sample { at_ms: 400_000, ..Sample::default() };
    (sample.live[Kind::Job as usize], sample.lingering[Kind::SpeechStream as usize]) = (1, 1);
    watch.see(sample);
    assert_eq!(watch.lock().since_alarm, 0);
    watch.see(Sample { at_ms: 410_000, ..sample });
    assert_eq!(watch.lock().since_alarm, 1);
}

#[test]
fn too_much_memory_purges_and_then_waits() {
    let watch = Watch::new(WatchConfig { purge_above: 1, ..config(30) });
    let mut purges = Vec::new();
    for n in 0..2 * limits::PURGE_PAUSE_SAMPLES {
        watch.see(Sample { rss: 2, ..Sample::default() });
        if watch.lock().since_purge == 0 {
            purges.push(n + 1);
        }
    }
    assert_eq!(purges, [1, 1 + limits::PURGE_PAUSE_SAMPLES]);
}
