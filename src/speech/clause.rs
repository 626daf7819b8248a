//! Cuts text into clauses: pieces fit to be spoken one at a time.
//!
//! Invariant: `next_clause` looks at most a few hundred characters ahead, and whatever looks past
//! the end of the text says so. While more may come such an answer is withheld; so text that
//! streams in, in pieces of any size, gives exactly the clauses that the same text gives at once.
//!
//! A clause can have nothing to say (a line of dashes); its `speakable` is empty.

mod characters;
mod pause;
mod speakable;

use std::ops::Range;

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

use characters::*;
pub use pause::{Pause, continues};
pub use speakable::speakable;

/// A clause is cut near this many characters: about 4 s of speech, one job of an engine.
pub const TARGET_CHARS: usize = 60;
/// No clause is longer than this many characters, whatever the text: about 8 s.
pub const MOST_CHARS: usize = 120;
/// A cut leaves at least this many characters on each side where it can: a shorter piece sounds
/// like a sentence of its own, and its pauses cost more than it says.
pub const LEAST_CHARS: usize = 12;

/// The next clause at or after byte `from`, without the space around it; `None` when nothing is
/// left, or nothing whose end is certain while `more_may_come`. Calls with `from` = the last end
/// cover all but white space, in order, in linear time. A `from` inside a character gives `None`.
pub fn next_clause(text: &str, from: usize, more_may_come: bool) -> Option<Range<usize>> {
    cut(text, from, more_may_come, Stop::Sentence)
}

/// As [`next_clause`], but it ends at the first pause: a comma, a dash, the word before a conjunction.
/// Nothing is heard before the first clause of a text, so that one is better short.
pub fn short_clause(text: &str, from: usize, more_may_come: bool) -> Option<Range<usize>> {
    cut(text, from, more_may_come, Stop::Conjunction)
}

fn cut(text: &str, from: usize, more_may_come: bool, enough: Stop) -> Option<Range<usize>> {
    let rest = text.get(from..)?.trim_start();
    let start = text.len() - rest.len();
    let mut scan = Scan::new(rest);
    let end = start + scan.clause_end(enough);
    (end > start && !(more_may_come && scan.ran_out)).then_some(start..end)
}

/// Whether there is anything in `text` that an engine would say.
pub fn has_speech(text: &str) -> bool {
    text.chars().any(is_said)
}

/// How good a place is for a cut, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    Inside,
    Character,
    Word,
    Conjunction,
    Comma,
    Strong,
    Sentence,
    /// Ends a clause even when nothing was said in it.
    Paragraph,
}

/// A place: where a clause would end, and where the next step goes on.
struct Mark {
    end: usize,
    next: usize,
    stop: Stop,
}

