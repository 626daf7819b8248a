//! From an answer as it is written to clauses that can be spoken. Invariants: a clause is given as
//! soon as its end is certain, and once; clauses do not depend on how the text was cut; what was
//! given is forgotten, so that no more is held than a clause and what follows it.

use super::plain::{self, Plain};
use crate::speech::clause::{self, Pause};
use crate::speech::script::Passage;

/// Cuts one answer.
pub struct Splitter {
    plain: Plain,
    /// What is said of the answer, behind the clauses that were given.
    said: String,
    given: u32,
}

impl Splitter {
    /// For an answer in this language, as [`Plain::new`] takes it.
    pub fn new(language: &str) -> Self {
        Self { plain: Plain::new(language), said: String::new(), given: 0 }
    }

    /// Takes what was written next; gives the clauses whose end is certain now.
    pub fn push(&mut self, written: &str) -> Vec<Passage> {
        let (mut clauses, mut rest) = (Vec::new(), written);
        while !rest.is_empty() {
            let (step, later) = rest.split_at(plain::step_length(rest));
            self.plain.push(step, &mut self.said);
            self.cut(true, &mut clauses);
            rest = later;
        }
        clauses
    }

    /// The answer is whole: gives what is left.
    pub fn finish(&mut self) -> Vec<Passage> {
        let mut clauses = Vec::new();
        self.plain.finish(&mut self.said);
        self.cut(false, &mut clauses);
        if let Some(last) = clauses.last_mut() {
            (last.pause, last.continues) = (Pause::None, false);
        }
        clauses
    }

    /// The number of the clause that is being written.
    pub fn number(&self) -> u32 {
        self.given
    }

    /// Bytes that wait for what follows them.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.plain.held() + self.said.len()
    }

    fn cut(&mut self, more: bool, clauses: &mut Vec<Passage>) {
        let mut at = 0;
        loop {
            // Until the first clause is spoken there is silence.
            let next = if self.given == 0 { clause::short_clause } else { clause::next_clause };
            let Some(range) = next(&self.said, at, more) else { break };
            let rest = &self.said[range.end..];
            let behind = rest.trim_start();
            let gap = &rest[..rest.len() - behind.len()];
            // The pause is known when the white space is whole.
            if more && behind.is_empty() && !gap.contains("\n\n") {
                break;
            }
            at = range.end;
            let text = clause::speakable(&self.said[range.clone()]);
            if text.is_empty() {
                continue;
            }
            let pause = Pause::after(&self.said, &range);
            let continues = clause::continues(&text, rest);
            clauses.push(Passage { number: self.given, text, pause, continues, end: 0 });
            self.given += 1;
        }
        self.said.drain(..at);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::plain::tests::{cut_into, texts};
    use super::*;

    fn at_once(text: &str) -> Vec<Passage> {
        let mut splitter = Splitter::new("en");
        let mut clauses = splitter.push(text);
        clauses.extend(splitter.finish());
        clauses
    }

    fn texts_of(clauses: &[Passage]) -> Vec<&str> {
        clauses.iter().map(|clause| clause.text.as_str()).collect()
    }

    #[test]
    fn an_answer_becomes_clauses() {
        let clauses = at_once(
            "# Tea\n\nTo make *good* tea, you need:\n- water at 90 °C\n- leaves 🍃\n\n```sh\nboil\n```\n\
             Then wait for as long as it takes until the leaves have gone down to the ground of it. Enjoy!",
        );
        let expected = [
            ("Tea", Pause::Paragraph, false),
            ("To make good tea, you need:", Pause::Paragraph, false),
            ("water at 90 degrees Celsius", Pause::Paragraph, false),
            ("leaves", Pause::Paragraph, false),
            ("There is code for that on the screen.", Pause::Paragraph, false),
            ("Then wait for as long as it takes until the leaves have gone", Pause::None, true),
            ("down to the ground of it.", Pause::Sentence, false),
            ("Enjoy!", Pause::None, false),
        ];
        let clauses: Vec<_> = clauses
            .iter()
            .zip(0..)
            .inspect(|(clause, number)| assert_eq!(clause.number, *number))
            .map(|(clause, _)| (clause.text.as_str(), clause.pause, clause.continues))
            .collect();
        assert_eq!(clauses, expected);
    }

    #[test]
    fn the_first_clause_comes_early_and_each_as_soon_as_it_is_certain() {
        let answer = "That is a **good** question, and I am glad you ask. It is 5 km away. Yes";
        let mut splitter = Splitter::new("en");
        let mut seen = Vec::new();
        for (at, c) in answer.char_indices() {
            let clauses = splitter.push(c.encode_utf8(&mut [0; 4]));
            seen.extend(clauses.into_iter().map(|clause| (clause.text, &answer[..=at])));
        }
        let upto = |text: &str| &answer[..answer.find(text).unwrap() + text.len()];
        assert_eq!(
            seen,
            [
                ("That is a good question,".to_owned(), upto("question, a")),
                ("and I am glad you ask.".to_owned(), upto("ask. I")),
                ("It is 5 kilometers away.".to_owned(), upto("away. Y")),
            ]
        );
        assert_eq!(texts_of(&splitter.finish()), ["Yes"]);
    }

    #[test]
    fn what_says_nothing_is_no_clause() {
        assert_eq!(at_once("🙂\n\n—\n\n![](a.png) ..."), []);
        assert_eq!(texts_of(&at_once("Well.\n\n***\n\n🙂 — Yes.")), ["Well.", "— Yes."]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn clauses_do_not_depend_on_the_pieces(
            text in texts(),
            sizes in prop::collection::vec(1_usize..40, 1..8),
        ) {
            let mut splitter = Splitter::new("en");
            let mut clauses = Vec::new();
            for piece in cut_into(&text, &sizes) {
                clauses.extend(splitter.push(piece));
                prop_assert!(splitter.held() < 6 * 1024);
            }
            clauses.extend(splitter.finish());
            prop_assert_eq!(clauses, at_once(&text));
        }

        #[test]
        fn all_that_is_said_is_spoken_in_order(text in texts()) {
            let mut said = String::new();
            let mut plain = Plain::new("en");
            plain.push(&text, &mut said);
            plain.finish(&mut said);
            let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            let clauses = at_once(&text);
            prop_assert!(clauses.iter().all(|clause| clause::has_speech(&clause.text)));
            prop_assert!(clauses.iter().zip(0..).all(|(clause, number)| clause.number == number));
            let spoken: String = clauses.iter().map(|clause| letters(&clause.text)).collect();
            prop_assert_eq!(spoken, letters(&clause::speakable(&said)));
        }
    }
}
