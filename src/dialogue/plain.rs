//! From an answer as a language model writes it, Markdown in pieces of any size, to what a person
//! would say. Invariants: what is said does not depend on how the text was cut; prose goes through
//! unchanged and at once; at most [`PLAIN_HELD_BYTES`] and a step are held back, and what has not
//! turned out to be Markdown by then is text; what is said is at most [`PLAIN_GROWTH`] times as long.
//!
//! A mark is waited for only where a wrong guess would be heard. Emphasis and code in a line need no
//! close to be known: a mark that was taken for one in error is silent either way.
//!
//! [`PLAIN_GROWTH`]: crate::limits::PLAIN_GROWTH

mod html;
mod inline;
mod language;
mod line;
mod link;
mod look;
mod marks;
mod math;
mod numbers;
mod table;
#[cfg(test)]
pub(super) mod tests;
mod voice;

use crate::limits::{PLAIN_HELD_BYTES, PLAIN_STEP_BYTES};
use inline::Inline;
use language::Language;
use line::Opening;
use look::{Look, Step, Wait};
use table::Table;
use voice::Voice;

/// The filter of one answer.
///
/// Paragraphs, headings, items of lists and rows of tables end with `"\n\n"`, where
/// [`next_clause`](crate::speech::clause::next_clause) ends a clause.
pub struct Plain {
    words: &'static Language,
    /// What was written and is not certain yet.
    held: String,
    /// When to look at it again.
    wait: Wait,
    /// The last character was `\r`, which stands for `\n`.
    returned: bool,
    place: Place,
    inline: Inline,
    voice: Voice,
    table: Option<Table>,
    /// Within a list, indented text goes on with an item.
    in_list: bool,
    /// Nothing stood on the line before, so that a paragraph begins.
    after_blank: bool,
    /// The block of code by indentation that stands here was told of.
    in_code: bool,
    /// Marks of quotes before the line, and before the last one.
    quotes: [u32; 2],
}

/// What the next character belongs to.
#[derive(Clone, Copy)]
enum Place {
    /// A line begins; marks of blocks were read on it or not.
    Line { begun: bool },
    /// A line's text.
    Text,
    /// A block of code, until so many marks stand on a line. Whether one begins here.
    Fence { mark: char, length: usize, line: bool },
    /// The rest of a line of which nothing is said.
    Skip,
}

impl Plain {
    /// A filter that puts in words of this language (`en`, `de-DE`): in the place of code, for units
    /// and ranges. An empty one is English; one that is not known gets none but about code.
    pub fn new(language: &str) -> Self {
        let words = language::words(language);
        Self {
            words,
            held: String::new(),
            wait: Wait::default(),
            returned: false,
            place: Place::Line { begun: false },
            inline: Inline::new(words),
            voice: Voice::new(words),
            table: None,
            in_list: false,
            after_blank: true,
            in_code: false,
            quotes: [0; 2],
        }
    }

    /// Takes what was written next; appends to `out` what can be said of it for certain.
    pub fn push(&mut self, written: &str, out: &mut String) {
        let mut rest = written;
        while !rest.is_empty() {
            let (step, later) = rest.split_at(step_length(rest));
            self.hold(step);
            let woken = self.wait.until.is_empty()
                || self.held.len() > self.wait.bytes
                || step.contains(|c| self.wait.until.contains(c) || c == '\r');
            if woken {
                self.run(true);
            }
            rest = later;
        }
        self.voice.take(out);
    }

    /// It is whole: appends what was held back.
    pub fn finish(&mut self, out: &mut String) {
        self.run(false);
        self.voice.finish();
        self.voice.take(out);
    }

    /// Bytes that are held back: at most [`PLAIN_HELD_BYTES`], and an amount of a few words.
    pub fn held(&self) -> usize {
        self.held.len() + self.voice.held()
    }

    /// Every kind of line's end becomes "\n".
    fn hold(&mut self, written: &str) {
        for (at, line) in written.split('\r').enumerate() {
            self.returned |= at > 0;
            let mut line = line;
            if at > 0 {
                self.held.push('\n');
            }
            if self.returned && !line.is_empty() {
                line = line.strip_prefix('\n').unwrap_or(line);
                self.returned = false;
            }
            self.held.push_str(line);
        }
    }

    fn run(&mut self, more: bool) {
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        self.wait = Wait::default();
        while at < held.len() {
            match self.step(&held[at..], more) {
                Step::Took(bytes) => at += bytes,
                Step::Wait(wait) => {
                    self.wait = wait;
                    break;
                }
            }
        }
        debug_assert!(more || at == held.len(), "at the end nothing is waited for");
        self.held = held;
        self.held.drain(..at);
        debug_assert!(self.held.len() <= PLAIN_HELD_BYTES, "{}", self.held);
    }

    fn step(&mut self, text: &str, more: bool) -> Step {
        match self.place {
            Place::Line { begun } => self.begin_line(text, begun, more),
            Place::Text if text.starts_with('\n') => {
                self.end_line();
                Step::Took(1)
            }
            Place::Text => self.inline.step(text, more, &mut self.voice),
            Place::Skip => {
                let end = text.find('\n').map(|end| end + 1);
                if end.is_some() {
                    self.place = Place::Line { begun: false };
                }
                Step::Took(end.unwrap_or(text.len()))
            }
            Place::Fence { mark, length, line } => self.in_fence(text, mark, length, line, more),
        }
    }

