//! The one table of settings: the key in a file, from which the names of its environment variable and
//! its flag follow, its kind, its default and one line of help. Invariant: no setting is read that
//! does not stand here.

use super::ConfigError;

/// What a setting's text is parsed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// Texts, in flags and environment divided by commas.
    List,
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// `true` or `false`; a flag without a value means `true`.
    Switch,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As in the file: `speech.workers`.
    pub name: &'static str,
    /// How it is written.
    pub kind: Kind,
    /// As it would be written in a flag; empty means none.
    pub default: &'static str,
    /// One line.
    pub help: &'static str,
}

const fn key(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key { name, kind, default, help }
}

/// Every setting. `budget_bytes` has its default from the machine.
pub const KEYS: &[Key] = &[
    key("listen", Kind::List, "127.0.0.1:8080", "Public addresses; port 0 picks one"),
    key("admin", Kind::Text, "127.0.0.1:9464", "Address of metrics and ledger"),
    key("data", Kind::Text, "", "Folder of the index; none: the platform's own for data"),
    key("budget_bytes", Kind::Whole, "0", "Bytes that may be promised to clients"),
    key("insecure", Kind::Switch, "false", "Let everybody in who reaches the address"),
    key("insecure_admin", Kind::Switch, "false", "Let everybody administer who reaches it"),
    key("keys_file", Kind::Text, "", "API keys (see `evensong keys`); none: loopback only"),
    key("allowed_origins", Kind::List, "", "Web sites whose pages may use the server"),
    key("allowed_hosts", Kind::List, "", "Names of this server beside localhost, without keys"),
    key("trusted_proxies", Kind::List, "", "Proxies whose X-Forwarded-For is believed"),
    key("tls.cert", Kind::Text, "", "Certificate chain, PEM; with it all of listen is TLS"),
    key("tls.key", Kind::Text, "", "Its private key, PEM"),
    key("speech.engine", Kind::Text, "espeak", "Engine for requests that name none"),
    key("speech.tone", Kind::Switch, "false", "Offer the test signal as model 'tone'"),
    key("speech.default_voice", Kind::Text, "", "Voice for requests that name none"),
    key("speech.espeak.library", Kind::Text, "", "Path of libespeak-ng, if it is not in its place"),
    key("speech.workers", Kind::Whole, "2", "Worker processes of each engine"),
    key("speech.fallback", Kind::List, "", "Engines that speak when the first cannot, in order"),
    key("speech.openai.base_url", Kind::Text, "", "OpenAI-compatible server, as https://host/v1"),
    key("speech.openai.api_key", Kind::Secret, "", "Its key; better by file or environment"),
    key("speech.openai.model", Kind::Text, "", "Model to ask for; none: the client's"),
    key("speech.openai.voices", Kind::List, "", "Its voices; none: it is asked for them"),
    key(
        "speech.openai.formats",
        Kind::List,
        "mp3,opus,flac,wav,pcm",
        "Formats that it makes; the others are made here of its pcm or wav",
    ),
    key("speech.openai.pcm_hz", Kind::Whole, "24000", "Rate of its pcm, if it does not say"),
    key("speech.openai.max_bytes", Kind::Whole, "67108864", "Longest answer"),
    key(
        "answer.llm.base_url",
        Kind::Text,
        "",
        "Who writes answers: an OpenAI-compatible server's URL",
    ),
    key("answer.llm.api_key", Kind::Secret, "", "Its key; better by file or environment"),
    key("answer.llm.model", Kind::Text, "", "Its model, as it calls it"),
    key(
        "answer.llm.system_prompt",
        Kind::Text,
        "You are a voice assistant. Answer in a few plain sentences that can be read aloud: \
         no lists, no headings, no links, no Markdown.",
        "What the model is told before all else",
    ),
    key("answer.llm.max_tokens", Kind::Whole, "0", "Longest answer; 0: the server's own limit"),
    key("answer.llm.temperature", Kind::Number, "-1", "0 to 2; -1: as the server has it"),
    key(
        "answer.transcriber.base_url",
        Kind::Text,
        "",
        "Who writes down spoken questions: an OpenAI-compatible server's URL",
    ),
    key("answer.transcriber.api_key", Kind::Secret, "", "Its key; better by file or environment"),
    key("answer.transcriber.model", Kind::Text, "whisper-1", "Its model, as it calls it"),
    key("dialogue.attach_seconds", Kind::Number, "30", "From a question to its first listener"),
    key(
        "dialogue.grace_seconds",
        Kind::Number,
        "10",
        "A listener may come back, where it asked to",
    ),
    key(
        "realtime.grace_seconds",
        Kind::Number,
        "60",
        "From a voice session's device leaving to its coming back",
    ),
    key(
        "realtime.idle_seconds",
        Kind::Number,
        "1800",
        "A voice session in which nothing is asked is ended",
    ),
    key(
        "realtime.upstream.base_url",
        Kind::Text,
        "",
        "Who listens to sound: a realtime server like OpenAI's, as wss://host/v1",
    ),
    key("realtime.upstream.api_key", Kind::Secret, "", "Its key; better by file or environment"),
    key("realtime.upstream.model", Kind::Text, "", "Its model, as it calls it"),
    key("realtime.upstream.voice", Kind::Text, "", "The voice that it answers in; none: its own"),
    key("search.enabled", Kind::Switch, "true", "Keep and search documents"),
    key("search.guide", Kind::Switch, "true", "Begin a new index with Evensong's documentation"),
    key("search.elasticsearch_url", Kind::Text, "", "Elasticsearch or OpenSearch; none: on disk"),
    key("search.elasticsearch_api_key", Kind::Secret, "", "Its API key, or user:password"),
    key("search.index", Kind::Text, "evensong", "Name of the index there"),
    key("search.max_client_age_seconds", Kind::Number, "300", "Its clients are replaced so often"),
    key(
        "indexer.enabled",
        Kind::Switch,
        "true",
        "Index what a GraphQL source has, if there is one",
    ),
    key("indexer.endpoints", Kind::List, "", "Sources, in order; none: graphql.url"),
    key("indexer.interval_seconds", Kind::Number, "600", "From one cycle's end to the next"),
    key("indexer.start_delay_seconds", Kind::Number, "15", "Before the first cycle"),
    key("indexer.page_size", Kind::Whole, "100", "Records asked for at once"),
    key("indexer.max_records", Kind::Whole, "20000", "Records of a cycle"),
    key("indexer.max_gap", Kind::Whole, "1000", "Sources further behind are not asked"),
    key(
        "indexer.query",
        Kind::Text,
        "query Records($first: Int!, $after: String) { transactions(first: $first, after: $after, sort: HEIGHT_ASC) \
         { pageInfo { hasNextPage } edges { cursor node { id owner { address } block { height timestamp } \
         tags { name value } } } } }",
        "Asked for a page of records",
    ),
    key("indexer.connection", Kind::Text, "transactions", "Where in its answer the page is"),
    key(
        "indexer.height_query",
        Kind::Text,
        "{ blocks(first: 1) { edges { node { height } } } }",
        "Asked for the newest height; none: not compared",
    ),
    key("indexer.height", Kind::Text, "blocks.edges.0.node.height", "Where it is in that answer"),
    key("indexer.fields.id", Kind::Text, "id", "What of a record is a document's id"),
    key("indexer.fields.type", Kind::Text, "tags[Type]", "Its type"),
    key("indexer.fields.title", Kind::Text, "tags[Title] | tags[Name] | id", "Its title"),
    key("indexer.fields.text", Kind::Text, "tags[Text] | tags[Description]", "Its text"),
    key("indexer.fields.url", Kind::Text, "tags[Url]", "Its address; as https://host/{id}"),
    key("indexer.fields.media", Kind::Text, "tags[Media]", "Its picture"),
    key("indexer.fields.created_at", Kind::Text, "block.timestamp", "When it was made"),
    key("indexer.fields.tags", Kind::Text, "tags[Topic]", "Its tags"),
    key("indexer.fields.creator", Kind::Text, "owner.address", "Who made it"),
    key(
        "indexer.fields.has_audio",
        Kind::Text,
        "tags[Audio]",
        "Whether there is something to hear",
    ),
    key("graphql.url", Kind::Text, "", "GraphQL server that POST /graphql is forwarded to"),
    key("graphql.api_key", Kind::Secret, "", "Its key; better by file or environment"),
    key("graphql.max_client_age_seconds", Kind::Number, "1800", "Its clients' age to be replaced"),
    key("graphql.max_in_flight", Kind::Whole, "50", "Requests to it at once"),
    key("graphql.keep_alive", Kind::Switch, "false", "Keep connections to it for the next request"),
    key("graphql.max_body_bytes", Kind::Whole, "65536", "Longest body of a client's request"),
    key("graphql.max_depth", Kind::Whole, "12", "Deepest nesting of a client's query"),
    key("graphql.introspection", Kind::Switch, "true", "Let clients ask for the schema"),
    key("graphql.allow", Kind::List, "", "Operations that clients may ask for; none: all"),
    key("media.enabled", Kind::Switch, "true", "Serve pictures and other media"),
    key("media.root", Kind::Text, "", "Folder of them; none: media among the data"),
    key("media.hot_bytes", Kind::Whole, "67108864", "Bytes of them in memory; 0: none"),
    key("media.max_file_bytes", Kind::Whole, "16777216", "Largest file that may be put"),
    key("media.samples", Kind::Switch, "false", "Begin an empty folder with sample pictures"),
    key("upstream.connect_seconds", Kind::Number, "2", "Name, connection and TLS to an upstream"),
    key("upstream.first_byte_seconds", Kind::Number, "8", "From a request to its answer's head"),
    key("upstream.idle_seconds", Kind::Number, "10", "From one byte of an answer to the next"),
    key("upstream.total_seconds", Kind::Number, "3600", "From a request to its answer's end"),
    key("upstream.max_client_age_seconds", Kind::Number, "300", "Clients are replaced at this age"),
    key("upstream.grace_seconds", Kind::Number, "600", "What is in flight may last longer by this"),
    key("upstream.max_in_flight", Kind::Whole, "600", "Requests to one upstream at once"),
    key("upstream.keep_alive", Kind::Switch, "true", "Keep connections for the next request"),
    key("limits.connections", Kind::Whole, "4096", "Client connections open at once"),
    key("limits.slow_reader_seconds", Kind::Number, "20", "A reader must take 20 KiB within this"),
    key(
        "limits.loopback",
        Kind::Switch,
        "false",
        "Hold loopback to these limits without keys, too",
    ),
    key(
        "limits.block_seconds",
        Kind::Number,
        "300",
        "Who keeps asking for more is shut out for it",
    ),
    key(
        "limits.address.connections",
        Kind::Whole,
        "256",
        "Connections open at once of one address",
    ),
    key("limits.address.streams", Kind::Whole, "150", "Streams at once of one address"),
    key("limits.address.connects_per_minute", Kind::Whole, "6000", "Connections of one address"),
    key("limits.address.requests_per_minute", Kind::Whole, "6000", "Requests of one address"),
    key("limits.address.starts_per_minute", Kind::Whole, "600", "Streams of one address"),
    key("limits.address.characters_per_minute", Kind::Whole, "300000", "Spoken for one address"),
    key("limits.principal.streams", Kind::Whole, "150", "Streams at once with one key"),
    key("limits.principal.requests_per_minute", Kind::Whole, "6000", "Requests with one key"),
    key("limits.principal.starts_per_minute", Kind::Whole, "600", "Streams with one key"),
    key("limits.principal.characters_per_minute", Kind::Whole, "300000", "Spoken for one key"),
    key(
        "memory.watch",
        Kind::Switch,
        "true",
        "Watch the memory; DISABLE_MEMORY_TRACKER=true is false",
    ),
    key("memory.samples", Kind::Whole, "30", "Samples that the memory watch keeps"),
    key("memory.interval_seconds", Kind::Number, "10", "Time from one sample to the next"),
    key(
        "memory.purge_above_bytes",
        Kind::Whole,
        "0",
        "Purge the allocator above; 0: by the machine",
    ),
    key("memory.profile_dir", Kind::Text, "", "Folder for heap profiles (SIGUSR2)"),
    key("memory.heap_endpoint", Kind::Switch, "false", "POST /debug/heap on the admin address"),
    key("shutdown.balancer_seconds", Kind::Number, "0.5", "Door still open, readiness 503"),
    key("shutdown.deadline_seconds", Kind::Number, "5", "From the signal to the exit"),
];

