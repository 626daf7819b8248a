//! A document, as it is put into an index and given back. Invariant: whatever is one fits into every index, within
//! bounds; what does not is refused with the field that is wrong and what would do.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::limits::{
    DOCUMENT_ID_BYTES, DOCUMENT_NAME_CHARS, DOCUMENT_TAGS, DOCUMENT_TEXT_BYTES, DOCUMENT_URL_BYTES,
    REJECTED_CHARS,
};

/// A document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// What it is known by: whatever is put under the same id takes its place.
    #[schema(min_length = 1, max_length = 512)]
    pub id: String,
    /// What kind of thing it is, as `page` or `song`.
    #[serde(default, rename = "type")]
    #[schema(max_length = 256)]
    pub kind: String,
    /// Its title; what stands here counts more than in the text.
    #[schema(min_length = 1, max_length = 256)]
    pub title: String,
    /// Its text, without markup.
    #[serde(default)]
    pub text: String,
    /// Where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    pub url: Option<String>,
    /// Its picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    pub media: Option<String>,
    /// When it was made (RFC 3339); now, if it is not said.
    #[serde(default)]
    #[schema(format = "date-time")]
    pub created_at: String,
    /// What it is about.
    #[serde(default)]
    #[schema(max_items = 32)]
    pub tags: Vec<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub creator: Option<String>,
    /// Whether there is something to hear.
    #[serde(default)]
    pub has_audio: bool,
}

/// Why something is no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {would_do}")]
pub struct Rejected {
    /// The field that is wrong; `document` where it is none of them.
    pub field: String,
    /// What is wrong with it, and what would do.
    pub would_do: String,
}

/// Both may hold what came, and that may be long.
fn rejected(field: &str, would_do: impl Into<String>) -> Rejected {
    let short = |text: &str, most: usize| -> String {
        let printable = text.chars().map(|c| if c.is_control() { '?' } else { c });
        printable.take(most).collect()
    };
    let (most, of_field) = REJECTED_CHARS;
    Rejected { field: short(field, of_field), would_do: short(&would_do.into(), most) }
}

impl Document {
    /// Reads one from JSON.
    pub fn parse(line: &[u8]) -> Result<Self, Rejected> {
        let mut json = serde_json::Deserializer::from_slice(line);
        let document: Self = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let field = if matches!(&*path, "." | "?") { "document" } else { &path };
            let why = error.inner().to_string();
            // It says where in the line, which is one line long.
            let why = why.split(" at line ").next().unwrap_or_default();
            rejected(field, why)
        })?;
        json.end()
            .map_err(|_| rejected("document", "one JSON object a line, and nothing behind it"))?;
        document.checked()
    }

    /// This one, if it is within bounds; its time as every index has it.
    pub fn checked(mut self) -> Result<Self, Rejected> {
        check_id(&self.id)?;
        let named = |field, text: &str, least: usize| {
            let chars = text.chars().count();
            let fits = (least..=DOCUMENT_NAME_CHARS).contains(&chars);
            let would_do = || format!("between {least} and {DOCUMENT_NAME_CHARS} characters");
            if fits { Ok(()) } else { Err(rejected(field, would_do())) }
        };
        self.title = self.title.trim().to_string();
        named("title", &self.title, 1)?;
        named("type", &self.kind, 0)?;
        named("creator", self.creator.as_deref().unwrap_or("-"), 1)?;
        let (most, chars) = DOCUMENT_TAGS;
        let fits = |tag: &String| (1..=chars).contains(&tag.chars().count());
        if self.tags.len() > most || !self.tags.iter().all(fits) {
            let hint = format!("at most {most}, of between 1 and {chars} characters each");
            return Err(rejected("tags", hint));
        }
        if self.text.len() > DOCUMENT_TEXT_BYTES {
            let bytes = self.text.len();
            let hint = format!("{bytes} bytes; at most {DOCUMENT_TEXT_BYTES}: cut it into parts");
            return Err(rejected("text", hint));
        }
        for (field, url) in [("url", &self.url), ("media", &self.media)] {
            if !url.as_deref().is_none_or(is_link) {
                let hint = format!(
                    "a path that begins with a slash, or a URL with http:// or https://, of at most \
                     {DOCUMENT_URL_BYTES} bytes"
                );
                return Err(rejected(field, hint));
            }
        }
        let made = match self.created_at.as_str() {
            "" => Timestamp::now(),
            said => said
                .parse()
                .map_err(|_| rejected("created_at", "a time as 2026-11-22T20:00:00Z"))?,
        };
        // To the millisecond, as it is sorted and filtered.
        let made = Timestamp::from_millisecond(made.as_millisecond()).unwrap_or(made);
        self.created_at = made.to_string();
        // Marks that only snippets have.
        self.text.retain(|c| !matches!(c, super::snippet::OPEN | super::snippet::CLOSE | '\0'));
        Ok(self)
    }

    /// When it was made, in ms since 1970.
    pub fn created_ms(&self) -> i64 {
        self.created_at.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond)
    }

    /// What orders those of the same time or score, in any index alike.
    pub fn tie(&self) -> i64 {
        tie(&self.id)
    }

    /// How much it takes, about.
    pub fn bytes(&self) -> usize {
        self.id.len() + self.title.len() + self.text.len() + 256
    }
}