    fn end_line(&mut self) {
        if self.inline.heading {
            self.end_paragraph();
            self.after_blank = true;
        } else {
            self.voice.line();
        }
        self.inline.end_line();
        self.place = Place::Line { begun: false };
    }

    fn end_paragraph(&mut self) {
        self.voice.paragraph();
        self.inline = Inline::new(self.words);
    }

    fn begin_line(&mut self, text: &str, begun: bool, more: bool) -> Step {
        if !begun {
            self.quotes[0] = 0;
        }
        let may_be_code = self.after_blank && !self.in_list || self.in_code;
        let Some(opening) = line::opening(text, more, begun, may_be_code) else {
            return Step::NEXT;
        };
        if let Opening::Row(from) = opening {
            let row = self.row(&text[from..], more);
            match row {
                Step::Took(0) => {}
                Step::Took(bytes) => return Step::Took(from + bytes),
                wait => return wait,
            }
        }
        Step::Took(self.open(opening, text, begun))
    }

    /// Applies what a line begins with; the bytes that are done with.
    fn open(&mut self, opening: Opening, text: &str, begun: bool) -> usize {
        let code = self.in_code;
        self.in_code = code && matches!(opening, Opening::Blank(_));
        if !matches!(opening, Opening::Quote(_)) {
            self.table = None;
        }
        let after_blank = std::mem::replace(&mut self.after_blank, false);
        let opens_list = matches!(opening, Opening::Bullet(_) | Opening::Number(..));
        self.place = Place::Line { begun: true };
        match opening {
            Opening::Blank(bytes) => {
                self.end_paragraph();
                self.after_blank = true;
                self.place = Place::Line { begun: false };
                bytes
            }
            Opening::Quote(bytes) => {
                self.quotes[0] += u32::from(text[..bytes].contains('>'));
                self.after_blank = after_blank;
                bytes
            }
            Opening::Heading(bytes) => {
                self.end_paragraph();
                (self.inline.heading, self.in_list) = (true, false);
                self.text();
                bytes
            }
            Opening::Bullet(bytes) | Opening::Number(_, bytes) => {
                self.end_paragraph();
                self.in_list |= opens_list;
                if let Opening::Number(from, to) = opening {
                    self.voice.text(&text[from..to]);
                    self.voice.text(" ");
                }
                bytes
            }
            Opening::Rule(bytes) => {
                self.end_paragraph();
                (self.after_blank, self.in_list) = (true, false);
                self.place = Place::Line { begun: false };
                bytes
            }
            Opening::Fence { bytes, mark, length } => {
                self.tell_code();
                self.place = Place::Fence { mark, length, line: true };
                bytes
            }
            Opening::Indented(bytes) => {
                if !code {
                    self.tell_code();
                }
                (self.in_code, self.place) = (true, Place::Skip);
                bytes
            }
            Opening::Note(bytes) => {
                self.end_paragraph();
                bytes
            }
            Opening::Definition => {
                self.end_paragraph();
                (self.after_blank, self.place) = (after_blank, Place::Skip);
                0
            }
            Opening::Row(bytes) | Opening::Text(bytes) => {
                self.in_list &= begun || bytes > 0 || !after_blank;
                self.text();
                bytes
            }
        }
    }

    /// A line's text begins. A quote is a paragraph of its own.
    fn text(&mut self) {
        if self.quotes[0] != self.quotes[1] {
            let heading = self.inline.heading;
            self.end_paragraph();
            self.inline.heading = heading;
        }
        self.quotes[1] = self.quotes[0];
        self.place = Place::Text;
    }

    fn row(&mut self, text: &str, more: bool) -> Step {
        let row = Table::read(&mut self.table, self.words, text, more, &mut self.voice);
        if let Step::Took(1..) = row {
            self.inline = Inline::new(self.words);
            (self.in_code, self.after_blank) = (false, true);
            self.place = Place::Line { begun: false };
        }
        row
    }

    /// Code is not read out.
    fn tell_code(&mut self) {
        self.end_paragraph();
        self.voice.pass(self.words.code);
        self.voice.paragraph();
    }

    fn in_fence(&mut self, text: &str, mark: char, length: usize, line: bool, more: bool) -> Step {
        if !line {
            let end = text.find('\n').map(|end| end + 1);
            self.place = Place::Fence { mark, length, line: end.is_some() };
            return Step::Took(end.unwrap_or(text.len()));
        }
        let mut look = Look::new(text);
        // A quote takes what it began with it.
        let left = self.quotes[0] > 0 && !line::is_quoted(&mut look);
        let closed = !left && line::closes_fence(&mut look, mark, length);
        if look.ran_out && more {
            return Step::NEXT;
        }
        if closed || left {
            self.after_blank = true;
            self.place = Place::Line { begun: false };
            return Step::Took(if closed { look.at } else { 0 });
        }
        self.place = Place::Fence { mark, length, line: false };
        Step::Took(0)
    }
}

/// How much of `written` is taken at once.
pub(super) fn step_length(written: &str) -> usize {
    if written.len() <= PLAIN_STEP_BYTES {
        written.len()
    } else {
        written.floor_char_boundary(PLAIN_STEP_BYTES)
    }
}
