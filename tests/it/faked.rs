//! What simulations are made of: lots that are drawn from a seed, an engine that speaks and a writer who answers in simulated
//! time, and the clock. Invariant: a seed tells all of it, on every machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use evensong::answer::{AnswerError, End, Finish, Piece, Pieces, Question, Responder};
use evensong::ledger::{Kind, Ledger};
use evensong::speech::voices::{Voice, Voices};
use evensong::speech::{Ended, Health, Job, PieceEngine, Said, Voiced};
use evensong::tasks::Spawner;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// xorshift64*: what is drawn must be the same on every machine.
#[derive(Clone)]
pub struct Lot(u64);

impl Lot {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn draw(&mut self) -> u64 {
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

/// Speaks so many ms for a letter, in simulated time, and fails as it is drawn.
pub struct FakeEngine {
    pub spawner: Spawner,
    pub seed: AtomicU64,
    pub faults: bool,
    pub ms_a_letter: usize,
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
        let (faults, ms) = (self.faults, self.ms_a_letter);
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
                let samples = word.len() * ms * HZ as usize / 1000;
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
pub struct FakeWriter {
    pub ledger: Ledger,
    pub seed: AtomicU64,
    pub faults: bool,
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

/// Lets everything run that can without time passing.
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

pub fn simulated<F: Future<Output = ()>>(future: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(future);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Tries each of a thousand seeds, or those that the environment names; one that fails is printed.
pub fn each_seed(run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let seeds = match number("EVENSONG_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("EVENSONG_SEEDS").unwrap_or(1000),
    };
    for seed in seeds {
        let failed = std::panic::catch_unwind(|| run(seed));
        if let Err(why) = failed {
            eprintln!("seed {seed} failed: EVENSONG_SEED={seed} runs it alone");
            std::panic::resume_unwind(why);
        }
    }
}
