//! What is to be spoken, clause by clause: of a text that is there, or of one that is still being written. Invariant: the
//! same clauses, with the same pauses, whichever it is.

use std::ops::Range;

use tokio::sync::mpsc;

use super::clause::{Pause, continues, has_speech, next_clause};

/// A clause that is ready to be spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Which one it is, from 0.
    pub number: u32,
    /// As [`super::clause::speakable`] made it; never empty.
    pub text: String,
    /// The silence behind it, if something follows.
    pub pause: Pause,
    /// Whether it was cut for length alone, between two words.
    pub continues: bool,
    /// Where it ends in a text that is there; 0 in one that is being written.
    pub end: usize,
}

impl Passage {
    /// The clause at `range` of `text`.
    pub fn of(number: u32, text: &str, range: Range<usize>) -> Self {
        let (pause, end) = (Pause::after(text, &range), range.end);
        let continues = continues(&text[range.clone()], &text[end..]);
        Self { number, text: text[range].to_string(), pause, continues, end }
    }

    /// What an engine gets of it from byte `at` on. One that was cut for length alone gets a comma, or the engine would let
    /// its voice fall as at an end; in scripts without spaces a cut is not heard as one.
    pub fn for_engine(&self, at: usize) -> String {
        let mut text = self.text[at..].to_string();
        if self.continues {
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
        match self {
            Script::Live(passages) => passages.recv().await,
            Script::Whole { .. } => self.next_now(),
        }
    }

    /// The next clause, if it is there by now.
    pub fn next_now(&mut self) -> Option<Passage> {
        let (text, at, count) = match self {
            Script::Live(passages) => return passages.try_recv().ok(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_for_length_alone_does_not_sound_like_an_end() {
        let given = |text: &str, end| Passage::of(0, text, 0..end).for_engine(0);
        assert_eq!(given("whether the little server", 18), "whether the little,");
        assert_eq!(given("an end. And", 7), "an end.");
        assert_eq!(given("the last  ", 8), "the last");
        assert_eq!(given("今天天气", 6), "今天");
    }
}
