//! The part of the configuration that says how long voice sessions wait.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, bad};
use crate::realtime::SessionPatience;

/// Seconds for a device to come back.
const GRACE: std::ops::RangeInclusive<f64> = 0.1..=3600.0;
/// Seconds for something to be asked.
const IDLE: std::ops::RangeInclusive<f64> = 1.0..=86_400.0;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RealtimeSettings {
    grace_seconds: f64,
    idle_seconds: f64,
}

impl RealtimeSettings {
    pub(super) fn check(&self) -> Result<SessionPatience, ConfigError> {
        if !GRACE.contains(&self.grace_seconds) {
            return Err(bad("realtime.grace_seconds", self.grace_seconds, "between 0.1 and 3600"));
        }
        if !IDLE.contains(&self.idle_seconds) {
            return Err(bad("realtime.idle_seconds", self.idle_seconds, "between 1 and 86400"));
        }
        Ok(SessionPatience {
            grace: Duration::from_secs_f64(self.grace_seconds),
            idle: Duration::from_secs_f64(self.idle_seconds),
        })
    }
}
