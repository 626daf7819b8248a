//! Cuts an answer that is being written into clauses that are ready to be spoken.

use crate::speech::clause::{has_speech, next_clause, speakable};
use crate::speech::script::Passage;

/// See the module.
#[derive(Debug, Default)]
pub struct Splitter {
    text: String,
    number: u32,
}

impl Splitter {
    /// For an answer in `language`.
    pub fn new(_language: &str) -> Self {
        Self::default()
    }

    /// The number of the clause that is being written.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Takes what was written; the clauses that are whole by that.
    pub fn push(&mut self, written: &str) -> Vec<Passage> {
        self.text += written;
        self.cut(true)
    }

    /// It is whole: the clauses that are left.
    pub fn finish(&mut self) -> Vec<Passage> {
        self.cut(false)
    }

    fn cut(&mut self, more: bool) -> Vec<Passage> {
        let mut passages = Vec::new();
        let mut at = 0;
        while let Some(range) = next_clause(&self.text, at, more) {
            at = range.end;
            let mut passage = Passage::of(self.number, &self.text, range);
            passage.text = speakable(&passage.text);
            if has_speech(&passage.text) {
                self.number += 1;
                passages.push(passage);
            }
        }
        self.text.drain(..at);
        passages
    }
}
