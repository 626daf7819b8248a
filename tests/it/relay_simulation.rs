//! Voice sessions beside a server that listens, is lost, talks nonsense or is not there, in simulated time: devices speak, are cut
//! off, and come back in time or too late. What runs on their sockets is `session_simulation`'s; here none stands between. Invariant,
//! after each of many seeds: everything is back, nothing runs, and who came back has missed nothing and heard nothing twice.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evensong::bounds::signing::SigningKey;
use evensong::ledger::Kind;
use evensong::metrics::SessionEnd;
use evensong::realtime::relay::Listening;
use evensong::realtime::{Attachment, SessionMeans, SessionPatience, Sessions};
use evensong::tasks::Spawner;
use evensong::upstream::address::Base;
use evensong::upstream::dial::{Connect, Io};
use evensong::upstream::{Parts, Secret, SocketConfig, Sockets, Tls};
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::time::{Instant, advance, sleep};
use tokio_tungstenite::tungstenite::Message;

use crate::faked::{Lot, each_seed, settle, simulated};
use crate::session_simulation::Caller;
use crate::simulation::{World, all_is_back, world};

const GRACE: Duration = Duration::from_secs(60);

fn anybody() -> Arc<Caller> {
    Arc::new(Caller { principal: "anybody", admits: true })
}

/// Connections to a server that listens, as they are drawn.
struct FakeEars {
    spawner: Spawner,
    seed: AtomicU64,
    /// How many it has.
    open: Arc<AtomicU64>,
}

impl Connect for FakeEars {
    fn connect(
        &self,
        _: String,
        _: u16,
    ) -> Pin<Box<dyn Future<Output = Result<Box<dyn Io>, io::Error>> + Send>> {
        let mut lot = Lot::new(self.seed.fetch_add(1, Ordering::Relaxed));
        let (spawner, open) = (self.spawner.clone(), Arc::clone(&self.open));
        Box::pin(async move {
            sleep(Duration::from_millis(lot.below(500))).await;
            match lot.below(10) {
                0 => return Err(io::ErrorKind::ConnectionRefused.into()),
                1 => std::future::pending::<()>().await,
                _ => {}
            }
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            spawner.spawn(Kind::UpstreamTask, "ears", async move {
                open.fetch_add(1, Ordering::Relaxed);
                RELAYED.fetch_add(1, Ordering::Relaxed);
                listen(theirs, lot).await;
                open.fetch_sub(1, Ordering::Relaxed);
            });
            Ok(Box::new(ours) as Box<dyn Io>)
        })
    }
}

/// Answers what is said, now and then, until it is left, or has enough.
async fn listen(stream: DuplexStream, mut lot: Lot) {
    if lot.chance(5) {
        return std::future::pending().await;
    }
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let mut number = 0;
    while let Some(Ok(message)) = socket.next().await {
        if !message.is_text() {
            continue;
        }
        if lot.chance(20) {
            sleep(Duration::from_millis(lot.below(2000))).await;
        }
        let parts = lot.below(20);
        let mut events =
            vec![json!({"type": "response.created", "response": {"id": format!("r{number}")}})];
        events.extend((0..parts).map(|part| json!({"type": "response.output_audio.delta", "part": part, "delta": "A".repeat(8000)})));
        let content = json!([{"type": "output_audio", "transcript": "So it is."}]);
        events.push(json!({"type": "conversation.item.done", "item": {"id": format!("i{number}"), "type": "message", "role": "assistant", "content": content}}));
        events.push(json!({"type": "response.done", "response": {"id": format!("r{number}")}}));
        number += 1;
        for event in events {
            let said = match lot.below(200) {
                0 => return,
                1 => socket.close(None).await,
                2 => socket.send(Message::text("nonsense")).await,
                3 => return std::future::pending().await,
                _ => socket.send(Message::text(event.to_string())).await,
            };
            if said.is_err() {
                return;
            }
        }
    }
}

