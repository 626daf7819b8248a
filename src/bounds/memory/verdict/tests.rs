//! Every state of the watch, shown on samples that were made for it.

use super::*;
use crate::ledger::Census;

const MB: u64 = 1_000_000;

/// `count` samples, 10 s apart, of a process at rest, each changed by `change`.
fn samples(count: u64, change: impl Fn(u64, &mut Sample)) -> Vec<Sample> {
    let one = |n: u64| {
        let mut sample = Sample { at_ms: n * 10_000, rss: 60 * MB, ..Sample::default() };
        (sample.heap.allocated, sample.heap.resident) = (20 * MB, 40 * MB);
        change(n, &mut sample);
        sample
    };
    (0..count).map(one).collect()
}

/// Bytes that come and go without a trend, up to `most`.
fn noise(n: u64, most: u64) -> u64 {
    n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) % most
}

fn found(samples: &[Sample]) -> (State, String) {
    let verdict = judge(samples);
    (verdict.state, verdict.findings.join("; "))
}

#[test]
fn too_few_samples_say_nothing() {
    assert_eq!(found(&[]), (State::Starting, String::new()));
    assert_eq!(found(&samples(2, |_, _| {})), (State::Starting, String::new()));
    assert_eq!(found(&samples(3, |_, _| {})), (State::Flat, String::new()));
}

#[test]
fn load_that_comes_and_goes_is_flat() {
    let busy = samples(30, |n, s| {
        let streams = noise(n, 300);
        s.live[Kind::Connection as usize] = streams + 1;
        s.live[Kind::SpeechStream as usize] = streams;
        s.reserved = streams * 448_000;
        s.heap.allocated += streams * 100_000;
        s.heap.resident += streams * 110_000;
        s.rss += streams * 110_000;
    });
    for end in 3..=30 {
        let (state, findings) = found(&busy[..end]);
        assert!(state <= State::Growing, "after {end} samples: {findings}");
    }
    assert_eq!(found(&busy), (State::Flat, String::new()));
}

#[test]
fn load_that_rises_grows_and_names_what() {
    let rising = samples(30, |n, s| {
        s.live[Kind::SpeechStream as usize] = n * 40;
        s.live[Kind::Connection as usize] = n * 40;
        s.reserved = n * 40 * 448_000;
        s.heap.allocated += n * 40 * 300_000;
    });
    let (state, findings) = found(&rising);
    assert_eq!(state, State::Growing);
    assert!(findings.contains("speech_stream: from 0 to 1160"), "{findings}");
}

/// Accounts fall faster than what was really allocated: no leak.
#[test]
fn load_that_leaves_is_flat() {
    let leaving = samples(30, |n, s| {
        s.live[Kind::Connection as usize] = 1;
        s.reserved = (30 - n) * 40 * 448_000;
        s.heap.allocated += (30 - n) * 40 * 60_000;
    });
    assert_eq!(found(&leaving), (State::Flat, String::new()));
}

#[test]
fn guards_that_were_forgotten_are_named_within_three_samples() {
    let forgotten = samples(6, |n, s| {
        s.live[Kind::SpeechStream as usize] = if n >= 3 { 4 } else { 0 };
        s.live[Kind::Service as usize] = 3;
    });
    assert_eq!(found(&forgotten[..5]).0, State::Flat);
    let (state, findings) = found(&forgotten);
    assert_eq!(state, State::LeakSuspected);
    assert!(findings.contains("speech_stream: 4 alive while no client"), "{findings}");
    assert!(!findings.contains("service:"), "what stands may stand: {findings}");
}

#[test]
fn what_outlives_its_client_is_named_while_others_are_there() {
    let mut lingering = samples(4, |_, s| s.live[Kind::Connection as usize] = 9);
    assert_eq!(found(&lingering).0, State::Flat);
    lingering[3].lingering[Kind::SpeechStream as usize] = 2;
    let (state, findings) = found(&lingering);
    assert_eq!(state, State::LeakSuspected);
    assert!(findings.contains("speech_stream: 2 alive 5 s after their client left"), "{findings}");
}

#[test]
fn a_dialogue_that_waits_for_its_listener_is_no_leak() {
    let waiting = samples(6, |_, s| {
        for kind in [Kind::Dialogue, Kind::Turn, Kind::Task] {
            s.live[kind as usize] = 1;
        }
    });
    assert_eq!(found(&waiting), (State::Flat, String::new()));
}

