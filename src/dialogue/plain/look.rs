//! Looking ahead in a text that is still being written. Invariant: whatever looked past the end says
//! so, and is asked again when there is more; so no decision depends on how the text came.

/// A place in a text, and whether anything looked behind its end.
pub(super) struct Look<'a> {
    text: &'a str,
    /// Bytes that were passed.
    pub at: usize,
    /// More text could change the answer.
    pub ran_out: bool,
}

impl<'a> Look<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, ran_out: false }
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub fn peek(&mut self) -> Option<char> {
        let next = self.rest().chars().next();
        self.ran_out |= next.is_none();
        next
    }

    /// What follows, with the end as a space: for questions about what stands beside a mark.
    pub fn beside(&mut self) -> char {
        self.peek().unwrap_or(' ')
    }

    pub fn eat(&mut self, c: char) -> bool {
        let eaten = self.peek() == Some(c);
        self.at += if eaten { c.len_utf8() } else { 0 };
        eaten
    }

    /// At most `most` characters of a kind.
    pub fn eat_all(&mut self, most: usize, kind: impl Fn(char) -> bool) -> &'a str {
        let from = self.at;
        for _ in 0..most {
            match self.peek() {
                Some(c) if kind(c) => self.at += c.len_utf8(),
                _ => break,
            }
        }
        &self.text[from..self.at]
    }
}

/// What may be looked at of `text` for a thing of at most `most` bytes, and whether more of that may
/// come.
pub(super) fn window(text: &str, most: usize, more: bool) -> (&str, bool) {
    if text.len() > most { (&text[..text.floor_char_boundary(most)], false) } else { (text, more) }
}

/// What was taken of the text at hand, or what is waited for.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// So many bytes are done with.
    Took(usize),
    /// It is not certain yet.
    Wait(Wait),
}

/// Until when there is no use in asking again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wait {
    /// One of these must come; none for any character.
    pub until: &'static str,
    /// Or the text at hand must be longer than this many bytes.
    pub bytes: usize,
}

impl Step {
    /// Any further character may decide.
    pub const NEXT: Self = Self::Wait(Wait { until: "", bytes: 0 });
}

impl From<Wait> for Step {
    fn from(wait: Wait) -> Self {
        Self::Wait(wait)
    }
}