struct Scan<'a> {
    text: &'a str,
    /// Set by every look past the end: more text could have changed the answer.
    ran_out: bool,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, ran_out: false }
    }

    /// The best place, or the first that is good `enough`.
    fn clause_end(&mut self, enough: Stop) -> usize {
        let (mut at, mut length, mut said) = (0, 0, false);
        // How good, where it would end, and how long the clause would be.
        let mut best: Option<(Stop, usize, usize)> = None;
        loop {
            // A sentence that ends just behind the target is kept whole.
            let limit = best.map_or(MOST_CHARS, |(_, _, cut)| cut.max(TARGET_CHARS) + LEAST_CHARS);
            if length > limit.min(MOST_CHARS) {
                break;
            }
            let Some(c) = self.peek(at) else { return at };
            said |= is_said(c);
            let mark = self.mark(at, c);
            let cut = length + spoken_length(&self.text[at..mark.end]);
            if cut > MOST_CHARS {
                break;
            }
            if mark.stop == Stop::Paragraph || said && mark.stop == Stop::Sentence {
                return mark.end;
            }
            let fits = said && mark.stop > Stop::Inside && cut >= LEAST_CHARS;
            if fits && mark.stop >= enough {
                return mark.end;
            }
            if fits && best.is_none_or(|(stop, _, _)| mark.stop >= stop && cut <= TARGET_CHARS) {
                best = Some((mark.stop, mark.end, cut));
            }
            length = cut + spoken_length(&self.text[mark.end..mark.next]);
            at = mark.next;
        }
        best.map_or_else(|| self.forced_end(), |(_, end, _)| end)
    }

    fn peek(&mut self, at: usize) -> Option<char> {
        let next = self.text[at..].chars().next();
        self.ran_out |= next.is_none();
        next
    }

    fn mark(&mut self, at: usize, c: char) -> Mark {
        match c {
            _ if c.is_whitespace() => self.gap(at),
            _ if ENDS.contains(c) || SURE_ENDS.contains(c) => self.sentence(at),
            ';' | ':' | '；' | '：' | '؛' => self.pause(at, c, Stop::Strong),
            ',' | '，' | '،' => self.pause(at, c, Stop::Comma),
            '、' | '､' => self.pause(at, c, Stop::Conjunction),
            _ if DASHES.contains(c) => self.dash(at, c),
            _ if is_unspaced(c) => self.between(at, c),
            _ => Mark::new(at + c.len_utf8(), Stop::Inside),
        }
    }

    /// White space: a paragraph, a line, the word before a conjunction, or a word.
    fn gap(&mut self, at: usize) -> Mark {
        let (mut next, mut lines, mut breakable) = (at, 0, false);
        while let Some(c) = self.peek(next).filter(|c| c.is_whitespace()) {
            next += c.len_utf8();
            breakable |= !matches!(c, '\u{a0}' | '\u{202f}');
            lines += usize::from(is_line_end(c) && !(c == '\r' && self.peek(next) == Some('\n')));
            // A gap longer than a clause is as good as a blank line, and bounds the look.
            if lines == 2 || next - at > MOST_CHARS {
                return Mark { end: at, next, stop: Stop::Paragraph };
            }
        }
        let opened = self.text[..at].ends_with(|c| OPENERS.contains(c));
        let stop = match self.peek(next) {
            None => Stop::Paragraph,
            Some(_) if lines == 1 && self.is_item(next) => Stop::Paragraph,
            Some(c) if !breakable || belongs_before(c) || opened => Stop::Inside,
            Some(_) if lines == 1 => Stop::Strong,
            Some(_) => {
                let end = self.run(next, |c| !c.is_whitespace());
                let word = &self.text[next..end];
                let joins = CONJUNCTIONS.split(' ').any(|listed| listed == word);
                if joins { Stop::Conjunction } else { Stop::Word }
            }
        };
        Mark { end: at, next, stop }
    }

    fn sentence(&mut self, at: usize) -> Mark {
        let dots = self.run(at, |c| ENDS.contains(c) || SURE_ENDS.contains(c));
        let end = self.closed(dots);
        let marks = &self.text[at..dots];
        let Some(next) = self.peek(end) else { return Mark::new(end, Stop::Sentence) };
        if marks.contains(|c| SURE_ENDS.contains(c)) {
            // 「はい。」と言った: quoted speech goes on.
            let quoted = end > dots && next == 'と';
            return Mark::new(end, if quoted { Stop::Inside } else { Stop::Sentence });
        }
        if !next.is_whitespace() && !is_unspaced(next) {
            return Mark::new(end, Stop::Inside);
        }
        let word = self.next_word(end);
        let goes_on = word.is_some_and(char::is_lowercase);
        let ellipsis = marks.starts_with("..") || marks.starts_with('…');
        let stop = match marks.chars().next() {
            Some('.') if !ellipsis && self.is_abbreviation(at, end, word) => Stop::Inside,
            Some('.') if goes_on => Stop::Strong,
            _ if ellipsis && (goes_on || is_unspaced(next)) => Stop::Strong,
            _ if goes_on && end > dots => Stop::Strong,
            _ => Stop::Sentence,
        };
        Mark::new(end, stop)
    }

    /// Whether the full stop at `at` belongs to its word. `next` begins the next word.
    fn is_abbreviation(&mut self, at: usize, end: usize, next: Option<char>) -> bool {
        let head = &self.text[..at];
        let before = head.trim_end_matches(is_abbreviation_part);
        let word = &head[before.len()..];
        let next = next.unwrap_or(' ');
        let letters = word.chars().count();
        if letters <= 3 && letters > 0 && word.chars().all(char::is_numeric) {
            let opens_line =
                before.trim_end_matches([' ', '\t']).is_empty() || before.ends_with('\n');
            let ordinal =
                before.split_whitespace().next_back().is_some_and(|w| is_listed(BEFORE_ORDINAL, w));
            return opens_line || ordinal && next.is_alphabetic();
        }
        if is_listed(CLOSING_ABBREVIATIONS, word) {
            return !next.is_uppercase();
        }
        if is_listed(ABBREVIATIONS, word) || next.is_numeric() && is_listed(COUNTED, word) {
            return true;
        }
        // e.g, U.S, z.B, Ph.D: letters with full stops between them.
        let cased = |c: char| c.is_lowercase() || c.is_uppercase();
        if word.contains('.') {
            return word
                .split('.')
                .all(|part| (1..=2).contains(&part.chars().count()) && part.chars().all(cased));
        }
        match word.chars().next() {
            // An initial; but "I" is an English word far more often.
            Some(c) if letters == 1 && c.is_uppercase() => c != 'I',
            // "z. B." is one word with a space; "il y en a. M. Dupont" is two sentences.
            Some(c) if letters == 1 && c.is_lowercase() => {
                next.is_lowercase() || !"aeiouyàèéó".contains(c) && self.is_initial(end)
            }
            // "د. أحمد": scripts without capitals shorten titles so.
            Some(c) => letters == 1 && c.is_alphabetic(),
            None => false,
        }
    }

    fn pause(&mut self, at: usize, c: char, stop: Stop) -> Mark {
        let end = self.closed(at + c.len_utf8());
        let parts = match self.peek(end) {
            Some(next) => next.is_whitespace() || !c.is_ascii() && !next.is_numeric(),
            None => false,
        };
        Mark::new(end, if parts { stop } else { Stop::Inside })
    }

    /// A hyphen or short dash parts where it stands alone; a long one also after a word. One that
    /// opens speech ("—Hola") belongs to what follows.
    fn dash(&mut self, at: usize, c: char) -> Mark {
        let end = self.run(at, |c| DASHES.contains(c));
        let next = self.peek(end).unwrap_or(' ');
        let (spaced, free) = (self.text[..at].ends_with(char::is_whitespace), next.is_whitespace());
        let parts = if "—―".contains(c) {
            free || !spaced && next.is_alphabetic()
        } else {
            spaced && free
        };
        Mark::new(end, if parts { Stop::Strong } else { Stop::Inside })
    }

    /// Between characters of a script that writes no spaces. In Japanese a word mostly starts where
    /// hiragana ends.
    fn between(&mut self, at: usize, c: char) -> Mark {
        let end = at + c.len_utf8();
        let Some(next) = self.peek(end) else { return Mark::new(end, Stop::Inside) };
        let whole =
            GraphemeCursor::new(end, self.text.len(), true).is_boundary(self.text, 0) == Ok(true);
        let bound = next.is_whitespace() || belongs_before(next) || QUOTES.contains(next);
        let stop = match c {
            _ if !whole || bound || NOT_FIRST.contains(next) || NOT_LAST.contains(c) => {
                Stop::Inside
            }
            'ぁ'..='ゟ' if !matches!(next, 'ぁ'..='ゟ') => Stop::Word,
            _ => Stop::Character,
        };
        Mark::new(end, stop)
    }

    /// The end of a run of such characters from `at`, as far as a clause can reach.
    fn run(&mut self, at: usize, is_part: impl Fn(char) -> bool) -> usize {
        let mut end = at;
        for _ in 0..=MOST_CHARS {
            match self.peek(end) {
                Some(c) if is_part(c) => end += c.len_utf8(),
                _ => break,
            }
        }
        end
    }

    /// The end of what closes a sentence or phrase after its mark: quotes, brackets, further marks,
    /// and the French guillemet that stands off by a space.
    fn closed(&mut self, at: usize) -> usize {
        let mut end = at;
        for _ in 0..=MOST_CHARS {
            let Some(c) = self.peek(end) else { break };
            let next = end + c.len_utf8();
            let part = is_unseen(c) || CLOSERS.contains(c) || end > at && ENDS.contains(c);
            if part || QUOTES.contains(c) && !self.is_word(next) {
                end = next;
            } else if c.is_whitespace()
                && self.peek(next) == Some('»')
                && !self.is_word(next + '»'.len_utf8())
            {
                end = next + '»'.len_utf8();
            } else {
                break;
            }
        }
        end
    }

    fn is_word(&mut self, at: usize) -> bool {
        self.peek(at).is_some_and(char::is_alphanumeric)
    }

    fn next_word_at(&mut self, at: usize) -> usize {
        self.run(at, |c| c.is_whitespace() || OPENERS.contains(c) || QUOTES.contains(c))
    }

    fn next_word(&mut self, at: usize) -> Option<char> {
        let start = self.next_word_at(at);
        self.peek(start)
    }

    /// Whether an item of a list begins here: a bullet or a number, and space.
    fn is_item(&mut self, at: usize) -> bool {
        let bullet = self.run(at, |c| BULLETS.contains(c));
        let number = self.run(at, |c| c.is_ascii_digit());
        let end = match self.peek(number) {
            _ if bullet > at => bullet,
            Some('.' | ')') if number > at => number + 1,
            _ => return false,
        };
        self.peek(end).is_some_and(char::is_whitespace)
    }

    /// Whether the next word is one letter and a full stop.
    fn is_initial(&mut self, at: usize) -> bool {
        let start = self.next_word_at(at);
        let letter = self.peek(start).filter(|c| c.is_alphabetic());
        letter.is_some_and(|c| self.peek(start + c.len_utf8()) == Some('.'))
    }

    /// No good place within reach: between the last two graphemes that fit.
    fn forced_end(&self) -> usize {
        let mut length = 0;
        let over = self.text.char_indices().find(|&(_, c)| {
            length += spoken_chars(c);
            length > MOST_CHARS
        });
        let (reach, shown) =
            over.map_or((self.text.len(), self.text.len()), |(at, c)| (at, at + c.len_utf8()));
        let starts = self.text[..shown].grapheme_indices(true).map(|(at, _)| at);
        let cut = starts.take_while(|&at| at <= reach).last().filter(|&at| at > 0).unwrap_or(reach);
        self.text[..cut].trim_end().len()
    }
}

impl Mark {
    fn new(end: usize, stop: Stop) -> Self {
        Self { end, next: end, stop }
    }
}

#[cfg(test)]
mod tests;
