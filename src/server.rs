//! Builds the parts, starts what stands, and runs until told to stop. Invariant: what is started here
//! is ended here, in the reverse order, each step logged with its duration, and within the deadline.

pub mod search;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use crate::answer::Responder;
use crate::answer::found::Found;
use crate::answer::llm::Llm;
use crate::answer::transcriber::Transcriber;
use crate::bounds::Budget;
use crate::bounds::memory::profile::Profiles;
use crate::bounds::memory::{Books, Watch};
use crate::bounds::signing::SigningKey;
use crate::config::{
    Config, ListeningUpstream, LlmUpstream, RemoteSpeech, ShutdownConfig, TranscriberUpstream,
};
use crate::dialogue::{Dialogues, Means};
use crate::http::admin::Shown;
use crate::http::auth::Auth;
use crate::http::graphql::Forwarding;
use crate::http::limit::Limits;
use crate::http::listen::{Door, DoorConfig, Listener, Side, connections_that_fit};
use crate::http::origin::OriginConfig;
use crate::http::tls::Tls;
use crate::http::{self, Readiness, Service, Services, admin};
use crate::ledger::{Baseline, Kind, Ledger};
use crate::limits;
use crate::media::Media;
use crate::metrics::Metrics;
use crate::realtime::relay::Listening;
use crate::realtime::{SessionMeans, Sessions};
use crate::search::Search;
use crate::search::indexer::Indexer;
use crate::speech::openai::{self, OpenAi};
use crate::speech::worker::{WorkerConfig, WorkerEngine};
use crate::speech::{Engine, Health, Speech, Voicing};
use crate::tasks::{Cleanup, Scope, Stopped, manager};
use crate::upstream::graphql::Graphql;
use crate::upstream::{Exchange, Parts, Roll, Rolled, Sockets, Tls as Authorities, Upstream};

/// A running server. Dropping it is the hard stop.
pub struct Server {
    /// The public addresses in use.
    pub listen: Vec<SocketAddr>,
    /// The admin address in use.
    pub admin: SocketAddr,
    /// What handlers work with.
    pub services: Services,
    tls: Option<Tls>,
    admin_auth: Auth,
    profiles: Profiles,
    scopes: Scopes,
    shutdown: ShutdownConfig,
}

/// In the order in which they are stopped: first nobody is let in, then those who are in leave.
struct Scopes {
    doors: Scope,
    connections: Scope,
    streams: Scope,
    workers: Scope,
    index: Scope,
    upstreams: Scope,
    timers: Scope,
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
    /// Who writes answers, if somebody does.
    pub responder: Option<Arc<dyn Responder>>,
    /// Who writes down what is said, if somebody does.
    pub transcriber: Option<Transcriber>,
    /// Whom GraphQL is asked of, if somebody is.
    pub graphql: Option<Graphql>,
    /// What is asked elsewhere.
    pub roll: Roll,
    parts: Parts,
    streams: Scope,
    workers: Scope,
    upstreams: Scope,
}

