//! The configuration: composed from each module's own part, parsed and validated once. Invariant: a
//! value that reaches the program is one that it can work with; a bad one is refused with its key,
//! its value and what would do.
//!
//! File < environment < flags. [`KEYS`] is the one table from which all three take their names.

mod answer;
mod cgroup;
mod dialogue;
mod door;
mod graphql;
mod indexer;
mod keys;
mod media;
mod memory;
mod realtime;
mod search;
mod upstream;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dialogue::life::Patience;
use crate::http::listen::DoorConfig;
use crate::limits;
use crate::media::MediaConfig;
use crate::speech::openai;
use answer::AnswerSettings;
pub use answer::{AnswerConfig, LlmUpstream, TranscriberUpstream};
use dialogue::DialogueSettings;
pub use door::AccessConfig;
use door::{LimitSettings, TlsSettings};
pub use graphql::GraphqlConfig;
use graphql::GraphqlSettings;
use indexer::IndexerSettings;
pub use indexer::IndexerSetup;
pub use keys::{ALIASES, KEYS, Key, Kind};
use media::MediaSettings;
pub use memory::MemoryConfig;
use memory::MemorySettings;
use realtime::RealtimeSettings;
pub use realtime::{ListeningUpstream, RealtimeConfig};
use search::SearchSettings;
pub use search::{EngineConfig, SearchConfig};
pub use upstream::RemoteSpeech;
use upstream::{OpenAiSettings, UpstreamSettings};

/// Everything that the program can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Public addresses.
    pub listen: Vec<SocketAddr>,
    /// The operator's address.
    pub admin: SocketAddr,
    /// Bytes that may be promised to clients.
    pub budget_bytes: u64,
    /// Where things are kept; none: nowhere.
    pub data: Option<PathBuf>,
    /// Who speaks.
    pub speech: SpeechConfig,
    /// Who writes answers.
    pub answer: AnswerConfig,
    /// How long dialogues wait for listeners.
    pub dialogue: Patience,
    /// How long voice sessions wait.
    pub realtime: RealtimeConfig,
    /// What is searched; none: nothing.
    pub search: Option<SearchConfig>,
    /// What is indexed; none: nothing.
    pub indexer: Option<IndexerSetup>,
    /// Whom GraphQL is asked of, if somebody is.
    pub graphql: Option<GraphqlConfig>,
    /// Which media are served; none: none.
    pub media: Option<MediaConfig>,
    /// The public listeners.
    pub door: DoorConfig,
    /// Who may come in, and how much.
    pub access: AccessConfig,
    /// How its memory is watched.
    pub memory: MemoryConfig,
    /// The settings as they are in force, without secrets.
    pub shown: serde_json::Value,
    /// How it leaves.
    pub shutdown: ShutdownConfig,
}

/// How the server leaves.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownConfig {
    /// From the signal to the exit.
    pub deadline: Duration,
    /// The part of it in which the door is still open.
    pub balancer: Duration,
}

/// The speech part.
#[derive(Clone, Debug)]
pub struct SpeechConfig {
    /// The engine that speaks when a request names none.
    pub engine: &'static str,
    /// Whether the test signal can be asked for.
    pub tone: bool,
    /// The voice when a request names none; the engine's own if this is none.
    pub default_voice: Option<String>,
    /// The engines that speak when that one cannot, in this order.
    pub fallback: Vec<&'static str>,
    /// The engine `openai`.
    pub openai: Option<RemoteSpeech>,
    /// Processes of each engine.
    pub workers: usize,
    /// Where libespeak-ng is, if not where the system keeps its libraries.
    pub espeak_library: Option<PathBuf>,
    /// The binary that knows `engine NAME`.
    pub worker_program: PathBuf,
}

impl SpeechConfig {
    /// The engines to start, the default first.
    pub fn engines(&self) -> Vec<&'static str> {
        let mut engines = vec![self.engine];
        let tone = self.tone.then_some("tone");
        let remote = self.openai.is_some().then_some(openai::NAME);
        for name in self.fallback.iter().copied().chain(remote).chain(tone) {
            if !engines.contains(&name) {
                engines.push(name);
            }
        }
        engines
    }
}