/// Variables of other names, and what they say: the key and its value when they are true.
pub const ALIASES: &[(&str, &str, &str)] = &[("DISABLE_MEMORY_TRACKER", "memory.watch", "false")];

impl Key {
    /// `EVENSONG_SPEECH_WORKERS` for `speech.workers`.
    pub fn env(&self) -> String {
        format!("EVENSONG_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// `speech-workers` for `speech.workers`, without the dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    /// The default, as the value that it is.
    pub fn default_value(&self) -> config::Value {
        self.parse(self.default).unwrap_or_else(|_| config::Value::from(self.default))
    }

    /// The value of `text`.
    pub fn parse(&self, text: &str) -> Result<config::Value, ConfigError> {
        let text = text.trim();
        let bad = |hint: &str| ConfigError::Value {
            key: self.name,
            value: text.to_string(),
            hint: hint.to_string(),
        };
        Ok(match self.kind {
            Kind::Text | Kind::Secret => text.into(),
            Kind::List => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                parts.map(config::Value::from).collect::<Vec<_>>().into()
            }
            Kind::Whole => text.parse::<u64>().map_err(|_| bad("a whole number"))?.into(),
            Kind::Number => text.parse::<f64>().map_err(|_| bad("a number"))?.into(),
            Kind::Switch => match text {
                "true" | "1" | "yes" | "on" => true.into(),
                "false" | "0" | "no" | "off" => false.into(),
                _ => return Err(bad("true or false")),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_key() {
        let key = KEYS.iter().find(|key| key.name == "speech.default_voice").expect("is there");
        assert_eq!(key.env(), "EVENSONG_SPEECH_DEFAULT_VOICE");
        assert_eq!(key.flag(), "speech-default-voice");
    }

    #[test]
    fn every_default_is_of_its_own_kind_and_no_two_flags_are_alike() {
        for key in KEYS {
            assert!(key.parse(key.default).is_ok(), "{}", key.name);
        }
        let mut flags: Vec<_> = KEYS.iter().map(Key::flag).collect();
        flags.sort();
        flags.dedup();
        assert_eq!(flags.len(), KEYS.len());
    }
}
