//! What stands in a line: emphasis, code, links, tags, entities, formulas. Invariant: each step takes
//! something, or waits for what can still change it, within the limits; a line's end is left to
//! the blocks.

use super::html::{self, Angle};
use super::language::Language;
use super::link::{self, Address, Bracket};
use super::look::{Look, Step};
use super::marks::{self, RUN_CHARS};
use super::math::{self, Formula};
use super::voice::Voice;

/// Where in a paragraph the text stands.
pub(super) struct Inline {
    words: &'static Language,
    /// The last character that was written.
    before: char,
    /// Bytes of this line so far.
    taken: usize,
    /// Marks of emphasis that are open: `*`, `_`, `~`.
    open: [usize; 3],
    /// Backticks that end the code which began.
    code: Option<usize>,
    /// Within an address whose host was said: how many of its own parentheses are open.
    address: Option<u32>,
    /// Of links, from where to where nothing is said; the innermost last.
    links: Vec<(usize, usize)>,
    /// In a heading, which may be closed by `#` as well.
    pub heading: bool,
}

impl Inline {
    pub fn new(words: &'static Language) -> Self {
        Self {
            words,
            before: '\n',
            taken: 0,
            open: [0; 3],
            code: None,
            address: None,
            links: Vec::new(),
            heading: false,
        }
    }

    /// A line is over; code and emphasis may go on in the next one.
    pub fn end_line(&mut self) {
        (self.before, self.taken, self.address) = ('\n', 0, None);
        self.links.clear();
    }

    /// One step into `text`, which begins with no line's end.
    pub fn step(&mut self, text: &str, more: bool, voice: &mut Voice) -> Step {
        let (mut text, mut more) = (text, more);
        if let Some(&(from, to)) = self.links.last() {
            if self.taken >= from {
                self.links.pop();
                (self.code, self.address) = (None, None);
                // Nothing else is taken of a line than what was looked at.
                let bytes = to.saturating_sub(self.taken);
                voice.drop();
                return self.took(text, bytes);
            }
            (text, more) = (&text[..from - self.taken], false);
        }
        let step = match (self.code, self.address) {
            (Some(ticks), _) => self.in_code(text, ticks, more, voice),
            (None, Some(depth)) => self.in_address(text, depth, more, voice),
            (None, None) => self.in_text(text, more, voice),
        };
        match step {
            Step::Took(bytes) => self.took(text, bytes),
            wait => wait,
        }
    }

    fn took(&mut self, text: &str, bytes: usize) -> Step {
        self.taken += bytes;
        self.before = text[..bytes].chars().next_back().unwrap_or(self.before);
        Step::Took(bytes)
    }

    fn in_code(&mut self, text: &str, ticks: usize, more: bool, voice: &mut Voice) -> Step {
        let end = text.find(['`', '\n']).unwrap_or(text.len());
        if end > 0 {
            voice.pass(&text[..end]);
            return Step::Took(end);
        }
        let mut look = Look::new(text);
        let run = look.eat_all(RUN_CHARS, |c| c == '`').len();
        if look.ran_out && more {
            return Step::NEXT;
        }
        if run == ticks {
            self.code = None;
        }
        Step::Took(run)
    }

    fn in_address(&mut self, text: &str, depth: u32, more: bool, voice: &mut Voice) -> Step {
        let mut depth = depth;
        let (step, over) = link::rest_of_address(text, more, &mut depth);
        self.address = (!over).then_some(depth);
        // It ended right here.
        if step == Step::Took(0) { self.in_text(text, more, voice) } else { step }
    }

    fn in_text(&mut self, text: &str, more: bool, voice: &mut Voice) -> Step {
        let plain = self.plain_length(text);
        if plain > 0 {
            voice.text(&text[..plain]);
            return Step::Took(plain);
        }
        match text.chars().next() {
            Some(mark @ ('*' | '_' | '~')) => self.emphasis(mark, text, more, voice),
            Some('`') => self.ticks(text, more),
            Some('[') => self.bracket(text, 0, more, voice),
            Some('!') => match text[1..].chars().next() {
                None if more => Step::NEXT,
                Some('[') => self.bracket(text, 1, more, voice),
                _ => say(voice, "!"),
            },
            Some('<') => self.angle(text, more, voice),
            Some('&') => entity(text, more, voice),
            Some('\\') => self.escape(text, more, voice),
            Some('$') => self.formula(math::dollar(text, self.before, more), "$", voice),
            Some('#') => close_heading(text, more, voice),
            Some(first) => self.address(text, first, more, voice),
            None => Step::Took(0),
        }
    }

    /// How far there is nothing but words.
    fn plain_length(&self, text: &str) -> usize {
        let mut before = self.before;
        for (at, c) in text.char_indices() {
            let begins_word = !before.is_alphanumeric() || before >= '\u{2e80}';
            if "\n*_~`[!<&\\$".contains(c)
                || begins_word && link::may_begin_address(c)
                || c == '#' && self.heading
            {
                return at;
            }
            before = c;
        }
        text.len()
    }

