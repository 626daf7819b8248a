//! What is to be spoken, clause by clause: of a text that is there, or of one that is still being written. Invariant: the
//! same clauses, with the same pauses, whichever it is.

use std::ops::Range;
use std::time::Duration;

use tokio::sync::mpsc;

use super::clause::{has_speech, next_clause};

/// Silence between clauses at speed 1.0, by what ends them: the engines leave it to the next clause.
const PAUSE_SENTENCE: Duration = Duration::from_millis(350);
const PAUSE_CLAUSE: Duration = Duration::from_millis(180);
const PAUSE_PARAGRAPH: Duration = Duration::from_millis(550);

/// A clause that is ready to be spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Which one it is, from 0.
    pub number: u32,
    /// As [`super::clause::speakable`] made it; never empty.
    pub text: String,
    /// Silence behind it, if something follows, at speed 1.0.
    pub pause: Duration,
    /// Whether it was cut for length alone, between two words.
    pub goes_on: bool,
    /// Where it ends in a text that is there.
    pub end: usize,
}

impl Passage {
    /// The clause at `range` of `text`.
    pub fn of(number: u32, text: &str, range: Range<usize>) -> Self {
        let rest = &text[range.end..];
        let goes_on = rest.starts_with(' ') && !rest.trim_start().is_empty();
        let (pause, end) = (pause_after(text, &range), range.end);
        Self { number, text: text[range].to_string(), pause, goes_on, end }
    }

    /// What an engine gets of it from byte `at` on. One that was cut for length alone gets a comma, or the engine would let
    /// its voice fall as at an end; in scripts without spaces a cut is not heard as one.
    pub fn for_engine(&self, at: usize) -> String {
        let mut text = self.text[at..].to_string();
        if self.goes_on && text.ends_with(char::is_alphanumeric) {
            text.push(',');
        }
        text
    }
}

/// Where clauses come from.
pub enum Script {
    /// A text that is there.
    Whole {
        /// As [`super::clause::speakable`] made it.
        text: String,
        /// Bytes of it that were given.
        at: usize,
        /// Clauses that were given.
        count: u32,
    },
    /// A text that is being written.
    Live(mpsc::Receiver<Passage>),
}

impl Script {
    /// Of all of `text`.
    pub fn whole(text: String) -> Self {
        Script::Whole { text, at: 0, count: 0 }
    }

    /// The next clause; none behind the last.
    pub async fn next(&mut self) -> Option<Passage> {
        let (text, at, count) = match self {
            Script::Live(passages) => return passages.recv().await,
            Script::Whole { text, at, count } => (text, at, count),
        };
        loop {
            let range = next_clause(text, *at, false)?;
            *at = range.end;
            // A line of dashes says nothing, and an engine might not end it.
            if has_speech(&text[range.clone()]) {
                let number = *count;
                *count += 1;
                return Some(Passage::of(number, text, range));
            }
        }
    }
}

/// By the mark that ends the clause, and by a blank line behind it.
fn pause_after(text: &str, clause: &Range<usize>) -> Duration {
    let gap = &text[clause.end..];
    let gap = &gap[..gap.len() - gap.trim_start().len()];
    if gap.contains("\n\n") {
        return PAUSE_PARAGRAPH;
    }
    let closing = |c: char| "\"'”’»)]」』*_`".contains(c);
    match text[clause.clone()].trim_end_matches(closing).chars().next_back() {
        Some(c) if ".!?…。！？｡‼⁇⁈⁉؟۔।॥።".contains(c) => PAUSE_SENTENCE,
        Some(c) if ",;:，；：、､،؛–—-".contains(c) => PAUSE_CLAUSE,
        // Cut between two words, for length alone: no pause.
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_that_of_the_mark() {
        let pause = |text: &str, end| pause_after(text, &(0..end));
        assert_eq!(pause("Well, yes", 5), PAUSE_CLAUSE);
        assert_eq!(pause("\"Yes.\" No", 6), PAUSE_SENTENCE);
        assert_eq!(pause("Yes.\n\nNo", 4), PAUSE_PARAGRAPH);
        assert_eq!(pause("a long", 1), Duration::ZERO);
    }

    #[test]
    fn what_is_cut_for_length_alone_does_not_sound_like_an_end() {
        let given = |text: &str, end| Passage::of(0, text, 0..end).for_engine(0);
        assert_eq!(given("whether the little server", 18), "whether the little,");
        assert_eq!(given("an end. And", 7), "an end.");
        assert_eq!(given("the last  ", 8), "the last");
        assert_eq!(given("今天天气", 6), "今天");
    }
}
