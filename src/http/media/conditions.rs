//! Whether a file is sent, by what the client says that it has: RFC 9110, 13. Invariant: the conditions are looked at in the order
//! of 13.2.2, and one that cannot be read holds nobody up.

use std::time::SystemTime;

use http::header::{self, HeaderMap, HeaderName};

/// What is known of the file.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its tag, a strong one, with its quotes.
    pub etag: &'a str,
    /// When it changed last, in whole seconds.
    pub modified: SystemTime,
}

/// What becomes of a request to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is answered.
    Go {
        /// Whether parts may be sent, if parts are asked for.
        ranges: bool,
    },
    /// The client has it: 304.
    NotModified,
    /// It is not what the client wants: 412.
    Failed,
}

/// How tags are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// What becomes of `GET` and `HEAD`.
pub fn decide(headers: &HeaderMap, known: &Known) -> Outcome {
    // Usually there is none of these at all.
    let says = |name: &HeaderName| headers.contains_key(name);
    let (matches, unmodified) =
        (says(&header::IF_MATCH), date(headers, &header::IF_UNMODIFIED_SINCE));
    if matches && !lists(headers, &header::IF_MATCH, known.etag, Comparison::Strong) {
        return Outcome::Failed;
    }
    if !matches && unmodified.is_some_and(|since| known.modified > since) {
        return Outcome::Failed;
    }
    if says(&header::IF_NONE_MATCH) {
        if has(headers, known.etag) {
            return Outcome::NotModified;
        }
    } else if date(headers, &header::IF_MODIFIED_SINCE).is_some_and(|since| known.modified <= since)
    {
        return Outcome::NotModified;
    }
    Outcome::Go { ranges: !says(&header::IF_RANGE) || is_same(headers, known) }
}

/// Whether If-None-Match says that the client has what `etag` stands for (13.1.2: comparison is weak).
pub fn has(headers: &HeaderMap, etag: &str) -> bool {
    lists(headers, &header::IF_NONE_MATCH, etag, Comparison::Weak)
}

/// Whether `PUT` and `DELETE` may go on, of a file that is there or not.
pub fn decide_put(headers: &HeaderMap, known: Option<&Known>) -> bool {
    let holds = |name: &HeaderName, comparison| match known {
        Some(known) => lists(headers, name, known.etag, comparison),
        None => false,
    };
    let matches =
        !headers.contains_key(header::IF_MATCH) || holds(&header::IF_MATCH, Comparison::Strong);
    matches
        && !(headers.contains_key(header::IF_NONE_MATCH)
            && holds(&header::IF_NONE_MATCH, Comparison::Weak))
}

