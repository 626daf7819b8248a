//! Dialogues under everything that can happen to them, in simulated time: a faked engine, a faked writer of answers, clients
//! who come, stall, leave, come back and interrupt at any moment. Invariant, after each of many seeds: everything is back,
//! nothing runs, and no client saw an event out of its order. A seed that fails is printed; `EVENSONG_SEED` runs it alone,
//! `EVENSONG_SEEDS` so many.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use evensong::answer::{AnswerError, End, Finish, Piece, Pieces, Question, Responder};
use evensong::bounds::Budget;
use evensong::bounds::replay::Position;
use evensong::dialogue::frame::{Frame, Indicator};
use evensong::dialogue::life::Patience;
use evensong::dialogue::listen::{Ear, Listener};
use evensong::dialogue::{Asking, Dialogues, Means};
use evensong::ledger::{Departure, Kind, Ledger};
use evensong::metrics::Metrics;
use evensong::speech::encode::Format;
use evensong::speech::live::LiveWish;
use evensong::speech::voices::{Voice, Voices};
use evensong::speech::{Ended, Engine, Health, Job, PieceEngine, Said, Speech, Voiced, Voicing};
use evensong::tasks::{Scope, Spawner};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{advance, sleep};

/// xorshift64*: what is drawn must be the same on every machine.
#[derive(Clone)]
pub struct Lot(u64);

impl Lot {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, most: u64) -> u64 {
        self.draw() % most
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

const HZ: u32 = 24_000;

/// Speaks 50 ms for a letter, in simulated time, and fails as it is drawn.
struct FakeEngine {
    spawner: Spawner,
    seed: AtomicU64,
    faults: bool,
}

impl Voiced for FakeEngine {
    fn name(&self) -> &'static str {
        "tone"
    }

    fn health(&self) -> Health {
        Health::Ready(HZ)
    }

    fn voices(&self) -> Arc<Voices> {
        let voice = Voice {
            id: "one".into(),
            name: "One".into(),
            language: "en".into(),
            gender: None,
            engine_name: "one".into(),
        };
        Arc::new(Voices { default: 0, all: vec![voice], variants: Vec::new() })
    }
}

impl PieceEngine for FakeEngine {
    fn speak(&self, job: Job) -> mpsc::Receiver<Said> {
        let (said, heard) = mpsc::channel(1);
        let mut lot = Lot::new(self.seed.fetch_add(1, Ordering::Relaxed));
        let faults = self.faults;
        self.spawner.spawn(Kind::Task, Arc::clone(&job.owner), async move {
            let mut at = 0;
            let mut left = job.most_samples as usize;
            for word in job.text.split_inclusive(' ') {
                if faults && lot.chance(2) {
                    return; // the worker died
                }
                if lot.chance(30) {
                    sleep(Duration::from_millis(lot.below(40))).await;
                }
                let samples = word.len() * HZ as usize / 20;
                if samples > left {
                    let _ = said.send(Said::End(Ended::More(at))).await;
                    return;
                }
                left -= samples;
                at += word.len() as u32;
                let pcm = Bytes::from(vec![0; samples * 2]);
                if said.send(Said::Audio { pcm, spoken: Some(at) }).await.is_err() {
                    return;
                }
            }
            let ended = if faults && lot.chance(1) {
                Ended::Failed("it is hoarse".into())
            } else {
                Ended::Done
            };
            let _ = said.send(Said::End(ended)).await;
        });
        heard
    }
}

/// Writes answers, in simulated time, and breaks off as it is drawn.
struct FakeWriter {
    ledger: Ledger,
    seed: AtomicU64,
    faults: bool,
}

impl Responder for FakeWriter {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn answer(&self, question: Question) -> Pieces {
        let mut lot = Lot::new(self.seed.fetch_add(1, Ordering::Relaxed));
        // Whoever drops the answer ends the request: that stands in the books as one of an upstream does.
        let request = self.ledger.enter(Kind::UpstreamRequest, "fake", 0);
        drop(question);
        let faults = self.faults;
        let words = lot.below(60);
        let pieces =
            futures_util::stream::unfold((lot, words, false), move |(mut lot, left, over)| {
                let _ = &request;
                async move {
                    if over {
                        return None;
                    }
                    if lot.chance(40) {
                        sleep(Duration::from_millis(lot.below(300))).await;
                    }
                    if faults && lot.chance(1) {
                        std::future::pending::<()>().await;
                    }
                    if faults && lot.chance(1) {
                        return Some((Err(AnswerError::TooLong("fake")), (lot, 0, true)));
                    }
                    if left == 0 {
                        let end = End { finish: Finish::Stop, usage: None };
                        return Some((Ok(Piece::End(end)), (lot, 0, true)));
                    }
                    let marks = [" ", " ", " ", ", ", ". ", "? ", ".\n\n", "* "];
                    let mark = marks[lot.below(marks.len() as u64) as usize];
                    let word = "abcdefghijkl"[..=lot.below(11) as usize].to_string();
                    Some((Ok(Piece::Text(word + mark)), (lot, left - 1, false)))
                }
            });
        Box::pin(pieces)
    }
}

pub struct World {
    pub dialogues: Dialogues,
    pub speech: Speech,
    pub metrics: Metrics,
    pub ledger: Ledger,
    pub budget: Budget,
    pub scope: Scope,
}

pub fn world(seed: u64, faults: bool) -> World {
    let (ledger, metrics, budget) = (Ledger::new(), Metrics::default(), Budget::new(64 << 20));
    let scope = Scope::new("simulation", ledger.clone());
    let engine = FakeEngine { spawner: scope.spawner(), seed: AtomicU64::new(seed), faults };
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

/// Lets everything run that can without time passing.
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
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

pub fn simulated<F: Future<Output = ()>>(future: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(future);
}

pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays `run` by each of many seeds, or by the one that is asked for.
pub fn each_seed<F: Future<Output = ()>>(run: impl Fn(u64) -> F + std::panic::RefUnwindSafe) {
    let seeds = match number("EVENSONG_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("EVENSONG_SEEDS").unwrap_or(1000),
    };
    for seed in seeds {
        let failed = std::panic::catch_unwind(|| simulated(run(seed)));
        if let Err(why) = failed {
            eprintln!("seed {seed} failed: EVENSONG_SEED={seed} runs it alone");
            std::panic::resume_unwind(why);
        }
    }
}

#[test]
fn everything_is_back_after_each_of_many_seeds() {
    each_seed(run);
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
