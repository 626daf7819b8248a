//! What a search engine answers. Invariant: what is missing or of another kind makes an error, never an empty answer.

use serde::Deserialize;
use serde_json::Value;

use crate::limits::SNIPPET_CHARS;
use crate::search::{Document, Found, Hit, Position, Sort, Wish, snippet};

/// An answer to a search.
#[derive(Deserialize)]
pub struct Searched {
    /// Whether it gave up before the end.
    #[serde(default)]
    pub timed_out: bool,
    /// A snapshot of which the engine knows nothing is searched in none.
    #[serde(default)]
    pub _shards: Shards,
    pit_id: Option<String>,
    hits: Hits,
}

/// In how many parts of the index was searched.
#[derive(Default, Deserialize)]
pub struct Shards {
    /// So many.
    pub total: u64,
}

#[derive(Deserialize)]
struct Hits {
    total: Total,
    #[serde(default)]
    hits: Vec<Row>,
}

#[derive(Deserialize)]
struct Total {
    value: u64,
    relation: String,
}

#[derive(Deserialize)]
struct Row {
    _score: Option<f32>,
    _source: Source,
    #[serde(default)]
    highlight: Highlight,
    #[serde(default)]
    sort: Vec<Value>,
}

#[derive(Default, Deserialize)]
struct Highlight {
    #[serde(default)]
    text: Vec<String>,
    #[serde(default, rename = "text.spelt")]
    spelt: Vec<String>,
}

/// An answer to a request for one document.
#[derive(Deserialize)]
pub struct Got {
    /// Whether there is one.
    pub found: Option<bool>,
    /// The document.
    #[serde(rename = "_source")]
    pub document: Option<Source>,
}

/// A document as it was kept, with what it is found by.
#[derive(Deserialize)]
pub struct Source {
    id: String,
    #[serde(default, rename = "type")]
    kind: String,
    title: String,
    #[serde(default)]
    text: String,
    url: Option<String>,
    media: Option<String>,
    created_at: String,
    #[serde(default)]
    tags: Vec<String>,
    creator: Option<String>,
    #[serde(default)]
    has_audio: bool,
}

impl From<Source> for Document {
    fn from(source: Source) -> Self {
        let Source { id, kind, title, text, url, media, created_at, tags, creator, has_audio } =
            source;
        Self { id, kind, title, text, url, media, created_at, tags, creator, has_audio }
    }
}

impl Searched {
    /// What was found for `wish` in `snapshot`; none where a hit does not say its place.
    pub fn found(self, wish: &Wish, snapshot: Option<String>) -> Option<Found> {
        let Hits { total, mut hits } = self.hits;
        let more = hits.len() > wish.limit && wish.is_paged;
        hits.truncate(wish.limit);
        let next = match hits.last().filter(|_| more) {
            None => None,
            Some(last) => {
                let tie = last.sort.get(1)?.as_i64()?;
                Some(match wish.question.sort {
                    Sort::Relevance => {
                        // The engine may go on under another name.
                        let name = self.pit_id.or(snapshot)?;
                        Position::Score(name, last.sort.first()?.as_f64()? as f32, tie)
                    }
                    _ => Position::Time(last.sort.first()?.as_i64()?, tie),
                })
            }
        };
        let by_score = wish.question.sort == Sort::Relevance;
        let hits = hits.into_iter().map(|row| row.hit(by_score, wish.wants_text)).collect();
        Some(Found { total: total.value, is_more: total.relation != "eq", hits, next })
    }
}

impl Row {
    fn hit(self, by_score: bool, wants_text: bool) -> Hit {
        let marks = |texts: &[String]| -> usize {
            texts.iter().map(|text| text.matches(snippet::OPEN).count()).sum()
        };
        let Highlight { text, spelt } = self.highlight;
        let best = if marks(&spelt) > marks(&text) { spelt } else { text };
        let snippet = match &best[..] {
            [piece] => snippet::html(beginning(piece, 2 * SNIPPET_CHARS)),
            pieces => snippet::html(beginning(&pieces.join("… "), 2 * SNIPPET_CHARS)),
        };
        let mut document = Document::from(self._source);
        if !wants_text {
            document.text = String::new();
        }
        Hit { document, score: self._score.filter(|_| by_score), snippet }
    }
}

/// At most so many characters of `text`.
fn beginning(text: &str, chars: usize) -> &str {
    // It cannot have more characters than bytes.
    if text.len() <= chars {
        return text;
    }
    text.char_indices().nth(chars).map_or(text, |(end, _)| &text[..end])
}