impl Core {
    /// Starts the engines and what speaks with them, and whoever writes answers.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let (ledger, metrics) = (Ledger::new(), Metrics::default());
        let budget = Budget::new(config.budget_bytes);
        let streams = Scope::new("streams", ledger.clone());
        let workers = Scope::new("workers", ledger.clone());
        let upstreams = Scope::new("upstreams", ledger.clone());
        let tls = Authorities::default();
        let parts = Parts { spawner: upstreams.spawner(), metrics: metrics.clone(), tls };
        let (remote, mut rolled) = match &config.speech.openai {
            None => (None, Vec::new()),
            Some(remote) => remote_speech(remote, &parts).await.map(|(e, r)| (Some(e), r))?,
        };
        let engine = |name| -> Engine {
            if let (openai::NAME, Some(remote)) = (name, remote.clone()) {
                return Engine::Remote(remote);
            }
            let program = config.speech.worker_program.clone();
            let mut worker = WorkerConfig::new(name, program, config.speech.workers);
            worker.library = config.speech.espeak_library.clone().filter(|_| name == "espeak");
            Engine::Pieces(WorkerEngine::start(worker, workers.spawner(), metrics.clone()))
        };
        let voicing = Voicing {
            engines: config.speech.engines().into_iter().map(engine).collect(),
            fallback: config.speech.fallback.clone(),
            default_voice: config.speech.default_voice.clone(),
            first_wait: first_wait(config),
        };
        let speech = Speech::new(voicing, budget.clone(), metrics.clone(), streams.spawner());
        let responder = responder(config, &parts).await?.map(|(responder, row)| {
            rolled.push(row);
            responder
        });
        let transcriber = transcriber(config, &parts).await?.map(|(transcriber, row)| {
            rolled.push(row);
            transcriber
        });
        let graphql = graphql(config, &parts).await?;
        rolled.extend(graphql.iter().map(Graphql::rolled));
        let roll = Roll::new(rolled);
        Ok(Self {
            budget,
            ledger,
            metrics,
            speech,
            responder,
            transcriber,
            graphql,
            roll,
            parts,
            streams,
            workers,
            upstreams,
        })
    }

    /// Waits until the default engine, and each that speaks for it, has said whether it can: who is let in before that may
    /// be told *starting* by the one that was to help. What is said of the default one.
    pub async fn settled(&self) -> Health {
        let starts = |engine: &Engine| matches!(engine.health(), Health::Starting);
        while self.speech.answering().any(starts) {
            tokio::time::sleep(limits::ENGINE_POLL).await;
        }
        self.speech.engines()[0].health()
    }

    /// Ends streams, then workers and upstreams.
    pub async fn stop(self) {
        self.streams.stop(std::time::Duration::ZERO).await;
        self.workers.stop(limits::SHUTDOWN_HARD_STOP / 2).await;
        self.upstreams.stop(std::time::Duration::ZERO).await;
    }
}

/// Who writes answers, if somebody is configured, and what the operator may ask of its clients.
pub async fn responder(
    config: &Config,
    parts: &Parts,
) -> anyhow::Result<Option<(Arc<dyn Responder>, Box<dyn Rolled>)>> {
    let Some(LlmUpstream { llm, upstream }) = config.answer.llm.clone() else { return Ok(None) };
    let failed = |why: String| anyhow::anyhow!("answer.llm: {why}");
    let upstream = Upstream::start(upstream, parts).await.map_err(failed)?;
    let row = upstream.rolled();
    Ok(Some((Arc::new(Llm::new(upstream, llm)), row)))
}

/// Who writes down what is said, if somebody is configured, and what the operator may ask of its clients.
async fn transcriber(
    config: &Config,
    parts: &Parts,
) -> anyhow::Result<Option<(Transcriber, Box<dyn Rolled>)>> {
    let configured = config.answer.transcriber.clone();
    let Some(TranscriberUpstream { transcriber, upstream }) = configured else { return Ok(None) };
    let failed = |why: String| anyhow::anyhow!("answer.transcriber: {why}");
    let upstream = Upstream::start(upstream, parts).await.map_err(failed)?;
    let row = upstream.rolled();
    Ok(Some((Transcriber::new(upstream, transcriber), row)))
}

/// Whom GraphQL is asked of, if somebody is configured.
async fn graphql(config: &Config, parts: &Parts) -> anyhow::Result<Option<Graphql>> {
    let Some(config) = &config.graphql else { return Ok(None) };
    let started = Graphql::start(config.upstream.clone(), parts).await;
    started.map(Some).map_err(|why| anyhow::anyhow!("graphql: {why}"))
}

/// What clients may ask of it.
fn forwarding(config: &Config, core: &Core) -> Option<Forwarding> {
    let (server, config) = (core.graphql.clone()?, config.graphql.as_ref()?);
    Some(Forwarding { server, caps: Arc::new(config.caps.clone()) })
}

/// How long an engine has for its first audio where another may speak for it: a little more than for the head of its
/// answer, and never so long that nothing is left to the other.
fn first_wait(config: &Config) -> std::time::Duration {
    let remote = config.speech.openai.as_ref().map(|remote| remote.upstream.first_byte);
    let most = limits::FIRST_ENGINE_WAIT;
    remote.map_or(most, |head| (head + limits::FIRST_AUDIO_AFTER_HEAD).min(most))
}

