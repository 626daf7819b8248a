//! Voice sessions under everything that can happen to them, in simulated time: a faked engine and writer of answers, and
//! connections that are made of memory and can be cut at any byte. Invariants, after each of many seeds: everything is back, no
//! timer runs, and a device that comes back in time, wherever it was cut off, has each event once. A seed that fails is printed;
//! `EVENSONG_SEED` runs it alone, `EVENSONG_SEEDS` so many.

mod device;
mod watched;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use evensong::bounds::Budget;
use evensong::bounds::signing::SigningKey;
use evensong::bounds::websocket::Room;
use evensong::dialogue::frame::{Source, TurnError};
use evensong::dialogue::life::Patience;
use evensong::dialogue::{DialogueError, Dialogues, Means};
use evensong::http::realtime::line;
use evensong::ledger::{Departure, Kind, Ledger};
use evensong::limits::{PING_EVERY, SESSION_BYTES};
use evensong::metrics::Metrics;
use evensong::realtime::life::Stage;
use evensong::realtime::{Asker, Attachment, Refused, SessionMeans, SessionPatience, Sessions};
use evensong::speech::{Engine, Speech, Voicing};
use evensong::tasks::Scope;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};
use tokio_util::sync::CancellationToken;

use crate::faked::{FakeEngine, FakeWriter, Lot, each_seed, settle, simulated};
use device::{Device, Line, Manner};
use watched::Watched;

const GRACE: Duration = Duration::from_secs(60);
/// More than ever waits.
const ALL: u64 = 1_000_000;

/// Who opens a connection.
pub struct Caller {
    pub principal: &'static str,
    pub admits: bool,
}

impl Asker for Caller {
    fn principal(&self) -> Arc<str> {
        self.principal.into()
    }

    fn owner(&self) -> Arc<str> {
        "device".into()
    }

    fn departure(&self) -> Departure {
        Departure::default()
    }

    fn admit(&self, _: usize) -> Result<Box<dyn Send + Sync>, Value> {
        let refused = || json!({"code": "rate_limited", "message": "not now"});
        self.admits.then(|| Box::new(()) as Box<dyn Send + Sync>).ok_or_else(refused)
    }

    fn asset(&self) -> &'static str {
        "/assets/thinking.mp3"
    }

    fn sources(&self, sources: &[Source]) -> Vec<Source> {
        sources.to_vec()
    }

    fn refused(&self, error: DialogueError) -> Value {
        json!({"code": "refused", "message": error.to_string()})
    }

    fn failed(&self, error: &TurnError) -> Value {
        json!({"code": "failed", "message": format!("{error:?}")})
    }
}

/// A server, as far as sessions go.
struct World {
    sessions: Sessions,
    dialogues: Dialogues,
    ledger: Ledger,
    budget: Budget,
    metrics: Metrics,
    /// Of the connections.
    door: Scope,
    scope: Scope,
}

/// What happened, over all seeds.
#[derive(Default)]
struct Tally {
    opened: u64,
    resumed: u64,
    /// Broken off while an answer was given: by a fault of the device, without a good word.
    errors: u64,
    cuts: u64,
    expired: u64,
    left: u64,
}

