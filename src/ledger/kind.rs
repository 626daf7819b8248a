//! The kinds of things that can live, and what each says of itself. Invariant: a kind that is not
//! *standing* is there for a client, and reads zero when no client is there.

use crate::limits::{INDEX_WRITER_FDS, INDEX_WRITER_THREADS};

/// What libraries may have by themselves, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Descriptors.
    pub fds: u64,
    /// Tasks.
    pub tasks: u64,
    /// Threads.
    pub threads: u64,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal, standing: $standing:literal, fds: $fds:literal;)*) => {
        /// The kinds of things that can live.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Kind { $($(#[$doc])* $name),* }

        impl Kind {
            /// All kinds, in the order in which they are shown.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$name => $text),* }
            }

            /// Whether things of this kind live as long as the server.
            pub const fn is_standing(self) -> bool {
                match self { $(Kind::$name => $standing),* }
            }

            /// File descriptors that one thing of this kind keeps open.
            pub const fn fds(self) -> u64 {
                match self { $(Kind::$name => $fds),* }
            }
        }
    };
}

kinds! {
    /// A client's connection.
    Connection = "connection", standing: false, fds: 0;
    /// A descriptor of a client's socket: the one that is served, and the watcher's.
    Socket = "socket", standing: false, fds: 1;
    /// A request on a connection of HTTP/2, with its head, until the last byte of its answer.
    H2Request = "http2_request", standing: false, fds: 0;
    /// A body for which more than the connection's own bytes were reserved: a request's, or an answer's that was read
    /// whole before it is passed on.
    Body = "body", standing: false, fds: 0;
    /// A speech stream, from its admission to its last freed byte.
    SpeechStream = "speech_stream", standing: false, fds: 0;
    /// A dialogue, with all that it keeps for its listeners.
    Dialogue = "dialogue", standing: false, fds: 0;
    /// A turn of a dialogue while it is being written and spoken.
    Turn = "turn", standing: false, fds: 0;
    /// Somebody who listens to a dialogue.
    Ear = "dialogue_listener", standing: false, fds: 0;
    /// A voice session, with what was said in it, until its device has been gone for its grace.
    Session = "session", standing: false, fds: 0;
    /// What a voice session has reserved beside, while it answers, hears, or passes sound on.
    SessionRoom = "session_room", standing: false, fds: 0;
    /// A task that waits for a session's device to come back.
    SessionTimer = "session_timer", standing: false, fds: 0;
    /// A task that talks to a server elsewhere for a session, from before its connection is made until that is closed.
    SessionRelay = "session_relay", standing: false, fds: 0;
    /// A piece of text that waits for a worker or is spoken by one.
    Job = "job", standing: false, fds: 0;
    /// A search, or another look into the index, until the last byte of its answer.
    Search = "search", standing: false, fds: 0;
    /// A file that is sent to a client, until its last byte is gone.
    MediaDownload = "media_download", standing: false, fds: 0;
    /// An open file of media: one that is sent, taken into memory, or put.
    MediaFile = "media_file", standing: false, fds: 1;
    /// A request to an upstream, from its turn to the last byte of its answer.
    UpstreamRequest = "upstream_request", standing: false, fds: 0;
    /// A task that ends with a client, a stream or a request.
    Task = "task", standing: false, fds: 0;
    /// Work that blocks a thread until it is done.
    Blocking = "blocking", standing: false, fds: 0;
    /// The same, of what the server does for itself, whether a client is there or not.
    Errand = "errand", standing: true, fds: 0;
    /// A task that lives as long as the server.
    Service = "service", standing: true, fds: 0;
    /// A timer that lives as long as the server.
    Timer = "timer", standing: true, fds: 0;
    /// A listening socket.
    Listener = "listener", standing: true, fds: 1;
    /// A connection to the admin listener.
    AdminConnection = "admin_connection", standing: true, fds: 0;
    /// A descriptor of one.
    AdminSocket = "admin_socket", standing: true, fds: 1;
    /// A task that serves the admin listener's connections.
    AdminTask = "admin_task", standing: true, fds: 0;
    /// A phrase that is kept: bytes of the cache, which are its own and not a client's.
    Phrase = "phrase", standing: true, fds: 0;
    /// A file of media, or a folder, that is being looked at: as long as that takes, whoever asked for it.
    MediaLook = "media_look", standing: true, fds: 1;
    /// The folder of media.
    MediaRoot = "media_root", standing: true, fds: 1;
    /// A file of media in memory: bytes of the cache, which are its own and not a client's.
    MediaCached = "media_cached", standing: true, fds: 0;
    /// A ticket that was not used yet: a word given for half a minute, whoever is connected.
    Ticket = "ticket", standing: true, fds: 0;
    /// A generation of an upstream's client: the one in use, and those on which something is in flight.
    UpstreamClient = "upstream_client", standing: true, fds: 0;
    /// A request to an upstream that the server makes for itself.
    UpstreamErrand = "upstream_errand", standing: true, fds: 0;
    /// A connection to an upstream: one that is used, or kept for the next request.
    UpstreamSocket = "upstream_socket", standing: true, fds: 1;
    /// A task of an upstream's client: it serves a connection, or closes idle ones.
    UpstreamTask = "upstream_task", standing: true, fds: 0;
    /// A socket and a task that a library may have by itself: at most one of each.
    ForeignSocket = "foreign_socket", standing: true, fds: 0;
    /// The writer of the index on disk, with the threads and files that it has while it is open.
    IndexWriter = "index_writer", standing: true, fds: 0;
    /// A file by which one process keeps others from doing the same.
    LockFile = "lock_file", standing: true, fds: 1;
    /// A worker process, by the handle by which its end is awaited.
    Worker = "worker", standing: true, fds: 1;
    /// A pipe to or from a worker.
    Pipe = "pipe", standing: true, fds: 1;
}

impl Kind {
    /// The kind of that name, as on the wire.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// Whether things of this kind are kept until they are used or old, with a cap of their own: that there are
    /// more of them is no growth.
    pub const fn is_kept(self) -> bool {
        matches!(
            self,
            Kind::Phrase
                | Kind::MediaCached
                | Kind::Ticket
                | Kind::UpstreamSocket
                | Kind::UpstreamTask
                | Kind::ForeignSocket
        )
    }

    /// What one thing of this kind may have beside what is entered, or not: a library does not say.
    pub const fn may_have(self) -> Foreign {
        match self {
            Kind::ForeignSocket => Foreign { fds: 1, tasks: 1, threads: 0 },
            Kind::IndexWriter => {
                Foreign { fds: INDEX_WRITER_FDS, tasks: 0, threads: INDEX_WRITER_THREADS }
            }
            _ => Foreign { fds: 0, tasks: 0, threads: 0 },
        }
    }

    /// Whether one thing of this kind is one task of the runtime.
    pub const fn is_task(self) -> bool {
        matches!(
            self,
            Kind::Task
                | Kind::SessionTimer
                | Kind::SessionRelay
                | Kind::Service
                | Kind::Timer
                | Kind::AdminTask
                | Kind::UpstreamTask
        )
    }
}