/// If-Range: the very content, or the very date (13.1.5).
fn is_same(headers: &HeaderMap, known: &Known) -> bool {
    let Some(said) = headers.get(header::IF_RANGE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let said = said.trim();
    match said.ends_with('"') {
        true => said == known.etag,
        false => httpdate::parse_http_date(said).is_ok_and(|date| date == known.modified),
    }
}

/// Whether the tag is in a list, or any is meant.
fn lists(headers: &HeaderMap, name: &HeaderName, etag: &str, comparison: Comparison) -> bool {
    headers.get_all(name).iter().any(|value| {
        // Tags may have bytes beyond ASCII; ours has none.
        let text = String::from_utf8_lossy(value.as_bytes());
        text.trim() == "*"
            || tags(&text)
                .any(|(is_weak, tag)| tag == etag && (comparison == Comparison::Weak || !is_weak))
    })
}

/// The tags of a list, with their quotes, and whether each is a weak one. Commas may stand in them.
fn tags(mut text: &str) -> impl Iterator<Item = (bool, &str)> {
    std::iter::from_fn(move || {
        text = text.trim_start_matches([' ', '\t', ',']);
        let (is_weak, rest) = match text.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let end = rest.strip_prefix('"')?.find('"')? + 2;
        text = &rest[end..];
        Some((is_weak, &rest[..end]))
    })
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut said = headers.get_all(name).iter();
    let (Some(value), None) = (said.next(), said.next()) else { return None };
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const TAG: &str = "\"abc\"";
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sunday, 06-Nov-94 08:49:38 GMT";

    fn known() -> Known<'static> {
        Known { etag: TAG, modified: SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777) }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        headers
    }

    #[test]
    fn conditions_hold_as_the_standard_has_them() {
        const GO: Outcome = Outcome::Go { ranges: true };
        const WHOLE: Outcome = Outcome::Go { ranges: false };
        for (section, pairs, expected) in [
            ("13.2", &[][..], GO),
            ("13.1.1", &[("if-match", TAG)], GO),
            ("13.1.1", &[("if-match", "*")], GO),
            ("13.1.1", &[("if-match", "\"x\", \"abc\"")], GO),
            ("13.1.1", &[("if-match", "\"x\"")], Outcome::Failed),
            ("13.1.1: strong", &[("if-match", "W/\"abc\"")], Outcome::Failed),
            ("13.1.2", &[("if-none-match", TAG)], Outcome::NotModified),
            ("13.1.2", &[("if-none-match", "*")], Outcome::NotModified),
            ("13.1.2: weak", &[("if-none-match", "\"x\" , W/\"abc\"")], Outcome::NotModified),
            ("13.1.2", &[("if-none-match", "\"x\""), ("if-none-match", TAG)], Outcome::NotModified),
            ("13.1.2", &[("if-none-match", "\"x\"")], GO),
            ("8.8.3: a comma in a tag", &[("if-none-match", "\"a,\", \"x,abc\"")], GO),
            ("13.1.2: no list", &[("if-none-match", "abc")], GO),
            ("13.1.3", &[("if-modified-since", DATE)], Outcome::NotModified),
            ("13.1.3", &[("if-modified-since", AFTER)], Outcome::NotModified),
            ("13.1.3", &[("if-modified-since", BEFORE)], GO),
            ("13.1.3: no date", &[("if-modified-since", "yesterday")], GO),
            ("13.1.3: two dates", &[("if-modified-since", DATE), ("if-modified-since", DATE)], GO),
            (
                "13.1.3: tags go first",
                &[("if-none-match", "\"x\""), ("if-modified-since", DATE)],
                GO,
            ),
            (
                "13.1.3",
                &[("if-none-match", TAG), ("if-modified-since", BEFORE)],
                Outcome::NotModified,
            ),
            ("13.1.4", &[("if-unmodified-since", DATE)], GO),
            ("13.1.4", &[("if-unmodified-since", AFTER)], GO),
            ("13.1.4", &[("if-unmodified-since", BEFORE)], Outcome::Failed),
            ("13.1.4: no date", &[("if-unmodified-since", "0")], GO),
            ("13.1.4: tags go first", &[("if-match", TAG), ("if-unmodified-since", BEFORE)], GO),
            ("13.1.5", &[("if-range", TAG)], GO),
            ("13.1.5", &[("if-range", "\"x\"")], WHOLE),
            ("13.1.5: strong", &[("if-range", "W/\"abc\"")], WHOLE),
            ("13.1.5", &[("if-range", DATE)], GO),
            ("13.1.5: the very date", &[("if-range", AFTER)], WHOLE),
            ("13.1.5: neither", &[("if-range", "abc")], WHOLE),
            ("13.2.2", &[("if-match", "\"x\""), ("if-none-match", TAG)], Outcome::Failed),
            ("13.2.2", &[("if-unmodified-since", BEFORE), ("if-none-match", TAG)], Outcome::Failed),
            ("13.2.2", &[("if-match", TAG), ("if-none-match", TAG)], Outcome::NotModified),
            ("13.2.2", &[("if-none-match", TAG), ("if-range", "\"x\"")], Outcome::NotModified),
            ("13.2.2", &[("if-none-match", "\"x\""), ("if-range", TAG)], GO),
        ] {
            assert_eq!(decide(&headers(pairs), &known()), expected, "{section}: {pairs:?}");
        }
    }

    #[test]
    fn what_is_put_may_be_wanted_to_be_new_or_known() {
        for (pairs, there, absent) in [
            (&[][..], true, true),
            (&[("if-none-match", "*")], false, true),
            (&[("if-match", "*")], true, false),
            (&[("if-match", TAG)], true, false),
            (&[("if-match", "\"x\"")], false, false),
        ] {
            assert_eq!(decide_put(&headers(pairs), Some(&known())), there, "{pairs:?}");
            assert_eq!(decide_put(&headers(pairs), None), absent, "{pairs:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(value in prop::collection::vec(32u8..255, 0..40), which in 0usize..5) {
            let names = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"];
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.insert(names[which], value);
            }
            decide(&headers, &known());
            decide_put(&headers, Some(&known()));
        }
    }
}