/// Connections to a server that is greeted, and says nothing from then on.
struct Mute {
    spawner: Spawner,
    /// It hears nothing, either.
    is_frozen: bool,
    made: Arc<AtomicU64>,
}

impl Connect for Mute {
    fn connect(
        &self,
        _: String,
        _: u16,
    ) -> Pin<Box<dyn Future<Output = Result<Box<dyn Io>, io::Error>> + Send>> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (is_frozen, made) = (self.is_frozen, Arc::clone(&self.made));
        self.spawner.spawn(Kind::UpstreamTask, "mute", async move {
            let Ok(mut socket) = tokio_tungstenite::accept_async(theirs).await else { return };
            made.fetch_add(1, Ordering::Relaxed);
            if is_frozen {
                return std::future::pending().await;
            }
            // Whoever reads answers signs of life.
            while let Some(Ok(_)) = socket.next().await {}
        });
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn Io>) })
    }
}

fn sessions(world: &World, seed: u64, open: &Arc<AtomicU64>) -> Sessions {
    let spawner = world.scope.spawner();
    let ears = FakeEars { spawner, seed: AtomicU64::new(seed ^ 0xEA55), open: Arc::clone(open) };
    sessions_of(world, Arc::new(ears))
}

fn sessions_of(world: &World, ears: Arc<dyn Connect>) -> Sessions {
    let spawner = world.scope.spawner();
    let parts =
        Parts { spawner: spawner.clone(), metrics: world.metrics.clone(), tls: Tls::default() };
    let config = SocketConfig {
        name: "ears",
        base: Base::parse("http://ears.example/v1").expect("a base"),
        target: "/realtime".into(),
        key: Secret::default(),
        connect: Duration::from_secs(10),
    };
    let sockets = Sockets::over(config, &parts, ears).expect("no TLS");
    Sessions::new(SessionMeans {
        dialogues: world.dialogues.clone(),
        speech: world.speech.clone(),
        voice: "one".into(),
        budget: world.budget.clone(),
        metrics: world.metrics.clone(),
        spawner,
        patience: SessionPatience { grace: GRACE, idle: Duration::from_secs(1800) },
        key: SigningKey::of(None, "session.key").expect("a key"),
        listening: Some(Listening { sockets, voice: None }),
        transcriber: None,
    })
}

/// A device, and what it knows of its session.
#[derive(Default)]
struct Device {
    attachment: Option<Attachment>,
    token: Option<String>,
    /// What it has read, up to this number,
    read: u64,
    /// word for word.
    told: HashMap<u64, String>,
    left: Option<Instant>,
    /// It ended its session itself.
    is_over: bool,
}

impl Device {
    /// Reads so many events, if there are as many. They are in order, and the same if it had them before.
    fn read(&mut self, most: u64) {
        let Some(attachment) = &mut self.attachment else { return };
        for _ in 0..most {
            let Some(event) = attachment.pick() else { return };
            let event: Value = serde_json::from_str(&event).expect("JSON");
            let number: u64 = event["event_id"].as_str().expect("an id")["event_".len()..]
                .parse()
                .expect("a number");
            match event["type"].as_str().expect("a type") {
                "evensong.resumed" => {
                    assert_eq!(event["from"], json!(number + 1));
                    self.read = number;
                    continue;
                }
                "evensong.resume_token" => self.token = event["token"].as_str().map(str::to_string),
                _ => {}
            }
            assert_eq!(number, self.read + 1, "out of order: {event}");
            self.read = number;
            let text = event.to_string();
            if let Some(before) = self.told.insert(number, text.clone()) {
                assert_eq!(before, text, "told otherwise");
            }
        }
    }

