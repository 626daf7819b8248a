//! Each phase, each account, with the clock in hand.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use tokio::time::advance;

fn due(vitals: &Vitals) -> Option<Instant> {
    vitals.due(Waker::noop())
}

fn cut(vitals: &Vitals) -> Option<Cut> {
    match vitals.overdue() {
        Overdue::Connection(cut) => Some(cut),
        _ => None,
    }
}

async fn seconds(n: u64) {
    advance(Duration::from_secs(n)).await;
}

#[tokio::test(start_paused = true)]
async fn each_phase_has_its_own_time() {
    let vitals = Vitals::new(Patience::default());
    seconds(5).await;
    assert_eq!(cut(&vitals), Some(Cut::FirstBytes));
    vitals.greeted(false);
    seconds(4).await;
    assert_eq!(cut(&vitals), None);
    vitals.received();
    seconds(1).await;
    assert_eq!(cut(&vitals), Some(Cut::Head), "a byte now and then does not help");
    let request = vitals.request();
    seconds(1000).await;
    assert_eq!((cut(&vitals), due(&vitals)), (None, None));
    drop(request);
    seconds(74).await;
    assert_eq!(vitals.overdue(), Overdue::Not);
    seconds(1).await;
    assert_eq!(vitals.overdue(), Overdue::Not, "an idle one is asked to end");
    vitals.closing().await;
    seconds(1).await;
    assert_eq!(vitals.overdue(), Overdue::Close);
}

#[tokio::test(start_paused = true)]
async fn what_a_multiplexed_peer_owes_has_the_time_of_a_head() {
    let vitals = Vitals::new(Patience::default());
    vitals.greeted(true);
    let _request = vitals.request();
    vitals.owes(true);
    seconds(4).await;
    vitals.owes(true);
    assert_eq!(cut(&vitals), None);
    seconds(1).await;
    assert_eq!(cut(&vitals), Some(Cut::Head), "more of it does not begin it anew");
    vitals.owes(false);
    assert_eq!((cut(&vitals), due(&vitals)), (None, None));
}

fn reading() -> (Vitals, InFlight) {
    let vitals = Vitals::new(Patience::default());
    vitals.greeted(false);
    let request = vitals.request();
    vitals.write_waits();
    (vitals, request)
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_is_cut_so_long_after_its_last_byte() {
    let (vitals, _request) = reading();
    for _ in 0..100 {
        seconds(1).await;
        vitals.sent(50_000);
        vitals.write_waits();
    }
    seconds(19).await;
    assert_eq!(cut(&vitals), None);
    seconds(1).await;
    assert_eq!(cut(&vitals), Some(Cut::SlowConsumer));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_sips_is_cut_and_a_slow_one_is_not() {
    let a_second = limits::SLOW_READER_BYTES as usize / 20;
    for (bytes, lasts) in [(a_second, 1000), (a_second / 2, 40), (1, 21)] {
        let (vitals, _request) = reading();
        let mut lived = 0;
        while lived < 1000 && cut(&vitals).is_none() {
            vitals.sent(bytes);
            vitals.write_waits();
            seconds(1).await;
            lived += 1;
        }
        assert!((lasts - 2..=lasts + 2).contains(&lived), "{bytes} B/s: cut after {lived} s");
    }
}

/// Looks at what our kernel holds whenever it is time to, as [`Overdue::Look`] says; the seconds until it is cut, if it is
/// within `most`.
async fn looked_at(vitals: &Vitals, most: u64, holds: impl Fn(u64) -> u64) -> Option<u64> {
    for second in 1..=most {
        seconds(1).await;
        if vitals.overdue() == Overdue::Look && vitals.kernel_holds(holds(second)).is_some() {
            return Some(second);
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_peer_whose_kernel_acknowledges_nothing_is_cut_within_half_a_minute() {
    let vitals = Vitals::new(Patience::default());
    vitals.greeted(false);
    let _request = vitals.request();
    vitals.sent(50_000);
    assert_eq!(looked_at(&vitals, 100, |_| 50_000).await, Some(25));
    // Some of it was acknowledged just behind a look, and nothing after that.
    let vitals = Vitals::new(Patience::default());
    vitals.greeted(false);
    let _request = vitals.request();
    vitals.sent(50_000);
    let holds = |second| if second > 5 { 49_000 } else { 50_000 };
    assert_eq!(looked_at(&vitals, 100, holds).await, Some(35));
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_little_now_and_then_is_there_and_an_empty_kernel_is_not_looked_at() {
    let vitals = Vitals::new(Patience::default());
    vitals.greeted(false);
    let _request = vitals.request();
    assert_eq!(due(&vitals), None);
    vitals.sent(50_000);
    assert_eq!(looked_at(&vitals, 400, |second| 50_000 - second * 100).await, None);
    // More is written meanwhile than is taken: what is held grows, and still some of it arrives.
    for second in 1..=400 {
        vitals.sent(2_000);
        seconds(1).await;
        if vitals.overdue() == Overdue::Look {
            assert_eq!(vitals.kernel_holds(10_000 + second * 1_900), None, "{second}");
        }
    }
    seconds(5).await;
    assert_eq!((vitals.overdue(), vitals.kernel_holds(0)), (Overdue::Look, None));
    assert_eq!(due(&vitals), None);
    // What waits is counted from when it was sent.
    seconds(1000).await;
    vitals.sent(10);
    assert_eq!(looked_at(&vitals, 100, |_| 10).await, Some(25));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_nothing_to_send_is_not_a_slow_reader() {
    let vitals = Vitals::new(Patience::default());
    vitals.greeted(false);
    let _request = vitals.request();
    vitals.write_waits();
    vitals.sent(10);
    seconds(100).await;
    assert_eq!((cut(&vitals), vitals.kernel_holds(0)), (None, None));
    assert_eq!((cut(&vitals), due(&vitals)), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_is_ended_beside_others_that_are() {
    let vitals = Vitals::new(Patience::default());
    vitals.greeted(true);
    let (mut read, mut starved) = (vitals.request(), vitals.request());
    let ended = [CancellationToken::new(), CancellationToken::new()];
    read.on_stream(ended[0].clone());
    starved.on_stream(ended[1].clone());
    starved.handed_over(16_000);
    for _ in 0..19 {
        read.handed_over(5000);
        seconds(1).await;
        read.taken(5000);
        assert_eq!(vitals.overdue(), Overdue::Not);
    }
    seconds(1).await;
    assert_eq!(vitals.overdue(), Overdue::Stream);
    assert_eq!(vitals.overdue(), Overdue::Not);
    assert_eq!(ended.map(|ended| ended.is_cancelled()), [false, true]);
    drop(starved);
    seconds(1000).await;
    assert_eq!(vitals.overdue(), Overdue::Not, "nothing waits for this one's reader");
    read.handed_over(100);
    read.answered();
    seconds(20).await;
    let cut = Overdue::Connection(Cut::SlowConsumer);
    assert_eq!(vitals.overdue(), cut, "its task is over, so that only this is left");
}

#[tokio::test(start_paused = true)]
async fn who_looks_anyway_is_not_woken_by_what_it_does_itself() {
    struct Woken(AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let vitals = Vitals::new(Patience::default());
    vitals.greeted(false);
    for is_looking in [true, false] {
        let request = vitals.request();
        assert_eq!(vitals.due(&waker), None);
        if is_looking {
            vitals.unattended();
        }
        drop(request);
        assert_eq!(woken.0.load(Relaxed), !is_looking);
        assert_eq!(vitals.due(&waker), Some(Instant::now() + Patience::default().idle));
    }
}
