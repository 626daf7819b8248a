//! Every metric of the program as a documented field. Invariant: the registry belongs to one server
//! (two servers in one process do not mix), label sets are closed, and nothing here grows with
//! time: histograms are fixed buckets, so nothing piles up when nobody scrapes.
//!
//! Names and units follow Prometheus' conventions: base units, `_total` for what only rises, labels in
//! lower case. What a field's documentation says is what a scrape says in its `# HELP` line, and
//! `docs/metrics.md` has a row for each.

mod labels;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use labels::*;

/// Upper bounds in seconds for things that should take milliseconds.
const QUICK_SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// A counter of seconds.
pub type Seconds = Counter<f64, AtomicU64>;

/// All metrics of one server. Clones share them, and cost one count: requests carry them about.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<All>);

impl Default for Metrics {
    /// Every series that can be is there from the start, so that its first step up is seen as one.
    fn default() -> Self {
        let all = All::default();
        Cut::ALL
            .iter()
            .for_each(|reason| drop(all.cuts.get_or_create(&CutLabel { reason: *reason })));
        for reason in Refusal::ALL {
            drop(all.refusals.get_or_create(&RefusalLabel { reason: *reason }));
        }
        for end in StreamEnd::ALL {
            drop(all.speech_streams.get_or_create(&StreamEndLabel { end: *end }));
        }
        for end in DialogueEnd::ALL {
            drop(all.dialogues.get_or_create(&DialogueLabel { end: *end }));
        }
        for end in SessionEnd::ALL {
            drop(all.sessions_ended.get_or_create(&SessionLabel { end: *end }));
        }
        for end in TurnEnd::ALL {
            drop(all.dialogue_turns.get_or_create(&TurnLabel { end: *end }));
        }
        for held in Left::ALL {
            drop(all.disconnect_to_free.0.get_or_create(&LeftLabel { held: *held }));
        }
        for outcome in CycleLabel::ALL {
            drop(all.indexer_cycles.get_or_create(&CycleLabel { outcome }));
        }
        for (origin, outcome) in DocumentLabel::ALL {
            drop(all.documents.get_or_create(&DocumentLabel { origin, outcome }));
        }
        Self(Arc::new(all))
    }
}

impl Metrics {
    /// Counts a cycle of the indexer.
    pub fn indexer_cycle(&self, outcome: &'static str) {
        self.indexer_cycles.get_or_create(&CycleLabel { outcome }).inc();
    }

    /// Counts documents of `origin`, as in [`DocumentLabel`].
    pub fn documents(&self, origin: &'static str, done: u64, rejected: u64) {
        for (outcome, count) in [("done", done), ("rejected", rejected)] {
            self.documents.get_or_create(&DocumentLabel { origin, outcome }).inc_by(count);
        }
    }
}

impl std::ops::Deref for Metrics {
    type Target = All;

    fn deref(&self) -> &All {
        &self.0
    }
}