#[test]
fn growth_outside_the_ledger_is_named_within_three_samples() {
    // 60 MB a minute, beside noise of a tenth of that, after a quiet time.
    let leaking = samples(30, |n, s| {
        s.heap.allocated += n.saturating_sub(27) * 10 * MB + noise(n, MB);
        s.heap.resident = s.heap.allocated;
        s.rss = s.heap.resident + 20 * MB;
        s.live[Kind::Connection as usize] = 5;
    });
    assert_eq!(found(&leaking[..28]).0, State::Flat);
    let (state, findings) = found(&leaking);
    assert_eq!(state, State::LeakSuspected, "{findings}");
    assert!(findings.contains("outside the ledger"), "{findings}");
}

#[test]
fn less_than_the_bound_is_growth_and_no_leak() {
    let slow = samples(30, |n, s| s.heap.allocated += n * 2 * MB + noise(n, MB / 2));
    let (state, findings) = found(&slow);
    assert_eq!(state, State::Growing, "{findings}");
    assert!(findings.contains("allocated: at least 1"), "12 MB a minute: {findings}");
    let slower = samples(30, |n, s| s.heap.allocated += n * 10_000);
    assert_eq!(found(&slower).0, State::Flat);
}

#[test]
fn memory_beside_the_allocator_is_watched_as_well() {
    let mapped = samples(6, |n, s| s.rss += n * 20 * MB);
    let (state, findings) = found(&mapped);
    assert_eq!(state, State::LeakSuspected);
    assert!(findings.contains("outside the allocator"), "{findings}");
}

#[test]
fn files_of_an_index_that_grows_are_no_leak() {
    let mapped = samples(30, |n, s| {
        s.files += n * 20 * MB;
        s.rss += n * 20 * MB;
    });
    assert_eq!(found(&mapped), (State::Flat, String::new()));
}

#[test]
fn one_step_is_no_leak() {
    let filled = samples(30, |n, s| s.heap.allocated += if n >= 20 { 200 * MB } else { 0 });
    for end in 3..=30 {
        assert_eq!(found(&filled[..end]).0, State::Flat, "after {end} samples");
    }
}

#[test]
fn things_that_multiply_beside_steady_clients_are_named() {
    let multiplying = samples(30, |n, s| {
        s.live[Kind::Connection as usize] = 40 + noise(n, 8);
        s.live[Kind::Task as usize] = 80 + n + noise(n, 4);
        s.live[Kind::Phrase as usize] = n * 100;
    });
    let (state, findings) = found(&multiplying);
    assert_eq!(state, State::Growing);
    assert!(findings.starts_with("task: from "), "{findings}");
    assert!(!findings.contains("phrase: from 900 to"), "a cache fills: {findings}");
    let with_clients = samples(30, |n, s| {
        s.live[Kind::Connection as usize] = 40 + n;
        s.live[Kind::Task as usize] = 80 + n;
    });
    assert_eq!(found(&with_clients).0, State::Flat);
}

#[test]
fn books_that_differ_look_after_look_disagree() {
    let census = |tasks, fds, threads| {
        let mut census = Census::default();
        (census.process.tasks, census.process.fds, census.process.threads) = (tasks, fds, threads);
        (census.expected.tasks, census.expected.fds, census.expected.threads_most) = (5, 5, 5);
        census
    };
    for (counted, finding) in [
        (census(7, 5, 5), "tasks: 2 more than the ledger knows"),
        (census(5, 9, 5), "file descriptors: 4 more than the ledger knows"),
        (census(5, 4, 5), "file descriptors: 1 fewer than the ledger says"),
        (census(5, 5, 6), "threads: 1 more than there can be"),
    ] {
        let differs = samples(4, |n, s| s.census = if n >= 1 { counted } else { census(5, 5, 1) });
        assert_eq!(found(&differs), (State::Disagrees, finding.to_string()));
        assert_eq!(found(&differs[..3]).0, State::Flat, "twice may be a coincidence");
    }
    let to_and_fro = samples(9, |n, s| s.census = census(4 + 2 * (n % 2), 5, 5));
    assert_eq!(found(&to_and_fro).0, State::Flat);
}