    /// Lets its session go on, as the task of its socket would.
    async fn turn(&mut self) {
        let Some(attachment) = &mut self.attachment else { return };
        for _ in 0..8 {
            if attachment.heard().now_or_never().is_none() {
                break;
            }
        }
        let over = attachment.over().now_or_never().is_some();
        if over || attachment.is_flooded() {
            self.is_over |= attachment.is_flooded();
            attachment.end(SessionEnd::Policy);
            self.leave();
        }
    }

    fn leave(&mut self) {
        if self.attachment.take().is_some() {
            self.left = Some(Instant::now());
        }
    }

    /// Comes back behind what it read, or where it says nothing of that, behind what is known to have come.
    fn come_back(&mut self, sessions: &Sessions, knows: bool) {
        let Some(token) = self.token.clone() else { return };
        let after = knows.then_some(self.read);
        let was_late = self.left.is_some_and(|left| left.elapsed() >= GRACE);
        match sessions.resume(anybody(), &token, after) {
            Ok(mut attachment) => {
                assert!(!was_late, "too late");
                attachment.begin();
                // Whoever had it before is replaced: its late leaving does nothing.
                let old = self.attachment.replace(attachment);
                drop(old);
                self.left = None;
            }
            Err(why) => assert!(was_late || self.is_over, "in time, and refused: {why}"),
        }
    }
}

fn said(lot: &mut Lot) -> Value {
    let sound = "A".repeat(640 * (1 + lot.below(20)) as usize);
    match lot.below(12) {
        0..=2 => {
            json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Why?"}]}})
        }
        3..=5 => {
            json!({"type": "response.create", "response": {"output_modalities": [if lot.chance(50) { "text" } else { "audio" }]}})
        }
        6 => json!({"type": "response.cancel"}),
        7 => {
            json!({"type": "conversation.item.truncate", "item_id": format!("item_{}", lot.below(8)), "content_index": 0, "audio_end_ms": lot.below(2000)})
        }
        8..=9 => json!({"type": "input_audio_buffer.append", "audio": sound}),
        10 => json!({"type": "session.update", "session": {"instructions": "Be brief."}}),
        _ => json!({"type": "nobody.knows", "event_id": "mine"}),
    }
}

async fn run(seed: u64) {
    let mut lot = Lot::new(seed);
    let world = world(seed, lot.chance(50));
    let open = Arc::new(AtomicU64::new(0));
    let sessions = sessions(&world, seed, &open);
    let mut devices: Vec<Device> = Vec::new();
    let leaves = lot.chance(20);
    for _ in 0..lot.below(80) + 20 {
        let which = lot.below(devices.len().max(1) as u64) as usize;
        match lot.below(12) {
            0 => {
                let Ok(mut attachment) = sessions.open(anybody(), "small") else {
                    continue;
                };
                // One in ten is gone before its socket was there.
                if lot.chance(90) {
                    attachment.begin();
                    devices.push(Device { attachment: Some(attachment), ..Device::default() });
                }
            }
            1..=4 if !devices.is_empty() => {
                if let Some(attachment) = &mut devices[which].attachment {
                    attachment.take(&said(&mut lot).to_string());
                }
            }
            5 if !devices.is_empty() => devices[which].leave(),
            6 | 7 if !devices.is_empty() => devices[which].come_back(&sessions, lot.chance(80)),
            8 if !devices.is_empty() => {
                let device = &mut devices[which];
                if let Some(attachment) = &mut device.attachment {
                    // Not more than it has: a pong comes behind what was read.
                    attachment.confirmed(device.read);
                    attachment.settle();
                }
            }
            9 if !devices.is_empty() && lot.chance(10) => {
                let device = &mut devices[which];
                if let Some(attachment) = &device.attachment {
                    attachment.end(SessionEnd::Idle);
                    device.is_over = true;
                }
            }
            10 => {
                let most = if lot.chance(10) { 70_000 } else { 3_000 };
                advance(Duration::from_millis(lot.below(most))).await;
            }
            _ => {
                let most = lot.below(40);
                devices.iter_mut().for_each(|device| device.read(most));
            }
        }
        for _ in 0..lot.below(30) {
            tokio::task::yield_now().await;
        }
        for device in devices.iter_mut() {
            device.turn().await;
        }
        sessions.sweep();
        let state = world.budget.state();
        assert!(state.held <= state.reserved, "more is held than was reserved: {state:?}");
    }
    if leaves {
        sessions.leave();
    }
    RESUMED.fetch_add(world.metrics.sessions_resumed.get(), Ordering::Relaxed);
    READ.fetch_add(devices.iter().map(|device| device.told.len() as u64).sum(), Ordering::Relaxed);
    devices.clear();
    for _ in 0..8 {
        settle().await;
        advance(Duration::from_secs(10)).await;
    }
    settle().await;
    assert!(sessions.is_empty(), "{} sessions stand", sessions.len());
    assert_eq!(world.metrics.sessions_stale.get(), 0, "the sweep found one");
    let ledger = world.ledger.kinds();
    assert!(ledger.iter().all(|kind| kind.kind != "session_relay" || kind.live == 0));
    all_is_back(world, "at the end").await;
}

