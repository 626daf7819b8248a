//! A dialogue: from a question to an answer that is spoken while it is being written.

pub mod plain;
pub mod split;
