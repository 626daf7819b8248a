//! Evensong: a voice and TTS streaming service whose memory stays flat.
//!
//! The layers, each of which imports only from those below it (`tests/it/tidy.rs` sees to that):
//!
//! | | |
//! |---|---|
//! | [`cli`] | what a person types |
//! | [`server`] | builds the parts, runs them, ends them |
//! | [`config`] | what the program can be told |
//! | [`http`] | connections, routes, errors |
//! | [`dialogue`] | somebody asks, and hears the answer while it is being written |
//! | [`answer`] | who writes answers: a language model, or what was found |
//! | [`search`] | documents, where they are kept, and what brings them there |
//! | [`media`] | files that never change under their names |
//! | [`speech`] | text to audio: engines, workers, streams |
//! | [`upstream`] | clients of what lives elsewhere |
//! | [`bounds`] | what may be promised to clients: budget and ring |
//! | [`tasks`] | what runs, and who ends it |
//! | [`ledger`] | what lives, by kind and owner |
//! | [`limits`], [`metrics`] | every limit and every number on one page each |

pub mod answer;
pub mod bounds;
pub mod cli;
pub mod config;
pub mod dialogue;
pub mod http;
pub mod ledger;
pub mod limits;
pub mod media;
pub mod metrics;
pub mod realtime;
pub mod search;
pub mod server;
pub mod speech;
pub mod tasks;
pub mod upstream;
