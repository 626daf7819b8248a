//! What is asked, as it was typed. Invariant: every text of a bounded length means something, as those who type expect
//! of a search: quotes that are not closed end with the text, marks that mean nothing are passed over; but what
//! would cost more than a few dozen words is refused.
//!
//! `word` `"a phrase"` `begin*` `-without`; of several words most must be there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::limits::{QUERY_CHARS, QUERY_FILTERS, QUERY_PREFIXES, QUERY_WORDS};

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Question {
    /// What is looked for; none: everything.
    pub words: Words,
    /// Among what.
    pub filters: Filters,
    /// In which order.
    pub sort: Sort,
}

/// The order of hits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// The best first.
    #[default]
    Relevance,
    /// The newest first.
    Newest,
    /// The oldest first.
    Oldest,
}

/// Among which documents one looks. All that is said must be so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Filters {
    /// Of this type.
    pub kind: Option<String>,
    /// With all of these.
    pub tags: Vec<String>,
    /// By this one.
    pub creator: Option<String>,
    /// Made then or later, in ms since 1970.
    pub from_ms: Option<i64>,
    /// Made then or earlier.
    pub to_ms: Option<i64>,
    /// With something to hear, or without.
    pub has_audio: Option<bool>,
}

/// What is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Words {
    /// In their order.
    pub clauses: Vec<Clause>,
    /// Whether one of them is enough, as for a question in a person's own words.
    pub any: bool,
}

/// A part of what is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Clause {
    /// As it was typed, without marks.
    pub text: String,
    /// What the marks said.
    pub kind: ClauseKind,
    /// Whether it must not be there.
    pub excluded: bool,
}

/// See [`Clause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum ClauseKind {
    /// A word, in any of its forms.
    Word,
    /// Words in this order.
    Phrase,
    /// How a word begins.
    Prefix,
}

/// A question that is not asked: its parameter, and what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{param} must be {would_do}")]
pub struct BadQuestion {
    /// As in the query of a URL.
    pub param: &'static str,
    /// For people.
    pub would_do: String,
}

fn bad(param: &'static str, would_do: impl Into<String>) -> BadQuestion {
    BadQuestion { param, would_do: would_do.into() }
}

impl Words {
    /// Reads what was typed.
    pub fn parse(text: &str) -> Result<Self, BadQuestion> {
        if text.chars().nth(QUERY_CHARS).is_some() {
            return Err(bad("q", format!("at most {QUERY_CHARS} characters")));
        }
        let mut clauses = Vec::new();
        let mut rest = text;
        while let Some((clause, behind)) = next(rest) {
            rest = behind;
            clauses.extend(clause);
            if clauses.len() > QUERY_WORDS {
                return Err(bad("q", format!("at most {QUERY_WORDS} words and phrases")));
            }
        }
        let prefixes = clauses.iter().filter(|clause| clause.kind == ClauseKind::Prefix).count();
        if prefixes > QUERY_PREFIXES {
            return Err(bad("q", format!("with at most {QUERY_PREFIXES} beginnings of words")));
        }
        Ok(Self { clauses, any: false })
    }

    /// As [`Words::parse`], while it is being typed: the last word may not be finished.
    pub fn unfinished(text: &str) -> Result<Self, BadQuestion> {
        let mut words = Self::parse(text)?;
        let goes_on = text.ends_with(char::is_alphanumeric);
        if let Some(last) = words.clauses.last_mut().filter(|_| goes_on)
            && last.kind == ClauseKind::Word
        {
            last.kind = ClauseKind::Prefix;
        }
        Ok(words)
    }

    /// Those that are looked for.
    pub fn wanted(&self) -> impl Iterator<Item = &Clause> {
        self.clauses.iter().filter(|clause| !clause.excluded)
    }

    /// How many of the words, beside phrases, must be there: both of two, three quarters of more.
    pub fn least(&self) -> usize {
        let words = self.wanted().filter(|clause| clause.kind != ClauseKind::Phrase).count();
        match words {
            0 => 0,
            _ if self.any => 1,
            1 | 2 => words,
            _ => words * 3 / 4,
        }
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.wanted().next().is_none()
    }
}

/// The first clause of `text`, if it is one, and what stands behind it.
fn next(text: &str) -> Option<(Option<Clause>, &str)> {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    if text.is_empty() {
        return None;
    }
    let (excluded, begun) = match text.strip_prefix('-') {
        Some(rest) if rest.starts_with(|c: char| c.is_alphanumeric() || c == '"') => (true, rest),
        _ => (false, text),
    };
    if let Some(quoted) = begun.strip_prefix('"') {
        let (inner, behind) = quoted.split_once('"').unwrap_or((quoted, ""));
        return Some((clause(inner, ClauseKind::Phrase, excluded), behind));
    }
    let end = begun.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(begun.len());
    let (word, behind) = begun.split_at(end);
    let kind = if word.ends_with('*') { ClauseKind::Prefix } else { ClauseKind::Word };
    Some((clause(word, kind, excluded), behind))
}

/// None where nothing is left that could be found.
fn clause(text: &str, kind: ClauseKind, excluded: bool) -> Option<Clause> {
    let text = text.trim_matches(|c: char| !c.is_alphanumeric());
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    (!text.is_empty()).then_some(Clause { text, kind, excluded })
}

