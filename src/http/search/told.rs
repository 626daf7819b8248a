//! Shapes of what is asked of the index and answered. Invariant: an answer is made of the same type that documents it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::openapi::response::Response;
use utoipa::openapi::{ObjectBuilder, RefOr};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::limits::{BULK_BYTES, BULK_LINES};
use crate::search::{Hit, Outcome};

/// The orders, as they are asked for.
pub const SORTS: [&str; 3] = ["relevance", "newest", "oldest"];

/// What may be asked.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it documents what is read pair by pair")]
pub struct Parameters {
    /// What is looked for.
    #[param(max_length = 512)]
    q: Option<String>,
    /// Only documents of this type.
    #[param(min_length = 1, max_length = 256)]
    r#type: Option<String>,
    /// Only documents with this tag; said several times: with all of them.
    #[param(max_items = 16)]
    tag: Option<Vec<String>>,
    /// Only documents by this one.
    #[param(min_length = 1, max_length = 256)]
    creator: Option<String>,
    /// Only documents made then or later: a day, or a time.
    #[param(example = "2026-11-22")]
    from: Option<String>,
    /// Only documents made then or earlier; a day is all of it.
    #[param(example = "2026-11-22T20:00:00Z")]
    to: Option<String>,
    /// Only documents with something to hear, or without.
    has_audio: Option<bool>,
    /// The order: by relevance where something is looked for, else the newest first.
    #[param(schema_with = sorts)]
    sort: Option<String>,
    /// The most hits on a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u64>,
    /// Where to go on: `next_cursor` of the page before. All else must be as it was.
    #[param(max_length = 4096)]
    cursor: Option<String>,
}

/// What may be asked while somebody types.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it documents what is read pair by pair")]
pub struct SuggestParameters {
    /// What was typed; the last word may not be finished.
    #[param(max_length = 512)]
    q: Option<String>,
    /// The most titles.
    #[param(minimum = 1, maximum = 20, default = 10)]
    limit: Option<u64>,
}

fn sorts() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::String).enum_values(Some(SORTS))
}

/// A page of what was found.
#[derive(Serialize, ToSchema)]
pub struct Page {
    /// How long it took.
    pub took_ms: u64,
    /// How much there is in all.
    pub total: Total,
    /// The best of it, in order.
    pub hits: Vec<Shown>,
    /// Where the next page begins; null where there is none.
    #[schema(required)]
    pub next_cursor: Option<String>,
    /// Who answered: `embedded` or `elasticsearch`.
    pub backend: &'static str,
}

/// How much there is.
#[derive(Serialize, ToSchema)]
pub struct Total {
    /// So much,
    pub value: u64,
    /// exactly (`eq`), or at least (`gte`).
    pub relation: &'static str,
}

/// A document that was found.
#[derive(Serialize, ToSchema)]
pub struct Shown {
    /// See `Document`.
    pub id: String,
    /// By relevance: how well it fits. Null in other orders.
    #[schema(required)]
    pub score: Option<f32>,
    /// See `Document`.
    pub r#type: String,
    /// See `Document`.
    pub title: String,
    /// A piece of its text as HTML: what fits stands in `<em>`, and there is no other element.
    pub snippet: String,
    /// See `Document`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub url: Option<String>,
    /// See `Document`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub media: Option<String>,
    /// See `Document`.
    pub created_at: String,
    /// See `Document`.
    pub tags: Vec<String>,
    /// See `Document`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub creator: Option<String>,
    /// See `Document`.
    pub has_audio: bool,
}

impl From<Hit> for Shown {
    fn from(Hit { document, score, snippet }: Hit) -> Self {
        Self {
            id: document.id,
            score,
            r#type: document.kind,
            title: document.title,
            snippet,
            url: document.url,
            media: document.media,
            created_at: document.created_at,
            tags: document.tags,
            creator: document.creator,
            has_audio: document.has_audio,
        }
    }
}

/// Titles, the best first.
#[derive(Serialize, ToSchema)]
pub struct Suggested {
    /// Each only once.
    pub suggestions: Vec<Suggestion>,
}

/// A title.
#[derive(Serialize, ToSchema)]
pub struct Suggestion {
    /// The title.
    pub text: String,
    /// The document that has it.
    pub id: String,
}

/// What came of documents that were put in.
#[derive(Serialize, ToSchema)]
pub struct Bulked {
    /// How long it took.
    pub took_ms: u64,
    /// How many are kept.
    pub indexed: u64,
    /// How many are not.
    pub rejected: u64,
    /// A result for each line, in order.
    pub items: Vec<Item>,
}

/// What came of a line.
#[derive(Serialize, ToSchema)]
pub struct Item {
    /// Its number, from 1.
    pub line: u64,
    /// The document's id, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub id: Option<String>,
    /// `indexed` or `rejected`.
    pub status: &'static str,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<Why>,
}

/// Why a line was rejected.
#[derive(Serialize, ToSchema)]
pub struct Why {
    /// The field that is wrong; `document` where it is none of them.
    pub field: String,
    /// What is wrong, and what would do.
    pub message: String,
}

impl Item {
    /// A line that is no document, or that the index does not want.
    pub fn rejected(line: u64, id: Option<String>, field: String, message: String) -> Self {
        Self { line, id, status: "rejected", error: Some(Why { field, message }) }
    }

    /// What came of a document in the index.
    pub fn of(line: u64, id: String, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Rejected(why) => Self::rejected(line, Some(id), "document".into(), why),
            _ => Self { line, id: Some(id), status: "indexed", error: None },
        }
    }
}

type Answers = BTreeMap<String, RefOr<Response>>;

/// Why the index does not answer.
pub struct NotAnswered;

impl IntoResponses for NotAnswered {
    fn responses() -> Answers {
        answers([
            ("400", "What was asked cannot be done; `param` says which of it.".into()),
            ("404", "Nothing is searched here.".into()),
            ("502", "The search engine gave an answer that makes no sense.".into()),
            ("503", "The index cannot be asked at present, or there is no room.".into()),
        ])
    }
}

/// Why documents are not put in.
pub struct NotTaken;

impl IntoResponses for NotTaken {
    fn responses() -> Answers {
        answers([
            ("408", "The body came too slowly.".into()),
            ("413", format!("More than {BULK_LINES} lines, or {BULK_BYTES} bytes.")),
            ("507", "There is no space left on the disk.".into()),
        ])
    }
}

fn answers<const N: usize>(said: [(&str, String); N]) -> Answers {
    said.into_iter().map(|(status, text)| (status.into(), Response::new(text).into())).collect()
}
