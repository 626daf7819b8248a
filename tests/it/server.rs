//! A server on free ports, in this process, with the real binary as its workers. It stops when the
//! test ends, and a test can ask it what still lives.

use std::time::{Duration, Instant};

use evensong::config::{Config, Settings};
use evensong::server::Server;
use serde_json::Value;

use crate::http::{Answer, Client};

/// See the module.
pub struct TestServer {
    pub server: Server,
}

/// Settings for a test: the test signal as engine, free ports.
pub fn config(pairs: &[(&str, &str)]) -> Config {
    let given = |key: &str| {
        let pair = pairs.iter().find(|(name, _)| *name == key);
        let value = pair.map(|(_, value)| (*value).to_string());
        value.or_else(|| match key {
            "listen" | "admin" => Some("127.0.0.1:0".into()),
            "speech.engine" => Some("tone".into()),
            // Whoever searches says where.
            "search.enabled" if !pairs.iter().any(|(name, _)| *name == "data") => {
                Some("false".into())
            }
            // And so does whoever has media.
            "media.enabled"
                if !pairs.iter().any(|(name, _)| ["data", "media.root"].contains(name)) =>
            {
                Some("false".into())
            }
            _ => None,
        })
    };
    let settings = Settings::read(None, |_| None, given).expect("readable settings");
    let mut config = settings.check().expect("good settings");
    config.speech.worker_program = env!("CARGO_BIN_EXE_evensong").into();
    config
}

impl TestServer {
    /// Starts with `pairs` of settings.
    pub async fn start(pairs: &[(&str, &str)]) -> Self {
        Self::with(&config(pairs)).await
    }

    /// Starts with a configuration.
    pub async fn with(config: &Config) -> Self {
        Self { server: Server::start(config).await.expect("it starts") }
    }

    /// Starts with espeak, or says that it is not there.
    pub async fn espeak(test: &str) -> Option<Self> {
        let this = Self::start(&[("speech.engine", "espeak")]).await;
        let ready = this.get("/readyz").await;
        if ready.status == 200 {
            return Some(this);
        }
        let skipped = format!("{test}: {}", ready.json()["detail"]);
        eprintln!("skipped: {skipped}");
        if let Ok(file) = std::env::var("EVENSONG_SKIPS") {
            use std::io::Write;
            let file = std::fs::OpenOptions::new().append(true).open(file);
            let _ = file.and_then(|mut file| writeln!(file, "{skipped}"));
        }
        None
    }

    /// A new connection.
    pub async fn connect(&self) -> Client {
        Client::connect(self.server.listen[0]).await
    }

    /// GET on a connection of its own.
    pub async fn get(&self, path: &str) -> Answer {
        self.connect().await.get(path).await
    }

    /// POST of a speech request on a connection of its own.
    pub async fn speech(&self, body: &Value) -> Answer {
        self.connect().await.post("/v1/audio/speech", body.to_string().as_bytes()).await
    }

    /// The ledger, as the operator sees it.
    pub async fn ledger(&self) -> Value {
        Client::connect(self.server.admin).await.get("/debug/ledger").await.json()
    }

    /// Waits until nothing lives but what stands, and everything agrees; panics after 2 s.
    pub async fn idle(&self) -> Value {
        self.wait("idle, nothing reserved, tasks as expected", |ledger| {
            ledger["idle"] == true
                && ledger["budget"]["reserved"] == 0
                && ledger["budget"]["held"] == 0
        })
        .await
    }

    /// Waits until `wanted` holds of the ledger; panics after 2 s.
    pub async fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let ledger = self.ledger().await;
            if wanted(&ledger) {
                return ledger;
            }
            assert!(began.elapsed() < Duration::from_secs(2), "not {what}: {ledger:#}");
            tokio::task::yield_now().await;
        }
    }

    /// The number of a kind that lives.
    pub async fn live(&self, kind: &str) -> u64 {
        live(&self.ledger().await, kind)
    }
}

/// The number of `kind` in a ledger.
pub fn live(ledger: &Value, kind: &str) -> u64 {
    let kinds = ledger["kinds"].as_array().expect("kinds");
    let row = kinds.iter().find(|row| row["kind"] == kind).expect("a known kind");
    row["live"].as_u64().expect("a number")
}
