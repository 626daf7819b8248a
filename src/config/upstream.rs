//! The part of the configuration that says what lives elsewhere, and how it is asked.

use serde::{Deserialize, Serialize};

use super::{ConfigError, bad, seconds};
use crate::limits;
use crate::speech::encode::Format;
use crate::speech::openai::{self, OpenAiConfig};
use crate::upstream::address::Base;
use crate::upstream::aged::Ages;
use crate::upstream::{Scheme, Secret, UpstreamConfig};

/// A part of a lifetime by which clients are replaced earlier than at its end, so that not all are at once.
const JITTER_PERCENT: u32 = 10;

/// An engine on another server.
#[derive(Clone, Debug)]
pub struct RemoteSpeech {
    /// Where it is, and how it is asked.
    pub upstream: UpstreamConfig,
    /// What is known of it.
    pub engine: OpenAiConfig,
}

/// How upstreams are asked whose settings say nothing else.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamSettings {
    connect_seconds: f64,
    first_byte_seconds: f64,
    idle_seconds: f64,
    total_seconds: f64,
    max_client_age_seconds: f64,
    grace_seconds: f64,
    max_in_flight: usize,
    keep_alive: bool,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenAiSettings {
    base_url: String,
    api_key: Secret,
    model: String,
    voices: Vec<String>,
    formats: Vec<String>,
    pcm_hz: u32,
    max_bytes: u64,
}

impl UpstreamSettings {
    /// The upstream `name` at `base`, let in by `key`.
    pub(super) fn upstream(
        &self,
        name: &'static str,
        base: Base,
        key: Secret,
    ) -> Result<UpstreamConfig, ConfigError> {
        let least = 0.05;
        let most =
            seconds("upstream.max_client_age_seconds", self.max_client_age_seconds, 1.0, 86_400.0)?;
        let grace = seconds("upstream.grace_seconds", self.grace_seconds, 0.0, 86_400.0)?;
        if self.max_in_flight == 0 || self.max_in_flight > limits::UPSTREAM_IN_FLIGHT_MOST {
            let hint = format!("between 1 and {}", limits::UPSTREAM_IN_FLIGHT_MOST);
            return Err(bad("upstream.max_in_flight", self.max_in_flight, hint));
        }
        Ok(UpstreamConfig {
            base,
            key,
            scheme: Scheme::Bearer,
            ages: Ages {
                name,
                most,
                jitter_percent: JITTER_PERCENT,
                grace,
                in_flight: self.max_in_flight,
                wait: limits::UPSTREAM_TURN_WAIT,
            },
            connect: seconds("upstream.connect_seconds", self.connect_seconds, least, 60.0)?,
            first_byte: seconds(
                "upstream.first_byte_seconds",
                self.first_byte_seconds,
                least,
                600.0,
            )?,
            between: seconds("upstream.idle_seconds", self.idle_seconds, least, 600.0)?,
            total: seconds("upstream.total_seconds", self.total_seconds, 1.0, 86_400.0)?,
            keep_alive: self.keep_alive,
        })
    }

    /// Checks what no upstream may ask about, if none is configured.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let nowhere = Base::parse("http://localhost")
            .map_err(|error| bad("upstream", "", error.to_string()))?;
        self.upstream("none", nowhere, Secret::default()).map(drop)
    }
}

impl OpenAiSettings {
    /// None where there is no such server.
    pub(super) fn check(
        &self,
        how: &UpstreamSettings,
    ) -> Result<Option<RemoteSpeech>, ConfigError> {
        let formats =
            self.formats.iter().map(|name| format(name)).collect::<Result<Vec<_>, _>>()?;
        if formats.is_empty() {
            return Err(bad("speech.openai.formats", "", "at least one, as mp3,opus,flac,wav,pcm"));
        }
        if !(8_000..=48_000).contains(&self.pcm_hz) {
            return Err(bad("speech.openai.pcm_hz", self.pcm_hz, "between 8000 and 48000"));
        }
        let least = limits::KIB as u64;
        if self.max_bytes < least {
            return Err(bad(
                "speech.openai.max_bytes",
                self.max_bytes,
                format!("at least {least}"),
            ));
        }
        if self.base_url.trim().is_empty() {
            if self.api_key.is_empty() {
                return Ok(None);
            }
            let hint = "speech.openai.base_url as well: whom the key is for";
            return Err(bad("speech.openai.api_key", "(set)", hint));
        }
        let upstream = base("speech.openai.base_url", &self.base_url)?;
        let key = key("speech.openai.api_key", &self.api_key)?;
        let model = self.model.trim();
        let engine = OpenAiConfig {
            model: (!model.is_empty()).then(|| model.to_string()),
            voices: self.voices.clone(),
            formats,
            pcm_hz: self.pcm_hz,
            most_bytes: self.max_bytes,
        };
        Ok(Some(RemoteSpeech { upstream: how.upstream(openai::NAME, upstream, key)?, engine }))
    }
}

/// Where an upstream is, as the setting `name` has it.
pub(super) fn base(name: &'static str, text: &str) -> Result<Base, ConfigError> {
    Base::parse(text).map_err(|error| bad(name, without_userinfo(text), error.to_string()))
}

/// A password that was written where it does not belong is not repeated.
fn without_userinfo(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_string(),
    }
}

/// What lets us in, as the setting `name` has it.
pub(super) fn key(name: &'static str, key: &Secret) -> Result<Secret, ConfigError> {
    if !key.is_empty() && key.bearer().is_none() {
        return Err(bad(name, "(set)", "text without control characters"));
    }
    Ok(key.clone())
}

fn format(name: &str) -> Result<Format, ConfigError> {
    Format::named(name).ok_or_else(|| {
        let known = Format::ALL.map(Format::name).join(", ");
        bad("speech.openai.formats", name, format!("some of {known}"))
    })
}