/// The formats in which metrics can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' own text, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// Its `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What stands in the first column is the name as registered: without prefix, unit and `_total`.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $prefix:literal $name:literal $($unit:ident)?;)*) => {
        /// See [`Metrics`].
        #[derive(Debug, Default)]
        pub struct All { $($(#[doc = $help])+ pub $field: $kind,)* }

        impl All {
            /// Metrics are handles, so a registry can be made for each scrape and none is kept.
            fn registry(&self) -> Registry {
                let mut all = Registry::default();
                $({
                    let registry = match $prefix {
                        "" => &mut all,
                        prefix => all.sub_registry_with_prefix(prefix),
                    };
                    let help = concat!($($help),+).trim().trim_end_matches('.');
                    let unit: &[Unit] = &[$(Unit::$unit)?];
                    match unit.first() {
                        Some(unit) => registry.register_with_unit(
                            $name, help, unit.clone(), self.$field.clone()),
                        None => registry.register($name, help, self.$field.clone()),
                    }
                })*
                all
            }
        }
    };
}

metrics! {
    /// Client connections accepted.
    connections: Counter = "evensong" "connections";
    /// Client connections ended by the server, by reason.
    cuts: Family<CutLabel, Counter> = "evensong" "connection_cuts";
    /// Requests and connections refused, by reason.
    refusals: Family<RefusalLabel, Counter> = "evensong" "refusals";
    /// Requests answered, by route and status.
    requests: Family<RequestLabel, Counter> = "evensong" "http_requests";
    /// From a request's head to its answer's head, by route.
    request_duration: QuickBy<RouteLabel> = "evensong" "http_request_duration" Seconds;
    /// Speech streams that ended, by how.
    speech_streams: Family<StreamEndLabel, Counter> = "evensong" "speech_streams";
    /// Seconds of audio made.
    audio_seconds: Seconds = "evensong" "speech_audio" Seconds;
    /// Bytes of audio handed to clients.
    audio_bytes: Counter = "evensong" "speech" Bytes;
    /// From the request to its first audio byte.
    first_audio: Quick = "evensong" "first_audio" Seconds;
    /// From the seen FIN or RST to the last freed byte, by what was held.
    disconnect_to_free: QuickBy<LeftLabel> = "evensong" "disconnect_to_free" Seconds;
    /// Dialogues that were over, by why.
    dialogues: Family<DialogueLabel, Counter> = "evensong" "dialogues";
    /// Turns of dialogues that ended, by how.
    dialogue_turns: Family<TurnLabel, Counter> = "evensong" "dialogue_turns";
    /// From a question to the first sound of its answer.
    dialogue_first_audio: Quick = "evensong" "dialogue_first_audio" Seconds;
    /// Texts and sounds that came for a turn that was over, and were dropped.
    dialogue_late: Counter = "evensong" "dialogue_late";
    /// Questions that were asked twice within a second, by the same client and in the same words.
    dialogue_duplicates: Counter = "evensong" "dialogue_suspected_duplicates";
    /// Dialogues that a sweep found, which nothing else had ended: a bug.
    dialogues_stale: Counter = "evensong" "dialogues_stale";
    /// Voice sessions that stand, by whether their device is there (`live`) or expected back (`detached`).
    sessions: Family<StateLabel, Gauge> = "evensong" "sessions";
    /// Voice sessions that began.
    sessions_begun: Counter = "evensong" "sessions_begun";
    /// Times that a device came back to its session.
    sessions_resumed: Counter = "evensong" "sessions_resumed";
    /// Voice sessions that were over, by why.
    sessions_ended: Family<SessionLabel, Counter> = "evensong" "sessions_ended";
    /// Voice sessions that a sweep found, which nothing else had ended: a bug.
    sessions_stale: Counter = "evensong" "sessions_stale";
    /// Events of voice sessions, by way and type.
    session_events: Family<EventLabel, Counter> = "evensong" "session_events";
    /// Wrong events of clients, and faults of their sockets.
    session_errors: Counter = "evensong" "session_errors";
    /// Worker processes started.
    worker_starts: Counter = "evensong" "worker_starts";
    /// Worker processes that died or were killed inside a job.
    worker_crashes: Counter = "evensong" "worker_crashes";
    /// Documents that were put in or taken out, by whom and what came of it.
    documents: Family<DocumentLabel, Counter> = "evensong" "search_documents";
    /// Cycles of the indexer, by how they ended.
    indexer_cycles: Family<CycleLabel, Counter> = "evensong" "indexer_cycles";
    /// When the indexer last had nothing left to bring, in seconds since 1970; 0 where there is none.
    indexer_caught_up: Gauge<f64, AtomicU64> = "evensong" "indexer_caught_up_timestamp" Seconds;
    /// From the end of a cycle of the indexer to the next.
    indexer_interval: Gauge<f64, AtomicU64> = "evensong" "indexer_interval" Seconds;
    /// Requests for files of media that were answered, by how.
    media: Family<ServedLabel, Counter> = "evensong" "media_requests";
    /// Bytes of files of media handed to clients.
    media_bytes: Counter = "evensong" "media" Bytes;
    /// Files of media that were read to be hashed.
    media_hashed: Counter = "evensong" "media_hashed";
    /// Requests to upstreams, by what came of them.
    upstream_requests: Family<UpstreamRequestLabel, Counter> = "evensong" "upstream_requests";
    /// Requests to upstreams that were made again.
    upstream_retries: Family<UpstreamLabel, Counter> = "evensong" "upstream_retries";
    /// From a request to an upstream to the head of its answer, retries included.
    upstream_answer: QuickBy<UpstreamLabel> = "evensong" "upstream_answer" Seconds;
    /// The number of the generation of an upstream's client that is in use.
    upstream_generation: Family<UpstreamLabel, Gauge> = "evensong" "upstream_generation";
    /// How old that generation is.
    upstream_age: Family<UpstreamLabel, Gauge<f64, AtomicU64>> = "evensong" "upstream_age" Seconds;
    /// Replaced generations of an upstream's client on which something is still in flight.
    upstream_draining: Family<UpstreamLabel, Gauge> = "evensong" "upstream_draining";
    /// Requests to an upstream that are in flight.
    upstream_in_flight: Family<UpstreamLabel, Gauge> = "evensong" "upstream_in_flight";
    /// Requests to an upstream that were cut since the grace of their generation was over.
    upstream_cut: Family<UpstreamLabel, Counter> = "evensong" "upstream_cut";
    /// Whether an upstream is left alone, since it failed again and again.
    upstream_open: Family<UpstreamLabel, Gauge> = "evensong" "upstream_breaker_open";
    /// Requests that another engine spoke than the one that was to.
    speech_fallbacks: Family<FallbackLabel, Counter> = "evensong" "speech_fallbacks";
    /// Addresses and keys that the limiter remembers.
    limit_keys: Gauge = "evensong" "limit_keys";
    /// The budget for clients: all of it, what is promised, and what lies in memory.
    budget_bytes: Family<StateLabel, Gauge> = "evensong" "budget" Bytes;
    /// Things alive in the ledger, by kind.
    ledger_live: Family<KindLabel, Gauge> = "evensong" "ledger_live";
    /// Bytes that things in the ledger have reserved, by kind.
    ledger_bytes: Family<KindLabel, Gauge> = "evensong" "ledger" Bytes;
    /// Things that ever entered the ledger, by kind.
    ledger_entries: Family<KindLabel, Counter> = "evensong" "ledger_entries";
    /// Whether nothing lives but what stands.
    ledger_idle: Gauge = "evensong" "ledger_idle";
    /// What the process has more than the ledger says (less, where negative): tasks, fds.
    ledger_disagreement: Family<WhatLabel, Gauge> = "evensong" "ledger_disagreement";
    /// Memory of the process: rss, of its workers, of the allocator: allocated, active, resident, retained, and of the kernel for its sockets.
    memory_bytes: Family<MemoryLabel, Gauge> = "evensong" "memory" Bytes;
    /// The memory watch's verdict: 1 for the state it is in.
    memory_state: Family<StateLabel, Gauge> = "evensong" "memory_state";
    /// How quickly allocated bytes grow over the watch's samples, with the 95 % bounds.
    memory_slope: Family<BoundLabel, Gauge<f64, AtomicU64>> = "evensong" "memory_slope_bytes_per_second";
    /// Tasks of the runtime that have not ended.
    runtime_tasks: Gauge = "evensong" "runtime_tasks";
    /// Tasks that wait for any of the runtime's threads.
    runtime_queue: Gauge = "evensong" "runtime_queue_depth";
    /// Seconds in which the runtime's threads were busy.
    runtime_busy: Seconds = "evensong" "runtime_busy" Seconds;
    /// What was built: always 1.
    build_info: Family<BuildLabel, Gauge> = "evensong" "build_info";
    /// Seconds of processor time, user and system, without the workers.
    process_cpu: Seconds = "" "process_cpu" Seconds;
    /// Resident memory of the process, without the workers.
    process_resident: Gauge = "" "process_resident_memory" Bytes;
    /// Address space of the process.
    process_virtual: Gauge = "" "process_virtual_memory" Bytes;
    /// Open file descriptors.
    process_open_fds: Gauge = "" "process_open_fds";
    /// Most file descriptors that may be open.
    process_max_fds: Gauge = "" "process_max_fds";
    /// Threads of the process.
    process_threads: Gauge = "" "process_threads";
    /// When the process began, in seconds since 1970.
    process_start: Gauge<f64, AtomicU64> = "" "process_start_time" Seconds;
}

/// A histogram with `QUICK_SECONDS` as buckets.
#[derive(Clone, Debug)]
pub struct Quick(Histogram);

impl Default for Quick {
    fn default() -> Self {
        Self(Histogram::new(QUICK_SECONDS))
    }
}

impl Quick {
    /// Counts one duration.
    pub fn observe(&self, elapsed: Duration) {
        self.0.observe(elapsed.as_secs_f64());
    }
}

impl EncodeMetric for Quick {
    fn encode(&self, encoder: MetricEncoder) -> std::fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

/// Histograms with `QUICK_SECONDS` as buckets, by label.
#[derive(Clone, Debug)]
pub struct QuickBy<L: Clone + std::hash::Hash + Eq>(Family<L, Histogram>);

impl<L: Clone + std::hash::Hash + Eq> Default for QuickBy<L> {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(QUICK_SECONDS)))
    }
}

