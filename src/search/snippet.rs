//! The piece of a text in which what was looked for stands. Invariant: what comes out is HTML with no element but `em`,
//! whatever the text was.

use std::ops::Range;

use super::query::{Clause, ClauseKind};
use super::terms;
use crate::limits::{SNIPPET_CHARS, SNIPPET_LEAD_CHARS, SNIPPET_MATCHES};

/// Stands before what fits, in texts that are not escaped yet; no document contains it.
pub const OPEN: char = '\u{E000}';
/// Stands behind it.
pub const CLOSE: char = '\u{E001}';

/// `marked` as HTML: what stands between [`OPEN`] and [`CLOSE`] in `em`, and all of it escaped.
pub fn html(marked: &str) -> String {
    let mut html = String::with_capacity(marked.len() + 32);
    let (mut is_open, mut plain) = (false, 0);
    for (at, c) in marked.char_indices() {
        let instead = match c {
            OPEN if !is_open => {
                is_open = true;
                "<em>"
            }
            CLOSE if is_open => {
                is_open = false;
                "</em>"
            }
            OPEN | CLOSE => "",
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&#39;",
            c if c.is_control() => " ",
            _ => continue,
        };
        html.push_str(&marked[plain..at]);
        html.push_str(instead);
        plain = at + c.len_utf8();
    }
    html.push_str(&marked[plain..]);
    if is_open {
        html.push_str("</em>");
    }
    html
}

/// Finds in texts what was looked for.
pub struct Finder {
    analyzer: tantivy::tokenizer::TextAnalyzer,
    spelling: tantivy::tokenizer::TextAnalyzer,
    /// The terms of words and phrases.
    stems: Vec<String>,
    /// The beginnings of words.
    prefixes: Vec<String>,
}

/// A word that fits, and which term it fits.
struct Match {
    at: Range<usize>,
    term: usize,
}

impl Finder {
    /// For what of `clauses` is wanted.
    pub fn new<'a>(clauses: impl Iterator<Item = &'a Clause>) -> Self {
        let (mut analyzer, mut spelling) = (terms::stems(), terms::spellings());
        let (mut stems, mut prefixes) = (Vec::new(), Vec::new());
        for clause in clauses {
            match clause.kind {
                ClauseKind::Prefix => {
                    prefixes.extend(terms::of(&mut spelling, &clause.text).pop());
                    stems.extend(terms::of(&mut analyzer, &clause.text));
                }
                _ => stems.extend(terms::of(&mut analyzer, &clause.text)),
            }
        }
        Self { analyzer, spelling, stems, prefixes }
    }

    /// The piece of `text` in which the most different terms stand, as HTML; its beginning, where none does.
    pub fn snippet(&mut self, text: &str) -> String {
        let matches = self.matches(text);
        let Some(best) = best(&matches, text) else {
            return html(&cut(text, 0..0).text);
        };
        let Cut { text: piece, of, lead } = cut(text, best);
        let mut marked = String::with_capacity(piece.len() + 64);
        let mut done = 0;
        for Match { at, .. } in &matches {
            if at.start < of.start || at.end > of.end {
                continue;
            }
            let start = at.start - of.start + lead;
            let end = start + at.len();
            marked.push_str(&piece[done..start]);
            marked.push(OPEN);
            marked.push_str(&piece[start..end]);
            marked.push(CLOSE);
            done = end;
        }
        marked.push_str(&piece[done..]);
        html(&marked)
    }

    /// How many different terms stand in `text`.
    pub fn terms_in(&mut self, text: &str) -> usize {
        let mut seen: Vec<usize> = self.matches(text).into_iter().map(|found| found.term).collect();
        seen.sort_unstable();
        seen.dedup();
        seen.len()
    }

    fn matches(&mut self, text: &str) -> Vec<Match> {
        let mut matches = Vec::new();
        for at in words(text) {
            if matches.len() >= SNIPPET_MATCHES {
                break;
            }
            if let Some(term) = self.term(&text[at.clone()]) {
                matches.push(Match { at, term });
            }
        }
        matches
    }

    fn term(&mut self, word: &str) -> Option<usize> {
        // Taking a word apart costs more than looking at its first letter, which no stem changes.
        let first = word.bytes().next()?.to_ascii_lowercase();
        let may = |term: &String| !first.is_ascii() || term.as_bytes().first() == Some(&first);
        if self.prefixes.iter().any(may)
            && let Some(spelt) = terms::of(&mut self.spelling, word).pop()
            && let Some(found) = self.prefixes.iter().position(|prefix| spelt.starts_with(prefix))
        {
            return Some(self.stems.len() + found);
        }
        if !self.stems.iter().any(may) {
            return None;
        }
        let stem = terms::of(&mut self.analyzer, word).pop()?;
        self.stems.iter().position(|term| *term == stem)
    }
}

/// The words of `text`.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text[from..].find(char::is_alphanumeric)?;
        let rest = &text[start..];
        let end = start + rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        from = end;
        Some(start..end)
    })
}

