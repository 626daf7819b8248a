//! Dialogues under everything that can happen to them, in simulated time: a faked engine, a faked writer of answers, clients
//! who come, stall, leave, come back and interrupt at any moment. Invariant, after each of many seeds: everything is back,
//! nothing runs, and no client saw an event out of its order. A seed that fails is printed; `EVENSONG_SEED` runs it alone,
//! `EVENSONG_SEEDS` so many.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use evensong::answer::{End, Finish, Piece, Pieces, Question, Responder};
use evensong::bounds::Budget;
use evensong::bounds::replay::Position;
use evensong::dialogue::frame::{Frame, Indicator};
use evensong::dialogue::life::Patience;
use evensong::dialogue::listen::{Ear, Listener};
use evensong::dialogue::{Asking, Dialogues, Means};
use evensong::ledger::{Departure, Ledger};
use evensong::metrics::Metrics;
use evensong::speech::encode::Format;
use evensong::speech::live::LiveWish;
use evensong::speech::{Engine, Speech, Voicing};
use evensong::tasks::Scope;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{advance, sleep};

use crate::faked::{FakeEngine, FakeWriter, Lot, each_seed, settle, simulated};

pub struct World {
    pub dialogues: Dialogues,
    pub speech: Speech,
    pub metrics: Metrics,
    pub ledger: Ledger,
    pub budget: Budget,
    pub scope: Scope,
}

pub fn world(seed: u64, faults: bool) -> World {
    world_of(seed, faults, |ledger| {
        let (ledger, seed) = (ledger.clone(), AtomicU64::new(seed ^ 0xABCD));
        Arc::new(FakeWriter { ledger, seed, faults })
    })
}

fn world_of(seed: u64, faults: bool, writer: impl FnOnce(&Ledger) -> Arc<dyn Responder>) -> World {
    let (ledger, metrics, budget) = (Ledger::new(), Metrics::default(), Budget::new(64 << 20));
    let scope = Scope::new("simulation", ledger.clone());
    let (spawner, ms_a_letter) = (scope.spawner(), 50);
    let engine = FakeEngine { spawner, seed: AtomicU64::new(seed), faults, ms_a_letter };
    let voicing = Voicing {
        engines: vec![Engine::Pieces(Arc::new(engine))],
        fallback: Vec::new(),
        default_voice: None,
        first_wait: Duration::from_secs(5),
    };
    let speech = Speech::new(voicing, budget.clone(), metrics.clone(), scope.spawner());
    let dialogues = Dialogues::new(Means {
        speech: speech.clone(),
        responder: Some(writer(&ledger)),
        budget: budget.clone(),
        metrics: metrics.clone(),
        spawner: scope.spawner(),
        patience: Patience { attach: Duration::from_secs(30), grace: Duration::from_secs(10) },
    });
    World { dialogues, speech, metrics, ledger, budget, scope }
}

fn asking(dialogue: Option<String>, format: Format, is_resumable: bool) -> Asking {
    Asking {
        text: "Why?".into(),
        dialogue,
        history: None,
        played_ms: None,
        voice: LiveWish {
            voice: None,
            model: None,
            instructions: None,
            speed: 1.0,
            format,
            owner: "client".into(),
        },
        thinking: Some(Indicator::Sound),
        is_resumable,
        grace: None,
        is_silent: false,
        instructions: String::new(),
        principal: "anybody".into(),
        places: Box::new(()),
    }
}

fn ear(after: Option<Position>, follows: bool) -> Ear {
    Ear {
        after,
        follows,
        knows_place: true,
        owner: "client".into(),
        departure: Departure::default(),
    }
}

/// A client of a dialogue, and what it saw.
struct Hearer {
    listener: Option<Listener>,
    dialogue: String,
    last: Option<Position>,
    /// The epoch whose last frame it saw.
    ended: u32,
}

impl Hearer {
    /// Takes what is there; what it sees must be in order.
    fn hear(&mut self, most: u64) {
        for _ in 0..most {
            let Some(listener) = &mut self.listener else { return };
            match listener.next().now_or_never() {
                None => return,
                Some(None | Some(Err(_))) => self.listener = None,
                Some(Some(Ok((position, frame)))) => self.see(position, &frame),
            }
        }
    }