fn world(seed: u64, lot: &mut Lot) -> World {
    let (ledger, metrics) = (Ledger::new(), Metrics::default());
    // In some there is hardly room for two answers at once.
    let budget = Budget::new(if lot.chance(20) { 4 << 20 } else { 64 << 20 });
    let (door, scope) = (Scope::new("door", ledger.clone()), Scope::new("all", ledger.clone()));
    let faults = lot.chance(50);
    let (spawner, ms_a_letter) = (scope.spawner(), if lot.chance(15) { 30 } else { 2 });
    let engine = FakeEngine { spawner, seed: AtomicU64::new(seed), faults, ms_a_letter };
    let voicing = Voicing {
        engines: vec![Engine::Pieces(Arc::new(engine))],
        fallback: Vec::new(),
        default_voice: None,
        first_wait: Duration::from_secs(5),
    };
    let speech = Speech::new(voicing, budget.clone(), metrics.clone(), scope.spawner());
    let writer = FakeWriter { ledger: ledger.clone(), seed: AtomicU64::new(seed ^ 0xABCD), faults };
    let dialogues = Dialogues::new(Means {
        speech: speech.clone(),
        responder: Some(Arc::new(writer)),
        budget: budget.clone(),
        metrics: metrics.clone(),
        spawner: scope.spawner(),
        patience: Patience { attach: Duration::from_secs(30), grace: Duration::from_secs(10) },
    });
    let idle = Duration::from_secs(if lot.chance(20) { 40 } else { 1800 });
    let sessions = Sessions::new(SessionMeans {
        dialogues: dialogues.clone(),
        speech,
        voice: "one".into(),
        budget: budget.clone(),
        metrics: metrics.clone(),
        spawner: scope.spawner(),
        patience: SessionPatience { grace: GRACE, idle },
        key: SigningKey::new([7; 32]),
        listening: None,
        transcriber: None,
    });
    World { sessions, dialogues, ledger, budget, metrics, door, scope }
}

impl World {
    /// Serves a connection; its other end.
    async fn line(&self, attachment: Attachment, lot: &mut Lot) -> Line {
        let size = [1 << 10, 4 << 10, 32 << 10, 256 << 10][lot.below(4) as usize];
        let (ours, theirs) = tokio::io::duplex(size);
        let (left, owner) = (CancellationToken::new(), Arc::from("device"));
        let room = Room { budget: self.budget.clone(), ledger: self.ledger.clone(), owner };
        let (theirs, waits) = Watched::new(theirs);
        let (cut, patience) = (waits.cut(left.clone()), self.sessions.patience());
        let leaves = self.door.spawner().stopping_owned();
        self.door.spawner().spawn(Kind::Task, "line", async move {
            tokio::select! {
                biased;
                () = cut => {}
                _ = line::run(Box::new(theirs), attachment, patience, room, leaves) => {}
            }
        });
        Line::new(ours, left).await
    }

    async fn open(&self, lot: &mut Lot) -> Option<Device> {
        let caller = Caller { principal: "anna", admits: lot.chance(95) };
        let attachment = self.sessions.open(Arc::new(caller), "small").ok()?;
        let session = Arc::clone(attachment.session());
        if lot.chance(5) {
            // Its connection is gone before it goes on as a WebSocket.
            drop(attachment);
            assert_eq!(session.stage(), Stage::Ended, "nobody ever had it");
            return None;
        }
        Some(Device::new(session, self.line(attachment, lot).await))
    }

    fn knock(
        &self,
        principal: &'static str,
        token: &str,
        after: Option<u64>,
    ) -> Result<Attachment, Refused> {
        self.sessions.resume(Arc::new(Caller { principal, admits: true }), token, after)
    }

    /// Lets a device come back, in one of several ways. True where it did.
    async fn resume(&self, device: &mut Device, lot: &mut Lot) -> bool {
        let Some(token) = device.token.clone() else { return false };
        let stage = device.session.stage();
        self.refuses(device, &token, lot);
        let after = match lot.below(10) {
            0 => None,
            1 | 2 => Some(device.has - lot.below(20).min(device.has)),
            _ => Some(device.has),
        };
        let attached = self.knock("anna", &token, after);
        let is_over = match stage {
            Stage::Ended => true,
            Stage::Connecting(until) | Stage::Detached(until) => until <= Instant::now(),
            Stage::Live(_) => false,
        };
        match attached {
            Err(refused) => {
                // Only what came long ago may be held no longer.
                assert!(
                    is_over || after.is_some_and(|after| after < device.has),
                    "{stage:?} {after:?}"
                );
                assert_eq!(refused, Refused::Lost);
                false
            }
            Ok(attachment) => {
                assert!(!is_over, "{stage:?} came back to life");
                if lot.chance(5) {
                    drop(attachment);
                    assert!(matches!(device.session.stage(), Stage::Detached(_)));
                    return false;
                }
                let line = self.line(attachment, lot).await;
                device.go_on(line, after);
                true
            }
        }
    }

