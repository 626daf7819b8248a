//! Amounts as one would say them: units, currencies, ranges, "about". Invariant: only what stands
//! right behind a number, or before it, is changed, and never inside a word; everything else goes
//! through at once, but for the word behind a number.
//!
//! What is changed is what espeak-ng gets wrong; for what it says rightly see `language`.

#[cfg(test)]
mod tests;

use super::language::{Language, Money};
use super::look::Look;

/// Digits and marks of one number; what is longer is no amount.
const NUMBER_CHARS: usize = 32;
/// Characters of the longest unit or scale, and one.
const UNIT_CHARS: usize = 9;

/// Changes numbers in a text that comes in pieces.
pub(super) struct Numbers {
    words: &'static Language,
    held: String,
    /// The last two characters that went through.
    before: [char; 2],
}

impl Numbers {
    pub fn new(words: &'static Language) -> Self {
        Self { words, held: String::new(), before: [' '; 2] }
    }

    /// Takes what comes next; what is certain goes to `out`.
    pub fn push(&mut self, text: &str, out: &mut String) {
        self.held.push_str(text);
        self.run(true, out);
    }

    /// Nothing that follows belongs to what was held.
    pub fn flush(&mut self, out: &mut String) {
        self.run(false, out);
    }

    /// Takes what is not to be changed.
    pub fn pass(&mut self, text: &str, out: &mut String) {
        self.flush(out);
        out.push_str(text);
        self.passed(text);
    }

    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn passed(&mut self, text: &str) {
        for c in text.chars() {
            self.before = [self.before[1], c];
        }
    }

    fn run(&mut self, more: bool, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        let mut at = 0;
        while at < held.len() {
            let rest = &held[at..];
            let plain = self.plain_length(rest);
            out.push_str(&rest[..plain]);
            self.passed(&rest[..plain]);
            at += plain;
            let rest = &rest[plain..];
            let Some(first) = rest.chars().next() else { break };
            let mut place = Place { words: self.words, look: Look::new(rest) };
            let said = place.said(self.before);
            if place.look.ran_out && more {
                break;
            }
            let taken = if let Some(said) = said {
                out.push_str(&said);
                place.look.at
            } else {
                out.push(first);
                first.len_utf8()
            };
            self.passed(&rest[..taken]);
            at += taken;
        }
        self.held = held;
        self.held.drain(..at);
    }

    /// How far there is nothing to decide.
    fn plain_length(&self, text: &str) -> usize {
        let mut before = self.before[1];
        for (at, c) in text.char_indices() {
            let decides = match c {
                '0'..='9' => !is_joined(before) && before != '_',
                '$' | '€' | '£' | '¥' | '~' | '≈' => !is_joined(before),
                '-' | '=' => before == ' ',
                '→' | '⇒' | '²' | '³' => true,
                _ => false,
            };
            if decides {
                return at;
            }
            before = c;
        }
        text.len()
    }
}

/// One place where something may have to be said in another way.
struct Place<'a> {
    words: &'static Language,
    look: Look<'a>,
}

impl<'a> Place<'a> {
    /// What is said for the text from here to where `look` then stands; `None` leaves it.
    fn said(&mut self, before: [char; 2]) -> Option<String> {
        match self.look.peek()? {
            '→' | '⇒' => {
                self.look.eat_all(1, |_| true);
                Some(self.arrow(before[1]))
            }
            '-' | '=' => {
                self.look.eat_all(1, |_| true);
                (self.look.eat('>') && self.look.peek() == Some(' ')).then(|| self.arrow(' '))
            }
            c @ ('²' | '³') => {
                self.look.eat_all(1, |_| true);
                // "x²"; behind a word it is a footnote's mark.
                let variable = before[1].is_alphabetic() && !before[0].is_alphanumeric();
                let power = self.words.powers[usize::from(c == '³')];
                (variable && !power.is_empty()).then(|| format!(" {power}"))
            }
            _ => self.amount(before[1]),
        }
    }

    fn arrow(&mut self, before: char) -> String {
        let after = self.look.beside();
        let space = |c: char| if c.is_whitespace() { "" } else { " " };
        format!("{}{}{}", space(before), self.words.arrow, space(after))
    }

    fn amount(&mut self, before: char) -> Option<String> {
        let from = self.look.rest();
        let about = self.about();
        let money = self.money();
        let first = self.number()?;
        let mut said = format!("{}{first}", if about { self.words.about } else { "" });
        let (single, alone) = (said.clone(), self.look.at);
        let dash = self.range(before, money, &mut said);
        let ranged = dash.is_some();
        let named = match money {
            Some(money) => {
                self.named_money(money, first, ranged, &mut said)?;
                true
            }
            None => self.unit(first == "1" && !ranged, &mut said),
        };
        // "10-20 km", but not "555-1234".
        if dash == Some('-') && !named && self.look.peek() != Some('%') && !is_years(&said) {
            self.look.at = alone;
            said = single;
        }
        (said != from[..self.look.at]).then_some(said)
    }

    fn about(&mut self) -> bool {
        let sign = self.look.peek().filter(|c| self.words.about_signs.contains(*c));
        if let Some(sign) = sign.filter(|_| !self.words.about.is_empty()) {
            self.look.eat(sign);
            self.look.eat(' ');
            return true;
        }
        false
    }

