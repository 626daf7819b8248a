//! Every metric of the program as a documented field. Invariant: the registry belongs to one server
//! (two servers in one process do not mix), label sets are closed enums, and nothing here grows with
//! time: histograms are fixed buckets, so no upkeep is needed when nobody scrapes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds in seconds for things that should take milliseconds.
const QUICK_SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Why a client's stream or connection was cut by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Cut {
    /// Nothing came that tells the protocol.
    FirstBytes,
    /// A request head was not finished in time.
    Head,
    /// A request body was not finished in time.
    Body,
    /// Bytes waited and the reader did not take them.
    SlowConsumer,
    /// What came was no HTTP, or its end was ambiguous.
    Malformed,
    /// More frames that bring nothing than can be put up with.
    Flood,
}

/// Why work was refused at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Refusal {
    /// The budget had no room for the stream's bound.
    Budget,
    /// The first piece would have waited too long.
    Busy,
    /// Too many connections.
    Connections,
    /// Too many connections of one address.
    AddressConnections,
    /// More than a limit a minute allows.
    Rate,
    /// Shut out for a while.
    Blocked,
    /// The engine cannot speak at present.
    Engine,
    /// The server is leaving.
    Leaving,
}

/// How a speech stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum StreamEnd {
    /// All text was spoken and handed over.
    Done,
    /// The reader left first.
    ReaderGone,
    /// The engine failed.
    Failed,
}

/// The label of [`All::cuts`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CutLabel {
    /// The reason.
    pub reason: Cut,
}

/// The label of [`All::refusals`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabel {
    /// The reason.
    pub reason: Refusal,
}

/// The label of [`All::speech_streams`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StreamEndLabel {
    /// How it ended.
    pub end: StreamEnd,
}

/// The label of [`All::budget_bytes`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BudgetLabel {
    /// `total`, `reserved` or `held`.
    pub state: &'static str,
}

/// What a client that left had held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Left {
    /// Its connection.
    Connection,
    /// A stream on it.
    Stream,
}

/// The label of [`All::disconnect_to_free`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LeftLabel {
    /// What was freed.
    pub held: Left,
}

/// All metrics of one server. Clones share them, and cost one count: requests carry them about.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<All>);

impl std::ops::Deref for Metrics {
    type Target = All;

    fn deref(&self) -> &All {
        &self.0
    }
}

/// See [`Metrics`]. Names are as exported, without the `evensong` prefix.
#[derive(Debug, Default)]
pub struct All {
    /// `connections_total`: client connections accepted.
    pub connections: Counter,
    /// `connection_cuts_total{reason}`: connections that we ended.
    pub cuts: Family<CutLabel, Counter>,
    /// `refusals_total{reason}`: requests and connections refused.
    pub refusals: Family<RefusalLabel, Counter>,
    /// `speech_streams_total{end}`: speech streams by how they ended.
    pub speech_streams: Family<StreamEndLabel, Counter>,
    /// `speech_audio_seconds_total`: seconds of audio made.
    pub audio_seconds: Counter<f64, AtomicU64>,
    /// `speech_bytes_total`: bytes of audio handed to clients.
    pub audio_bytes: Counter,
    /// `first_audio_seconds`: from the request to its first audio byte.
    pub first_audio: Quick,
    /// `disconnect_to_free_seconds{held}`: from the seen FIN or RST to the last freed byte.
    pub disconnect_to_free: QuickBy<LeftLabel>,
    /// `worker_starts_total`: worker processes started.
    pub worker_starts: Counter,
    /// `worker_crashes_total`: worker processes that died or were killed inside a job.
    pub worker_crashes: Counter,
    /// `limit_keys`: addresses and keys that the limiter remembers.
    pub limit_keys: Gauge,
    /// `budget_bytes{state}`: the budget, what is promised of it, and what is held.
    pub budget_bytes: Family<BudgetLabel, Gauge>,
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

/// Histograms with `QUICK_SECONDS` as buckets, by label.
#[derive(Clone, Debug)]
pub struct QuickBy<L: Clone + std::hash::Hash + Eq>(Family<L, Histogram>);

impl<L: Clone + std::hash::Hash + Eq> Default for QuickBy<L> {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(QUICK_SECONDS)))
    }
}

impl Metrics {
    /// Counts how long it took to free what a client that left had held.
    pub fn freed(&self, held: Left, took: Duration) {
        let histogram = self.disconnect_to_free.0.get_or_create(&LeftLabel { held });
        histogram.observe(took.as_secs_f64());
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

    /// The OpenMetrics text of everything.
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail; an encoder's error would leave the text cut short.
        if text::encode(&mut out, &self.registry()).is_err() {
            tracing::error!("metrics could not be encoded");
        }
        out
    }

    /// Metrics are handles, so a registry can be made for each scrape and none is kept.
    fn registry(&self) -> Registry {
        let mut r = Registry::with_prefix("evensong");
        r.register("connections", "Client connections accepted", self.connections.clone());
        r.register("connection_cuts", "Connections ended by the server", self.cuts.clone());
        r.register("refusals", "Requests and connections refused", self.refusals.clone());
        r.register("speech_streams", "Speech streams by end", self.speech_streams.clone());
        r.register_with_unit(
            "speech_audio",
            "Seconds of audio made",
            Unit::Seconds,
            self.audio_seconds.clone(),
        );
        r.register("speech_bytes", "Bytes of audio handed to clients", self.audio_bytes.clone());
        r.register_with_unit(
            "first_audio",
            "From the request to its first audio byte",
            Unit::Seconds,
            self.first_audio.0.clone(),
        );
        r.register_with_unit(
            "disconnect_to_free",
            "From the seen FIN or RST to the last freed byte",
            Unit::Seconds,
            self.disconnect_to_free.0.clone(),
        );
        r.register("worker_starts", "Worker processes started", self.worker_starts.clone());
        r.register("worker_crashes", "Worker processes lost in a job", self.worker_crashes.clone());
        r.register(
            "limit_keys",
            "Addresses and keys remembered by the limiter",
            self.limit_keys.clone(),
        );
        r.register_with_unit(
            "budget",
            "The budget, what is promised of it, and what is held",
            Unit::Bytes,
            self.budget_bytes.clone(),
        );
        r
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_rendered_with_unit_and_label() {
        let m = Metrics::default();
        m.connections.inc();
        m.cut(Cut::SlowConsumer);
        m.freed(Left::Stream, Duration::from_millis(3));
        let text = m.render();
        for line in [
            "evensong_connections_total 1",
            "evensong_connection_cuts_total{reason=\"SlowConsumer\"} 1",
            "evensong_disconnect_to_free_seconds_bucket{le=\"0.005\",held=\"Stream\"} 1",
            "evensong_disconnect_to_free_seconds_bucket{le=\"0.002\",held=\"Stream\"} 0",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
