//! The part of the configuration that says how long dialogues wait.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, bad};
use crate::dialogue::life::Patience;

/// Seconds that may be waited for somebody.
const SECONDS: std::ops::RangeInclusive<f64> = 0.1..=3600.0;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DialogueSettings {
    attach_seconds: f64,
    grace_seconds: f64,
}

impl DialogueSettings {
    pub(super) fn check(&self) -> Result<Patience, ConfigError> {
        let seconds = |key, seconds: f64| match SECONDS.contains(&seconds) {
            true => Ok(Duration::from_secs_f64(seconds)),
            false => Err(bad(key, seconds, "between 0.1 and 3600")),
        };
        Ok(Patience {
            attach: seconds("dialogue.attach_seconds", self.attach_seconds)?,
            grace: seconds("dialogue.grace_seconds", self.grace_seconds)?,
        })
    }
}
