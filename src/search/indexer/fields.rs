//! What of a record becomes what of a document. Invariant: every record gives a document within bounds, or a reason why not that
//! names its field.
//!
//! A field is described by a template: a path as `block.timestamp`, `tags[Title]` (of a list of pairs of name and
//! value, those with this name); text with paths in braces, as `https://example.org/{id}`; several of them divided by
//! `|`, of which the first counts that gives something.

use jiff::Timestamp;
use serde_json::Value;

use crate::limits::{DOCUMENT_NAME_CHARS, DOCUMENT_TAGS, DOCUMENT_TEXT_BYTES};
use crate::search::document::{Document, Rejected};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Vec<Part>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Path(Vec<Step>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Of an object, or a number of a list.
    Key(String),
    /// Of a list of pairs, the values of those of this name.
    Named(String),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTemplate(&'static str);

impl Template {
    /// Reads `text`; an empty one gives nothing.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let alternatives = text.split('|').map(str::trim).filter(|one| !one.is_empty());
        Ok(Self(alternatives.map(parts).collect::<Result<_, _>>()?))
    }

    /// The values that it gives of `record`, of the first alternative that gives any.
    fn all(&self, record: &Value) -> Vec<String> {
        self.0
            .iter()
            .map(|parts| values(parts, record))
            .find(|all| !all.is_empty())
            .unwrap_or_default()
    }

    fn first(&self, record: &Value) -> Option<String> {
        self.all(record).into_iter().next()
    }
}

fn parts(text: &str) -> Result<Vec<Part>, BadTemplate> {
    if !text.contains(['{', '}']) {
        return Ok(vec![Part::Path(path(text)?)]);
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (inner, behind) = behind.split_once('}').ok_or(BadTemplate("a { without its }"))?;
        parts.extend((!before.is_empty()).then(|| Part::Text(before.into())));
        parts.push(Part::Path(path(inner)?));
        rest = behind;
    }
    if rest.contains('}') {
        return Err(BadTemplate("a } without its {"));
    }
    parts.extend((!rest.is_empty()).then(|| Part::Text(rest.into())));
    Ok(parts)
}

fn path(text: &str) -> Result<Vec<Step>, BadTemplate> {
    let mut steps = Vec::new();
    for step in text.trim().split('.') {
        let (key, named) = match step.split_once('[') {
            None => (step, None),
            Some((key, rest)) => {
                let name = rest.strip_suffix(']').ok_or(BadTemplate("a [ without its ]"))?;
                (key, Some(name))
            }
        };
        if key.is_empty() || key.chars().any(|c| c.is_whitespace() || "[]{}".contains(c)) {
            return Err(BadTemplate("a path as block.timestamp or tags[Title]"));
        }
        steps.push(Step::Key(key.into()));
        steps.extend(named.map(|name| Step::Named(name.into())));
    }
    Ok(steps)
}

fn values(parts: &[Part], record: &Value) -> Vec<String> {
    // By itself it may be several; within a text it is one.
    if let [Part::Path(path)] = parts {
        return texts(record, path);
    }
    let mut whole = String::new();
    for part in parts {
        match part {
            Part::Text(text) => whole += text,
            Part::Path(path) => match texts(record, path).first() {
                Some(text) => whole += text,
                None => return Vec::new(),
            },
        }
    }
    vec![whole]
}

fn texts(record: &Value, path: &[Step]) -> Vec<String> {
    let Some((step, rest)) = path.split_first() else {
        return match record {
            Value::String(text) if text.trim().is_empty() => Vec::new(),
            Value::String(text) => vec![text.clone()],
            Value::Number(number) => vec![number.to_string()],
            Value::Bool(truth) => vec![truth.to_string()],
            Value::Array(all) => all.iter().flat_map(|one| texts(one, &[])).collect(),
            Value::Null | Value::Object(_) => Vec::new(),
        };
    };
    match (step, record) {
        (Step::Key(key), Value::Array(all)) => key
            .parse()
            .ok()
            .and_then(|at: usize| all.get(at))
            .map_or(Vec::new(), |one| texts(one, rest)),
        (Step::Key(key), _) => record.get(key).map_or(Vec::new(), |one| texts(one, rest)),
        (Step::Named(name), Value::Array(all)) => all
            .iter()
            .filter(|one| one["name"].as_str() == Some(name))
            .flat_map(|one| texts(&one["value"], rest))
            .collect(),
        (Step::Named(_), _) => Vec::new(),
    }
}

/// A number at `path`, as `blocks.edges.0.node.height`.
pub fn number(data: &Value, path: &str) -> Option<u64> {
    texts(data, &self::path(path).ok()?).first()?.parse().ok()
}

/// A template for each field of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMap {
    /// See `Document::id`.
    pub id: Template,
    /// See `Document::kind`.
    pub kind: Template,
    /// See `Document::title`.
    pub title: Template,
    /// See `Document::text`.
    pub text: Template,
    /// See `Document::url`.
    pub url: Template,
    /// See `Document::media`.
    pub media: Template,
    /// A time (RFC 3339), or seconds or milliseconds since 1970.
    pub created_at: Template,
    /// See `Document::tags`.
    pub tags: Template,
    /// See `Document::creator`.
    pub creator: Template,
    /// Anything but `false` and `0` means that there is something to hear.
    pub has_audio: Template,
}