    /// What is no token of one's own, and what never was an event, changes nothing.
    fn refuses(&self, device: &Device, token: &str, lot: &mut Lot) {
        let stage = device.session.stage();
        let refused = match lot.below(6) {
            0 => self.knock("otto", token, Some(device.has)).err() == Some(Refused::Unknown),
            1 => {
                let forged =
                    token.replace(&token[4..5], if &token[4..5] == "A" { "B" } else { "A" });
                self.knock("anna", &forged, Some(device.has)).err() == Some(Refused::Unknown)
            }
            2 => self.knock("anna", token, Some(device.has + 1000)).err() == Some(Refused::Lost),
            _ => return,
        };
        assert!(refused && device.session.stage() == stage, "{stage:?}");
    }

    /// Those who are there take all that comes without time passing.
    async fn drain(&self, devices: &mut [Device]) {
        // A large message comes in many pieces where the connection is narrow.
        let mut quiet = 0;
        while quiet < 60 {
            rest(3).await;
            let before: u64 = devices.iter().map(|device| device.messages).sum();
            devices.iter_mut().for_each(|device| device.hear(ALL));
            let came = devices.iter().map(|device| device.messages).sum::<u64>() > before;
            quiet = if came { 0 } else { quiet + 1 };
        }
    }

    /// Lets time pass; those who are there take what comes.
    async fn pass(&self, devices: &mut [Device], mut time: Duration) {
        rest(20).await;
        while !time.is_zero() {
            let step = time.min(Duration::from_secs(4));
            time -= step;
            advance(step).await;
            for _ in 0..4 {
                rest(20).await;
                for device in &mut *devices {
                    device.hear(if device.is_slow { 1 } else { ALL });
                }
            }
        }
    }

    fn holds_what_it_may(&self) {
        let state = self.budget.state();
        assert!(state.held <= state.reserved && state.reserved <= state.total, "{state:?}");
    }

    /// One timer for each that waits for its device.
    async fn timers_agree(&self) {
        settle().await;
        let (_, detached) = self.sessions.standing();
        assert_eq!(
            self.ledger.live(Kind::SessionTimer),
            detached,
            "timers {:?}",
            self.sessions.standing()
        );
        let stand = self.sessions.len() as u64;
        assert_eq!(self.ledger.live(Kind::Session), stand);
        assert!(self.ledger.live(Kind::SessionRoom) <= stand, "one answers for each");
    }

    async fn all_is_back(self, what: &str) {
        let Self { sessions, dialogues, ledger, budget, metrics, door, scope } = self;
        settle().await;
        sessions.sweep();
        assert_eq!(metrics.sessions_stale.get(), 0, "a session was forgotten");
        let lives: Vec<_> =
            ledger.kinds().into_iter().filter(|kind| kind.live > 0 && !kind.standing).collect();
        assert!(lives.is_empty(), "{what}: {lives:?}");
        assert!(sessions.is_empty() && dialogues.is_empty(), "{what}");
        let state = budget.state();
        assert_eq!((state.reserved, state.held), (0, 0), "{what}");
        door.stop(Duration::ZERO).await;
        scope.stop(Duration::ZERO).await;
    }
}

async fn rest(steps: u64) {
    for _ in 0..steps {
        tokio::task::yield_now().await;
    }
}

