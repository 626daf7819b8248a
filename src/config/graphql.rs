//! The part of the configuration that says which GraphQL server is asked, and what clients may ask of it.

use serde::{Deserialize, Serialize};

use super::upstream::{self, UpstreamSettings};
use super::{ConfigError, bad, seconds};
use crate::http::graphql::Caps;
use crate::limits;
use crate::upstream::graphql::NAME;
use crate::upstream::{Secret, UpstreamConfig};

/// A GraphQL server.
#[derive(Clone, Debug)]
pub struct GraphqlConfig {
    /// Where it is, and how it is asked.
    pub upstream: UpstreamConfig,
    /// What clients may ask of it.
    pub caps: Caps,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GraphqlSettings {
    url: String,
    api_key: Secret,
    max_client_age_seconds: f64,
    max_in_flight: usize,
    keep_alive: bool,
    max_body_bytes: usize,
    max_depth: usize,
    introspection: bool,
    allow: Vec<String>,
}

impl GraphqlSettings {
    /// None where there is no such server.
    pub(super) fn check(
        &self,
        how: &UpstreamSettings,
    ) -> Result<Option<GraphqlConfig>, ConfigError> {
        let caps = self.caps()?;
        let most =
            seconds("graphql.max_client_age_seconds", self.max_client_age_seconds, 1.0, 86_400.0)?;
        whole("graphql.max_in_flight", self.max_in_flight, 1, limits::UPSTREAM_IN_FLIGHT_MOST)?;
        let key = upstream::key("graphql.api_key", &self.api_key)?;
        if self.url.trim().is_empty() {
            if key.is_empty() {
                return Ok(None);
            }
            return Err(bad(
                "graphql.api_key",
                "(set)",
                "graphql.url as well: whom the key is for",
            ));
        }
        let base = upstream::base("graphql.url", &self.url)?;
        let mut upstream = how.upstream(NAME, base, key)?;
        upstream.ages.most = most;
        upstream.ages.in_flight = self.max_in_flight;
        upstream.keep_alive = self.keep_alive;
        // Somebody waits for the whole of an answer, and not for a stream of it.
        upstream.total = upstream.total.min(limits::GRAPHQL_TOTAL);
        Ok(Some(GraphqlConfig { upstream, caps }))
    }

    fn caps(&self) -> Result<Caps, ConfigError> {
        let most = limits::GRAPHQL_BODY_MOST_BYTES;
        whole("graphql.max_body_bytes", self.max_body_bytes, limits::KIB, most)?;
        whole("graphql.max_depth", self.max_depth, 1, limits::GRAPHQL_NESTING)?;
        if let Some(name) = self.allow.iter().find(|name| !is_name(name)) {
            return Err(bad("graphql.allow", name, "names of operations, as LatestEpisodes"));
        }
        Ok(Caps {
            body_bytes: self.max_body_bytes,
            depth: self.max_depth,
            introspection: self.introspection,
            allow: self.allow.clone(),
        })
    }
}

/// As GraphQL has them (its specification, 2.1.9).
fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn whole(key: &'static str, value: usize, least: usize, most: usize) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(bad(key, value, format!("between {least} and {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Settings};
    use std::time::Duration;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let flag = |name: &str| {
            let name = name.strip_prefix("graphql.");
            let pair = pairs.iter().find(|(key, _)| name == Some(key));
            pair.map(|(_, value)| (*value).to_string())
        };
        let settings = Settings::read(None, |_| None, flag).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())
    }

    const URL: (&str, &str) = ("url", "https://arweave.net/graphql");

    #[test]
    fn nobody_is_asked_unless_it_is_said_who() {
        assert!(with(&[]).expect("defaults").graphql.is_none());
        let GraphqlConfig { upstream, caps } =
            with(&[URL]).expect("good").graphql.expect("somebody");
        let ages = &upstream.ages;
        assert_eq!(
            (ages.name, ages.most, ages.in_flight),
            ("GraphQL", Duration::from_secs(1800), 50)
        );
        assert!(!upstream.keep_alive && upstream.total == limits::GRAPHQL_TOTAL);
        let allow = Vec::new();
        let expected = Caps { body_bytes: 65_536, depth: 12, introspection: true, allow };
        assert_eq!(caps, expected);
        let caps = with(&[URL, ("allow", "A, _b2")]).expect("good").graphql.expect("somebody").caps;
        assert_eq!(caps.allow, ["A", "_b2"]);
    }

    #[test]
    fn a_bad_value_names_its_key_its_value_and_what_would_do() {
        for (key, value, shown, hint) in [
            ("url", "arweave.net/graphql", "arweave.net", "https://host"),
            ("url", "http://169.254.169.254/graphql", "169.254", "metadata"),
            ("max_client_age_seconds", "0", "0", "between 1 and 86400"),
            ("max_in_flight", "0", "0", "between 1 and"),
            ("max_body_bytes", "10", "10", "between 1024 and"),
            ("max_depth", "0", "0", "between 1 and 64"),
            ("max_depth", "65", "65", "between 1 and 64"),
            ("allow", "Fine,no-name", "no-name", "names of operations"),
            ("api_key", "canary\nX-Evil: 1", "(set)", "without control"),
        ] {
            let pairs: Vec<_> =
                [(key, value), URL].into_iter().take(1 + usize::from(key != "url")).collect();
            let error = with(&pairs).expect_err("is bad");
            let named = error.starts_with(&format!("graphql.{key} = "));
            assert!(named && error.contains(shown) && error.contains(hint), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
        let error = with(&[("api_key", "canary")]).expect_err("nowhere");
        assert!(error.starts_with("graphql.api_key = (set): graphql.url as well"), "{error}");
    }
}
