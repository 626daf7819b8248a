//! The part of the configuration that says where documents are kept and searched.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::upstream::{self, UpstreamSettings};
use super::{ConfigError, bad, seconds};
use crate::limits;
use crate::search::elastic;
use crate::upstream::{Scheme, Secret, UpstreamConfig};

/// Where documents are kept and searched.
#[derive(Clone, Debug)]
pub struct SearchConfig {
    /// A search engine; none: the index on this machine's disk.
    pub engine: Option<EngineConfig>,
    /// Whether a new index on disk begins with Evensong's own documentation.
    pub guide: bool,
}

/// A search engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where it is, and how it is asked.
    pub upstream: UpstreamConfig,
    /// The name of the index.
    pub index: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchSettings {
    enabled: bool,
    guide: bool,
    elasticsearch_url: String,
    elasticsearch_api_key: Secret,
    index: String,
    max_client_age_seconds: f64,
}

impl SearchSettings {
    /// None where nothing is to be searched.
    pub(super) fn check(
        &self,
        how: &UpstreamSettings,
    ) -> Result<Option<SearchConfig>, ConfigError> {
        let most =
            seconds("search.max_client_age_seconds", self.max_client_age_seconds, 1.0, 86_400.0)?;
        let index = self.index.trim();
        // What Elasticsearch takes, and nothing that means something in a path.
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        let begins = index.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || index.len() > 100 || !index.chars().all(is_plain) {
            let hint = "a name of lower-case letters, digits, - and _, that begins with a letter";
            return Err(bad("search.index", index, hint));
        }
        let key = upstream::key("search.elasticsearch_api_key", &self.elasticsearch_api_key)?;
        let engine = match self.elasticsearch_url.trim() {
            "" if key.is_empty() => None,
            "" => {
                let hint = "search.elasticsearch_url as well: whom the key is for";
                return Err(bad("search.elasticsearch_api_key", "(set)", hint));
            }
            url => {
                let base = upstream::base("search.elasticsearch_url", url)?;
                let mut upstream = how.upstream(elastic::NAME, base, key)?;
                upstream.scheme = Scheme::Engine;
                upstream.ages.most = most;
                upstream.ages.in_flight = limits::ENGINE_IN_FLIGHT;
                upstream.ages.wait = limits::SEARCH_TURN_WAIT;
                upstream.connect = upstream.connect.min(limits::SEARCH_WITHIN);
                Some(EngineConfig { upstream, index: index.to_string() })
            }
        };
        Ok(self.enabled.then_some(SearchConfig { engine, guide: self.guide }))
    }
}

/// Where things are kept: what is said, or the platform's folder for data; none where there is no such place.
pub(super) fn data(said: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match said.trim() {
        "" => {
            let xdg = set("XDG_DATA_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
            let home = || set("HOME").map(|home| Path::new(&home).join(".local/share"));
            Some(xdg.or_else(home)?.join("evensong"))
        }
        said => Some(said.into()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Settings};

    fn with(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let flag = |name: &str| {
            let pair = pairs.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_string())
        };
        let settings = Settings::read(None, |_| None, flag).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())
    }

    #[test]
    fn documents_are_on_disk_unless_an_engine_is_named() {
        let search = with(&[]).expect("defaults").search.expect("on by default");
        assert!(search.engine.is_none() && search.guide);
        assert!(with(&[("search.enabled", "false")]).expect("good").search.is_none());
        let engine =
            [("search.elasticsearch_url", "http://localhost:9200"), ("search.index", "mine")];
        let engine = with(&engine).expect("good").search.expect("on").engine.expect("named");
        assert_eq!((&*engine.index, engine.upstream.ages.most.as_secs()), ("mine", 300));
        assert_eq!(with(&[("data", "/srv/x")]).expect("good").data, Some("/srv/x".into()));
    }

    #[test]
    fn a_bad_value_names_its_key_and_what_would_do() {
        for (key, value, hint) in [
            ("search.index", "Mine", "lower-case"),
            ("search.index", "a/../b", "lower-case"),
            ("search.index", "", "begins with a letter"),
            ("search.elasticsearch_url", "localhost:9200", "begins with http://"),
            ("search.elasticsearch_api_key", "canary", "elasticsearch_url as well"),
            ("search.max_client_age_seconds", "0", "between"),
        ] {
            let error = with(&[(key, value)]).expect_err("is bad");
            assert!(error.starts_with(key) && error.contains(hint), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
