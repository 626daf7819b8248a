//! What was heard of an answer, by how much of it was played. Invariant: the times of words take no more than
//! [`HEARD_WORDS`] places, however long the answer; then they are as exact as that allows.

use crate::limits::HEARD_WORDS;
use crate::speech::words::Word;

/// The words of a turn as they are spoken.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    text: String,
    /// When so much of the text was heard: milliseconds, bytes.
    marks: Vec<(u32, u32)>,
    /// Words between two marks, a power of two.
    stride: usize,
    since_mark: usize,
}

impl Heard {
    /// A word more.
    pub fn add(&mut self, word: &Word) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text += &word.word;
        self.since_mark += 1;
        if self.since_mark < self.stride {
            return;
        }
        self.since_mark = 0;
        // A word counts when half of it was heard.
        let half = word.start_ms + word.end_ms.saturating_sub(word.start_ms) / 2;
        self.marks.push((half, u32::try_from(self.text.len()).unwrap_or(u32::MAX)));
        if self.marks.len() == HEARD_WORDS {
            let mut place = 0;
            self.marks.retain(|_| {
                place += 1;
                place % 2 == 0
            });
            self.stride = self.stride.max(1) * 2;
        }
    }

    /// What was heard after so many milliseconds of it were played.
    pub fn after(&self, played_ms: u32) -> &str {
        let count = self.marks.partition_point(|(half, _)| *half <= played_ms);
        match count.checked_sub(1).and_then(|last| self.marks.get(last)) {
            _ if count == self.marks.len() && self.since_mark == 0 => &self.text,
            Some((_, bytes)) => &self.text[..*bytes as usize],
            None => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(words: u32) -> Heard {
        let mut heard = Heard::default();
        for number in 0..words {
            let (start_ms, end_ms) = (number * 100, number * 100 + 80);
            heard.add(&Word { word: format!("w{number}"), start_ms, end_ms, proportional: false });
        }
        heard
    }

    #[test]
    fn a_word_is_heard_once_half_of_it_was() {
        let heard = spoken(3);
        assert_eq!(heard.after(0), "");
        assert_eq!((heard.after(39), heard.after(40)), ("", "w0"));
        assert_eq!(heard.after(200), "w0 w1");
        assert_eq!((heard.after(240), heard.after(u32::MAX)), ("w0 w1 w2", "w0 w1 w2"));
    }

    #[test]
    fn a_long_answer_takes_no_more_places_and_loses_little() {
        let count = 5 * HEARD_WORDS as u32;
        let heard = spoken(count);
        assert!(heard.marks.len() < HEARD_WORDS, "{}", heard.marks.len());
        let words = |played| heard.after(played).split(' ').count() as u32;
        for played in (0..count).step_by(97) {
            let exact = played + 1;
            assert!(
                (exact.saturating_sub(8)..=exact).contains(&words(played * 100 + 40)),
                "{played}"
            );
        }
        assert_eq!(words((count - 1) * 100 - 60) / 8, (count - 1) / 8);
    }
}