/// The first of the matches around which the most different terms stand.
fn best(matches: &[Match], text: &str) -> Option<Range<usize>> {
    let distinct = |first: usize| {
        // In bytes, which is near enough for choosing.
        let end = matches[first].at.start + SNIPPET_CHARS - SNIPPET_LEAD_CHARS;
        let within =
            matches[first..].iter().take_while(|found| found.at.end <= end.min(text.len()));
        let mut terms: Vec<usize> = within.map(|found| found.term).collect();
        let all = terms.len();
        terms.sort_unstable();
        terms.dedup();
        (terms.len(), all)
    };
    // Of equal ones the first.
    let best = (0..matches.len()).max_by_key(|first| (distinct(*first), usize::MAX - first))?;
    Some(matches[best].at.clone())
}

/// About [`SNIPPET_CHARS`] of `text` around `at`, at the bounds of words.
fn cut(text: &str, at: Range<usize>) -> Cut {
    let back = text[..at.start].char_indices().rev().nth(SNIPPET_LEAD_CHARS).map_or(0, |(i, _)| i);
    let start = match back {
        0 => 0,
        _ => text[back..at.start].find(char::is_whitespace).map_or(at.start, |gap| {
            let begin = back + gap;
            begin + text[begin..].find(|c: char| !c.is_whitespace()).unwrap_or(0)
        }),
    };
    let rest = &text[start..];
    let end = rest.char_indices().nth(SNIPPET_CHARS).map_or(text.len(), |(i, _)| {
        let most = start + i;
        let bound = text[start..most].rfind(char::is_whitespace).map_or(most, |gap| start + gap);
        if bound > at.end { bound } else { most }
    });
    let piece = text[start..end].trim_end();
    let before = if start > 0 { "…" } else { "" };
    let behind = if end < text.trim_end().len() { "…" } else { "" };
    let of = start..start + piece.len();
    Cut { text: format!("{before}{piece}{behind}"), of, lead: before.len() }
}

/// A piece of a text.
struct Cut {
    /// With an ellipsis where the text goes on.
    text: String,
    /// Which piece it is.
    of: Range<usize>,
    /// Bytes of the ellipsis before it.
    lead: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Words;

    fn snippet(query: &str, text: &str) -> String {
        Finder::new(Words::parse(query).expect("short").wanted()).snippet(text)
    }

    #[test]
    fn what_fits_is_marked_in_all_its_forms_and_the_rest_is_escaped() {
        let text = "Runs & <b>running</b> \"Éveil\" of a runner's run";
        let seen = snippet("run éveils begi* runn*", text);
        assert_eq!(
            seen,
            "<em>Runs</em> &amp; &lt;b&gt;<em>running</em>&lt;/b&gt; &quot;<em>Éveil</em>&quot; of a \
             <em>runner</em>&#39;s <em>run</em>"
        );
        let forged = format!("{OPEN}<script>{CLOSE}{CLOSE} run{OPEN}");
        assert_eq!(html(&forged), "<em>&lt;script&gt;</em> run<em></em>");
    }

    #[test]
    fn the_piece_with_most_terms_is_shown_with_whole_words() {
        let filler = "nothing to see here ".repeat(40);
        let text = format!("alpha {filler}and here alpha meets beta at last {filler}");
        let seen = snippet("alpha beta", &text);
        assert!(seen.contains("<em>alpha</em> meets <em>beta</em> at last"), "{seen}");
        assert!(seen.starts_with('…') && seen.ends_with('…'), "{seen}");
        assert!(seen.chars().count() < SNIPPET_CHARS + 30, "{seen}");
        let start = snippet("gamma", &text);
        assert!(start.starts_with("alpha nothing") && start.ends_with('…'), "{start}");
        assert_eq!(snippet("gamma", ""), "");
        // No white space to cut at, and no letter that is one byte.
        let dense = "日本語".repeat(400);
        assert!(snippet("日本語日本語", &dense).chars().count() <= SNIPPET_CHARS + 12);
        let late = format!("{dense} alpha");
        assert!(snippet("alpha", &late).contains("<em>alpha</em>"));
    }

    proptest::proptest! {
        #[test]
        fn of_any_text_comes_a_short_piece_with_every_mark_in_its_place(
            words in proptest::collection::vec("[ab]{1,2}|é|日本|\\?|…|[a-z]{1,12}|  |\n", 0..200),
            query in "[ab]{1,2}( [ab]{1,2}\\*?)?|é|日本",
        ) {
            for text in [words.join(" "), words.concat()] {
                let seen = snippet(&query, &text);
                let bare = seen.replace("<em>", "").replace("</em>", "");
                assert!(bare.chars().count() <= SNIPPET_CHARS + SNIPPET_LEAD_CHARS, "{seen}");
                assert_eq!(seen.matches("<em>").count(), seen.matches("</em>").count());
                assert!(!bare.contains(['<', '>']) && !seen.contains("<em></em>"), "{seen}");
            }
        }
    }
}