/// What all seeds did together: a simulation in which nothing happens shows nothing.
static READ: AtomicU64 = AtomicU64::new(0);
static RESUMED: AtomicU64 = AtomicU64::new(0);
static RELAYED: AtomicU64 = AtomicU64::new(0);

#[test]
fn everything_is_back_after_each_of_many_seeds() {
    each_seed(|seed| simulated(run(seed)));
    let [read, resumed, relayed] = [&READ, &RESUMED, &RELAYED].map(|of| of.load(Ordering::Relaxed));
    println!(
        "{read} events read, {resumed} resumed, {relayed} connections to a server that listens"
    );
    if std::env::var_os("EVENSONG_SEED").is_none() && std::env::var_os("EVENSONG_SEEDS").is_none() {
        assert!(read > 25_000 && resumed > 2_000 && relayed > 500, "{read}, {resumed}, {relayed}");
    }
}

/// What a device was told within so many seconds of silence, and how often its server was connected to.
async fn silence(is_frozen: bool, seconds: u64) -> (Vec<Value>, u64) {
    let world = world(5, false);
    let made = Arc::new(AtomicU64::new(0));
    let (spawner, counted) = (world.scope.spawner(), Arc::clone(&made));
    let sessions = sessions_of(&world, Arc::new(Mute { spawner, is_frozen, made: counted }));
    let mut attachment = sessions.open(anybody(), "small").expect("there is room");
    attachment.begin();
    let sound = json!({"type": "input_audio_buffer.append", "audio": "A".repeat(640)});
    assert!(attachment.take(&sound.to_string()).is_fine);
    let mut told = Vec::new();
    for _ in 0..seconds {
        settle().await;
        advance(Duration::from_secs(1)).await;
        while let Some(event) = attachment.pick() {
            told.push(serde_json::from_str(&event).expect("JSON"));
        }
    }
    drop(attachment);
    advance(GRACE + Duration::from_secs(1)).await;
    all_is_back(world, "after its silence").await;
    (told, made.load(Ordering::Relaxed))
}

#[test]
fn a_server_that_gives_no_sign_of_life_is_lost_and_one_that_only_listens_is_not() {
    simulated(async {
        let lost = |told: &[Value]| {
            told.iter().filter(|event| event["error"]["code"] == "upstream_lost").count()
        };
        let (told, made) = silence(true, 34).await;
        assert_eq!((lost(&told), made), (1, 1), "{told:?}");
        let (told, made) = silence(true, 37).await;
        assert_eq!(
            (lost(&told), made),
            (1, 2),
            "after its grace it is connected to again: {told:?}"
        );
        let (told, made) = silence(false, 300).await;
        assert_eq!((lost(&told), made), (0, 1), "{told:?}");
    });
}