impl FieldMap {
    /// The document that `record` gives. What is too long is cut: a source does not know our bounds.
    pub fn document(&self, record: &Value) -> Result<Document, Rejected> {
        let missing =
            |field: &str| Rejected { field: field.into(), would_do: "the record has none".into() };
        let id = self.id.first(record).ok_or_else(|| missing("id"))?;
        let title = self.title.first(record).unwrap_or_else(|| id.clone());
        let created_at = match self.created_at.first(record) {
            Some(said) => time(&said).ok_or_else(|| Rejected {
                field: "created_at".into(),
                would_do: format!("{:?} is no time", said.chars().take(40).collect::<String>()),
            })?,
            None => return Err(missing("created_at")),
        };
        let name =
            |text: String| -> String { text.trim().chars().take(DOCUMENT_NAME_CHARS).collect() };
        let mut text = self.text.all(record).join("\n");
        let end =
            (0..=DOCUMENT_TEXT_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        let (most_tags, of_tag) = DOCUMENT_TAGS;
        let short = |tag: String| -> String { tag.trim().chars().take(of_tag).collect() };
        let tags = self.tags.all(record).into_iter().map(short).filter(|tag| !tag.is_empty());
        let document = Document {
            id,
            kind: self.kind.first(record).map(name).unwrap_or_default(),
            title: name(title),
            text,
            url: self.url.first(record),
            media: self.media.first(record),
            created_at,
            tags: tags.take(most_tags).collect(),
            creator: self.creator.first(record).map(name),
            has_audio: self
                .has_audio
                .first(record)
                .is_some_and(|said| said != "false" && said != "0"),
        };
        document.checked()
    }
}

fn time(said: &str) -> Option<String> {
    let Ok(number) = said.parse::<i64>() else {
        return said.parse::<Timestamp>().ok().map(|time| time.to_string());
    };
    // As seconds, that would be some three thousand years from now.
    let ms = if number.abs() < 100_000_000_000 { number.checked_mul(1000)? } else { number };
    Timestamp::from_millisecond(ms).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map() -> FieldMap {
        let template = |text| Template::parse(text).expect("good");
        FieldMap {
            id: template("id"),
            kind: template("tags[Type]"),
            title: template("tags[Title] | tags[Name]"),
            text: template("tags[Text]"),
            url: template("https://example.org/{id}?by={owner.address}"),
            media: template("tags[Media]"),
            created_at: template("block.timestamp"),
            tags: template("tags[Topic]"),
            creator: template("owner.address"),
            has_audio: template("tags[Audio]"),
        }
    }

    fn record() -> Value {
        json!({
            "id": "r1", "owner": { "address": "ada" }, "block": { "height": 5, "timestamp": 1_795_305_600 },
            "tags": [
                { "name": "Name", "value": " A name " }, { "name": "Topic", "value": "one" },
                { "name": "Topic", "value": "two" }, { "name": "Type", "value": "song" },
            ],
        })
    }

    #[test]
    fn a_record_becomes_a_document_by_its_templates() {
        let made = map().document(&record()).expect("a document");
        assert_eq!((&*made.title, &*made.kind), ("A name", "song"));
        assert_eq!(made.tags, ["one", "two"]);
        assert_eq!(made.url.as_deref(), Some("https://example.org/r1?by=ada"));
        assert_eq!(
            (&*made.created_at, made.media, made.has_audio),
            ("2026-11-22T00:00:00Z", None, false)
        );
        assert_eq!(number(&record(), "block.height"), Some(5));
        assert_eq!(number(&record(), "tags.1.value"), None);
    }

    #[test]
    fn times_are_read_in_every_usual_way() {
        for (said, time_of) in [
            ("2026-11-22T01:00:00+01:00", Some("2026-11-22T00:00:00Z")),
            ("1795305600", Some("2026-11-22T00:00:00Z")),
            ("1795305600000", Some("2026-11-22T00:00:00Z")),
            ("soon", None),
            ("99999999999999999", None),
        ] {
            assert_eq!(time(said).as_deref(), time_of, "{said}");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_is_missing_is_said() {
        let mut long = record();
        long["tags"] = json!([
            { "name": "Title", "value": "é".repeat(1000) },
            { "name": "Text", "value": "é".repeat(DOCUMENT_TEXT_BYTES) },
        ]);
        let made = map().document(&long).expect("cut");
        assert_eq!(
            (made.title.chars().count(), made.text.len()),
            (DOCUMENT_NAME_CHARS, DOCUMENT_TEXT_BYTES)
        );
        for (path, field) in [("id", "id"), ("block", "created_at")] {
            let mut without = record();
            without[path] = Value::Null;
            assert_eq!(map().document(&without).expect_err("no document").field, field);
        }
        let mut wrong = record();
        wrong["block"]["timestamp"] = json!("soon");
        assert_eq!(map().document(&wrong).expect_err("no document").field, "created_at");
        assert_eq!(map().document(&json!([1])).expect_err("no document").field, "id");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["a..b", "tags[", "tags[x", "{id", "id}", "https://x/{}", "a b", "[x]"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert_eq!(Template::parse("").expect("nothing").all(&record()), Vec::<String>::new());
    }
}
