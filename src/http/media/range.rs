//! Which parts of a file are wanted, and how several are sent at once: RFC 9110, 14. Invariant: what is sent is within the file,
//! and no request makes an answer larger than the file by more than the heads of a few parts.

use http::HeaderValue;

/// Parts that are sent for one request at most; who asks for more gets all.
const PARTS: usize = 16;

/// Bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub from: u64,
    /// Behind the last.
    pub to: u64,
}

/// What of a file is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    All,
    /// Parts, in the order in which they were asked for.
    Some(Vec<Span>),
    /// Parts that it does not have.
    None,
}

/// What `header` asks of a file of so many bytes. What cannot be read asks for nothing in particular (14.2).
pub fn wanted(header: Option<&HeaderValue>, length: u64) -> Wanted {
    let Some(specs) = header.and_then(|value| value.to_str().ok()).and_then(specs) else {
        return Wanted::All;
    };
    let mut spans = Vec::new();
    for spec in specs.split(',').map(|spec| spec.trim_matches([' ', '\t'])) {
        // A list may have empty elements (5.6.1).
        if spec.is_empty() {
            continue;
        }
        match span(spec, length) {
            Err(()) => return Wanted::All,
            Ok(None) => {}
            Ok(Some(span)) => spans.push(span),
        }
        if spans.len() > PARTS {
            return Wanted::All;
        }
    }
    if spans.is_empty() {
        return if specs.trim_matches([' ', '\t', ',']).is_empty() {
            Wanted::All
        } else {
            Wanted::None
        };
    }
    // Parts that overlap, or are more than the file together, would be a way to have much sent for little asked (14.2).
    let mut sorted = spans.clone();
    sorted.sort_by_key(|span| span.from);
    if sorted.windows(2).any(|two| two[1].from < two[0].to) {
        return Wanted::All;
    }
    Wanted::Some(spans)
}

/// What stands behind `bytes=`.
fn specs(value: &str) -> Option<&str> {
    let (unit, specs) = value.split_once('=')?;
    unit.trim_matches([' ', '\t']).eq_ignore_ascii_case("bytes").then_some(specs)
}

/// One part; none where the file does not have it.
fn span(spec: &str, length: u64) -> Result<Option<Span>, ()> {
    let (first, last) = spec.split_once('-').ok_or(())?;
    match (number(first)?, number(last)?) {
        (None, None) => Err(()),
        // So many at the end.
        (None, Some(count)) => {
            let from = length - count.min(length);
            Ok((from < length).then_some(Span { from, to: length }))
        }
        (Some(from), Some(last)) if last < from => Err(()),
        (Some(from), last) => {
            let to = last.map_or(length, |last| last.saturating_add(1).min(length));
            Ok((from < length).then_some(Span { from, to }))
        }
    }
}

/// Digits, or nothing. What is too large for any file is the largest number.
fn number(text: &str) -> Result<Option<u64>, ()> {
    match text {
        "" => Ok(None),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Some(text.parse().unwrap_or(u64::MAX)))
        }
        _ => Err(()),
    }
}

/// What divides the parts of an answer. Of the content's hash, so that it stands in no content but by an attack on the hash;
/// and every part says its own length, by which clients go.
pub fn boundary(hash: &str, spans: &[Span]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(hash.as_bytes());
    for span in spans {
        hasher.update(&span.from.to_le_bytes());
        hasher.update(&span.to.to_le_bytes());
    }
    hasher.finalize().to_hex()[..32].to_string()
}

/// What stands before a part's bytes.
pub fn part_head(
    boundary: &str,
    media_type: &str,
    span: Span,
    length: u64,
    is_first: bool,
) -> String {
    let (line, Span { from, to }) = (if is_first { "" } else { "\r\n" }, span);
    let last = to - 1;
    format!(
        "{line}--{boundary}\r\ncontent-type: {media_type}\r\ncontent-range: bytes {from}-{last}/{length}\r\n\r\n"
    )
}

/// What stands behind the last part.
pub fn tail(boundary: &str) -> String {
    format!("\r\n--{boundary}--\r\n")
}

