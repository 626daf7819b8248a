//! An engine made of worker processes. Invariants: a worker has one job at a time and never waits on
//! a client; each worker process belongs to one task that starts, watches, recycles and ends it; a
//! job whose asker has gone is cancelled at once.

mod actor;
mod queue;
pub mod wire;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::voices::Voices;
use super::{Health, Job, PieceEngine, Said, Voiced};
use crate::ledger::Kind;
use crate::limits;
use crate::metrics::Metrics;
use crate::tasks::Spawner;
use queue::{Queue, Waiting};

/// How an engine's workers are run.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The engine's name, as `evensong engine NAME` knows it.
    pub engine: &'static str,
    /// The program to run; this binary.
    pub program: PathBuf,
    /// The engine's library, if it is not in its usual place.
    pub library: Option<PathBuf>,
    /// Processes side by side.
    pub workers: usize,
    /// Jobs after which a process is replaced.
    pub jobs_most: u32,
    /// Age at which a process is replaced.
    pub age_most: Duration,
}

impl WorkerConfig {
    /// `workers` processes of `engine` with the limits of the program.
    pub fn new(engine: &'static str, program: PathBuf, workers: usize) -> Self {
        let (jobs_most, age_most) = (limits::WORKER_JOBS_MOST, limits::WORKER_AGE_MOST);
        Self { engine, program, library: None, workers, jobs_most, age_most }
    }
}

/// The engine. Its workers live in the scope that it was started in.
pub struct WorkerEngine {
    shared: Arc<Shared>,
    spawner: Spawner,
}

struct Shared {
    config: WorkerConfig,
    queue: Queue,
    said: Mutex<Introduction>,
    metrics: Metrics,
}

/// What the workers have said of themselves.
struct Introduction {
    health: Health,
    voices: Arc<Voices>,
    processes: Vec<u32>,
}

impl WorkerEngine {
    /// Starts the workers in `spawner`'s scope.
    pub fn start(config: WorkerConfig, spawner: Spawner, metrics: Metrics) -> Arc<Self> {
        let introduction = Introduction {
            health: Health::Starting,
            voices: Arc::default(),
            processes: Vec::new(),
        };
        let queue = Queue::new(config.workers);
        let workers = config.workers;
        let shared = Arc::new(Shared { config, queue, said: Mutex::new(introduction), metrics });
        for number in 0..workers {
            let owner = format!("{} worker {number}", shared.config.engine);
            let actor = actor::Actor::new(Arc::clone(&shared), spawner.clone(), owner.as_str());
            spawner.spawn(Kind::Service, owner, actor.run());
        }
        Arc::new(Self { shared, spawner })
    }
}

impl Voiced for WorkerEngine {
    fn name(&self) -> &'static str {
        self.shared.config.engine
    }

    fn health(&self) -> Health {
        self.shared.said().health.clone()
    }

    fn voices(&self) -> Arc<Voices> {
        Arc::clone(&self.shared.said().voices)
    }

    fn projected_wait(&self) -> Duration {
        self.shared.queue.projected_wait()
    }

    fn process_ids(&self) -> Vec<u32> {
        self.shared.said().processes.clone()
    }
}

impl PieceEngine for WorkerEngine {
    fn speak(&self, job: Job) -> mpsc::Receiver<Said> {
        let (said, hear) = mpsc::channel(limits::WORKER_FRAMES_QUEUED);
        let entry = self.spawner.ledger().enter(Kind::Job, Arc::clone(&job.owner), 0);
        self.shared.queue.put(Waiting { job, said, entry, since: Instant::now() });
        hear
    }
}

impl Shared {
    fn said(&self) -> MutexGuard<'_, Introduction> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process no longer runs.
    fn ended(&self, process: Option<u32>) {
        self.said().processes.retain(|known| Some(*known) != process);
    }

    /// A process runs and has said what it can do.
    fn introduce(&self, process: Option<u32>, hz: u32, voices: Voices) {
        let mut said = self.said();
        if said.health != Health::Ready(hz) {
            let engine = self.config.engine;
            tracing::info!(engine, hz, voices = voices.all.len(), "engine ready");
        }
        said.processes.extend(process);
        said.health = Health::Ready(hz);
        if *said.voices != voices {
            said.voices = Arc::new(voices);
        }
    }

    /// One worker could not be started. The engine is unavailable when no other runs.
    fn unavailable(&self, reason: String) {
        let mut said = self.said();
        if !said.processes.is_empty() {
            return;
        }
        let health = Health::Unavailable(reason);
        if said.health != health {
            tracing::warn!(engine = self.config.engine, ?health, "engine unavailable");
            said.health = health;
        }
    }
}