/// The engine on another server, and what the operator may ask of its clients.
async fn remote_speech(
    remote: &RemoteSpeech,
    parts: &Parts,
) -> anyhow::Result<(Arc<OpenAi>, Vec<Box<dyn Rolled>>)> {
    let failed = |why: String| anyhow::anyhow!("speech.openai: {why}");
    let upstream = Upstream::start(remote.upstream.clone(), parts).await.map_err(failed)?;
    let mut rolled = vec![upstream.rolled()];
    let mut exchange = None;
    if remote.engine.voices.is_empty() {
        let mut errands = remote.upstream.clone();
        errands.ages.name = "openai voices";
        let made = Exchange::start(errands, parts).await.map_err(failed)?;
        rolled.push(made.rolled());
        exchange = Some(made);
    }
    let engine = OpenAi::start(remote.engine.clone(), upstream, exchange, &parts.spawner);
    Ok((engine, rolled))
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
        let baseline = Baseline::take(listeners.len() + 1);
        let tls = config.access.tls.clone().map(Tls::new).transpose().context("tls")?;
        let auth = Auth::new(&config.access.public).context("keys_file")?;
        let admin_auth = Auth::new(&config.access.admin).context("keys_file")?;
        let core = Core::start(config).await?;
        if let Health::Unavailable(reason) = core.settled().await {
            tracing::warn!(reason, "speech will answer 503 until this is mended");
        }
        let scope = |name| Scope::new(name, core.ledger.clone());
        let (doors, connections) = (scope("listeners"), scope("connections"));
        let (admin_doors, admin) = (scope("admin listener"), scope("admin connections"));
        let (index, timers) = (scope("index"), scope("timers"));
        let searching = searching(config, &index, &core).await?;
        let tickets = auth.tickets().clone();
        timers.spawner().every("ticket sweep", limits::TICKET_SWEEP_EVERY, move || {
            tickets.sweep();
            std::future::ready(())
        });
        let dialogues = dialogues(config, &core, &timers, searching.0.as_ref());
        let profiles = Profiles::new(config.memory.profile_dir.clone(), timers.spawner());
        let media = media(config, &index, &core)?;
        let sessions = sessions(config, &core, &timers, &dialogues)?;
        let talking = (dialogues, sessions);
        let services = services(config, &core, (searching, talking, media), auth, &profiles);
        let listen: Vec<_> = listeners.iter().map(Listener::address).collect();
        let admin_address = admin_listener.address();
        let mut door = config.door.clone();
        door.connections = connections_that_fit(door.connections);
        let public = http::router(services.clone(), config.access.origins.clone());
        let public = Door::new(Side::Public, public, door, &services, connections.spawner())
            .with_tls(tls.clone())
            .with_limits(services.limits.clone());
        for listener in listeners {
            public.clone().open(listener, &doors.spawner());
        }
        let router = admin_router(config, &services, baseline, admin_auth.clone());
        let few = DoorConfig { connections: limits::ADMIN_CONNECTIONS, ..DoorConfig::default() };
        Door::new(Side::Admin, router, few, &services, admin.spawner())
            .open(admin_listener, &admin_doors.spawner());
        if config.memory.watch.is_some() {
            let (budget, ledger) = (core.budget.clone(), core.ledger.clone());
            services.watch.start(&timers.spawner(), Books { budget, ledger, baseline });
        }
        let Core { streams, workers, upstreams, .. } = core;
        let scopes = Scopes {
            doors,
            connections,
            streams,
            workers,
            index,
            upstreams,
            timers,
            admin_doors,
            admin,
        };
        let shutdown = config.shutdown;
        let admin = admin_address;
        Ok(Self { listen, admin, services, tls, admin_auth, profiles, scopes, shutdown })
    }

    /// Reads keys and certificates again, and looks through the media. What cannot be read stays as it was, and is logged.
    pub fn reload(&self) {
        match self.services.auth.reload() {
            Ok(keys) if self.services.auth.is_keyed() => tracing::info!(keys, "keys read again"),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "keys could not be read; the old ones stay"),
        }
        if let Some(media) = &self.services.media {
            media.rescan();
        }
        if let Err(error) = self.admin_auth.reload() {
            tracing::error!(%error, "keys could not be read for the admin side");
        }
        match self.tls.as_ref().map(Tls::reload) {
            None => {}
            Some(Ok(())) => tracing::info!("certificate read again"),
            Some(Err(error)) => {
                tracing::error!(%error, "certificate could not be read; the old one stays");
            }
        }
    }

    /// Has a heap profile written into the configured folder, and where, or why not, logged. A slow disk
    /// keeps nobody from hearing the next signal.
    pub fn profile(&self) {
        let profiles = self.profiles.clone();
        self.scopes.timers.spawner().spawn(Kind::Service, "heap profile", async move {
            match profiles.write().await {
                Ok(profile) => {
                    let (file, bytes) = (profile.file.display(), profile.bytes);
                    tracing::info!(%file, bytes, "heap profile written");
                }
                Err(error) => tracing::error!(%error, "no heap profile"),
            }
        });
    }

    /// Shows the service manager that tasks still run, if it wants to see that.
    pub fn show_life(&self) {
        if let Some(every) = manager::wants_signs_every() {
            let sign = || async { manager::alive() };
            self.scopes.timers.spawner().every("service manager", every, sign);
        }
    }

    /// As [`Server::stop`], behind a balancer: for a while readiness says that we leave and the door
    /// is still open, so that nobody is sent to a closed one.
    pub async fn stop_behind_balancer(self) -> bool {
        self.services.readiness.leave();
        let began = Instant::now();
        tokio::time::sleep(self.shutdown.balancer).await;
        self.stop_since(began).await
    }

    /// Leaves well: not ready, nobody new, those who are in until the hard stop, then the rest.
    /// True when nothing had to be cut off.
    pub async fn stop(self) -> bool {
        self.stop_since(Instant::now()).await
    }

    async fn stop_since(self, began: Instant) -> bool {
        self.services.readiness.leave();
        let hard_at = began + self.shutdown.deadline.saturating_sub(limits::SHUTDOWN_HARD_STOP);
        let patience = || hard_at.saturating_duration_since(Instant::now());
        let step = limits::SHUTDOWN_HARD_STOP / 2;
        let Scopes { doors, connections, streams, workers, .. } = self.scopes;
        let Scopes { index, upstreams, timers, admin_doors, admin, .. } = self.scopes;
        let mut cleanup = Cleanup::default();
        let closed = cleanup.step("listeners", step, doors.stop(step / 2)).await;
        // Those who are in have until the hard stop; shortly before it, streams are told.
        let told = async {
            tokio::time::sleep(patience().saturating_sub(limits::SHUTDOWN_LAST_WORD)).await;
            streams.stop_softly();
            std::future::pending::<()>().await;
        };
        let left = async {
            tokio::select! {
                stopped = connections.stop(patience()) => stopped,
                () = told => Stopped::Softly,
            }
        };
        let left = cleanup.step("connections", patience() + step, left).await;
        // Those whose device is gone; the others ended with their sockets.
        self.services.sessions.leave();
        // A stream ends with its reader, so none is left; this waits for the last ones to notice.
        cleanup.step("streams", step, streams.stop(step / 4)).await;
        cleanup.step("workers", step, workers.stop(step / 2)).await;
        cleanup.step("index", step, index.stop(step / 2)).await;
        cleanup.step("upstreams", step, upstreams.stop(std::time::Duration::ZERO)).await;
        cleanup.step("limiter", step, self.services.limits.stop()).await;
        cleanup.step("timers", step, timers.stop(step / 4)).await;
        cleanup.step("admin listener", step, admin_doors.stop(step / 4)).await;
        cleanup.step("admin connections", step, admin.stop(std::time::Duration::ZERO)).await;
        let softly = [closed, left].iter().all(|end| *end == Some(Stopped::Softly));
        let took_ms = began.elapsed().as_millis() as u64;
        let (failed, idle) = (cleanup.failed(), self.services.ledger.is_idle());
        tracing::info!(softly, took_ms, ?failed, idle, "server stopped");
        softly
    }
}

