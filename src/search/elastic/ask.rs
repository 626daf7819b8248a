//! A question, as a search engine is asked it. Invariant: it asks the same as the index on disk is asked by
//! `search::embedded::ask`, and for no more of each document than is shown.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::limits::{SEARCH_WITHIN, SNAPSHOT_KEPT, SNIPPET_CHARS};
use crate::search::query::{Clause, ClauseKind, Filters};
use crate::search::snippet::{CLOSE, OPEN};
use crate::search::{Position, Sort, Wish, Within, terms};

/// What of an answer is wanted.
pub const ANSWERED_WITH: &str = "allow_partial_search_results=false&filter_path=\
    timed_out,pit_id,_shards.total,hits.total,hits.hits._score,hits.hits._source,hits.hits.highlight,hits.hits.sort";
/// Of a document, what is shown of it; its text only where that is wanted.
const SHOWN: [&str; 10] =
    ["id", "type", "title", "url", "media", "created_at", "tags", "creator", "has_audio", "text"];
/// What most searches are said in.
const USUAL_BYTES: usize = 1024;
/// Beyond so many, they are not counted.
const COUNTED: u64 = 10_000;
/// What counts more, what the same word elsewhere adds.
const TITLE_BOOST: f64 = 3.0;
const TIE_BREAKER: f64 = 0.3;

/// A search. It is written as it is made, without a tree of JSON in between, which took a tenth of a search's time.
#[derive(Serialize)]
struct Body<'a> {
    // One more says whether there is a next page.
    size: usize,
    query: Query<'a>,
    sort: [By; 2],
    _source: &'static [&'static str],
    track_total_hits: u64,
    timeout: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    highlight: Option<Highlight>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pit: Option<PointInTime<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_after: Option<After>,
}

/// One field and what is said of it, as engines want that.
struct Of<T>(&'static str, T);

type By = Of<&'static str>;

/// The forms of a query that are used here.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Query<'a> {
    Bool(Bool<'a>),
    DisMax {
        queries: Vec<Query<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tie_breaker: Option<f64>,
    },
    MultiMatch {
        query: &'a str,
        r#type: &'static str,
        fields: &'static [&'static str],
        tie_breaker: f64,
    },
    Prefix(Of<Begins>),
    Term(Of<Exactly<'a>>),
    Range(Of<Bounds>),
    MatchAll {},
    MatchNone {},
}

#[derive(Default, Serialize)]
struct Bool<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    must: Vec<Query<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    must_not: Vec<Query<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    should: Vec<Query<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filter: Vec<Query<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_should_match: Option<usize>,
}

#[derive(Serialize)]
struct Begins {
    value: String,
    boost: f64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Exactly<'a> {
    Text(Cow<'a, str>),
    Flag(bool),
}

#[derive(Serialize)]
struct Bounds {
    #[serde(skip_serializing_if = "Option::is_none")]
    gte: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lte: Option<i64>,
}

#[derive(Serialize)]
struct PointInTime<'a> {
    id: &'a str,
    keep_alive: String,
}

/// The place of a hit: its time or its score, and its tie.
#[derive(Serialize)]
#[serde(untagged)]
enum After {
    Time(i64, i64),
    Score(f64, i64),
}

/// Marks that no text has, so that it is we who make HTML of it.
#[derive(Serialize)]
struct Highlight {
    pre_tags: [char; 1],
    post_tags: [char; 1],
    number_of_fragments: u8,
    fragment_size: usize,
    r#type: &'static str,
    fields: Fields,
}

#[derive(Serialize)]
struct Fields {
    text: Piece,
    // Words that were only begun.
    #[serde(rename = "text.spelt")]
    spelt: Spelt,
}

#[derive(Serialize)]
struct Piece {
    no_match_size: usize,
}

#[derive(Serialize)]
struct Spelt {}

