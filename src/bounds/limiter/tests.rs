//! Buckets, strikes, sweeps and the cap, with the clock in hand.

use super::*;
use crate::ledger::Kind;
use tokio::time::advance;

fn policy(keys: usize) -> Policy {
    Policy {
        keys,
        strike_refusals: 5,
        strike_every: Duration::from_secs(1),
        warn_at: 3,
        block_at: 11,
        block_for: Duration::from_secs(300),
        forget_after: Duration::from_secs(3600),
        sweep_every: Duration::from_secs(60),
    }
}

fn limiter(keys: usize) -> Limiter<u64, 2> {
    Limiter::new(policy(keys))
}

/// Asks for too much, as often as makes a strike, in so many different seconds.
async fn strike<const N: usize>(limiter: &Limiter<u64, N>, key: u64, strikes: u32) {
    for _ in 0..strikes {
        for _ in 0..5 {
            limiter.charge(&key, 0, 10, 10).expect_err("over");
        }
        seconds(1).await;
    }
}

/// Whether a key is shut out: what asks for nothing is refused for no other reason.
fn is_shut_out<const N: usize>(limiter: &Limiter<u64, N>, key: u64) -> bool {
    limiter.charge(&key, 0, 0, 10).is_err()
}

async fn seconds(n: u64) {
    advance(Duration::from_secs(n)).await;
}

#[tokio::test(start_paused = true)]
async fn a_bucket_holds_a_minute_s_worth_and_fills_evenly() {
    let limiter = limiter(10);
    for _ in 0..60 {
        assert_eq!(limiter.charge(&1, 0, 1, 60), Ok(()));
    }
    let refused = limiter.charge(&1, 0, 1, 60).expect_err("the bucket is empty");
    assert_eq!(refused.retry_after, Duration::from_secs(1));
    assert_eq!(limiter.charge(&1, 1, 1, 60), Ok(()), "another resource has its own");
    assert_eq!(limiter.charge(&2, 0, 1, 60), Ok(()), "and so has another key");
    seconds(5).await;
    assert_eq!(limiter.charge(&1, 0, 5, 60), Ok(()));
    assert!(limiter.charge(&1, 0, 1, 60).is_err());
    seconds(60).await;
    assert_eq!(limiter.charge(&1, 0, 1000, 60), Ok(()), "what never fits takes all");
    assert!(limiter.charge(&1, 0, 1, 60).is_err());
}

#[tokio::test(start_paused = true)]
async fn repeated_hits_warn_then_block_and_the_block_ends_by_itself() {
    let limiter = limiter(10);
    assert_eq!(limiter.charge(&1, 0, 10, 10), Ok(()));
    let mut steps = Vec::new();
    for _ in 0..11 {
        // However many refusals within a second: they are one strike.
        for _ in 0..50 {
            let refused = limiter.charge(&1, 0, 10, 10).expect_err("over");
            steps.extend(Some(refused.step).filter(|step| *step != Step::None));
        }
        seconds(1).await;
    }
    assert_eq!(steps, [Step::Warn(3), Step::Block(11)]);
    assert!(is_shut_out(&limiter, 1));
    seconds(300).await;
    assert!(!is_shut_out(&limiter, 1));
    assert_eq!(limiter.charge(&1, 0, 1, 10), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn who_heeds_the_answer_is_never_shut_out() {
    let limiter = limiter(10);
    limiter.charge(&1, 0, 60, 60).expect("the first");
    for _ in 0..1000 {
        // Three that share the key, each waiting the second that it was told to.
        for _ in 0..3 {
            let answer = limiter.charge(&1, 0, 1, 60);
            assert!(answer.is_ok_and(|()| true) || !is_shut_out(&limiter, 1));
        }
        seconds(1).await;
    }
    assert!(!is_shut_out(&limiter, 1));
    assert_eq!(limiter.charge(&2, 0, u32::MAX, u32::MAX), Ok(()), "no sum is too large");
    assert!(limiter.charge(&2, 0, u32::MAX, u32::MAX).is_err());
}

#[tokio::test(start_paused = true)]
async fn the_sweep_forgets_every_count_small_or_large() {
    let (limiter, ledger) = (limiter(10), Ledger::new());
    limiter.start(&ledger);
    for (key, strikes) in [(1, 0), (2, 2), (3, 3), (4, 10), (5, 11)] {
        limiter.charge(&key, 0, 10, 10).expect("the first");
        strike(&limiter, key, strikes).await;
    }
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert_eq!(limiter.len(), 4, "those with strikes, and the one shut out");
    tokio::time::sleep(Duration::from_secs(3700)).await;
    assert_eq!(limiter.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_starts_once_stops_whole_and_starts_again() {
    let (limiter, ledger) = (limiter(10), Ledger::new());
    for _ in 0..10 {
        limiter.start(&ledger);
    }
    assert_eq!(ledger.live(Kind::Timer), 1);
    limiter.charge(&1, 0, 10, 10).expect("the first");
    strike(&limiter, 1, 11).await;
    for _ in 0..10 {
        limiter.stop().await;
    }
    assert_eq!((ledger.live(Kind::Timer), limiter.len()), (0, 0));
    assert!(!is_shut_out(&limiter, 1), "a stop forgets blocks as well");
    limiter.start(&ledger);
    assert_eq!(ledger.live(Kind::Timer), 1);
    drop(limiter);
    tokio::task::yield_now().await;
    assert!(ledger.live(Kind::Timer) == 0, "the sweep ends with its limiter");
}

#[tokio::test(start_paused = true)]
async fn a_million_keys_are_never_more_than_the_cap_and_spare_the_shut_out() {
    let limiter = limiter(1000);
    limiter.charge(&u64::MAX, 0, 10, 10).expect("the first");
    strike(&limiter, u64::MAX, 11).await;
    for key in 0..1_000_000 {
        let _ = limiter.charge(&key, 0, 1, 10);
        assert!(limiter.len() <= 1000);
    }
    assert!(is_shut_out(&limiter, u64::MAX));
    let map = lock(&limiter.0.map);
    assert_eq!(map.index.len(), map.entries.len());
    assert!(map.index.iter().all(|(key, at)| map.entries[*at].key == *key));
}