/// How long an answer of several parts is.
pub fn total(boundary: &str, media_type: &str, spans: &[Span], length: u64) -> u64 {
    let part = |(number, span): (usize, &Span)| {
        part_head(boundary, media_type, *span, length, number == 0).len() as u64 + span.to
            - span.from
    };
    spans.iter().enumerate().map(part).sum::<u64>() + tail(boundary).len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str, length: u64) -> Wanted {
        wanted(HeaderValue::from_bytes(text.as_bytes()).ok().as_ref(), length)
    }

    fn some(spans: &[(u64, u64)]) -> Wanted {
        Wanted::Some(spans.iter().map(|(from, to)| Span { from: *from, to: *to }).collect())
    }

    #[test]
    fn parts_are_read_as_the_standard_has_them() {
        for (text, length, expected) in [
            ("bytes=0-99", 1000, some(&[(0, 100)])),
            ("bytes=0-0", 1000, some(&[(0, 1)])),
            ("bytes=500-", 1000, some(&[(500, 1000)])),
            ("bytes=-5", 1000, some(&[(995, 1000)])),
            ("bytes=-5000", 1000, some(&[(0, 1000)])),
            ("bytes=999-5000", 1000, some(&[(999, 1000)])),
            ("bytes=0-99999999999999999999999", 1000, some(&[(0, 1000)])),
            ("BYTES = 0-9 ", 1000, some(&[(0, 10)])),
            ("bytes=0-9, 20-29 ,, -1", 1000, some(&[(0, 10), (20, 30), (999, 1000)])),
            ("bytes=20-29,0-9", 1000, some(&[(20, 30), (0, 10)])),
            ("bytes=0-9,5000-", 1000, some(&[(0, 10)])),
            ("bytes=1000-", 1000, Wanted::None),
            ("bytes=-0", 1000, Wanted::None),
            ("bytes=99999999999999999999999-", 1000, Wanted::None),
            ("bytes=0-", 0, Wanted::None),
            ("bytes=-1", 0, Wanted::None),
            // What cannot be read.
            ("bytes=5-2", 1000, Wanted::All),
            ("bytes=", 1000, Wanted::All),
            ("bytes=,", 1000, Wanted::All),
            ("bytes=-", 1000, Wanted::All),
            ("bytes=a-b", 1000, Wanted::All),
            ("bytes=+1-2", 1000, Wanted::All),
            ("bytes=1 - 2", 1000, Wanted::All),
            ("bytes=0-1,x", 1000, Wanted::All),
            ("bytes 0-1", 1000, Wanted::All),
            ("lines=0-1", 1000, Wanted::All),
            ("0-1", 1000, Wanted::All),
            // Much for little.
            ("bytes=0-,0-", 1000, Wanted::All),
            ("bytes=0-9,9-20", 1000, Wanted::All),
        ] {
            assert_eq!(of(text, length), expected, "{text}");
        }
        let many = |count: u64| {
            let parts: Vec<_> = (0..count).map(|n| format!("{0}-{0}", 2 * n)).collect();
            of(&format!("bytes={}", parts.join(",")), 1000)
        };
        assert!(matches!(many(PARTS as u64), Wanted::Some(spans) if spans.len() == PARTS));
        assert_eq!(many(PARTS as u64 + 1), Wanted::All);
        assert_eq!(wanted(None, 1000), Wanted::All);
    }

    /// What a client makes of an answer of several parts: where each begins, and its bytes.
    fn read<'a>(mut body: &'a [u8], boundary: &str) -> Vec<(u64, &'a [u8])> {
        let mut parts = Vec::new();
        loop {
            let mark = format!("--{boundary}");
            body = body
                .strip_prefix(b"\r\n")
                .unwrap_or(body)
                .strip_prefix(mark.as_bytes())
                .expect("a boundary");
            if body == b"--\r\n" {
                return parts;
            }
            let end = body.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
            let head = std::str::from_utf8(&body[..end]).expect("text");
            let range =
                head.split("bytes ").nth(1).expect("a range").split('/').next().expect("one");
            let (first, last) = range.split_once('-').expect("two ends");
            let (first, last): (u64, u64) =
                (first.parse().expect("digits"), last.parse().expect("digits"));
            let (bytes, rest) = body[end + 4..].split_at((last - first + 1) as usize);
            parts.push((first, bytes));
            body = rest;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: ProptestConfig::default().cases.max(2000),
            ..ProptestConfig::default()
        })]

        #[test]
        fn nothing_that_is_asked_leads_out_of_the_file(text in "(bytes=)?[0-9,\\- a-z=\u{e4}]{0,60}", length in 0u64..2000) {
            match of(&text, length) {
                Wanted::Some(spans) => {
                    prop_assert!(!spans.is_empty() && spans.len() <= PARTS);
                    prop_assert!(spans.iter().all(|span| span.from < span.to && span.to <= length));
                    let sum: u64 = spans.iter().map(|span| span.to - span.from).sum();
                    prop_assert!(sum <= length);
                }
                Wanted::All | Wanted::None => {}
            }
        }

        #[test]
        fn several_parts_are_found_again_in_what_is_sent(
            file in prop::collection::vec(any::<u8>(), 1..500),
            parts in prop::collection::vec((0usize..500, 1usize..60), 2..6),
        ) {
            let length = file.len() as u64;
            let asked: Vec<_> = parts.iter().map(|(from, count)| format!("{from}-{}", from + count - 1)).collect();
            let Wanted::Some(spans) = of(&format!("bytes={}", asked.join(",")), length) else { return Ok(()) };
            let boundary = boundary("abc", &spans);
            let mut body = Vec::new();
            for (number, span) in spans.iter().enumerate() {
                body.extend(part_head(&boundary, "image/gif", *span, length, number == 0).bytes());
                body.extend(&file[span.from as usize..span.to as usize]);
            }
            body.extend(tail(&boundary).bytes());
            prop_assert_eq!(body.len() as u64, total(&boundary, "image/gif", &spans, length));
            let expected: Vec<_> =
                spans.iter().map(|span| (span.from, &file[span.from as usize..span.to as usize])).collect();
            prop_assert_eq!(read(&body, &boundary), expected);
        }
    }
}