/// What handlers work with.
fn services(
    config: &Config,
    core: &Core,
    ((search, indexer, rows), (dialogues, sessions), media): (
        Searching,
        (Dialogues, Sessions),
        Option<Media>,
    ),
    auth: Auth,
    profiles: &Profiles,
) -> Services {
    let limits = Limits::new(config.access.limits.clone(), auth.is_keyed(), core.metrics.clone());
    limits.start(&core.ledger);
    Services::from(Service {
        speech: core.speech.clone(),
        dialogues,
        sessions,
        transcriber: core.transcriber.clone(),
        search,
        indexer,
        graphql: forwarding(config, core),
        media,
        roll: core.roll.and(rows),
        budget: core.budget.clone(),
        ledger: core.ledger.clone(),
        metrics: core.metrics.clone(),
        auth,
        limits,
        readiness: Readiness::default(),
        watch: Watch::new(config.memory.watch.clone().unwrap_or_default()),
        heap_endpoint: config.memory.heap_endpoint.then(|| profiles.clone()),
        started: Instant::now(),
    })
}

/// The media, if there is a place for them.
fn media(config: &Config, scope: &Scope, core: &Core) -> anyhow::Result<Option<Media>> {
    let Some(config) = &config.media else { return Ok(None) };
    let started = Media::start(config, &scope.spawner(), &core.metrics);
    let folder = config.root.display();
    started.map(Some).with_context(|| format!("media.root = {folder}: it cannot be opened"))
}