/// Something that a device does.
async fn acts(world: &World, device: &mut Device, lot: &mut Lot, tally: &mut Tally) {
    match lot.below(12) {
        0..=3 => device.ask(if lot.chance(20) {
            json!({"output_modalities": ["text"]})
        } else {
            Value::Null
        }),
        4 => device.send(&json!({"type": "response.cancel"})),
        5 => {
            let item = device.item.clone().unwrap_or_else(|| "nothing".into());
            let ends = lot.below(3000);
            device.send(&json!({"type": "conversation.item.truncate", "item_id": item, "audio_end_ms": ends}));
        }
        6 => {
            let change = json!({"audio": {"output": {"speed": 1.5, "voice": if lot.chance(50) { "one" } else { "x" }}}});
            device.send(&json!({"type": "session.update", "session": change}));
        }
        7 => (0..if lot.chance(10) { 30 } else { 2 })
            .for_each(|_| device.send(&json!({"type": "nonsense"}))),
        8 => breaks_a_rule(device, lot, tally),
        9 => device.is_slow = lot.chance(30),
        10 => {
            // The late close of a connection that was given up, or replaced.
            let before = device.session.stage();
            let is_replaced = device.line.is_some();
            device.late.drain(..).for_each(drop);
            settle().await;
            let after = device.session.stage();
            assert!(!is_replaced || before == after || !device.lives(), "{before:?} {after:?}");
        }
        _ => device.is_slow = false,
    }
    world.holds_what_it_may();
}

/// A device sends what is no event: its connection is closed, with an error.
fn breaks_a_rule(device: &mut Device, lot: &mut Lot, tally: &mut Tally) {
    tally.errors += u64::from(device.is_answered());
    device.misbehave(lot.below(4));
}

/// A device leaves, and is away for a while.
async fn leaves(
    world: &World,
    devices: &mut [Device],
    which: usize,
    lot: &mut Lot,
    tally: &mut Tally,
) {
    let manner = Manner::ALL[lot.below(Manner::ALL.len() as u64) as usize];
    let device = &mut devices[which];
    let had_it = device.line.is_some() && matches!(device.session.stage(), Stage::Live(_));
    tally.cuts += u64::from(device.is_answered() && !matches!(manner, Manner::Close(_)));
    device.leave(manner);
    let cut_at = Instant::now();
    if manner == Manner::Reset && had_it {
        settle().await;
        let stage = device.session.stage();
        assert!(stage == Stage::Ended || stage == Stage::Detached(cut_at + GRACE), "{stage:?}");
        if lot.chance(30) {
            let seconds = if lot.chance(50) { 59 } else { 61 };
            world.pass(devices, Duration::from_secs(seconds)).await;
            settle().await;
            let stage_then = devices[which].session.stage();
            let is_over = seconds > 60 || stage == Stage::Ended;
            assert_eq!(stage_then == Stage::Ended, is_over, "after {seconds} s: {stage_then:?}");
            tally.expired += u64::from(seconds > 60);
        }
    }
}

