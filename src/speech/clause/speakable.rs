//! What a speech engine should see of a text. Invariant: the result is settled (saying it again
//! changes nothing), at most a quarter longer than the text, and empty when there is nothing to say.

use unicode_segmentation::UnicodeSegmentation;

use super::Scan;
use super::characters::{belongs_before, is_drawn, is_line_end, is_said, is_unseen, is_unspaced};

/// Longer runs of digits are read out as one number for many seconds, or not at all.
const MOST_DIGITS: usize = 12;
/// How many digits stand together once such a run is broken: about 2 s of speech.
pub(super) const DIGIT_GROUP: usize = 4;
/// Longer words are broken: all but a few German ones are shorter, and 40 letters last 3 s.
const MOST_WORD_CHARS: usize = 40;

/// What a speech engine should see of a text: no control, format, private-use or variation
/// characters, no emoji, joiners only inside words of scripts that need them, one space for each
/// gap. A blank line, or the line before an item of a list, becomes "\n\n", which `next_clause`
/// takes for an end: so no full stop is put in that the author did not write. Endless words and
/// numbers are broken by spaces, so the result has at most a quarter more characters than `text`;
/// it is empty when there is nothing to say.
pub fn speakable(text: &str) -> String {
    let seen = visible(text);
    if seen.chars().any(is_said) { break_endless_words(&seen) } else { String::new() }
}

/// Drops what is not for the ear and collapses white space.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut lines, mut space, mut drawn, mut joiner) = (0, false, false, None);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            // A number in groups stays one: a cut never goes through such a space.
            '\u{a0}' | '\u{202f}' if is_between_digits(&out, &chars, space) => out.push('\u{a0}'),
            // A row of dashes says nothing, and some of espeak's voices crash of it.
            '-' if out.ends_with("--") && !space => {}
            _ if c.is_whitespace() => {
                space = true;
                lines += usize::from(
                    is_line_end(c)
                        && !(c == '\r' && chars.peek().is_some_and(|&(_, next)| next == '\n')),
                );
            }
            '\u{200c}' | '\u{200d}' => joiner = joiner.or(Some(c)),
            _ if is_unseen(c) => {}
            _ if is_drawn(c) => drawn = true,
            _ => {
                if let Some(last) = out.chars().next_back() {
                    let paragraph = lines > 1 || lines == 1 && Scan::new(&text[at..]).is_item(0);
                    let apart = if space {
                        !(drawn && belongs_before(c))
                    } else {
                        drawn && last.is_alphanumeric() && c.is_alphanumeric()
                    };
                    match joiner {
                        _ if paragraph => out.push_str("\n\n"),
                        // "Great 👍." becomes "Great.", and "so👍good" two words.
                        _ if apart => out.push(' '),
                        Some(joiner) if !space && !drawn && joins(last, c) => out.push(joiner),
                        _ => {}
                    }
                }
                out.push(c);
                (lines, space, drawn, joiner) = (0, false, false, None);
            }
        }
    }
    out
}

fn is_between_digits(
    out: &str,
    rest: &std::iter::Peekable<std::str::CharIndices<'_>>,
    space: bool,
) -> bool {
    let next = rest.clone().peek().map(|&(_, next)| next);
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    !space && digit(out.chars().next_back()) && digit(next)
}

fn break_endless_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut run, mut digits, mut endless) = (0, 0, false);
    for (at, grapheme) in text.grapheme_indices(true) {
        let chars = grapheme.chars().count();
        let first = grapheme.chars().next().unwrap_or(' ');
        let in_word = first.is_alphanumeric() && !is_unspaced(first);
        let is_digit = chars == 1 && first.is_numeric();
        if is_digit && digits == 0 {
            endless = text[at..].chars().take_while(|c| c.is_numeric()).nth(MOST_DIGITS).is_some();
        }
        let group_full = is_digit && endless && digits > 0 && digits % DIGIT_GROUP == 0;
        if in_word && run > 0 && (group_full || run + chars > MOST_WORD_CHARS) {
            // A joiner with nothing to join would be dropped the next time.
            out.truncate(out.trim_end_matches(['\u{200c}', '\u{200d}']).len());
            out.push(' ');
            run = 0;
        }
        out.push_str(grapheme);
        run = if in_word { run + chars } else { 0 };
        digits = if is_digit { digits + 1 } else { 0 };
    }
    out
}

/// Whether a joiner between these shapes a word: Persian and Indic scripts need it.
fn joins(last: char, next: char) -> bool {
    // In the Indic blocks the virama, which no property of std tells, ends in 4D.
    let virama = matches!(last, '\u{900}'..='\u{d7f}') && u32::from(last) & 0x7f == 0x4d;
    !last.is_ascii() && (last.is_alphabetic() || virama) && !next.is_ascii() && next.is_alphabetic()
}
