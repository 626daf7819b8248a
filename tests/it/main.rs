//! The integration tests: one binary, so that it is linked once. They speak the protocol to a
//! server on a free port; what needs a voice that is not installed says so and is counted.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests start processes and clients

mod access;
mod ask;
mod assets;
mod calm;
mod child;
mod cli;
mod deadlines;
mod dialogue;
mod dialogue_faults;
mod faked;
mod fault_proxy;
mod formats;
mod graphql;
mod graphql_faults;
mod http;
mod indexer;
mod leaks;
#[cfg(all(feature = "leak-guards", feature = "leak-map"))]
mod leaks_on_purpose;
mod leaving;
mod manager;
mod media;
mod openapi;
mod realtime;
mod realtime_hear;
mod realtime_relay;
mod relay_simulation;
mod search;
mod search_cases;
mod search_faults;
mod seed_logs;
mod server;
mod session_simulation;
mod sessions;
mod simulation;
mod smuggling;
mod speech;
mod spoken;
mod tidy;
mod tls;
mod upstream;
mod upstream_child;
mod upstream_hostile;
mod visible;
mod workers;
mod writer;