impl<L: Clone + std::hash::Hash + Eq> QuickBy<L> {
    /// Counts one duration under `label`.
    pub fn observe(&self, label: &L, elapsed: Duration) {
        self.0.get_or_create(label).observe(elapsed.as_secs_f64());
    }
}

impl<L: Clone + std::hash::Hash + Eq + EncodeLabelSet> EncodeMetric for QuickBy<L> {
    fn encode(&self, encoder: MetricEncoder) -> std::fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

impl Metrics {
    /// Counts how long it took to free what a client that left had held.
    pub fn freed(&self, held: Left, took: Duration) {
        self.disconnect_to_free.observe(&LeftLabel { held }, took);
    }

    /// Counts a connection that we ended.
    pub fn cut(&self, reason: Cut) {
        self.cuts.get_or_create(&CutLabel { reason }).inc();
    }

    /// Counts a refusal.
    pub fn refuse(&self, reason: Refusal) {
        self.refusals.get_or_create(&RefusalLabel { reason }).inc();
    }

    /// Counts the end of a speech stream.
    pub fn stream_ended(&self, end: StreamEnd) {
        self.speech_streams.get_or_create(&StreamEndLabel { end }).inc();
    }

    /// Counts a file that was asked for, and bytes of it that are on their way.
    pub fn media(&self, served: Served, bytes: u64) {
        self.media.get_or_create(&ServedLabel { served }).inc();
        self.media_bytes.inc_by(bytes);
    }