/// The body of a search for `wish`, in `snapshot` if there is one; with pieces of texts only if there is room for them.
pub fn body(wish: &Wish, snapshot: Option<&str>, with_snippets: bool) -> Bytes {
    let body = Body {
        size: wish.limit + 1,
        query: query(wish),
        sort: sort(wish.question.sort),
        _source: if wish.wants_text { &SHOWN } else { &SHOWN[..SHOWN.len() - 1] },
        track_total_hits: COUNTED,
        timeout: format!("{}ms", SEARCH_WITHIN.as_millis() * 3 / 4),
        highlight: (wish.within == Within::All && with_snippets).then(highlight),
        pit: snapshot.map(|id| PointInTime { id, keep_alive: keep_alive() }),
        search_after: wish.after.as_ref().map(|after| match *after {
            Position::Time(ms, tie) => After::Time(ms, tie),
            Position::Score(_, score, tie) => After::Score(f64::from(score), tie),
        }),
    };
    let mut json = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut json, &body).expect("all keys are texts");
    json.into()
}

/// How long a snapshot is kept behind its last use: a little longer than a cursor is good.
pub fn keep_alive() -> String {
    format!("{}s", SNAPSHOT_KEPT.as_secs() + 5)
}

/// Whether hits are ordered by how well they fit.
pub fn is_by_score(wish: &Wish) -> bool {
    wish.question.sort == Sort::Relevance
}

fn sort(sort: Sort) -> [By; 2] {
    let first = match sort {
        Sort::Relevance => Of("_score", "desc"),
        Sort::Newest => Of("created_ms", "desc"),
        Sort::Oldest => Of("created_ms", "asc"),
    };
    [first, Of("tie", "asc")]
}

fn highlight() -> Highlight {
    Highlight {
        pre_tags: [OPEN],
        post_tags: [CLOSE],
        number_of_fragments: 1,
        fragment_size: SNIPPET_CHARS,
        r#type: "unified",
        fields: Fields { text: Piece { no_match_size: SNIPPET_CHARS }, spelt: Spelt {} },
    }
}

fn query(wish: &Wish) -> Query<'_> {
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
        let least = Some(words.least().max(1));
        must.push(Query::Bool(Bool {
            should: some,
            minimum_should_match: least,
            ..Bool::default()
        }));
    }
    if words.is_empty() {
        must.push(Query::MatchAll {});
    }
    let filter = filters(&wish.question.filters);
    Query::Bool(Bool { must, must_not, filter, ..Bool::default() })
}

fn clause(clause: &Clause, within: Within) -> Query<'_> {
    let text = &clause.text;
    match clause.kind {
        ClauseKind::Word | ClauseKind::Phrase => in_order(text, within),
        ClauseKind::Prefix => {
            let spelt = terms::of(&mut terms::spellings(), text);
            let titles = beginning("title.spelt", TITLE_BOOST, &spelt);
            let begins = match within {
                Within::Titles => titles,
                Within::All => Query::DisMax {
                    queries: vec![titles, beginning("text.spelt", 1.0, &spelt)],
                    tie_breaker: Some(TIE_BREAKER),
                },
            };
            // What is typed may be whole already: then its other forms are meant as well.
            Query::DisMax { queries: vec![begins, in_order(text, within)], tie_breaker: None }
        }
    }
}

/// As a phrase, since a word may turn out to be several: `re-index`.
fn in_order(query: &str, within: Within) -> Query<'_> {
    let fields: &[_] = match within {
        Within::All => &["title^3", "text"],
        Within::Titles => &["title^3"],
    };
    Query::MultiMatch { query, r#type: "phrase", fields, tie_breaker: TIE_BREAKER }
}

fn beginning(field: &'static str, boost: f64, spelt: &[String]) -> Query<'static> {
    let Some((last, before)) = spelt.split_last() else { return Query::MatchNone {} };
    let term = |text: &String| Query::Term(Of(field, Exactly::Text(text.clone().into())));
    let begins = Query::Prefix(Of(field, Begins { value: last.clone(), boost }));
    let filter = before.iter().map(term).collect();
    Query::Bool(Bool { must: vec![begins], filter, ..Bool::default() })
}

fn filters(filters: &Filters) -> Vec<Query<'_>> {
    fn text(text: &str) -> Exactly<'_> {
        Exactly::Text(text.into())
    }
    let mut all = Vec::new();
    let mut exactly = |field, value| all.push(Query::Term(Of(field, value)));
    filters.kind.iter().for_each(|kind| exactly("type", text(kind)));
    filters.tags.iter().for_each(|tag| exactly("tags", text(tag)));
    filters.creator.iter().for_each(|creator| exactly("creator", text(creator)));
    filters.has_audio.iter().for_each(|audio| exactly("has_audio", Exactly::Flag(*audio)));
    let (gte, lte) = (filters.from_ms, filters.to_ms);
    if gte.is_some() || lte.is_some() {
        all.push(Query::Range(Of("created_ms", Bounds { gte, lte })));
    }
    all
}