impl Filters {
    /// Reads `from` or `to`, which is `param`: a time, or a day, which is all of it.
    pub fn time(param: &'static str, text: &str) -> Result<i64, BadQuestion> {
        let day_end = if param == "to" { "T23:59:59.999Z" } else { "T00:00:00Z" };
        let whole = if text.len() == 10 { format!("{text}{day_end}") } else { text.to_string() };
        whole
            .parse::<Timestamp>()
            .map(Timestamp::as_millisecond)
            .map_err(|_| bad(param, "a day or a time, as 2026-11-22 or 2026-11-22T20:00:00Z"))
    }

    /// Says which one is too long or too many.
    pub fn check(&self) -> Result<(), BadQuestion> {
        let (most, chars) = QUERY_FILTERS;
        let fits = |text: &str| !text.is_empty() && text.chars().nth(chars).is_none();
        let would_do = format!("between 1 and {chars} characters long");
        for (param, text) in [("type", &self.kind), ("creator", &self.creator)] {
            if !text.as_deref().is_none_or(fits) {
                return Err(bad(param, would_do));
            }
        }
        if self.tags.len() > most || !self.tags.iter().all(|tag| fits(tag)) {
            return Err(bad("tag", format!("said at most {most} times, and each {would_do}")));
        }
        match (self.from_ms, self.to_ms) {
            (Some(from), Some(to)) if from > to => Err(bad("to", "no earlier than from")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In short: `word`, `"phrase"`, `prefix*`, with a `-` before what is excluded.
    fn read(text: &str) -> Vec<String> {
        let words = Words::parse(text).expect("a question");
        let shown = words.clauses.iter().map(|clause| {
            let sign = if clause.excluded { "-" } else { "" };
            match clause.kind {
                ClauseKind::Word => format!("{sign}{}", clause.text),
                ClauseKind::Phrase => format!("{sign}\"{}\"", clause.text),
                ClauseKind::Prefix => format!("{sign}{}*", clause.text),
            }
        });
        shown.collect()
    }

    #[test]
    fn what_was_typed_means_what_people_expect() {
        for (text, meant) in [
            ("evening song", &["evening", "song"][..]),
            ("\"evening song\" choir", &["\"evening song\"", "choir"]),
            ("\"not closed choir", &["\"not closed choir\""]),
            ("choi* -organ -\"a b\"", &["choi*", "-organ", "-\"a b\""]),
            ("*choir ** - -- \"\" \" \" ( AND )", &["choir", "AND"]),
            ("a\"b\"c", &["a", "\"b\"", "c"]),
            ("don't re-index C++ 3.14!", &["don't", "re-index", "C", "3.14"]),
            ("çà \u{0}où\u{7f}", &["çà", "où"]),
            ("", &[]),
        ] {
            assert_eq!(read(text), meant, "{text:?}");
        }
    }

    #[test]
    fn a_word_that_is_being_typed_may_go_on() {
        let last = |text| Words::unfinished(text).expect("short").clauses.pop().map(|c| c.kind);
        assert_eq!(last("evening so"), Some(ClauseKind::Prefix));
        assert_eq!(last("evening so "), Some(ClauseKind::Word));
        assert_eq!(last("\"evening so"), Some(ClauseKind::Phrase));
    }

    #[test]
    fn most_words_must_be_there() {
        let least = |text: &str| Words::parse(text).expect("short").least();
        let seen = ["", "a", "a b", "a b c", "a b c d", "a b c d e -f \"g h\""].map(least);
        assert_eq!(seen, [0, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn too_much_is_refused_by_its_name() {
        let many = "a ".repeat(QUERY_WORDS + 1);
        let long = "a".repeat(QUERY_CHARS + 1);
        let broad = "a* ".repeat(QUERY_PREFIXES + 1);
        for text in [many, long, broad] {
            assert_eq!(Words::parse(&text).expect_err("too much").param, "q");
        }
        assert!(Words::parse(&"é".repeat(QUERY_CHARS)).is_ok());
        let long = "x".repeat(QUERY_FILTERS.1 + 1);
        let filters = [
            ("type", Filters { kind: Some(long.clone()), ..Filters::default() }),
            ("creator", Filters { creator: Some(String::new()), ..Filters::default() }),
            ("tag", Filters { tags: vec![long], ..Filters::default() }),
            ("to", Filters { from_ms: Some(2), to_ms: Some(1), ..Filters::default() }),
        ];
        for (param, filters) in filters {
            assert_eq!(filters.check().expect_err("bad").param, param);
        }
        assert_eq!(Filters::time("from", "2026-11-22"), Ok(1_795_305_600_000));
        assert_eq!(Filters::time("to", "2026-11-22"), Ok(1_795_391_999_999));
        assert_eq!(Filters::time("to", "2026-11-22T00:00:01+01:00"), Ok(1_795_302_001_000));
        for text in ["", "yesterday", "2026-13-01", "1795305600000", "2026-11-22T25:00:00Z"] {
            assert!(Filters::time("from", text).is_err(), "{text}");
        }
    }
}
