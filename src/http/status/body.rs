//! Shapes of what is told about the state of the server. Invariant: an answer is made of the same type
//! that documents it, so that the two cannot differ.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::speech::encode::Format;

/// That the process lives.
#[derive(Serialize, ToSchema)]
pub struct Alive {
    /// Always `ok`.
    pub status: &'static str,
}

/// That it can speak.
#[derive(Serialize, ToSchema)]
pub struct Ready {
    /// Always `ready`.
    pub status: &'static str,
    /// The engines that may be asked for; the first is the default.
    pub engines: Vec<&'static str>,
    /// What is searched; null where nothing is. Speech is ready without it.
    #[schema(required)]
    pub search: Option<SearchState>,
}

/// An index, and whether it can be asked.
#[derive(Serialize, ToSchema)]
pub struct SearchState {
    /// `embedded` or `elasticsearch`.
    pub backend: &'static str,
    /// Whether it can be asked.
    pub ready: bool,
    /// Why it cannot.
    #[schema(required)]
    pub detail: Option<String>,
}

/// What lives, and in how much memory.
#[derive(Serialize, ToSchema)]
pub struct Status {
    /// `ok`, or `leaving` once the server shuts down.
    pub status: &'static str,
    /// Since the server began.
    pub uptime_seconds: u64,
    /// What is promised to clients, in bytes.
    pub budget: BudgetBytes,
    /// How much of each kind lives.
    pub live: BTreeMap<String, u64>,
    /// Who speaks; the first is the default.
    pub engines: Vec<EngineState>,
    /// What is searched; null where nothing is.
    #[schema(required)]
    pub search: Option<SearchState>,
    /// Who writes the answers of dialogues: `llm`, a language model, or `found`, what is found in the documents; null: nobody.
    #[schema(required)]
    pub answering: Option<&'static str>,
    /// Whether questions may be spoken.
    pub transcribing: bool,
    /// The formats that this build makes.
    #[schema(schema_with = formats)]
    pub formats: [&'static str; Format::ALL.len()],
    /// What the process uses.
    pub memory: Memory,
}

/// The memory budget, in bytes.
#[derive(Serialize, ToSchema)]
pub struct BudgetBytes {
    /// All that may be promised.
    pub total: u64,
    /// What is promised.
    pub reserved: u64,
    /// What lies in memory under those promises.
    pub held: u64,
}

/// An engine, and whether it can speak.
#[derive(Serialize, ToSchema)]
pub struct EngineState {
    /// Its name, as in `model`.
    pub name: &'static str,
    /// Whether it can speak.
    pub ready: bool,
    /// Why it cannot.
    #[schema(required)]
    pub detail: Option<String>,
}

/// Memory of the process, without its workers; what the system does not say is 0 or null.
#[derive(Serialize, ToSchema)]
pub struct Memory {
    /// `off`, `starting`, `flat`, `growing`, `disagrees` or `leak_suspected`.
    pub state: &'static str,
    /// Why, a sentence each; empty when all is well.
    pub findings: Vec<String>,
    /// Resident, in bytes.
    pub rss_bytes: u64,
    /// Handed out by the allocator, in bytes.
    #[schema(required)]
    pub allocated_bytes: Option<u64>,
    /// Of the allocated bytes over all samples.
    #[schema(required)]
    pub slope: Option<Slope>,
    /// From one sample to the next.
    pub interval_seconds: f64,
    /// The oldest first.
    pub samples: Vec<Sample>,
}

/// A slope, and between which bounds it lies: past each with a probability of 5 %.
#[derive(Serialize, ToSchema)]
pub struct Slope {
    /// The best estimate.
    pub bytes_per_minute: f64,
    /// The lower bound, in bytes a minute.
    pub low: f64,
    /// The upper bound, in bytes a minute.
    pub high: f64,
}

/// What was seen at one moment.
#[derive(Serialize, ToSchema)]
pub struct Sample {
    /// How long ago.
    pub age_ms: u64,
    /// Resident, in bytes.
    pub rss_bytes: u64,
    /// Handed out by the allocator.
    pub allocated_bytes: u64,
    /// Promised to clients.
    pub reserved_bytes: u64,
    /// What lies in memory under those promises.
    pub held_bytes: u64,
    /// In the kernel's sockets.
    pub kernel_bytes: u64,
    /// Connections of clients.
    pub connections: u64,
    /// Answers being spoken.
    pub speech_streams: u64,
}

fn formats() -> utoipa::openapi::schema::Array {
    use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
    let name = ObjectBuilder::new().schema_type(Type::String);
    let name = name.enum_values(Some(Format::ALL.map(Format::name)));
    ArrayBuilder::new().items(name).build()
}
