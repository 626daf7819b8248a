//! Generations under a clock that the test turns.

use super::*;
use crate::ledger::{Departure, Ledger};
use crate::tasks::Scope;

const MINUTE: Duration = Duration::from_secs(60);

fn ages() -> Ages {
    let (grace, wait) = (Duration::from_secs(30), Duration::from_secs(1));
    Ages { name: "ES", most: 5 * MINUTE, jitter_percent: 0, grace, in_flight: 4, wait }
}

/// A client that knows its number and says when it is gone.
struct Client {
    number: u64,
    gone: Arc<AtomicU64>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.gone.fetch_add(1, Relaxed);
    }
}

struct House {
    pool: Aged<Client>,
    scope: Scope,
    ledger: Ledger,
    gone: Arc<AtomicU64>,
    /// While it is set, nothing can be built.
    broken: Arc<AtomicU64>,
    owner: Arc<str>,
}

impl House {
    async fn new(ages: Ages) -> Self {
        let ledger = Ledger::new();
        let scope = Scope::new("test", ledger.clone());
        let (gone, broken, built) =
            (Arc::default(), Arc::<AtomicU64>::default(), AtomicU64::new(0));
        let (leaving, refuses) = (Arc::clone(&gone), Arc::clone(&broken));
        let build = move |_| {
            if refuses.load(Relaxed) > 0 {
                return Err("no certificates".to_string());
            }
            let number = built.fetch_add(1, Relaxed) + 1;
            Ok(Client { number, gone: Arc::clone(&leaving) })
        };
        let pool = Aged::start(ages, build, scope.spawner()).await.expect("built");
        Self { pool, scope, ledger, gone, broken, owner: "somebody".into() }
    }

    async fn turn(&self) -> Turn<Client> {
        self.pool
            .turn(Kind::UpstreamRequest, &self.owner, &Departure::default())
            .await
            .expect("a turn")
    }

    fn gone(&self) -> u64 {
        self.gone.load(Relaxed)
    }
}

/// Until what is due has been done.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_replaced_at_its_age_also_when_nobody_asks() {
    let house = House::new(ages()).await;
    for generation in 1..=4 {
        assert_eq!(house.pool.state().generation, generation);
        assert_eq!((house.gone(), house.ledger.live(Kind::UpstreamClient)), (generation - 1, 1));
        pass(5 * MINUTE).await;
    }
    assert!(house.ledger.is_idle());
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_ends_on_its_own_generation() {
    let house = House::new(ages()).await;
    let old = house.turn().await;
    house.pool.rotate();
    pass(Duration::ZERO).await;
    let new = house.turn().await;
    assert_eq!((old.number, new.number), (1, 2));
    assert_eq!((house.gone(), house.pool.state().draining), (0, 1));
    assert_eq!(house.ledger.live(Kind::UpstreamRequest), 2);
    pass(Duration::from_secs(20)).await;
    drop(old);
    assert_eq!((house.gone(), house.pool.state().draining), (1, 0), "gone with its last request");
    assert_eq!((house.pool.state().cut, new.generation()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn what_outstays_its_grace_is_cut() {
    let house = House::new(ages()).await;
    let old = house.turn().await;
    house.pool.rotate();
    pass(Duration::from_secs(29)).await;
    let over = async {
        old.over().await;
        Instant::now()
    };
    let (began, over) = (Instant::now(), over.await);
    assert!(over - began <= Duration::from_millis(1100), "{:?}", over - began);
    drop(old);
    let state = house.pool.state();
    assert_eq!((state.cut, state.draining, house.gone()), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn more_than_can_be_in_flight_wait_and_are_told() {
    let house = House::new(ages()).await;
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push(house.turn().await);
    }
    let refused = house
        .pool
        .turn(Kind::UpstreamRequest, &house.owner, &Departure::default())
        .await
        .err()
        .expect("too many");
    assert_eq!((refused.in_flight, refused.name), (4, "ES"));
    let waiting = house.turn();
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    turns.pop();
    waiting.await;
    assert_eq!(house.pool.state().in_flight, 3);
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_built_leaves_the_old_one_and_is_tried_again() {
    let house = House::new(ages()).await;
    house.broken.store(1, Relaxed);
    pass(5 * MINUTE).await;
    assert_eq!((house.pool.state().generation, house.pool.state().failed), (1, 1));
    assert_eq!(house.turn().await.number, 1);
    house.broken.store(0, Relaxed);
    pass(REBUILD_PAUSE).await;
    assert_eq!(house.pool.state().generation, 2);
    let refused = Aged::<()>::start(ages(), |_| Err("no".into()), house.scope.spawner()).await;
    assert_eq!(refused.err().as_deref(), Some("no"), "the first must be there");
}

#[tokio::test(start_paused = true)]
async fn however_often_it_is_to_be_replaced_few_are_kept_and_none_is_cut_before_its_time() {
    let house = House::new(Ages { in_flight: 100, ..ages() }).await;
    let mut turns = Vec::new();
    for _ in 0..DRAINING_MOST + 20 {
        turns.push(house.turn().await);
        house.pool.rotate();
        pass(Duration::from_millis(50)).await;
    }
    assert_eq!(house.pool.state().draining, DRAINING_MOST);
    assert!(!turns.iter().any(|turn| turn.is_over()), "all of them are within their grace");
    // The one that was asked for comes as soon as there is room.
    turns.remove(0);
    pass(2 * DRAINING_POLL).await;
    assert_eq!(house.pool.state().generation, DRAINING_MOST as u64 + 2);
    turns.clear();
    pass(2 * DRAINING_POLL).await;
    assert_eq!((house.pool.state().draining, house.ledger.live(Kind::UpstreamClient)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn ages_differ_by_their_jitter_and_never_pass_the_most() {
    let house = House::new(Ages { jitter_percent: 10, ..ages() }).await;
    let now = Instant::now();
    let births: Vec<_> = (0..50).map(|_| house.pool.next_birth() - now).collect();
    let least = births.iter().min().expect("some");
    assert!(births.iter().all(|age| *age <= 5 * MINUTE && *age >= 5 * MINUTE * 9 / 10));
    assert!(births.iter().any(|age| age != least), "{births:?}");
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_scope_and_what_is_in_flight_may_end() {
    let House { pool, scope, ledger, gone, owner, .. } = House::new(ages()).await;
    let turn =
        pool.turn(Kind::UpstreamRequest, &owner, &Departure::default()).await.expect("a turn");
    scope.stop(Duration::from_secs(1)).await;
    assert_eq!(ledger.live(Kind::Timer), 0);
    drop(pool);
    assert_eq!((gone.load(Relaxed), turn.number), (0, 1));
    drop(turn);
    assert_eq!((gone.load(Relaxed), ledger.is_idle()), (1, true));
    assert_eq!(ledger.live(Kind::UpstreamClient), 0);
}
