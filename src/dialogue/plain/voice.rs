//! What is said, as it is put together: spaces, lines, paragraphs. Invariants: a paragraph ends with
//! "\n\n" at once, and never twice; nothing begins with white space; where something was dropped, one
//! space is left, and none before a mark.

use super::language::Language;
use super::numbers::Numbers;

/// Spaces in a row that are kept.
const SPACES: usize = 64;

/// The said text.
pub(super) struct Voice {
    numbers: Numbers,
    /// What nobody has taken yet.
    out: String,
    /// White space that is only said before something.
    spaces: String,
    /// A line ended, and what follows may belong to it.
    line: bool,
    /// Something was said in this paragraph.
    said: bool,
    /// Something was left out since.
    dropped: bool,
}

impl Voice {
    pub fn new(words: &'static Language) -> Self {
        Self {
            numbers: Numbers::new(words),
            out: String::new(),
            spaces: String::new(),
            line: false,
            said: false,
            dropped: false,
        }
    }

    /// Text in which numbers are said as one says them.
    pub fn text(&mut self, text: &str) {
        if let Some(body) = self.begin(text) {
            self.numbers.push(body, &mut self.out);
        }
        self.keep_spaces(&text[text.trim_end().len()..]);
    }

    /// Text as it stands: code, hosts.
    pub fn pass(&mut self, text: &str) {
        if let Some(body) = self.begin(text) {
            self.numbers.pass(body, &mut self.out);
        }
        self.keep_spaces(&text[text.trim_end().len()..]);
    }

    /// Something that stood here is not said.
    pub fn drop(&mut self) {
        self.dropped = true;
    }

    /// A line ends within a paragraph.
    pub fn line(&mut self) {
        self.line = self.said;
        self.spaces.clear();
    }

    /// A paragraph ends.
    pub fn paragraph(&mut self) {
        self.numbers.flush(&mut self.out);
        if self.said {
            self.numbers.pass("\n\n", &mut self.out);
        }
        self.spaces.clear();
        (self.line, self.said, self.dropped) = (false, false, false);
    }

    /// Nothing follows.
    pub fn finish(&mut self) {
        self.numbers.flush(&mut self.out);
        self.spaces.clear();
    }

    /// Hands over what is certain.
    pub fn take(&mut self, out: &mut String) {
        out.push_str(&self.out);
        self.out.clear();
    }

    pub fn held(&self) -> usize {
        self.numbers.held() + self.spaces.len()
    }

    /// Puts what stands between, and gives `text` without the white space around it, if there is more.
    fn begin<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        let body = text.trim();
        let first = body.chars().next()?;
        self.keep_spaces(&text[..text.len() - text.trim_start().len()]);
        if !self.said {
            self.spaces.clear();
        } else if self.line {
            "\n".clone_into(&mut self.spaces);
        } else if self.dropped {
            let space = self.spaces.chars().next().filter(|_| !".,;:!?)]}。，、".contains(first));
            self.spaces = space.map(String::from).unwrap_or_default();
        }
        let spaces = std::mem::take(&mut self.spaces);
        self.numbers.push(&spaces, &mut self.out);
        (self.line, self.said, self.dropped) = (false, true, false);
        Some(body)
    }

    fn keep_spaces(&mut self, spaces: &str) {
        for c in spaces.chars() {
            if self.spaces.len() < SPACES {
                self.spaces.push(c);
            }
        }
    }
}
