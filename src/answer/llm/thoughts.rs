//! The thoughts that a reasoning model writes before its answer, `<think>…</think>`, left out as the text comes.
//! Invariants: however it is cut, what is left is the same; what is held back is the beginning of a tag and
//! nothing else, so that it costs no memory to think for long.
//!
//! DeepSeek-R1, Qwen3 and others write them so where their server does not put them into a field of their own. Thoughts
//! that a model's template begins, so that the text has only their end, cannot be told from an answer while they come.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Where the text is; see the module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Thoughts {
    /// Before the answer: so many bytes came of what may be [`OPEN`].
    Before(usize),
    /// In thoughts: so many bytes came of what may be [`CLOSE`].
    Within(usize),
    /// In the answer, in which a tag is a text like any other.
    Behind,
}

impl Default for Thoughts {
    fn default() -> Self {
        Thoughts::Before(0)
    }
}

impl Thoughts {
    /// What `text`, which comes next, has of the answer; white space before that is none of it.
    pub fn push(&mut self, mut text: String) -> String {
        if *self == Thoughts::Behind {
            return text;
        }
        let begins = |(at, char)| self.read(char).map(|held| (at, held));
        match text.char_indices().find_map(begins) {
            Some((at, held)) => text.replace_range(..at, held),
            None => text.clear(),
        }
        text
    }

    /// What was held back of the answer, which is over.
    pub fn rest(&mut self) -> &'static str {
        match std::mem::replace(self, Thoughts::Behind) {
            Thoughts::Before(held) => &OPEN[..held],
            Thoughts::Within(_) | Thoughts::Behind => "",
        }
    }

    /// Where the answer begins with this character: what was held back before it.
    fn read(&mut self, char: char) -> Option<&'static str> {
        let (next, held) = match *self {
            Thoughts::Before(at) if OPEN[at..].starts_with(char) => {
                (Thoughts::Before(at + 1), None)
            }
            Thoughts::Before(0) if char.is_whitespace() => (Thoughts::Before(0), None),
            Thoughts::Before(at) => (Thoughts::Behind, Some(&OPEN[..at])),
            Thoughts::Within(at) if CLOSE[at..].starts_with(char) => {
                (Thoughts::Within(at + 1), None)
            }
            // The only place of the tag where it may begin again is its first character.
            Thoughts::Within(_) => (Thoughts::Within(usize::from(CLOSE.starts_with(char))), None),
            Thoughts::Behind => (Thoughts::Behind, Some("")),
        };
        *self = match next {
            Thoughts::Before(at) if at == OPEN.len() => Thoughts::Within(0),
            // The answer is still to come, or more thoughts.
            Thoughts::Within(at) if at == CLOSE.len() => Thoughts::Before(0),
            next => next,
        };
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is left of a text that comes in pieces of so many characters, over and over.
    fn left(text: &str, pieces: &[usize]) -> String {
        let (mut thoughts, mut left, mut pushed) = (Thoughts::default(), String::new(), 0);
        let mut chars = text.chars();
        for piece in pieces.iter().cycle() {
            let piece: String = chars.by_ref().take(*piece).collect();
            if piece.is_empty() {
                break;
            }
            pushed += piece.len();
            left += &thoughts.push(piece);
            let held = { thoughts }.rest();
            assert!(held.len() < OPEN.len());
            assert!(text[..pushed].ends_with(held), "{held:?} is held, and did not come last");
        }
        left + thoughts.rest()
    }

    /// The same, of a text that is there as a whole.
    fn whole(text: &str) -> &str {
        let mut text = text.trim_start();
        while let Some(thoughts) = text.strip_prefix(OPEN) {
            text = thoughts.split_once(CLOSE).map_or("", |(_, behind)| behind).trim_start();
        }
        text
    }

    #[test]
    fn thoughts_before_an_answer_are_left_out() {
        for (text, answer) in [
            ("", ""),
            ("Hello.", "Hello."),
            (" \n Hello. \n", "Hello. \n"),
            ("<think>Hm.</think>Hello.", "Hello."),
            ("\n<think>\nHm, a < b and </thin and <</think>\n\n Hello.\n", "Hello.\n"),
            ("<think>\n\n</think>\n\nHello.", "Hello."),
            ("<think></think><think>b</think> Hello.", "Hello."),
            ("<think>a <think> b</think>Hello.", "Hello."),
            ("<think>Hm.</think>", ""),
            ("<think>Hm.", ""),
            ("<think>Hm.</think", ""),
            ("<think>", ""),
            ("<thin", "<thin"),
            ("<thinking>", "<thinking>"),
            ("<Think>", "<Think>"),
            ("< think>", "< think>"),
            ("<\u{1f914}", "<\u{1f914}"),
            ("<<think>a</think>", "<<think>a</think>"),
            ("It writes <think>a</think> first.", "It writes <think>a</think> first."),
            ("<think>a</think>b <think>c</think> d", "b <think>c</think> d"),
            ("</think>a", "</think>a"),
        ] {
            assert_eq!(whole(text), answer, "{text:?}");
            for pieces in [&[usize::MAX][..], &[1], &[2], &[1, 5, 3]] {
                assert_eq!(left(text, pieces), answer, "{text:?} in {pieces:?}");
            }
        }
    }

    /// Texts in which tags and halves of them are more frequent than by chance.
    fn texts() -> impl Strategy<Value = String> {
        const TAGS: [&str; 11] =
            ["<think>", "</think>", "<thi", "nk>", "</", "<", ">", "\n", " ", "think", "ü"];
        let part = prop_oneof![prop::sample::select(&TAGS[..]).prop_map(String::from), ".{0,3}"];
        prop::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn however_a_text_is_cut_the_answer_is_the_same(
            text in texts(), begins in "(<think>)?", pieces in prop::collection::vec(1usize..9, 1..6),
        ) {
            let text = begins + &text;
            prop_assert_eq!(left(&text, &pieces), whole(&text));
            prop_assert_eq!(left(&text, &[1]), whole(&text));
        }
    }
}