/// A bad configuration, worded for the person who wrote it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file or a value could not be read.
    #[error("{0}")]
    Read(#[from] config::ConfigError),
    /// A value that would not do.
    #[error("{key} = {value}: {hint}")]
    Value {
        /// The key as in the file.
        key: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        hint: String,
    },
    /// No path of our own binary, which workers are started from.
    #[error("the path of this program is not known: {0}")]
    Program(#[from] std::io::Error),
}

/// The values as written; every key of [`KEYS`] and nothing else.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    listen: Vec<String>,
    admin: String,
    data: String,
    budget_bytes: u64,
    insecure: bool,
    insecure_admin: bool,
    keys_file: String,
    allowed_origins: Vec<String>,
    allowed_hosts: Vec<String>,
    trusted_proxies: Vec<String>,
    tls: TlsSettings,
    speech: SpeechSettings,
    answer: AnswerSettings,
    dialogue: DialogueSettings,
    realtime: RealtimeSettings,
    search: SearchSettings,
    indexer: IndexerSettings,
    graphql: GraphqlSettings,
    upstream: UpstreamSettings,
    media: MediaSettings,
    limits: LimitSettings,
    memory: MemorySettings,
    shutdown: ShutdownSettings,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SpeechSettings {
    engine: String,
    tone: bool,
    default_voice: String,
    workers: usize,
    fallback: Vec<String>,
    espeak: EspeakSettings,
    openai: OpenAiSettings,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct EspeakSettings {
    library: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ShutdownSettings {
    deadline_seconds: f64,
    balancer_seconds: f64,
}

impl Settings {
    /// Reads `file` if there is one, the environment through `env`, and `flags` by key.
    pub fn read(
        file: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
        flags: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut builder = config::Config::builder();
        for key in KEYS {
            builder = builder.set_default(key.name, key.default_value())?;
        }
        builder = builder.set_default("budget_bytes", default_budget_bytes())?;
        if let Some(file) = file {
            let source = config::File::from(file).format(config::FileFormat::Toml);
            builder = builder.add_source(source.required(true));
        }
        // An empty variable is what is left of one that was not set (`${X:-}`): it says nothing.
        let env = |name: &str| env(name).filter(|text| !text.trim().is_empty());
        for (name, key, value) in ALIASES {
            let switch = Key { name, kind: Kind::Switch, default: "false", help: "" };
            let said = env(name).map(|text| switch.parse(&text)).transpose()?;
            if said.is_some_and(|said| said.into_bool().unwrap_or(false)) {
                builder = builder.set_override(*key, *value)?;
            }
        }
        for key in KEYS {
            if let Some(text) = flags(key.name).or_else(|| env(&key.env())) {
                builder = builder.set_override(key.name, key.parse(&text)?)?;
            }
        }
        Ok(builder.build()?.try_deserialize()?)
    }

    /// The values as a file would have them. That a secret is set is said in a comment.
    pub fn to_toml(&self) -> String {
        KEYS.iter().fold(String::new(), |text, key| {
            let value = serde_json::to_value(self).unwrap_or_default();
            let pointer = format!("/{}", key.name.replace('.', "/"));
            let value = value.pointer(&pointer).map(ToString::to_string).unwrap_or_default();
            let hidden = key.kind == Kind::Secret && value != "\"\"";
            text + &match hidden {
                true => format!("# {} is set, and not shown\n", key.name),
                false => format!("{} = {value}\n", key.name),
            }
        })
    }

    /// Checks each value and makes the configuration of them.
    pub fn check(&self) -> Result<Config, ConfigError> {
        let listen = self.listen.iter().map(|text| address("listen", text));
        let listen = listen.collect::<Result<Vec<_>, _>>()?;
        let admin = address("admin", &self.admin)?;
        if listen.is_empty() {
            return Err(bad("listen", "[]", "at least one address, as 127.0.0.1:8080"));
        }
        self.upstream.check()?;
        let access = door::check(self, &listen, admin)?;
        let least = limits::BUDGET_LEAST_BYTES as u64;
        if self.budget_bytes < least {
            let hint = format!("at least {least}: one stream and a few connections");
            return Err(bad("budget_bytes", self.budget_bytes, hint));
        }
        let search = self.search.check(&self.upstream)?;
        let graphql = self.graphql.check(&self.upstream)?;
        let indexer = self.indexer.check(&self.upstream, graphql.as_ref())?;
        Ok(Config {
            listen,
            admin,
            budget_bytes: self.budget_bytes,
            data: search::data(&self.data),
            speech: self.speech.check(&self.upstream)?,
            answer: self.answer.check(&self.upstream)?,
            dialogue: self.dialogue.check()?,
            realtime: self.realtime.check()?,
            // What is indexed goes into what is searched.
            indexer: indexer.filter(|_| search.is_some()),
            search,
            graphql,
            media: self.media.check(search::data(&self.data))?,
            door: self.limits.door()?,
            access,
            memory: self.memory.check()?,
            shown: serde_json::to_value(self).unwrap_or_default(),
            shutdown: self.shutdown.check()?,
        })
    }

    /// Where the keys are, if there are any.
    pub fn keys_file(&self) -> Option<&Path> {
        Some(self.keys_file.trim()).filter(|file| !file.is_empty()).map(Path::new)
    }
}

impl ShutdownSettings {
    fn check(&self) -> Result<ShutdownConfig, ConfigError> {
        let deadline = seconds("shutdown.deadline_seconds", self.deadline_seconds, 2.0, 600.0)?;
        let balancer = seconds("shutdown.balancer_seconds", self.balancer_seconds, 0.0, 60.0)?;
        if balancer + limits::SHUTDOWN_HARD_STOP > deadline {
            let hint = "at least 1 s less than shutdown.deadline_seconds";
            return Err(bad("shutdown.balancer_seconds", self.balancer_seconds, hint));
        }
        Ok(ShutdownConfig { deadline, balancer })
    }
}

impl SpeechSettings {
    /// The engine that `name` names.
    fn engine(&self, key: &'static str, name: &str) -> Result<&'static str, ConfigError> {
        let known = || crate::speech::process::NAMES.iter().copied().chain([openai::NAME]);
        known().find(|known| *known == name).ok_or_else(|| {
            let known: Vec<_> = known().collect();
            bad(key, name, known.join(" or "))
        })
    }

    fn check(&self, upstream: &UpstreamSettings) -> Result<SpeechConfig, ConfigError> {
        let openai = self.openai.check(upstream)?;
        let engine = self.engine("speech.engine", &self.engine)?;
        let fallback = self.fallback.iter().map(|name| self.engine("speech.fallback", name));
        let fallback = fallback.collect::<Result<Vec<_>, _>>()?;
        let hint = "speech.openai.base_url as well: where it is";
        if openai.is_none() && engine == openai::NAME {
            return Err(bad("speech.engine", engine, hint));
        }
        if openai.is_none() && fallback.contains(&openai::NAME) {
            return Err(bad("speech.fallback", openai::NAME, hint));
        }
        if !(1..=limits::WORKERS_MOST).contains(&self.workers) {
            let hint = format!("between 1 and {}", limits::WORKERS_MOST);
            return Err(bad("speech.workers", self.workers, hint));
        }
        let (voice, library) = (self.default_voice.trim(), self.espeak.library.trim());
        Ok(SpeechConfig {
            engine,
            tone: self.tone,
            fallback,
            openai,
            default_voice: (!voice.is_empty()).then(|| voice.to_string()),
            workers: self.workers,
            espeak_library: (!library.is_empty()).then(|| library.into()),
            worker_program: std::env::current_exe()?,
        })
    }
}

fn address(key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.trim()
        .parse()
        .map_err(|_| bad(key, text, "an address and a port, as 127.0.0.1:8080 or [::1]:8080"))
}

fn seconds(key: &'static str, value: f64, least: f64, most: f64) -> Result<Duration, ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(Duration::from_secs_f64(value));
    }
    Err(bad(key, value, format!("between {least} and {most} seconds")))
}

fn bad(key: &'static str, value: impl ToString, hint: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, value: value.to_string(), hint: hint.into() }
}

/// 256 MiB, or a quarter of the memory that our cgroup leaves us if that is less.
fn default_budget_bytes() -> u64 {
    let most = limits::BUDGET_BYTES as u64;
    let part = cgroup::memory_limit().map(|limit| limit / limits::BUDGET_CGROUP_PART);
    part.map_or(most, |part| part.clamp(limits::BUDGET_LEAST_BYTES as u64, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let flag = |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_string())
        };
        Settings::read(None, |_| None, flag)?.check()
    }

    #[test]
    fn the_defaults_are_a_working_configuration() {
        let config = with(&[]).expect("defaults");
        assert_eq!(config.listen, ["127.0.0.1:8080".parse().expect("an address")]);
        assert_eq!((config.speech.workers, config.speech.engines()), (2, vec!["espeak"]));
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let mut file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
        let text = "admin = \"127.0.0.1:1\"\n[speech]\nworkers = 3\ntone = true\n";
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
        let env = |name: &str| match name {
            "EVENSONG_SPEECH_WORKERS" => Some("4".to_string()),
            "EVENSONG_LISTEN" => Some("127.0.0.1:2, [::1]:3".to_string()),
            "EVENSONG_INSECURE" | "EVENSONG_ADMIN" => Some(" ".to_string()),
            _ => None,
        };
        let flag = |key: &str| (key == "speech.workers").then(|| "5".to_string());
        let settings = Settings::read(Some(file.path()), env, flag).expect("read");
        let config = settings.check().expect("good");
        assert_eq!((config.speech.workers, config.speech.tone), (5, true));
        assert!(!config.access.origins.insecure, "an empty variable says nothing");
        assert_eq!((config.admin.port(), config.listen.len(), config.listen[1].port()), (1, 2, 3));
    }

    #[test]
    fn a_bad_value_names_its_key_its_value_and_what_would_do() {
        for (key, value, hint) in [
            ("listen", "localhost", "127.0.0.1:8080"),
            ("listen", "0.0.0.0:80", "--insecure"),
            ("listen", "0.0.0.0:80", "keys_file"),
            ("admin", "0.0.0.0:80", "loopback"),
            ("allowed_origins", "*", "no wildcard"),
            ("allowed_origins", "https://a.example/", "as browsers send it"),
            ("allowed_hosts", "http://a", "without scheme"),
            ("trusted_proxies", "10.0.0.0/99", "a network"),
            ("tls.cert", "a.pem", "tls.key as well"),
            ("tls.key", "a.pem", "tls.cert as well"),
            ("limits.address.connections", "0", "at least 1"),
            ("limits.address.requests_per_minute", "-1", "a whole number"),
            ("limits.block_seconds", "0", "between 1"),
            ("shutdown.balancer_seconds", "4.5", "1 s less"),
            ("budget_bytes", "1000", "at least"),
            ("memory.samples", "2", "between 3 and 360"),
            ("memory.interval_seconds", "0", "between 0.05 and 3600"),
            ("speech.engine", "siri", "espeak or tone or openai"),
            ("speech.engine", "openai", "where it is"),
            ("speech.fallback", "openai", "where it is"),
            ("speech.fallback", "siri", "espeak or tone or openai"),
            ("speech.openai.base_url", "api.openai.com", "https://host"),
            ("speech.openai.api_key", "(set)", "whom the key is for"),
            ("speech.openai.formats", "aac", "some of mp3"),
            ("speech.openai.pcm_hz", "1", "between 8000"),
            ("upstream.max_in_flight", "0", "between 1 and"),
            ("upstream.idle_seconds", "0", "between 0.05"),
            ("speech.workers", "0", "between 1 and 64"),
            ("speech.workers", "many", "a whole number"),
            ("speech.tone", "maybe", "true or false"),
            ("insecure", "", "true or false"),
            ("shutdown.deadline_seconds", "0.1", "between 2 and 600"),
            ("limits.connections", "0", "at least 1"),
        ] {
            let error = with(&[(key, value)]).expect_err("is bad").to_string();
            let named = error.contains(key) && error.contains(value) && error.contains(hint);
            assert!(named, "{key}={value} gave: {error}");
        }
    }

    #[test]
    fn the_tracker_is_turned_off_by_its_old_name() {
        for (said, watches) in [("true", false), ("1", false), ("false", true), (" ", true)] {
            let env = |name: &str| (name == "DISABLE_MEMORY_TRACKER").then(|| said.to_string());
            let settings = Settings::read(None, env, |_| None).expect("read");
            let config = settings.check().expect("good");
            assert_eq!(config.memory.watch.is_some(), watches, "{said:?}");
        }
        let env = |name: &str| (name == "DISABLE_MEMORY_TRACKER").then(|| "maybe".to_string());
        let error = Settings::read(None, env, |_| None).expect_err("is neither").to_string();
        assert!(error.contains("DISABLE_MEMORY_TRACKER = maybe"), "{error}");
    }

    #[test]
    fn an_unknown_key_of_a_file_is_refused_by_name() {
        let mut file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
        std::io::Write::write_all(&mut file, b"lisen = \"x\"\n").expect("written");
        let error = Settings::read(Some(file.path()), |_| None, |_| None).expect_err("unknown");
        assert!(error.to_string().contains("lisen"), "{error}");
    }

    #[test]
    fn what_check_prints_can_be_read_again() {
        let settings = Settings::read(None, |_| None, |_| None).expect("defaults");
        let mut file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
        std::io::Write::write_all(&mut file, settings.to_toml().as_bytes()).expect("written");
        let again = Settings::read(Some(file.path()), |_| None, |_| None).expect("read");
        assert_eq!(again.to_toml(), settings.to_toml());
    }

    #[test]
    fn every_key_is_explained_in_the_example_file() {
        let example = include_str!("../evensong.example.toml");
        for key in KEYS {
            let line = format!("# {} = ", key.name.rsplit('.').next().unwrap_or_default());
            assert!(example.contains(&line), "{} is missing", key.name);
        }
    }
}