async fn run(seed: u64, tally: &mut Tally) {
    let mut lot = Lot::new(seed);
    let world = world(seed, &mut lot);
    let mut devices: Vec<Device> = Vec::new();
    for _ in 0..lot.below(50) + 30 {
        let which = lot.below(devices.len().max(1) as u64) as usize;
        let answered = devices.iter().position(Device::is_answered);
        match lot.below(10) {
            _ if answered.is_some() && lot.chance(40) => {
                let which = answered.unwrap_or_default();
                match lot.chance(60) {
                    true => leaves(&world, &mut devices, which, &mut lot, tally).await,
                    false => breaks_a_rule(&mut devices[which], &mut lot, tally),
                }
            }
            0 if devices.len() < 4 => {
                let device = world.open(&mut lot).await;
                tally.opened += u64::from(device.is_some());
                devices.extend(device);
            }
            1 | 2 if !devices.is_empty() => {
                for _ in 0..lot.below(2) + 1 {
                    let is_back = world.resume(&mut devices[which], &mut lot).await;
                    tally.resumed += u64::from(is_back);
                    if lot.chance(50) {
                        rest(lot.below(30)).await;
                        devices[which].hear(lot.below(20));
                    }
                }
            }
            3 if !devices.is_empty() => leaves(&world, &mut devices, which, &mut lot, tally).await,
            4 => world.pass(&mut devices, Duration::from_millis(lot.below(8000))).await,
            5 | 6 => {
                for device in &mut devices {
                    device.hear(lot.below(40));
                }
            }
            _ if !devices.is_empty() => acts(&world, &mut devices[which], &mut lot, tally).await,
            _ => {}
        }
        rest(lot.below(30)).await;
        world.holds_what_it_may();
    }
    world.timers_agree().await;
    if lot.chance(30) {
        tally.left += 1;
        return server_leaves(world, devices).await;
    }
    hear_all_out(&world, &mut devices, &mut lot).await;
    for device in &mut devices {
        device.leave(Manner::ALL[lot.below(Manner::ALL.len() as u64) as usize]);
    }
    world.pass(&mut [], Duration::from_secs(40)).await;
    // Those that were never closed are noticed by then; the grace begins there.
    world.pass(&mut [], GRACE + Duration::from_secs(1)).await;
    settle().await;
    let left: Vec<_> = devices.iter().map(|device| device.session.stage()).collect();
    assert!(left.iter().all(|stage| *stage == Stage::Ended), "{left:?} at {:?}", Instant::now());
    drop(devices);
    world.all_is_back("at the end").await;
}

/// Whoever can come back does, and hears everything that was said.
async fn hear_all_out(world: &World, devices: &mut [Device], lot: &mut Lot) {
    for device in &mut *devices {
        device.is_slow = false;
        device.leave(Manner::Silence);
        if let Some(token) = device.token.clone().filter(|_| device.lives()) {
            let attached = world.knock("anna", &token, Some(device.has)).expect("it lives");
            device.go_on(world.line(attached, lot).await, Some(device.has));
        }
    }
    for _ in 0..8 {
        world.pass(devices, Duration::from_secs(4)).await;
        world.drain(devices).await;
        if devices.iter().all(|device| device.answers.is_empty()) {
            break;
        }
    }
    // Whoever writes may never come to an end.
    devices.iter_mut().for_each(|device| device.send(&json!({"type": "response.cancel"})));
    world.drain(devices).await;
    for device in devices.iter().filter(|device| device.token.is_some() && device.lives()) {
        assert!(device.line.is_some(), "{:?} closed by {:?}", device.session.stage(), device.code);
        assert!(device.is_up_to_date(), "{} is the last that it has", device.has);
        assert!(device.answers.is_empty(), "{:?}", device.answers);
    }
}

/// Everybody is told, and nothing stays.
async fn server_leaves(world: World, mut devices: Vec<Device>) {
    world.drain(&mut devices).await;
    let stands: Vec<bool> = devices
        .iter()
        .map(|device| {
            device.line.is_some()
                && device.code.is_none()
                && matches!(device.session.stage(), Stage::Live(_))
        })
        .collect();
    world.door.stop_softly();
    world.drain(&mut devices).await;
    for (device, stood) in devices.iter().zip(stands) {
        assert!(!stood || device.code == Some(1001), "closed by {:?}", device.code);
    }
    advance(Duration::from_secs(2)).await;
    settle().await;
    world.sessions.leave();
    settle().await;
    for device in &mut devices {
        assert!(!device.lives());
        let token = device.token.clone().unwrap_or_default();
        assert!(world.knock("anna", &token, Some(device.has)).is_err());
    }
    advance(Duration::from_secs(3)).await;
    world.all_is_back("after the server has left").await;
}

