//! What metrics are told apart by. Invariant: every value comes from a list that is known when the program
//! is built, so that no client can make a new series.

use std::fmt::Write;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// An enum whose values are exported under the text beside them.
macro_rules! values {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// As exported.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> std::fmt::Result {
                encoder.write_str(self.name())
            }
        }
    };
}

values! {
    /// Why a client's stream or connection was cut by us.
    Cut {
        /// Nothing came that tells the protocol.
        FirstBytes = "first_bytes",
        /// A request head was not finished in time.
        Head = "head",
        /// A request body was not finished in time.
        Body = "body",
        /// Bytes waited and the reader did not take them.
        SlowConsumer = "slow_consumer",
        /// The peer's kernel acknowledged nothing of what was sent.
        Unacknowledged = "unacknowledged",
        /// What came was no HTTP, or its end was ambiguous.
        Malformed = "malformed",
        /// More frames that bring nothing than can be put up with.
        Flood = "flood",
    }
}

values! {
    /// Why work was refused at the door.
    Refusal {
        /// The budget had no room for the stream's bound.
        Budget = "budget",
        /// The first piece would have waited too long.
        Busy = "busy",
        /// Too many connections.
        Connections = "connections",
        /// Too many connections of one address.
        AddressConnections = "address_connections",
        /// More than a limit a minute allows.
        Rate = "rate",
        /// Shut out for a while.
        Blocked = "blocked",
        /// The engine cannot speak at present.
        Engine = "engine",
        /// The server is leaving.
        Leaving = "leaving",
    }
}

values! {
    /// How a speech stream ended.
    StreamEnd {
        /// All text was spoken and handed over.
        Done = "done",
        /// The reader left first.
        ReaderGone = "reader_gone",
        /// The engine failed.
        Failed = "failed",
    }
}

values! {
    /// Why a dialogue was over.
    DialogueEnd {
        /// Its last listener left.
        Left = "left",
        /// Nobody came, or came back, in time.
        Expired = "expired",
        /// Somebody ended it.
        Deleted = "deleted",
        /// The server left.
        Leaving = "leaving",
        /// A sweep found it.
        Stale = "stale",
    }
}

values! {
    /// Why a voice session was over.
    SessionEnd {
        /// Its device did not come back in time.
        Expired = "expired",
        /// Nothing was asked for a long time.
        Idle = "idle",
        /// Its socket never gave a sign of life.
        Silent = "silent",
        /// Its client broke a rule.
        Policy = "policy",
        /// The server left.
        Leaving = "leaving",
        /// A sweep found it.
        Stale = "stale",
    }
}

values! {
    /// How a turn of a dialogue ended.
    TurnEnd {
        /// All was said.
        Done = "done",
        /// Its asker wanted no more.
        Interrupted = "interrupted",
        /// It broke off.
        Failed = "failed",
    }
}

values! {
    /// How a request for a file of media was answered.
    Served {
        /// By bytes in memory.
        Hot = "hot",
        /// By the file on the disk.
        Cold = "cold",
        /// It is what the client has.
        NotModified = "not_modified",
    }
}

values! {
    /// What a client that left had held.
    Left {
        /// Its connection.
        Connection = "connection",
        /// A stream on it.
        Stream = "stream",
    }
}

/// The label sets: one struct each, whose field is the label's name.
macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $value:ty),* $(,)? })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name { $($(#[$field_doc])* pub $field: $value),* })*
    };
}

labels! {
    /// The label of `All::cuts`.
    CutLabel {
        /// The reason.
        reason: Cut,
    }
    /// The label of `All::media`.
    ServedLabel {
        /// How.
        served: Served,
    }
    /// The label of `All::refusals`.
    RefusalLabel {
        /// The reason.
        reason: Refusal,
    }
    /// The label of `All::speech_streams`.
    StreamEndLabel {
        /// How it ended.
        end: StreamEnd,
    }
    /// The label of `All::dialogues`.
    DialogueLabel {
        /// Why it was over.
        end: DialogueEnd,
    }
    /// The label of `All::sessions_ended`.
    SessionLabel {
        /// Why it was over.
        end: SessionEnd,
    }
    /// The labels of `All::session_events`.
    EventLabel {
        /// `in` or `out`.
        way: &'static str,
        /// Its type; `unknown` where that is none of ours.
        event: &'static str,
    }
    /// The label of `All::dialogue_turns`.
    TurnLabel {
        /// How it ended.
        end: TurnEnd,
    }
    /// The label of `All::disconnect_to_free`.
    LeftLabel {
        /// What was freed.
        held: Left,
    }
    /// The labels of `All::requests`.
    RequestLabel {
        /// A method that some route answers, or `other`.
        method: &'static str,
        /// As the router knows it, with `{name}` for what varies; `none` where nothing matched.
        route: &'static str,
        /// The status of the answer.
        status: u16,
    }
    /// The label of `All::request_duration`.
    RouteLabel {
        /// See [`RequestLabel::route`].
        route: &'static str,
    }
    /// The label of `All::budget_bytes` and `All::memory_state`.
    StateLabel {
        /// Which part, or which state.
        state: &'static str,
    }
    /// The label of the ledger's metrics.
    KindLabel {
        /// A kind of the ledger.
        kind: &'static str,
    }
    /// The label of `All::ledger_disagreement`.
    WhatLabel {
        /// `tasks` or `fds`.
        of: &'static str,
    }
    /// The label of `All::memory_bytes`.
    MemoryLabel {
        /// Who counts it, and how.
        kind: &'static str,
    }
    /// The label of `All::memory_slope`.
    BoundLabel {
        /// `low`, `estimate` or `high`.
        bound: &'static str,
    }
    /// The label of what is counted of an upstream.
    UpstreamLabel {
        /// Which, as in the settings.
        upstream: &'static str,
    }
    /// The labels of `All::upstream_requests`.
    UpstreamRequestLabel {
        /// Which, as in the settings.
        upstream: &'static str,
        /// `answered`, or what went wrong.
        outcome: &'static str,
    }
    /// The label of `All::indexer_cycles`.
    CycleLabel {
        /// `caught_up`, `more` where the source has some left, `failed`, `paused` or `elsewhere`.
        outcome: &'static str,
    }
    /// The labels of `All::documents`.
    DocumentLabel {
        /// `put`, `deleted` or `source`: by clients, or by the indexer.
        origin: &'static str,
        /// `done` or `rejected`.
        outcome: &'static str,
    }
    /// The labels of `All::speech_fallbacks`.
    FallbackLabel {
        /// The engine that was to speak.
        from: &'static str,
        /// The one that did.
        to: &'static str,
    }
    /// The labels of `All::build_info`.
    BuildLabel {
        /// Of the program.
        version: &'static str,
        /// Of its sources, where the build was told.
        revision: &'static str,
        /// `debug` or `release`.
        profile: &'static str,
    }
}

impl CycleLabel {
    /// All that there can be.
    pub const ALL: [&str; 5] = ["caught_up", "more", "failed", "paused", "elsewhere"];
}

impl DocumentLabel {
    /// All that there can be.
    pub const ALL: [(&str, &str); 6] = [
        ("put", "done"),
        ("put", "rejected"),
        ("deleted", "done"),
        ("deleted", "rejected"),
        ("source", "done"),
        ("source", "rejected"),
    ];
}
