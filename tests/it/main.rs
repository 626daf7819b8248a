//! The integration tests: one binary, so that it is linked once. They speak the protocol to a
//! server on a free port; what needs a voice that is not installed says so and is counted.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // tests start processes and clients

mod access;
mod cli;
mod deadlines;
mod formats;
mod http;
mod leaks;
mod leaving;
mod server;
mod smuggling;
mod speech;
mod tidy;
mod tls;
mod workers;