#[test]
fn everything_is_back_after_each_of_many_seeds_and_who_comes_back_has_each_event_once() {
    let tally = std::panic::AssertUnwindSafe(RefCell::new(Tally::default()));
    each_seed(|seed| simulated(run(seed, &mut tally.borrow_mut())));
    let Tally { opened, resumed, errors, cuts, expired, left } = tally.0.into_inner();
    if std::env::var_os("EVENSONG_SEED").is_none() && std::env::var_os("EVENSONG_SEEDS").is_none() {
        let least = [opened, resumed, errors, cuts].into_iter().min();
        assert!(least >= Some(1000), "too little happened: {opened} {resumed} {errors} {cuts}");
    }
    println!(
        "{opened} sessions; {resumed} times gone on with, {errors} errors and {cuts} cuts within answers, {expired} not in time, {left} servers left"
    );
}

/// A device that was told that it has a session.
async fn one(lot: &mut Lot) -> (World, [Device; 1]) {
    let world = world(3, lot);
    let mut device = [world.open(lot).await.expect("there is room")];
    world.drain(&mut device).await;
    (world, device)
}

#[test]
fn what_an_answer_held_is_free_with_its_end() {
    simulated(async {
        let (world, mut device) = one(&mut Lot::new(3)).await;
        for response in [Value::Null, json!({"output_modalities": ["text"]})] {
            device[0].ask(response);
            world.drain(&mut device).await;
            assert_eq!((world.dialogues.len(), device[0].answers.len()), (1, 1));
            while !device[0].answers.is_empty() {
                world.pass(&mut device, Duration::from_secs(1)).await;
            }
            let turns = world.ledger.live(Kind::Turn);
            assert!(world.dialogues.is_empty() && turns == 0, "its dialogue waits for somebody");
        }
        // What it told is kept a little longer than that.
        world.pass(&mut device, 3 * PING_EVERY).await;
        assert_eq!(world.budget.state().reserved, SESSION_BYTES as u64);
    });
}

#[test]
fn one_timer_runs_however_often_a_device_comes_back_and_is_gone() {
    simulated(async {
        let mut lot = Lot::new(3);
        let (world, mut device) = one(&mut lot).await;
        let token = device[0].token.clone().expect("a token");
        device[0].leave(Manner::Reset);
        settle().await;
        for _ in 0..5 {
            // Its connection breaks before anything was sent by it.
            drop(world.knock("anna", &token, None).expect("it lives"));
        }
        world.timers_agree().await;
        let attached = world.knock("anna", &token, None).expect("it lives");
        world.timers_agree().await;
        assert_eq!(world.ledger.live(Kind::SessionTimer), 0, "its device is there");
        drop(attached);
        world.pass(&mut [], GRACE + Duration::from_secs(1)).await;
        world.all_is_back("past its grace").await;
    });
}

#[test]
fn one_that_comes_back_and_gives_no_sign_of_life_keeps_its_grace() {
    simulated(async {
        let mut lot = Lot::new(3);
        let (world, mut device) = one(&mut lot).await;
        let token = device[0].token.clone().expect("a token");
        // Twice over a network that brings nothing back.
        for _ in 0..2 {
            device[0].leave(Manner::Silence);
            let attached = world.knock("anna", &token, Some(device[0].has)).expect("it lives");
            device[0].go_on(world.line(attached, &mut lot).await, Some(device[0].has));
            world.pass(&mut [], Duration::from_secs(15)).await;
            assert!(matches!(device[0].session.stage(), Stage::Detached(_)), "gone, and expected");
        }
        world.pass(&mut [], GRACE).await;
        drop(device);
        world.all_is_back("past its grace").await;
    });
}

#[test]
fn one_that_never_gives_a_sign_of_life_is_over_after_ten_seconds() {
    simulated(async {
        let mut lot = Lot::new(3);
        let world = world(3, &mut lot);
        let device = world.open(&mut lot).await.expect("there is room");
        world.pass(&mut [], Duration::from_secs(9)).await;
        assert!(device.lives());
        world.pass(&mut [], Duration::from_secs(2)).await;
        assert!(!device.lives(), "it waits for nobody");
        world.all_is_back("without a sign of life").await;
    });
}
