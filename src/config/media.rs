//! The part of the configuration that says where media lie.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigError, bad};
use crate::limits;
use crate::media::{MediaConfig, index_file};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MediaSettings {
    enabled: bool,
    root: String,
    hot_bytes: u64,
    max_file_bytes: u64,
    samples: bool,
}

impl MediaSettings {
    /// None where no media are served, or there is no place for them among the `data`.
    pub(super) fn check(&self, data: Option<PathBuf>) -> Result<Option<MediaConfig>, ConfigError> {
        let most = limits::MEDIA_HOT_BYTES_MOST;
        if self.hot_bytes > most {
            return Err(bad(
                "media.hot_bytes",
                self.hot_bytes,
                format!("at most {most}; 0: none in memory"),
            ));
        }
        let most = limits::MEDIA_FILE_BYTES_MOST;
        if !(1..=most).contains(&self.max_file_bytes) {
            return Err(bad(
                "media.max_file_bytes",
                self.max_file_bytes,
                format!("between 1 and {most}"),
            ));
        }
        let root = match self.root.trim() {
            "" => data.as_ref().map(|data| data.join("media")),
            root => Some(PathBuf::from(root)),
        };
        let config = |root: PathBuf| MediaConfig {
            hot_bytes: self.hot_bytes,
            max_file_bytes: self.max_file_bytes,
            samples: self.samples,
            index: data.map(|data| index_file(&data, &root)),
            root,
        };
        Ok(root.filter(|_| self.enabled).map(config))
    }
}