/// Who is asked: a language model, or, where there is none, the documents that are searched.
fn dialogues(config: &Config, core: &Core, timers: &Scope, search: Option<&Search>) -> Dialogues {
    let found = || {
        let found = Found::new(search?.clone());
        Some(Arc::new(found) as Arc<dyn Responder>)
    };
    let dialogues = Dialogues::new(Means {
        speech: core.speech.clone(),
        responder: core.responder.clone().or_else(found),
        budget: core.budget.clone(),
        metrics: core.metrics.clone(),
        spawner: core.streams.spawner(),
        patience: config.dialogue,
    });
    let (sweeping, forgetting) = (dialogues.clone(), dialogues.clone());
    timers.spawner().every("dialogue sweep", limits::DIALOGUE_SWEEP_EVERY, move || {
        sweeping.sweep();
        std::future::ready(())
    });
    timers.spawner().every("idempotency sweep", limits::IDEMPOTENCY_AFTER, move || {
        forgetting.forget_keys();
        std::future::ready(())
    });
    dialogues
}

/// Who listens to the sound that comes by sessions.
fn listening(config: ListeningUpstream, parts: &Parts) -> anyhow::Result<Listening> {
    let sockets = Sockets::new(config.socket, parts);
    let sockets = sockets.map_err(|why| anyhow::anyhow!("realtime.upstream: {why}"))?;
    Ok(Listening { sockets, voice: config.voice })
}

/// Who talks over sockets.
fn sessions(
    config: &Config,
    core: &Core,
    timers: &Scope,
    dialogues: &Dialogues,
) -> anyhow::Result<Sessions> {
    let sessions = Sessions::new(SessionMeans {
        dialogues: dialogues.clone(),
        speech: core.speech.clone(),
        voice: config.speech.default_voice.clone().unwrap_or_else(|| "alloy".to_string()),
        budget: core.budget.clone(),
        metrics: core.metrics.clone(),
        spawner: core.streams.spawner(),
        patience: config.realtime.patience,
        key: SigningKey::of(config.data.as_deref(), "session.key")?,
        transcriber: core.transcriber.clone(),
        listening: config
            .realtime
            .listening
            .clone()
            .map(|it| listening(it, &core.parts))
            .transpose()?,
    });
    let sweeping = sessions.clone();
    timers.spawner().every("session sweep", limits::SESSION_SWEEP_EVERY, move || {
        sweeping.sweep();
        std::future::ready(())
    });
    Ok(sessions)
}

/// What is searched, if something is; what brings it there; and what the operator may ask of their clients.
async fn searching(config: &Config, scope: &Scope, core: &Core) -> anyhow::Result<Searching> {
    let Some(settings) = &config.search else { return Ok((None, None, Vec::new())) };
    let (search, row) = search::start(config, settings, &scope.spawner(), &core.parts).await?;
    let mut rows: Vec<_> = row.into_iter().collect();
    let mut indexer = None;
    if let Some(setup) = &config.indexer {
        let graphql = core.graphql.as_ref();
        let (made, more) = search::indexer(config, setup, &search, graphql, &core.parts).await?;
        made.start(&scope.spawner());
        rows.extend(more);
        indexer = Some(made);
    }
    Ok((Some(search), indexer, rows))
}

type Searching = (Option<Search>, Option<Indexer>, Vec<Box<dyn Rolled>>);

fn admin_router(
    config: &Config,
    services: &Services,
    baseline: Baseline,
    auth: Auth,
) -> axum::Router {
    // No site's page may read what the operator sees.
    let origins = OriginConfig { origins: Vec::new(), ..config.access.origins.clone() };
    let shown = Shown(Arc::new(config.shown.clone()));
    admin::router(services.clone(), baseline, shown, origins, auth)
}
