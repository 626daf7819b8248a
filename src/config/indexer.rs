//! The part of the configuration that says what is indexed, from where, and how records become documents.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::graphql::GraphqlConfig;
use super::upstream::{self, UpstreamSettings};
use super::{ConfigError, bad, seconds};
use crate::limits;
use crate::search::indexer::{FieldMap, IndexerConfig, Template};
use crate::upstream::UpstreamConfig;

/// What clients of sources that are asked for nothing else are called in logs.
const NAME: &str = "indexer";
/// A source is not asked for more at once.
const PAGE_MOST: usize = 10_000;

/// An indexer.
#[derive(Clone, Debug)]
pub struct IndexerSetup {
    /// How it works.
    pub config: IndexerConfig,
    /// The sources, by their addresses; the first is the GraphQL server of the clients where there is none of its own.
    pub sources: Vec<(String, Option<UpstreamConfig>)>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IndexerSettings {
    enabled: bool,
    endpoints: Vec<String>,
    interval_seconds: f64,
    start_delay_seconds: f64,
    page_size: usize,
    max_records: usize,
    max_gap: u64,
    query: String,
    connection: String,
    height_query: String,
    height: String,
    fields: FieldSettings,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct FieldSettings {
    id: String,
    r#type: String,
    title: String,
    text: String,
    url: String,
    media: String,
    created_at: String,
    tags: String,
    creator: String,
    has_audio: String,
}

impl IndexerSettings {
    /// None where nothing is indexed, for want of a source or since nobody wants it.
    pub(super) fn check(
        &self,
        how: &UpstreamSettings,
        graphql: Option<&GraphqlConfig>,
    ) -> Result<Option<IndexerSetup>, ConfigError> {
        let config = self.config()?;
        let mut sources = Vec::new();
        for url in &self.endpoints {
            let base = upstream::base("indexer.endpoints", url)?;
            let same = graphql.filter(|graphql| graphql.upstream.base == base);
            let own = match same {
                Some(_) => None,
                None => {
                    // Of whoever the key of graphql.url is for, nobody else is told it.
                    let mut own = how.upstream(NAME, base, crate::upstream::Secret::default())?;
                    own.total = own.total.min(limits::GRAPHQL_TOTAL);
                    own.keep_alive = graphql.is_some_and(|graphql| graphql.upstream.keep_alive);
                    Some(own)
                }
            };
            sources.push((url.trim().to_string(), own));
        }
        if let Some(graphql) = graphql.filter(|_| sources.is_empty()) {
            sources.push((graphql.upstream.base.to_string(), None));
        }
        let is_wanted = self.enabled && !sources.is_empty();
        Ok(is_wanted.then_some(IndexerSetup { config, sources }))
    }

    fn config(&self) -> Result<IndexerConfig, ConfigError> {
        let interval = seconds("indexer.interval_seconds", self.interval_seconds, 0.1, 86_400.0)?;
        let delay =
            seconds("indexer.start_delay_seconds", self.start_delay_seconds, 0.0, 86_400.0)?;
        if !(1..=PAGE_MOST).contains(&self.page_size) {
            let hint = format!("between 1 and {PAGE_MOST}");
            return Err(bad("indexer.page_size", self.page_size, hint));
        }
        if self.max_records < self.page_size {
            let hint = "at least indexer.page_size";
            return Err(bad("indexer.max_records", self.max_records, hint));
        }
        let query = |key, text: &str, must: &[&str]| {
            let missing = must.iter().find(|word| !text.contains(**word));
            match missing {
                Some(word) => Err(bad(key, "(a query)", format!("a query that has {word} in it"))),
                None if text.len() > limits::INDEXER_QUERY_BYTES => {
                    let hint = format!("at most {} bytes", limits::INDEXER_QUERY_BYTES);
                    Err(bad(key, "(a query)", hint))
                }
                None => Ok(text.trim().to_string()),
            }
        };
        let words = ["$first", "$after", "hasNextPage", "cursor"];
        let is_path = |path: &str| {
            !path.is_empty()
                && path.split('.').all(|step| !step.trim().is_empty() && step.trim() == step)
        };
        for (key, path) in
            [("indexer.connection", &self.connection), ("indexer.height", &self.height)]
        {
            if !is_path(path) {
                return Err(bad(key, path, "a path in the answer's data, as transactions"));
            }
        }
        Ok(IndexerConfig {
            interval,
            start_delay: delay.max(Duration::ZERO),
            page_size: self.page_size,
            records: self.max_records,
            query: query("indexer.query", &self.query, &words)?,
            connection: self.connection.clone(),
            height_query: query("indexer.height_query", &self.height_query, &[])?,
            height: self.height.clone(),
            gap: self.max_gap,
            fields: self.fields.map()?,
        })
    }
}

impl FieldSettings {
    fn map(&self) -> Result<FieldMap, ConfigError> {
        let template = |key, text: &str| {
            Template::parse(text)
                .map_err(|error| bad(key, text, format!("a template; it has {error}")))
        };
        for (key, text) in
            [("indexer.fields.id", &self.id), ("indexer.fields.created_at", &self.created_at)]
        {
            if text.trim().is_empty() {
                return Err(bad(
                    key,
                    "(empty)",
                    "where in a record it stands: no document is without",
                ));
            }
        }
        Ok(FieldMap {
            id: template("indexer.fields.id", &self.id)?,
            kind: template("indexer.fields.type", &self.r#type)?,
            title: template("indexer.fields.title", &self.title)?,
            text: template("indexer.fields.text", &self.text)?,
            url: template("indexer.fields.url", &self.url)?,
            media: template("indexer.fields.media", &self.media)?,
            created_at: template("indexer.fields.created_at", &self.created_at)?,
            tags: template("indexer.fields.tags", &self.tags)?,
            creator: template("indexer.fields.creator", &self.creator)?,
            has_audio: template("indexer.fields.has_audio", &self.has_audio)?,
        })
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
    fn whoever_names_a_source_has_an_indexer() {
        assert!(with(&[]).expect("defaults").indexer.is_none());
        let graphql = ("graphql.url", "http://localhost:4000/graphql");
        let indexer = with(&[graphql]).expect("good").indexer.expect("a source");
        assert_eq!(indexer.sources.len(), 1);
        assert!(indexer.sources[0].1.is_none(), "the clients' own is asked");
        assert_eq!((indexer.config.interval.as_secs(), indexer.config.page_size), (600, 100));
        assert!(with(&[graphql, ("indexer.enabled", "false")]).expect("good").indexer.is_none());
        let two = ("indexer.endpoints", "http://a/graphql,http://localhost:4000/graphql");
        let indexer = with(&[graphql, two]).expect("good").indexer.expect("two sources");
        let own: Vec<_> =
            indexer.sources.iter().map(|(url, own)| (&**url, own.is_some())).collect();
        assert_eq!(own, [("http://a/graphql", true), ("http://localhost:4000/graphql", false)]);
        let none = [graphql, ("search.enabled", "false")];
        assert!(with(&none).expect("good").indexer.is_none(), "there is nothing to index into");
    }

    #[test]
    fn a_bad_value_names_its_key_and_what_would_do() {
        for (key, value, hint) in [
            ("indexer.interval_seconds", "0", "between"),
            ("indexer.page_size", "0", "between 1"),
            ("indexer.max_records", "5", "indexer.page_size"),
            ("indexer.query", "{ transactions }", "$first"),
            ("indexer.connection", "", "a path"),
            ("indexer.fields.id", "", "no document is without"),
            ("indexer.fields.title", "tags[", "a template"),
            ("indexer.endpoints", "localhost", "begins with http://"),
        ] {
            let error = with(&[(key, value)]).expect_err("is bad");
            assert!(error.starts_with(key) && error.contains(hint), "{error}");
        }
    }
}