    fn see(&mut self, position: Position, frame: &Frame) {
        if let Some(last) = self.last {
            assert!(position.number > last.number && position.epoch >= last.epoch, "out of order");
        }
        let ends = match frame {
            Frame::Interrupted { epoch, .. } => *epoch,
            frame if frame.is_last() => position.epoch,
            _ => {
                assert!(position.epoch > self.ended, "behind the last frame of {}", self.ended);
                0
            }
        };
        assert!(ends == 0 || ends > self.ended, "a second last frame of {ends}");
        self.ended = self.ended.max(ends);
        self.last = Some(position);
    }
}

pub async fn all_is_back(world: World, what: &str) {
    let World { dialogues, ledger, budget, scope, .. } = world;
    // Whatever was promised to somebody who does not come is over by then.
    for _ in 0..8 {
        settle().await;
        advance(Duration::from_secs(6)).await;
    }
    settle().await;
    let state = budget.state();
    let lives: Vec<_> =
        ledger.kinds().into_iter().filter(|kind| kind.live > 0 && !kind.standing).collect();
    assert!(lives.is_empty() && dialogues.is_empty(), "{what}: {lives:?}");
    assert_eq!((state.reserved, state.held), (0, 0), "{what}");
    scope.stop(Duration::ZERO).await;
}

async fn run(seed: u64) {
    let mut lot = Lot::new(seed);
    let faults = lot.chance(50);
    let world = world(seed, faults);
    let mut hearers: Vec<Hearer> = Vec::new();
    for _ in 0..lot.below(60) + 10 {
        let which = lot.below(hearers.len().max(1) as u64) as usize;
        match lot.below(9) {
            0 | 1 => {
                let format = Format::ALL[lot.below(5) as usize];
                let asking = asking(None, format, lot.chance(40));
                if let Ok(accepted) = world.dialogues.converse(asking) {
                    let dialogue = accepted.dialogue.to_string();
                    hearers.push(Hearer { listener: None, dialogue, last: None, ended: 0 });
                }
            }
            2 if !hearers.is_empty() => {
                let (dialogue, resumable) = (hearers[which].dialogue.clone(), lot.chance(50));
                let _ = world.dialogues.converse(asking(Some(dialogue), Format::Mp3, resumable));
            }
            3 if !hearers.is_empty() => {
                let hearer = &mut hearers[which];
                let after = hearer.last.filter(|_| lot.chance(70));
                let Ok(found) = world.dialogues.find(&hearer.dialogue, "anybody") else { continue };
                hearer.listener = None;
                if let Ok(listener) = found.listen(ear(after, lot.chance(40))) {
                    if after.is_none() {
                        (hearer.last, hearer.ended) = (None, 0);
                    }
                    hearer.listener = Some(listener);
                }
            }
            4 if !hearers.is_empty() => {
                // Another pair of ears for the same dialogue.
                let dialogue = hearers[which].dialogue.clone();
                let Ok(found) = world.dialogues.find(&dialogue, "anybody") else { continue };
                let listener = found.listen(ear(None, lot.chance(40))).ok();
                hearers.push(Hearer { listener, dialogue, last: None, ended: 0 });
            }
            5 if !hearers.is_empty() => hearers[which].listener = None,
            6 if !hearers.is_empty() && lot.chance(20) => {
                if let Ok(found) = world.dialogues.find(&hearers[which].dialogue, "anybody") {
                    found.delete(None);
                }
            }
            7 => advance(Duration::from_millis(lot.below(3000))).await,
            _ => {
                let most = lot.below(40);
                for hearer in &mut hearers {
                    hearer.hear(most);
                }
            }
        }
        for _ in 0..lot.below(30) {
            tokio::task::yield_now().await;
        }
        let state = world.budget.state();
        assert!(state.held <= state.reserved, "more is held than was reserved: {state:?}");
    }
    drop(hearers);
    all_is_back(world, "at the end").await;
}

#[test]
fn everything_is_back_after_each_of_many_seeds() {
    each_seed(|seed| simulated(run(seed)));
}

