//! What was said before a question. Invariant: it is bounded in turns and in bytes; the oldest are forgotten first, and
//! always whole turns, so that no answer stands there without its question.

use std::collections::VecDeque;

use crate::limits::{HISTORY_BYTES, HISTORY_TURNS};

/// A question and its answer, as far as that was heard; either may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The question.
    pub asked: String,
    /// The answer.
    pub answered: String,
}

impl Turn {
    fn bytes(&self) -> usize {
        self.asked.len() + self.answered.len()
    }
}

/// The turns of a dialogue, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    turns: VecDeque<Turn>,
    bytes: usize,
}

impl History {
    /// Remembers a turn; a turn that is too long by itself is forgotten with all before it.
    pub fn push(&mut self, turn: Turn) {
        self.bytes += turn.bytes();
        self.turns.push_back(turn);
        while self.turns.len() > HISTORY_TURNS || self.bytes > HISTORY_BYTES {
            let Some(oldest) = self.turns.pop_front() else { return };
            self.bytes -= oldest.bytes();
        }
    }

    /// What is remembered, the oldest first.
    pub fn turns(&self) -> impl ExactSizeIterator<Item = &Turn> {
        self.turns.iter()
    }
}

impl FromIterator<Turn> for History {
    fn from_iter<T: IntoIterator<Item = Turn>>(turns: T) -> Self {
        let mut history = Self::default();
        turns.into_iter().for_each(|turn| history.push(turn));
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn turn(asked: usize, answered: usize) -> Turn {
        Turn { asked: "q".repeat(asked), answered: "a".repeat(answered) }
    }

    #[test]
    fn a_turn_that_is_too_long_takes_all_before_it_along() {
        let mut history: History = [turn(1, 1), turn(2, 2)].into_iter().collect();
        history.push(turn(1, HISTORY_BYTES));
        assert_eq!(history, History::default());
        history.push(turn(0, HISTORY_BYTES));
        assert_eq!(history.turns().len(), 1);
    }

    proptest! {
        #[test]
        fn it_is_the_newest_that_fit(lengths in prop::collection::vec((0usize..3000, 0usize..3000), 0..40)) {
            let turns: Vec<_> = lengths.iter().map(|(q, a)| turn(*q, *a)).collect();
            let history: History = turns.iter().cloned().collect();
            let fit = (0..=turns.len().min(HISTORY_TURNS)).rev().find(|count| {
                turns[turns.len() - count..].iter().map(Turn::bytes).sum::<usize>() <= HISTORY_BYTES
            });
            let newest = &turns[turns.len() - fit.expect("none fit always")..];
            prop_assert_eq!(history.turns().cloned().collect::<Vec<_>>(), newest);
            prop_assert_eq!(history.bytes, newest.iter().map(Turn::bytes).sum::<usize>());
        }
    }
}
