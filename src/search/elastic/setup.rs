//! Makes a search engine ready for our documents. Invariants: documents are read and written under an alias, and what lies under
//! it has the version of its mapping in its name, so that a new mapping is a new index, filled from the old one, and
//! one switch; until then the old one answers.

use elasticsearch::http::request::Body as _;
use elasticsearch::indices::{
    IndicesCreateParts, IndicesGetAliasParts, IndicesPutIndexTemplateParts,
    IndicesUpdateAliasesParts,
};
use elasticsearch::{BulkOperation, BulkOperations, BulkParts, SearchParts};
use std::sync::atomic::Ordering::Relaxed;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Call, Elastic, nothing};
use crate::limits::{ENGINE_WRITE_TRIES, ENGINE_WRITE_WITHIN};
use crate::search::{Asker, Outcome, SearchError};

/// The version of the mapping. Whoever changes it raises this.
const VERSION: u32 = 1;
/// Documents that are brought over at once: the largest of them fit an answer.
const COPIED_AT_ONCE: usize = 50;

impl Elastic {
    /// Sees to it that there is an index of this version under the alias.
    pub(super) async fn prepare(&self, asker: &Asker) -> Result<(), SearchError> {
        self.template(asker).await?;
        let current = self.index_of(VERSION);
        match self.under_alias(asker).await? {
            Some(there) if there == current => {}
            None => {
                self.create(&current, asker).await?;
                self.switch(&current, None, asker).await?;
            }
            Some(there) => match there.strip_prefix(&self.index_of_prefix()).map(str::parse::<u32>)
            {
                Some(Ok(version)) if version < VERSION => {
                    self.create(&current, asker).await?;
                    self.bring_over(&there, &current, asker).await?;
                    self.switch(&current, Some(&there), asker).await?;
                    tracing::info!(from = there, to = current, "documents were brought over");
                }
                _ => {
                    let why = format!("what lies under {} is {there}, not {current}", self.0.alias);
                    return Err(SearchError::Unavailable(why));
                }
            },
        }
        let state = json!({ "mappings": { "dynamic": false } });
        self.made(&self.0.state, &state, asker).await?;
        self.0.is_prepared.store(true, Relaxed);
        Ok(())
    }

    fn index_of_prefix(&self) -> String {
        format!("{}-v", self.0.alias)
    }

    fn index_of(&self, version: u32) -> String {
        format!("{}{version}", self.index_of_prefix())
    }

    async fn template(&self, asker: &Asker) -> Result<(), SearchError> {
        let path = IndicesPutIndexTemplateParts::Name(&self.0.alias).url();
        let pattern = format!("{}*", self.index_of_prefix());
        for analysis in [whole_analysis(), least_analysis()] {
            let body = json!({ "index_patterns": [pattern], "template": template(&analysis) });
            let mut call = Call::new(Method::PUT, &*path, Some(&body));
            call.within = ENGINE_WRITE_WITHIN;
            let said = self.say(call, asker).await?;
            let is_last = analysis == least_analysis();
            if said.status == StatusCode::BAD_REQUEST && !is_last {
                let why = self.0.upstream.words(&said.body);
                // Once: it is tried as long as something else is in the way.
                let was_said = self.0.lacks_analyzers.swap(true, Relaxed);
                if was_said {
                    continue;
                }
                tracing::warn!(
                    why,
                    "the search engine has no stemming and no folding of accents: words are found as they are spelt"
                );
                continue;
            }
            return self.good(said).map(drop);
        }
        Ok(())
    }

    /// The index under the alias.
    pub(super) async fn under_alias(&self, asker: &Asker) -> Result<Option<String>, SearchError> {
        let path = IndicesGetAliasParts::Name(&[&self.0.alias]).url();
        let said = self.say(Call::new(Method::GET, path, None), asker).await?;
        if said.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let said: Value = self.parse(&self.good(said)?)?;
        Ok(said.as_object().and_then(|indices| indices.keys().next().cloned()))
    }

    async fn create(&self, index: &str, asker: &Asker) -> Result<(), SearchError> {
        self.made(index, &nothing(), asker).await
    }

    /// Makes the index `name`, if it is not there.
    async fn made(&self, name: &str, body: &Value, asker: &Asker) -> Result<(), SearchError> {
        let path = IndicesCreateParts::Index(name).url();
        let mut call = Call::new(Method::PUT, path, Some(body));
        call.within = ENGINE_WRITE_WITHIN;
        let said = self.say(call, asker).await?;
        let is_there =
            String::from_utf8_lossy(&said.body).contains("resource_already_exists_exception");
        if is_there { Ok(()) } else { self.good(said).map(drop) }
    }