    fn emphasis(&mut self, mark: char, text: &str, more: bool, voice: &mut Voice) -> Step {
        let mut look = Look::new(text);
        let run = look.eat_all(RUN_CHARS, |c| c == mark);
        let after = look.beside();
        if look.ran_out && more {
            return Step::NEXT;
        }
        let open = &mut self.open["*_~".find(mark).unwrap_or(0)];
        if !marks::is_emphasis(mark, run.len(), self.before, after, open) {
            voice.text(run);
        }
        Step::Took(run.len())
    }

    /// Code begins. Whether it ends is not waited for: without an end, all that is lost are marks.
    fn ticks(&mut self, text: &str, more: bool) -> Step {
        let mut look = Look::new(text);
        let run = look.eat_all(RUN_CHARS, |c| c == '`').len();
        if look.ran_out && more {
            return Step::NEXT;
        }
        self.code = Some(run);
        Step::Took(run)
    }

    /// A bracket, and before it the `!` of an image.
    fn bracket(&mut self, text: &str, from: usize, more: bool, voice: &mut Voice) -> Step {
        match link::bracket(&text[from..], more, self.before == '\n') {
            Bracket::Wait(wait) => wait.into(),
            Bracket::Text => say(voice, &text[..=from]),
            Bracket::Mark(bytes) => {
                voice.drop();
                Step::Took(from + bytes)
            }
            Bracket::Link(end, all) => {
                let start = self.taken + from;
                self.links.push((start + end, start + all));
                Step::Took(from + 1)
            }
        }
    }

    fn angle(&mut self, text: &str, more: bool, voice: &mut Voice) -> Step {
        match html::angle(text, more) {
            Angle::Wait(wait) => wait.into(),
            Angle::Text => say(voice, "<"),
            Angle::Tag(bytes, effect) => {
                effect.apply(voice);
                Step::Took(bytes)
            }
            Angle::Address(written, bytes) => {
                match link::address(written, false) {
                    Address::Host(host, _, _) => voice.pass(host),
                    Address::Scheme(bytes) => voice.pass(&written[bytes..]),
                    Address::None | Address::Wait => voice.pass(written),
                }
                Step::Took(bytes)
            }
        }
    }

    fn escape(&mut self, text: &str, more: bool, voice: &mut Voice) -> Step {
        match text[1..].chars().next() {
            None if more => Step::NEXT,
            Some('(') => self.formula(math::bracketed(text, more), "\\(", voice),
            Some('[') => self.formula(math::bracketed(text, more), "\\[", voice),
            Some(c) if c.is_ascii_punctuation() => {
                voice.text(&text[1..2]);
                Step::Took(2)
            }
            // At a line's end it breaks the line.
            Some('\n') => Step::Took(1),
            _ => say(voice, "\\"),
        }
    }

    /// A formula, or the sign that is none.
    fn formula(&self, found: Formula<'_>, sign: &str, voice: &mut Voice) -> Step {
        match found {
            Formula::Wait(wait) => wait.into(),
            Formula::Text => {
                voice.text(&sign[sign.len() - 1..]);
                Step::Took(sign.len())
            }
            Formula::Found(inner, bytes) => {
                match math::plainly(inner, self.words.powers) {
                    Some(said) => voice.text(&said),
                    None => voice.drop(),
                }
                Step::Took(bytes)
            }
        }
    }

    fn address(&mut self, text: &str, first: char, more: bool, voice: &mut Voice) -> Step {
        match link::address(text, more) {
            Address::Wait => Step::NEXT,
            Address::None => say(voice, &text[..first.len_utf8()]),
            Address::Scheme(bytes) => Step::Took(bytes),
            Address::Host(host, bytes, goes_on) => {
                voice.pass(host);
                self.address = goes_on.then_some(0);
                Step::Took(bytes)
            }
        }
    }
}

/// Says what turned out to be text.
fn say(voice: &mut Voice, text: &str) -> Step {
    voice.text(text);
    Step::Took(text.len())
}

/// The `#` at a heading's end are marks.
fn close_heading(text: &str, more: bool, voice: &mut Voice) -> Step {
    let mut look = Look::new(text);
    let run = look.eat_all(RUN_CHARS, |c| c == '#');
    look.eat_all(RUN_CHARS, |c| c == ' ');
    match look.peek() {
        None if more => Step::NEXT,
        None | Some('\n') => Step::Took(look.at),
        Some(_) => say(voice, run),
    }
}

fn entity(text: &str, more: bool, voice: &mut Voice) -> Step {
    let mut look = Look::new(text);
    let decoded = marks::entity(&mut look);
    match decoded {
        _ if look.ran_out && more => Step::NEXT,
        None => say(voice, "&"),
        Some(c) => {
            voice.text(c.encode_utf8(&mut [0; 4]));
            Step::Took(look.at)
        }
    }
}

/// A text that is whole, as a cell of a table, in one line.
pub(super) fn whole(text: &str, words: &'static Language) -> String {
    let (mut voice, mut inline) = (Voice::new(words), Inline::new(words));
    let mut rest = text.trim();
    while let Step::Took(bytes @ 1..) = inline.step(rest, false, &mut voice) {
        rest = &rest[bytes..];
    }
    voice.finish();
    let mut said = String::new();
    voice.take(&mut said);
    said.trim().split('\n').filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}