impl<T: Serialize> Serialize for Of<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, &self.1)])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::search::Question;
    use crate::search::query::Words;

    fn asked(wish: &Wish, snapshot: Option<&str>) -> Value {
        serde_json::from_slice(&body(wish, snapshot, true)).expect("it is JSON")
    }

    fn wish(words: &str) -> Wish {
        let words = Words::parse(words).expect("it means something");
        Wish {
            question: Question { words, ..Question::default() },
            within: Within::All,
            limit: 10,
            after: None,
            is_paged: true,
            wants_text: false,
        }
    }

    #[test]
    fn words_phrases_and_exclusions_are_asked_for_in_a_snapshot() {
        let phrase = |text| {
            json!({ "multi_match": {
                "query": text, "type": "phrase", "fields": ["title^3", "text"], "tie_breaker": 0.3,
            } })
        };
        assert_eq!(
            asked(&wish(r#"one "two three" -four"#), Some("x")),
            json!({
                "size": 11,
                "query": { "bool": {
                    "must": [
                        phrase("two three"),
                        { "bool": { "should": [phrase("one")], "minimum_should_match": 1 } },
                    ],
                    "must_not": [phrase("four")],
                } },
                "sort": [{ "_score": "desc" }, { "tie": "asc" }],
                "_source":
                    ["id", "type", "title", "url", "media", "created_at", "tags", "creator", "has_audio"],
                "track_total_hits": 10_000,
                "timeout": "1500ms",
                "highlight": {
                    "pre_tags": [OPEN.to_string()],
                    "post_tags": [CLOSE.to_string()],
                    "number_of_fragments": 1,
                    "fragment_size": SNIPPET_CHARS,
                    "type": "unified",
                    "fields": { "text": { "no_match_size": SNIPPET_CHARS }, "text.spelt": {} },
                },
                "pit": { "id": "x", "keep_alive": "65s" },
            })
        );
    }

    #[test]
    fn filters_beginnings_and_places_are_asked_for_in_titles() {
        let mut wish = wish("re-ind*");
        wish.within = Within::Titles;
        wish.after = Some(Position::Time(5, -7));
        wish.question.sort = Sort::Newest;
        wish.question.filters = Filters {
            tags: vec!["a".into()],
            to_ms: Some(9),
            has_audio: Some(true),
            ..Filters::default()
        };
        let asked = asked(&wish, None);
        let begins = json!({ "prefix": { "title.spelt": { "value": "ind", "boost": 3.0 } } });
        assert_eq!(
            asked["query"]["bool"]["must"][0]["bool"]["should"][0]["dis_max"]["queries"][0],
            json!({ "bool": { "must": [begins], "filter": [{ "term": { "title.spelt": "re" } }] } })
        );
        assert_eq!(
            asked["query"]["bool"]["filter"],
            json!([
                { "term": { "tags": "a" } },
                { "term": { "has_audio": true } },
                { "range": { "created_ms": { "lte": 9 } } },
            ])
        );
        assert_eq!(asked["search_after"], json!([5, -7]));
        assert_eq!(asked["sort"], json!([{ "created_ms": "desc" }, { "tie": "asc" }]));
        assert!(asked.get("highlight").is_none() && asked.get("pit").is_none());
    }

    #[test]
    fn a_question_without_words_asks_for_all() {
        let asked = asked(&wish(""), None);
        assert_eq!(asked["query"], json!({ "bool": { "must": [{ "match_all": {} }] } }));
    }
}