/// One turn with one listener, who leaves after so many steps of the scheduler. True where the turn had ended by then.
async fn leaves_after(steps: usize, is_resumable: bool) -> bool {
    let world = world(7, false);
    let asked = world.dialogues.converse(asking(None, Format::Opus, is_resumable));
    let dialogue = asked.expect("taken").dialogue;
    let found = world.dialogues.find(&dialogue, "anybody").expect("there");
    let mut listener = found.listen(ear(None, false)).expect("it may listen");
    drop(found);
    let mut is_over = false;
    for _ in 0..steps {
        let next = poll_fn(|cx| std::task::Poll::Ready(listener.poll_next_unpin(cx))).await;
        match next {
            std::task::Poll::Ready(None) => {
                is_over = true;
                break;
            }
            std::task::Poll::Ready(Some(_)) => {}
            // The clock moves on by itself where all wait for it.
            std::task::Poll::Pending => sleep(Duration::from_millis(1)).await,
        }
        tokio::task::yield_now().await;
    }
    drop(listener);
    if !is_resumable {
        // At once: before any time has passed.
        settle().await;
        assert_eq!(world.budget.state().reserved, 0, "after {steps} steps");
        assert!(world.dialogues.is_empty());
    }
    all_is_back(world, &format!("after {steps} steps")).await;
    is_over
}

#[test]
fn one_who_leaves_at_any_step_leaves_nothing() {
    for is_resumable in [false, true] {
        let mut steps = 0;
        while !{
            let mut is_over = false;
            simulated(async { is_over = leaves_after(steps, is_resumable).await });
            is_over
        } {
            // Each of the first hundred, and then fewer: the whole takes a minute otherwise.
            steps += 1 + steps / 100;
            assert!(steps < 5000, "the turn does not end");
        }
        assert!(steps > 50, "only {steps} steps");
    }
}

/// Writes an answer of a hundred seconds at once.
struct LongWriter;

impl Responder for LongWriter {
    fn name(&self) -> &'static str {
        "long"
    }

    fn answer(&self, _: Question) -> Pieces {
        let text = "This is one of many sentences. ".repeat(65);
        let end = End { finish: Finish::Stop, usage: None };
        Box::pin(futures_util::stream::iter([Ok(Piece::Text(text)), Ok(Piece::End(end))]))
    }
}

/// Takes what is there, to so many milliseconds of sound; behind what, and up to where that is.
fn takes(listener: &mut Listener, place: &mut (Option<Position>, u64), until_ms: u64) {
    while place.1 < until_ms {
        let Some(Some(Ok((position, frame)))) = listener.next().now_or_never() else { return };
        place.0 = Some(position);
        if let Frame::Audio(part) = &*frame {
            place.1 = part.ends_ms;
        }
    }
}

#[test]
fn who_comes_back_before_its_old_connection_is_known_to_be_gone_waits_for_nobody() {
    simulated(async {
        let world = world_of(7, false, |_| Arc::new(LongWriter));
        let asked = world.dialogues.converse(asking(None, Format::Pcm, true)).expect("taken");
        let found = world.dialogues.find(&asked.dialogue, "anybody").expect("there");
        let mut old = Some(found.listen(ear(None, false)).expect("it may listen"));
        let mut taken = (None, 0);
        settle().await;
        takes(old.as_mut().expect("there"), &mut taken, 2000);
        // Its network is gone, and that shows nowhere: what it has not heard is asked for by another connection.
        let mut back = taken;
        let mut new = found.listen(ear(taken.0, false)).expect("what comes behind that is held");
        let (mut silent, mut longest) = (0, 0);
        for second in 1..100 {
            advance(Duration::from_secs(1)).await;
            settle().await;
            match &mut old {
                // The kernel takes what comes, until it is clear that nobody acknowledges it.
                Some(old) if second < 25 => takes(old, &mut taken, 2000 + second * 1000),
                _ => old = None,
            }
            let before = back;
            takes(&mut new, &mut back, u64::MAX);
            silent = if back == before { silent + 1 } else { 0 };
            longest = longest.max(silent);
            if back.1 > 90_000 {
                break;
            }
        }
        assert!(back.1 > 90_000, "{back:?}");
        assert!(longest < 2, "nothing came for {longest} s");
        drop((old, new, found));
        all_is_back(world, "after it has heard enough").await;
    });
}
