//! A question, as a search engine is asked it. Invariant: it asks the same as the index on disk is asked by
//! `search::embedded::ask`, and for no more of each document than is shown.

use serde_json::{Value, json};

use crate::limits::{SEARCH_WITHIN, SNAPSHOT_KEPT, SNIPPET_CHARS};
use crate::search::query::{Clause, ClauseKind, Filters};
use crate::search::snippet::{CLOSE, OPEN};
use crate::search::{Position, Sort, Wish, Within, terms};

/// What of an answer is wanted.
pub const ANSWERED_WITH: &str = "allow_partial_search_results=false&filter_path=\
    timed_out,pit_id,_shards.total,hits.total,hits.hits._score,hits.hits._source,hits.hits.highlight,hits.hits.sort";
/// Of a document, what is shown of it.
const SHOWN: [&str; 9] =
    ["id", "type", "title", "url", "media", "created_at", "tags", "creator", "has_audio"];
/// Beyond so many, they are not counted.
const COUNTED: u64 = 10_000;

/// The body of a search for `wish`, in `snapshot` if there is one; with pieces of texts only if there is room for them.
pub fn body(wish: &Wish, snapshot: Option<&str>, with_snippets: bool) -> Value {
    let mut shown = SHOWN.to_vec();
    if wish.wants_text {
        shown.push("text");
    }
    let mut body = json!({
        // One more says whether there is a next page.
        "size": wish.limit + 1,
        "query": query(wish),
        "sort": sort(wish.question.sort),
        "_source": shown,
        "track_total_hits": COUNTED,
        "timeout": format!("{}ms", SEARCH_WITHIN.as_millis() * 3 / 4),
    });
    if wish.within == Within::All && with_snippets {
        body["highlight"] = highlight();
    }
    if let Some(id) = snapshot {
        body["pit"] = json!({ "id": id, "keep_alive": keep_alive() });
    }
    match &wish.after {
        Some(Position::Time(ms, tie)) => body["search_after"] = json!([ms, tie]),
        Some(Position::Score(_, score, tie)) => body["search_after"] = json!([score, tie]),
        None => {}
    }
    body
}

/// How long a snapshot is kept behind its last use: a little longer than a cursor is good.
pub fn keep_alive() -> String {
    format!("{}s", SNAPSHOT_KEPT.as_secs() + 5)
}

/// Whether hits are ordered by how well they fit.
pub fn is_by_score(wish: &Wish) -> bool {
    wish.question.sort == Sort::Relevance
}

fn sort(sort: Sort) -> Value {
    match sort {
        Sort::Relevance => json!([{ "_score": "desc" }, { "tie": "asc" }]),
        Sort::Newest => json!([{ "created_ms": "desc" }, { "tie": "asc" }]),
        Sort::Oldest => json!([{ "created_ms": "asc" }, { "tie": "asc" }]),
    }
}

/// Marks that no text has, so that it is we who make HTML of it.
fn highlight() -> Value {
    json!({
        "pre_tags": [OPEN.to_string()],
        "post_tags": [CLOSE.to_string()],
        "number_of_fragments": 1,
        "fragment_size": SNIPPET_CHARS,
        "type": "unified",
        "fields": {
            "text": { "no_match_size": SNIPPET_CHARS },
            // Words that were only begun.
            "text.spelt": {},
        },
    })
}

fn query(wish: &Wish) -> Value {
    let words = &wish.question.words;
    let (mut must, mut must_not, mut some) = (Vec::new(), Vec::new(), Vec::new());
    for part in &words.clauses {
        let query = clause(part, wish.within);
        match part {
            part if part.excluded => must_not.push(query),
            Clause { kind: ClauseKind::Phrase, .. } if !words.any => must.push(query),
            _ => some.push(query),
        }
    }
    if !some.is_empty() {
        let least = words.least().max(1);
        must.push(json!({ "bool": { "should": some, "minimum_should_match": least } }));
    }
    if words.is_empty() {
        must.push(json!({ "match_all": {} }));
    }
    let filter = filters(&wish.question.filters);
    json!({ "bool": { "must": must, "must_not": must_not, "filter": filter } })
}

fn clause(clause: &Clause, within: Within) -> Value {
    let text = &clause.text;
    match clause.kind {
        ClauseKind::Word | ClauseKind::Phrase => in_order(text, within),
        ClauseKind::Prefix => {
            let spelt = terms::of(&mut terms::spellings(), text);
            let field = |name: &str, boost: f32| beginning(name, boost, &spelt);
            let begins = match within {
                Within::Titles => field("title.spelt", 3.0),
                Within::All => json!({ "dis_max": {
                    "queries": [field("title.spelt", 3.0), field("text.spelt", 1.0)],
                    "tie_breaker": 0.3,
                } }),
            };
            // What is typed may be whole already: then its other forms are meant as well.
            json!({ "dis_max": { "queries": [begins, in_order(text, within)] } })
        }
    }
}

/// As a phrase, since a word may turn out to be several: `re-index`.
fn in_order(text: &str, within: Within) -> Value {
    let fields = match within {
        Within::All => vec!["title^3", "text"],
        Within::Titles => vec!["title^3"],
    };
    json!({ "multi_match": {
        "query": text, "type": "phrase", "fields": fields, "tie_breaker": 0.3,
    } })
}

fn beginning(field: &str, boost: f32, spelt: &[String]) -> Value {
    let Some((last, before)) = spelt.split_last() else { return json!({ "match_none": {} }) };
    let before: Vec<_> = before.iter().map(|text| json!({ "term": { field: text } })).collect();
    let begins = json!({ "prefix": { field: { "value": last, "boost": boost } } });
    json!({ "bool": { "must": [begins], "filter": before } })
}

fn filters(filters: &Filters) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    let mut exactly = |field: &str, value: Value| all.push(json!({ "term": { field: value } }));
    filters.kind.iter().for_each(|kind| exactly("type", json!(kind)));
    filters.tags.iter().for_each(|tag| exactly("tags", json!(tag)));
    filters.creator.iter().for_each(|creator| exactly("creator", json!(creator)));
    filters.has_audio.iter().for_each(|audio| exactly("has_audio", json!(audio)));
    if filters.from_ms.is_some() || filters.to_ms.is_some() {
        let mut bounds = json!({});
        filters.from_ms.iter().for_each(|ms| bounds["gte"] = json!(ms));
        filters.to_ms.iter().for_each(|ms| bounds["lte"] = json!(ms));
        all.push(json!({ "range": { "created_ms": bounds } }));
    }
    all
}