/// See [`Document::tie`]: of ids that are handed out in order the neighbours would all be in one place, so it is a hash.
/// It stays within the whole numbers of JSON.
fn tie(id: &str) -> i64 {
    let hash = blake3::hash(id.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    i64::from_le_bytes(bytes) >> 11
}

/// Whether `id` may be one.
pub fn check_id(id: &str) -> Result<(), Rejected> {
    let fits = (1..=DOCUMENT_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control);
    let hint = || format!("between 1 and {DOCUMENT_ID_BYTES} bytes without control characters");
    if !fits {
        return Err(rejected("id", hint()));
    }
    // They would be taken for these where a document is asked for; and dots for the folder, by every browser.
    match ["suggest", "documents", "indexer", ".", ".."].contains(&id) {
        true => Err(rejected("id", "another one: in a path it stands for something else")),
        false => Ok(()),
    }
}

/// Whether a page may lead there: elsewhere by HTTP, or within this server.
fn is_link(url: &str) -> bool {
    let leads = ["https://", "http://"].iter().any(|scheme| {
        url.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    });
    let within = url.starts_with('/') && !url.starts_with("//") && !url.starts_with("/\\");
    (leads || within)
        && url.len() <= DOCUMENT_URL_BYTES
        && !url.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_document_is_refused_by_its_field() {
        let long = "x".repeat(DOCUMENT_TEXT_BYTES + 1);
        let value = "\u{7f}".repeat(100_000);
        let cases = [
            (format!(r#"{{"id":"a","title":"t","has_audio":"{value}"}}"#), "has_audio"),
            (r#"{"title":"t"}"#.to_string(), "document"),
            (r#"{"id":"","title":"t"}"#.into(), "id"),
            (r#"{"id":"a\u0000","title":"t"}"#.into(), "id"),
            (r#"{"id":7,"title":"t"}"#.into(), "id"),
            (r#"{"id":"suggest","title":"t"}"#.into(), "id"),
            (r#"{"id":"a","title":"  "}"#.into(), "title"),
            (r#"{"id":"a","title":"t","text":["x"]}"#.into(), "text"),
            (r#"{"id":"a","title":"t","tags":["x",1]}"#.into(), "tags[1]"),
            (r#"{"id":"a","title":"t","tags":[""]}"#.into(), "tags"),
            (r#"{"id":"a","title":"t","has_audio":"yes"}"#.into(), "has_audio"),
            (r#"{"id":"a","title":"t","created_at":"tomorrow"}"#.into(), "created_at"),
            (r#"{"id":"a","title":"t","url":"javascript:alert(1)"}"#.into(), "url"),
            (r#"{"id":"a","title":"t","url":"//elsewhere"}"#.into(), "url"),
            (r#"{"id":"a","title":"t","media":"data:image/gif,x"}"#.into(), "media"),
            (r#"{"id":"a","title":"t","colour":"red"}"#.into(), "colour"),
            (r#"{"id":"a","title":"t"} {}"#.into(), "document"),
            (format!(r#"{{"id":"a","title":"t","text":"{long}"}}"#), "text"),
            ("<html>".into(), "document"),
            ("[]".into(), "document"),
        ];
        for (line, field) in cases {
            let error = Document::parse(line.as_bytes()).expect_err("no document");
            assert_eq!(error.field, field, "{error}");
            let chars = error.would_do.chars().count();
            assert!((1..=REJECTED_CHARS.0).contains(&chars) && !error.would_do.contains('\u{7f}'));
        }
    }

    #[test]
    fn a_document_has_its_defaults_and_comes_back_as_it_was() {
        let document = Document::parse(
            br#"{"id":"a","title":" T ","created_at":"2026-11-22T21:00:00.123456+01:00"}"#,
        )
        .expect("good");
        assert_eq!((&*document.title, &*document.created_at), ("T", "2026-11-22T20:00:00.123Z"));
        assert_eq!(document.created_ms(), 1_795_377_600_123);
        let again = serde_json::to_vec(&document).expect("JSON");
        assert_eq!(Document::parse(&again).expect("good"), document);
        let now = Document::parse(br#"{"id":"a","title":"t"}"#).expect("good").created_ms();
        assert!((Timestamp::now().as_millisecond() - now).abs() < 60_000);
        assert!(tie("a") != tie("b") && tie("a").unsigned_abs() < 1 << 53);
    }
}