    /// Counts the end of a dialogue.
    pub fn dialogue_ended(&self, end: DialogueEnd) {
        self.dialogues.get_or_create(&DialogueLabel { end }).inc();
    }

    /// Counts the end of a voice session.
    pub fn session_ended(&self, end: SessionEnd) {
        self.sessions_ended.get_or_create(&SessionLabel { end }).inc();
    }

    /// Counts an event that was told in a voice session.
    pub fn told(&self, event: &'static str) {
        self.session_events.get_or_create(&EventLabel { way: "out", event }).inc();
    }

    /// Counts an event that came in one.
    pub fn received(&self, event: &'static str) {
        self.session_events.get_or_create(&EventLabel { way: "in", event }).inc();
    }

    /// Counts the end of a turn.
    pub fn turn_ended(&self, end: TurnEnd) {
        self.dialogue_turns.get_or_create(&TurnLabel { end }).inc();
    }

    /// Everything, as text.
    pub fn render(&self, exposition: Exposition) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail; an encoder's error would leave the text cut short.
        if prometheus_client::encoding::text::encode(&mut out, &self.registry()).is_err() {
            tracing::error!("metrics could not be encoded");
        }
        match exposition {
            Exposition::OpenMetrics => out,
            Exposition::Prometheus => text::plain(&out),
        }
    }
}

/// A gauge holds what fits; nothing that is measured here comes near.
pub fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Sets a counter to what somebody else has counted.
pub fn set_total(counter: &Counter, total: u64) {
    counter.inner().store(total, Relaxed);
}

/// As [`set_total`], in seconds.
pub fn set_seconds(counter: &Seconds, total: f64) {
    counter.inner().store(total.to_bits(), Relaxed);
}

#[cfg(test)]
mod tests;
