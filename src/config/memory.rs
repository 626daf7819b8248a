//! The part of the configuration that says how memory is watched, and where heap profiles go.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ConfigError, bad, cgroup, seconds};
use crate::bounds::memory::WatchConfig;
use crate::limits;

/// How memory is watched.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// None: not at all.
    pub watch: Option<WatchConfig>,
    /// The folder for heap profiles.
    pub profile_dir: Option<PathBuf>,
    /// Whether the admin side may ask for one.
    pub heap_endpoint: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemorySettings {
    watch: bool,
    samples: usize,
    interval_seconds: f64,
    purge_above_bytes: u64,
    profile_dir: String,
    heap_endpoint: bool,
}

impl MemorySettings {
    pub(super) fn check(&self) -> Result<MemoryConfig, ConfigError> {
        let (least, most) = (limits::LEAK_SAMPLES, limits::WATCH_SAMPLES_MOST);
        if !(least..=most).contains(&self.samples) {
            return Err(bad("memory.samples", self.samples, format!("between {least} and {most}")));
        }
        let interval = seconds("memory.interval_seconds", self.interval_seconds, 0.05, 3600.0)?;
        let purge_above = match self.purge_above_bytes {
            0 => purge_above(cgroup::memory_limit()),
            bytes => bytes,
        };
        let watch = WatchConfig { samples: self.samples, interval, purge_above };
        let folder = self.profile_dir.trim();
        if self.heap_endpoint && folder.is_empty() {
            let hint = "memory.profile_dir as well: the folder for the profiles";
            return Err(bad("memory.heap_endpoint", true, hint));
        }
        Ok(MemoryConfig {
            watch: self.watch.then_some(watch),
            profile_dir: (!folder.is_empty()).then(|| folder.into()),
            heap_endpoint: self.heap_endpoint,
        })
    }
}

/// 10 GB, or four fifths of the memory that our cgroup leaves us if that is less.
fn purge_above(limit: Option<u64>) -> u64 {
    let most = limits::PURGE_ABOVE_BYTES;
    limit.map_or(most, |limit| most.min(limit / 100 * limits::PURGE_CGROUP_PERCENT))
}

#[cfg(test)]
mod tests {
    use super::purge_above;

    #[test]
    fn the_lesser_of_ten_gigabytes_and_four_fifths_of_the_cgroup() {
        assert_eq!(purge_above(None), 10_000_000_000);
        assert_eq!(purge_above(Some(u64::MAX)), 10_000_000_000);
        assert_eq!(purge_above(Some(1_000_000_000)), 800_000_000);
    }
}
