//! How far the indexer has come. Invariant: it is only ever kept together with, or after, all that it stands for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    /// The pass over the source: it rises when everything is asked for once more.
    pub pass: u64,
    /// Whether this pass has not come to its end yet, and there are records of the one before.
    pub rebuilding: bool,
    /// Behind which record each source goes on: they need not understand each other's cursors.
    pub cursors: BTreeMap<String, String>,
    /// The greatest height that was seen.
    pub height: u64,
    /// Records that were brought, in all passes.
    pub records: u64,
    /// Of them, those that the index did not want, or that were none.
    pub rejected: u64,
}

impl Checkpoint {
    /// What `text` says; the beginning, where it says nothing, or nothing that can be read: then all is brought once more.
    pub fn read(text: Option<&str>) -> Self {
        let read = |text: &str| {
            serde_json::from_str(text)
                .inspect_err(|error| tracing::error!(%error, "the checkpoint cannot be read"))
                .ok()
        };
        let first = || Self { pass: 1, ..Self::default() };
        text.and_then(read).filter(|kept: &Self| kept.pass > 0).unwrap_or_else(first)
    }

    /// As it is kept.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The beginning of another pass.
    pub fn rebuilding(self) -> Self {
        let (pass, cursors) = (self.pass + 1, BTreeMap::new());
        // A height that a source once told in error ends with the pass.
        Self { pass, rebuilding: true, cursors, height: 0, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_kept_and_else_begins() {
        let kept = Checkpoint { height: 7, records: 3, ..Checkpoint::read(None) };
        assert_eq!(Checkpoint::read(Some(&kept.to_text())), kept);
        for text in [None, Some(""), Some("{"), Some("[]")] {
            assert_eq!(Checkpoint::read(text), Checkpoint { pass: 1, ..Checkpoint::default() });
        }
        let anew = kept.rebuilding();
        assert!(
            (anew.pass, anew.rebuilding, anew.height) == (2, true, 0) && anew.cursors.is_empty()
        );
    }
}