    /// Has the alias mean `to`, and no longer `from`, at once.
    async fn switch(&self, to: &str, from: Option<&str>, asker: &Asker) -> Result<(), SearchError> {
        let alias = &self.0.alias;
        let mut actions = vec![json!({ "add": { "index": to, "alias": alias } })];
        if let Some(from) = from {
            actions.push(json!({ "remove": { "index": from, "alias": alias } }));
        }
        let body = json!({ "actions": actions });
        let mut call = Call::new(Method::POST, IndicesUpdateAliasesParts::None.url(), Some(&body));
        call.within = ENGINE_WRITE_WITHIN;
        self.read::<Value>(call, asker).await.map(drop)
    }

    /// Fills `to` with what is in `from`.
    async fn bring_over(&self, from: &str, to: &str, asker: &Asker) -> Result<(), SearchError> {
        let indices = [from];
        let path = SearchParts::Index(&indices).url();
        let path = format!("{path}?filter_path=hits.hits._id,hits.hits._source,hits.hits.sort");
        let into = BulkParts::Index(to).url();
        let mut after = None;
        loop {
            let mut search = json!({
                "size": COPIED_AT_ONCE,
                "sort": [{ "created_ms": "asc" }, { "tie": "asc" }],
            });
            if let Some(after) = &after {
                search["search_after"] = Value::clone(after);
            }
            let found: Value =
                self.read(Call::new(Method::POST, &*path, Some(&search)), asker).await?;
            let hits = found["hits"]["hits"].as_array().cloned().unwrap_or_default();
            let Some(last) = hits.last() else { return Ok(()) };
            after = Some(last["sort"].clone());
            let mut operations = BulkOperations::new();
            for hit in &hits {
                let id = hit["_id"].as_str().unwrap_or_default();
                let operation = BulkOperation::index(&hit["_source"]).id(id);
                operations
                    .push(operation)
                    .map_err(|error| SearchError::Broken(error.to_string()))?;
            }
            let body = operations.bytes().unwrap_or_default();
            let mut tries = 0..ENGINE_WRITE_TRIES;
            loop {
                let said = self.send(body.clone(), &into, "", asker).await?;
                if said.iter().all(|outcome| *outcome == Ok(Outcome::Indexed)) {
                    break;
                }
                // All of them are sent again: what is there already is put there once more.
                if tries.next().is_none() {
                    let why = format!("documents of {from} could not be brought over: {said:?}");
                    return Err(SearchError::Unavailable(why.chars().take(400).collect()));
                }
            }
        }
    }
}

/// As the index on disk takes texts apart.
fn whole_analysis() -> Value {
    json!({
        "filter": { "english": { "type": "stemmer", "language": "porter2" } },
        "analyzer": {
            "stems": {
                "type": "custom", "tokenizer": "standard",
                "filter": ["lowercase", "asciifolding", "english"],
            },
            "spellings": {
                "type": "custom", "tokenizer": "standard", "filter": ["lowercase", "asciifolding"],
            },
        },
    })
}

/// For an engine without its module of analyzers.
fn least_analysis() -> Value {
    let plain = json!({ "type": "custom", "tokenizer": "standard", "filter": ["lowercase"] });
    json!({ "analyzer": { "stems": plain, "spellings": plain } })
}

fn template(analysis: &Value) -> Value {
    let keyword = json!({ "type": "keyword", "ignore_above": 1024 });
    let kept = json!({ "type": "keyword", "index": false, "doc_values": false });
    let words = json!({
        "type": "text", "analyzer": "stems",
        "fields": {
            "spelt": { "type": "text", "analyzer": "spellings", "index_options": "docs" },
        },
    });
    json!({
        // One shard, so that a word counts the same in every document.
        "settings": { "number_of_shards": 1, "analysis": analysis },
        "mappings": {
            "dynamic": false,
            "properties": {
                "id": keyword, "type": keyword, "title": words, "text": words,
                "url": kept, "media": kept, "created_at": kept,
                "created_ms": { "type": "long" }, "tie": { "type": "long" },
                "tags": keyword, "creator": keyword, "has_audio": { "type": "boolean" },
                "origin": keyword, "pass": { "type": "long" },
            },
        },
    })
}
