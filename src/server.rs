//! Builds the parts, starts what stands, and runs until told to stop. Invariant: what is started here
//! is ended here, in the reverse order, each step logged with its duration, and within the deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use crate::bounds::Budget;
use crate::config::Config;
use crate::http::admin::Baseline;
use crate::http::listen::{Door, DoorConfig, Listener, Side};
use crate::http::{self, Readiness, Services, admin};
use crate::ledger::Ledger;
use crate::limits;
use crate::metrics::Metrics;
use crate::speech::worker::{WorkerConfig, WorkerEngine};
use crate::speech::{Engine, Health, Speech};
use crate::tasks::{Scope, Stopped};

/// A running server. Dropping it is the hard stop.
pub struct Server {
    /// The public addresses in use.
    pub listen: Vec<SocketAddr>,
    /// The admin address in use.
    pub admin: SocketAddr,
    /// What handlers work with.
    pub services: Services,
    scopes: Scopes,
    deadline: std::time::Duration,
}

/// In the order in which they are stopped: first nobody is let in, then those who are in leave.
struct Scopes {
    doors: Scope,
    connections: Scope,
    streams: Scope,
    workers: Scope,
    admin_doors: Scope,
    admin: Scope,
}

/// The parts below HTTP: enough to speak without a server.
pub struct Core {
    /// What may be promised to clients.
    pub budget: Budget,
    /// What lives.
    pub ledger: Ledger,
    /// What is counted.
    pub metrics: Metrics,
    /// Who speaks.
    pub speech: Speech,
    streams: Scope,
    workers: Scope,
}

impl Core {
    /// Starts the engines and what speaks with them.
    pub fn start(config: &Config) -> Self {
        let (ledger, metrics) = (Ledger::new(), Metrics::default());
        let budget = Budget::new(config.budget_bytes);
        let streams = Scope::new("streams", ledger.clone());
        let workers = Scope::new("workers", ledger.clone());
        let engine = |name| -> Arc<dyn Engine> {
            let program = config.speech.worker_program.clone();
            let mut worker = WorkerConfig::new(name, program, config.speech.workers);
            worker.library = config.speech.espeak_library.clone().filter(|_| name == "espeak");
            WorkerEngine::start(worker, workers.spawner(), metrics.clone())
        };
        let engines = config.speech.engines().into_iter().map(engine).collect();
        let voice = config.speech.default_voice.clone();
        let speech =
            Speech::new(engines, voice, budget.clone(), metrics.clone(), streams.spawner());
        Self { budget, ledger, metrics, speech, streams, workers }
    }

    /// Waits until the default engine has said whether it can speak.
    pub async fn settled(&self) -> Health {
        loop {
            match self.speech.engines()[0].health() {
                Health::Starting => tokio::time::sleep(limits::ENGINE_POLL).await,
                health => return health,
            }
        }
    }

    /// Ends streams, then workers.
    pub async fn stop(self) {
        self.streams.stop(std::time::Duration::ZERO).await;
        self.workers.stop(limits::SHUTDOWN_HARD_STOP / 2).await;
    }
}

impl Server {
    /// Binds, starts and lets clients in.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        // All addresses first: nothing is started that would have to be stopped again.
        let bind = |address: &SocketAddr| {
            Listener::bind(*address).with_context(|| format!("cannot listen on {address}"))
        };
        let listeners = config.listen.iter().map(bind).collect::<anyhow::Result<Vec<_>>>()?;
        let admin_listener = bind(&config.admin)?;
        let core = Core::start(config);
        if let Health::Unavailable(reason) = core.settled().await {
            tracing::warn!(reason, "speech will answer 503 until this is mended");
        }
        let scope = |name| Scope::new(name, core.ledger.clone());
        let (doors, connections) = (scope("listeners"), scope("connections"));
        let (admin_doors, admin) = (scope("admin listener"), scope("admin connections"));
        let services = Services {
            speech: core.speech.clone(),
            budget: core.budget.clone(),
            ledger: core.ledger.clone(),
            metrics: core.metrics.clone(),
            readiness: Readiness::default(),
            started: Instant::now(),
        };
        let listen: Vec<_> = listeners.iter().map(Listener::address).collect();
        let admin_address = admin_listener.address();
        let door = |side, router, config, connections: &Scope| {
            let (budget, metrics) = (core.budget.clone(), core.metrics.clone());
            Door::new(side, router, config, budget, metrics, connections.spawner())
        };
        let public = http::router(services.clone());
        let public = door(Side::Public, public, config.door.clone(), &connections);
        for listener in listeners {
            public.clone().open(listener, &doors.spawner());
        }
        // The admin listener is open already, and stands in the ledger only after it was opened.
        let mut baseline = Baseline::take(&core.ledger);
        baseline.counts_listener();
        let router = admin::router(services.clone(), baseline);
        let few = DoorConfig { connections: limits::ADMIN_CONNECTIONS, ..DoorConfig::default() };
        door(Side::Admin, router, few, &admin).open(admin_listener, &admin_doors.spawner());
        let Core { streams, workers, .. } = core;
        let scopes = Scopes { doors, connections, streams, workers, admin_doors, admin };
        let deadline = config.shutdown_deadline;
        Ok(Self { listen, admin: admin_address, services, scopes, deadline })
    }

    /// Leaves well: not ready, nobody new, those who are in until the hard stop, then the rest.
    /// True when nothing had to be cut off.
    pub async fn stop(self) -> bool {
        let began = Instant::now();
        self.services.readiness.leave();
        let hard_at = began + self.deadline.saturating_sub(limits::SHUTDOWN_HARD_STOP);
        let patience = || hard_at.saturating_duration_since(Instant::now());
        let Scopes { doors, connections, streams, workers, admin_doors, admin } = self.scopes;
        let mut softly = doors.stop(patience()).await == Stopped::Softly;
        softly &= connections.stop(patience()).await == Stopped::Softly;
        // A stream ends with its reader, so none is left; this waits for the last ones to notice.
        streams.stop(patience()).await;
        workers.stop(limits::SHUTDOWN_HARD_STOP / 2).await;
        admin_doors.stop(std::time::Duration::ZERO).await;
        admin.stop(std::time::Duration::ZERO).await;
        let took_ms = began.elapsed().as_millis() as u64;
        tracing::info!(softly, took_ms, idle = self.services.ledger.is_idle(), "server stopped");
        softly
    }
}