    /// A currency's sign.
    fn money(&mut self) -> Option<&'static Money> {
        let sign = self.look.peek()?;
        let money = self.words.money.iter().find(|money| money.sign == sign)?;
        self.look.eat(sign);
        Some(money)
    }

    /// Digits, with marks between them.
    fn number(&mut self) -> Option<&'a str> {
        let rest = self.look.rest();
        let from = self.look.at;
        while self.look.at - from < NUMBER_CHARS {
            if self.look.eat_all(1, |c| c.is_ascii_digit()).is_empty() {
                let end = self.look.at;
                let mark = self.look.eat_all(1, |c| matches!(c, '.' | ',' | '\u{a0}' | '\u{202f}'));
                let goes_on = self.look.peek().is_some_and(|c| c.is_ascii_digit());
                if end == from || mark.is_empty() || !goes_on {
                    self.look.at = end;
                    return (end > from).then(|| &rest[..end - from]);
                }
            }
        }
        None
    }

    /// The other end of a range, and the dash before it. Dates and chains have none.
    fn range(&mut self, before: char, money: Option<&Money>, said: &mut String) -> Option<char> {
        let back = self.look.at;
        let spaced = self.look.eat(' ');
        let dash = self.look.peek().filter(|c| "-–".contains(*c));
        let first = said.clone();
        let second = dash.and_then(|dash| {
            self.look.eat(dash);
            // "5 - 3" is a difference.
            if spaced != self.look.eat(' ') || spaced && dash == '-' {
                return None;
            }
            if let Some(money) = money {
                self.look.eat(money.sign);
            }
            self.number().map(str::to_owned)
        });
        let chain = |c: char| "-–/".contains(c);
        let ends = self.look.peek().is_none_or(|c| !chain(c));
        let Some(second) = second.filter(|_| ends && !chain(before) && !self.words.to.is_empty())
        else {
            self.look.at = back;
            return None;
        };
        *said = format!("{first}{}{second}", self.words.to);
        dash
    }

    /// The unit behind a number. One letter right behind it is mostly no unit: "1980s", "5G".
    fn unit(&mut self, single: bool, said: &mut String) -> bool {
        if self.words.units.is_empty() {
            return false;
        }
        let back = self.look.at;
        let spaced = !self.look.eat_all(1, |c| matches!(c, ' ' | '\u{a0}' | '\u{202f}')).is_empty();
        let part = |c: char| c.is_alphabetic() || "°/²³".contains(c);
        let sign = self.look.eat_all(UNIT_CHARS, part).replace('μ', "µ");
        let unit = self.words.units.iter().find(|unit| unit.0 == sign);
        let joined = spaced || sign.chars().count() > 1 || matches!(&*sign, "V" | "W");
        match unit.filter(|_| joined && self.ends_word()) {
            Some(unit) => {
                said.push(' ');
                said.push_str(if single { unit.1 } else { unit.2 });
                true
            }
            None => {
                self.look.at = back;
                false
            }
        }
    }

    /// Whether no word goes on here: not "3m.com".
    fn ends_word(&mut self) -> bool {
        let at = self.look.at;
        let next = self.look.beside();
        let mut ends = !next.is_alphanumeric() && next != '_';
        if ends && ".-/@:".contains(next) {
            self.look.eat(next);
            ends = next == '-' || !self.look.beside().is_alphanumeric();
        }
        self.look.at = at;
        ends
    }

    /// "$5" → "5 dollars", "$5.50", "$5M", "$5/month".
    fn named_money(
        &mut self,
        money: &Money,
        first: &str,
        ranged: bool,
        said: &mut String,
    ) -> Option<()> {
        if let Some(scale) = self.scale() {
            *said = format!("{said} {scale} {}", money.names[1]);
        } else if self.look.peek().is_some_and(char::is_alphanumeric) {
            return None;
        } else if let Some((whole, cents)) =
            cents(first).filter(|_| !ranged && !money.cents[0].is_empty())
        {
            said.truncate(said.len() - first.len());
            let count = |n: &str, names: [&str; 2]| format!("{n} {}", names[usize::from(n != "1")]);
            let cents = Some(cents.trim_start_matches('0')).filter(|cents| !cents.is_empty());
            let cents = cents.map(|cents| count(cents, money.cents));
            said.push_str(&match cents {
                Some(cents) if whole == "0" => cents,
                Some(cents) => format!("{}{}{cents}", count(whole, money.names), money.and),
                None => count(whole, money.names),
            });
        } else {
            let single = first == "1" && !ranged;
            *said = format!("{said} {}", money.names[usize::from(!single)]);
        }
        let back = self.look.at;
        if self.look.eat('/') && self.look.peek().is_some_and(char::is_alphabetic) {
            said.push_str(self.words.per);
        } else {
            self.look.at = back;
        }
        Some(())
    }

    fn scale(&mut self) -> Option<&'static str> {
        let back = self.look.at;
        let spaced = self.look.eat(' ');
        let word = self.look.eat_all(UNIT_CHARS + 2, char::is_alphabetic);
        let scale = self.words.scales.iter().find(|scale| scale.0 == word);
        let scale = scale.filter(|_| if spaced { word.len() > 1 } else { word.len() < 3 });
        let scale = scale.filter(|_| self.ends_word());
        if scale.is_none() {
            self.look.at = back;
        }
        scale.map(|scale| scale.1)
    }
}

/// Whether a number behind it belongs to a word. Scripts without spaces join nothing.
fn is_joined(before: char) -> bool {
    before.is_alphanumeric() && before < '\u{2e80}'
}

/// "5.50" is 5 and 50 hundredths.
fn cents(number: &str) -> Option<(&str, &str)> {
    let (whole, cents) = number.rsplit_once(['.', ','])?;
    (cents.len() == 2).then_some((whole, cents))
}

/// "2010 to 2020", the later one behind.
fn is_years(said: &str) -> bool {
    let is_year = |word: &str| word.len() == 4 && matches!(word.parse(), Ok(1000..2200_u32));
    let words: Vec<&str> = said.split(' ').collect();
    matches!(words[..], [.., first, _, last] if is_year(first) && is_year(last) && first < last)
}
