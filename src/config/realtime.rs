//! The part of the configuration that says how long voice sessions wait, and who listens to the sound that comes by them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, bad, upstream};
use crate::limits::RELAY_CONNECT;
use crate::realtime::SessionPatience;
use crate::upstream::{Secret, SocketConfig};

/// Seconds for a device to come back.
const GRACE: std::ops::RangeInclusive<f64> = 0.1..=3600.0;
/// Seconds for something to be asked.
const IDLE: std::ops::RangeInclusive<f64> = 1.0..=86_400.0;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RealtimeSettings {
    grace_seconds: f64,
    idle_seconds: f64,
    upstream: ListeningSettings,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ListeningSettings {
    base_url: String,
    api_key: Secret,
    model: String,
    voice: String,
}

/// Voice sessions.
#[derive(Clone, Debug)]
pub struct RealtimeConfig {
    /// How long they wait.
    pub patience: SessionPatience,
    /// Who listens to the sound that comes by them; none: nobody does.
    pub listening: Option<ListeningUpstream>,
}

/// Who listens, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ListeningUpstream {
    /// How it is talked to.
    pub socket: SocketConfig,
    /// The voice that it is to answer in; none: its own.
    pub voice: Option<String>,
}

impl RealtimeSettings {
    pub(super) fn check(&self) -> Result<RealtimeConfig, ConfigError> {
        if !GRACE.contains(&self.grace_seconds) {
            return Err(bad("realtime.grace_seconds", self.grace_seconds, "between 0.1 and 3600"));
        }
        if !IDLE.contains(&self.idle_seconds) {
            return Err(bad("realtime.idle_seconds", self.idle_seconds, "between 1 and 86400"));
        }
        let patience = SessionPatience {
            grace: Duration::from_secs_f64(self.grace_seconds),
            idle: Duration::from_secs_f64(self.idle_seconds),
        };
        Ok(RealtimeConfig { patience, listening: self.upstream.check()? })
    }
}

/// Under which name it stands in logs and metrics.
const NAME: &str = "realtime.upstream";

impl ListeningSettings {
    /// None where there is no such server.
    fn check(&self) -> Result<Option<ListeningUpstream>, ConfigError> {
        let key = upstream::key("realtime.upstream.api_key", &self.api_key)?;
        let (url, model) = (self.base_url.trim(), self.model.trim());
        if url.is_empty() {
            let hint = "realtime.upstream.base_url as well: who listens";
            return match (key.is_empty(), model) {
                (false, _) => Err(bad("realtime.upstream.api_key", "(set)", hint)),
                (true, "") => Ok(None),
                (true, model) => Err(bad("realtime.upstream.model", model, hint)),
            };
        }
        // Such servers are often named by the scheme of their sockets.
        let url = match url.split_once("://") {
            Some(("ws", rest)) => format!("http://{rest}"),
            Some(("wss", rest)) => format!("https://{rest}"),
            _ => url.to_string(),
        };
        let base = upstream::base("realtime.upstream.base_url", &url)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
        if !model.bytes().all(is_plain) {
            let hint = "letters, digits and . _ : / - alone";
            return Err(bad("realtime.upstream.model", model, hint));
        }
        let target = match model {
            "" => "/realtime".to_string(),
            model => format!("/realtime?model={model}"),
        };
        let socket = SocketConfig { name: NAME, base, target, key, connect: RELAY_CONNECT };
        let voice = Some(self.voice.trim().to_string()).filter(|voice| !voice.is_empty());
        Ok(Some(ListeningUpstream { socket, voice }))
    }
}
