//! What is heard between two clauses. Invariant: it follows from the mark that ends the first, and
//! from the white space behind it, and from nothing else.

use std::ops::Range;
use std::time::Duration;

/// The silence behind a clause: the engines leave it to the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pause {
    /// None: it was cut between two words, for length alone.
    #[default]
    None,
    /// That of a comma, and of a line's end.
    Clause,
    /// That of a full stop.
    Sentence,
    /// That of a blank line.
    Paragraph,
}

impl Pause {
    /// By the mark that ends the clause, and by a blank line behind it.
    pub fn after(text: &str, clause: &Range<usize>) -> Self {
        let gap = gap(&text[clause.end..]);
        if gap.contains("\n\n") {
            return Pause::Paragraph;
        }
        let closing = |c: char| "\"'”’»)]」』*_`".contains(c);
        match text[clause.clone()].trim_end_matches(closing).chars().next_back() {
            Some(c) if ".!?…。！？｡‼⁇⁈⁉؟۔।॥።".contains(c) => Pause::Sentence,
            Some(c) if ",;:，；：、､،؛–—-".contains(c) => Pause::Clause,
            _ if gap.contains('\n') => Pause::Clause,
            _ => Pause::None,
        }
    }

    /// How long it is at speed 1.0.
    pub fn duration(self) -> Duration {
        Duration::from_millis(match self {
            Pause::None => 0,
            Pause::Clause => 180,
            Pause::Sentence => 350,
            Pause::Paragraph => 550,
        })
    }
}

/// Whether a clause, with `rest` behind it, was cut between words: an engine that is not told so, by a
/// comma, lets its voice fall as at an end. In scripts without spaces a cut is not heard as one.
pub fn continues(clause: &str, rest: &str) -> bool {
    let gap = gap(rest);
    let between_words = gap.starts_with([' ', '\n']) && !gap.contains("\n\n");
    between_words && gap.len() < rest.len() && clause.ends_with(char::is_alphanumeric)
}

/// The white space at the beginning.
fn gap(text: &str) -> &str {
    &text[..text.len() - text.trim_start().len()]
}
