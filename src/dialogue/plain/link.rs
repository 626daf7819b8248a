//! What points elsewhere: links and images, footnote marks, addresses. Invariant: a bracket is only
//! held while it can still be a link, on its own line and within the limits.

use super::look::{Look, Step, Wait, window};
use crate::limits::{PLAIN_HELD_BYTES, PLAIN_SPAN_BYTES};

/// Brackets in brackets that are followed.
const DEPTH: u32 = 4;
/// A footnote's mark, a reference's label.
const LABEL_CHARS: usize = 128;
/// Bytes behind a link's text; with that, and an image's mark, it is held.
const TAIL_BYTES: usize = PLAIN_HELD_BYTES - PLAIN_SPAN_BYTES - 2;
/// A host's name has at most 253 characters.
const HOST_CHARS: usize = 256;
/// What addresses begin with.
const SCHEMES: [&str; 5] = ["https://", "http://", "www.", "mailto:", "ftp://"];
/// At the end of an address these belong to the sentence.
const TRAILING: &str = ".,;:!?*_~'\\";

/// What a bracket turned out to be.
#[derive(Debug, PartialEq)]
pub(super) enum Bracket {
    /// Nothing but a bracket.
    Text,
    /// The text of it ends, and all of it.
    Link(usize, usize),
    /// So many bytes that are not said.
    Mark(usize),
    Wait(Wait),
}

/// What begins with the `[` that `text` begins with.
pub(super) fn bracket(text: &str, more: bool, opens_line: bool) -> Bracket {
    let (near, more_near) = window(text, PLAIN_SPAN_BYTES, more);
    let wait = Bracket::Wait(Wait { until: "[]`\n", bytes: PLAIN_SPAN_BYTES });
    let end = match closing(near) {
        Closing::At(end) => end,
        Closing::Never => return Bracket::Text,
        Closing::RanOut => return if more_near { wait } else { Bracket::Text },
    };
    let inner = &text[1..end];
    let rest = &text[end + 1..];
    let (tail, more_tail) = window(rest, TAIL_BYTES, more);
    let tail_bytes = match tail.chars().next() {
        None if more_tail => return Bracket::Wait(Wait::default()),
        Some('(') => destination(tail, more_tail),
        // "[1][2]" are two marks.
        Some('[') if !is_mark(inner) => label(tail, more_tail),
        _ => Tail::None,
    };
    match tail_bytes {
        Tail::Wait(until) => {
            let bytes = end + 1 + TAIL_BYTES;
            Bracket::Wait(Wait { until, bytes })
        }
        // At the beginning of a line it numbers what follows.
        tail if is_mark(inner) && (!opens_line || inner.starts_with('^')) => {
            Bracket::Mark(end + 1 + tail.bytes())
        }
        Tail::Bytes(bytes) => Bracket::Link(end, end + 1 + bytes),
        Tail::None => Bracket::Text,
    }
}

/// `[^1]`, and a number of a source as `[1]` or `[2, 3]`.
fn is_mark(inner: &str) -> bool {
    let numbers = |n: &str| {
        (1..4).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()) && !n.starts_with('0')
    };
    inner.starts_with('^') && !inner.contains(' ') || inner.split(", ").all(numbers)
}

enum Closing {
    At(usize),
    RanOut,
    Never,
}

/// Where the bracket closes that `text` begins with.
fn closing(text: &str) -> Closing {
    let (mut depth, mut escaped, mut code) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return Closing::Never,
            '`' => code = !code,
            _ if code => {}
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        match depth {
            0 => return Closing::At(at),
            1..=DEPTH => {}
            _ => return Closing::Never,
        }
    }
    Closing::RanOut
}

#[derive(Clone, Copy)]
enum Tail {
    Bytes(usize),
    None,
    /// For one of these, or any.
    Wait(&'static str),
}

impl Tail {
    fn bytes(self) -> usize {
        if let Tail::Bytes(bytes) = self { bytes } else { 0 }
    }

    fn ran_out(more: bool, until: &'static str) -> Self {
        if more { Tail::Wait(until) } else { Tail::None }
    }
}

/// `(address "title")`. Words in parentheses are words, which shows at their first space.
fn destination(text: &str, more: bool) -> Tail {
    let mut look = Look::new(text);
    look.eat('(');
    look.eat_all(LABEL_CHARS, |c| c == ' ');
    let mut depth = 1;
    let in_angles = look.eat('<');
    loop {
        let Some(c) = look.peek() else { return Tail::ran_out(more, "()<> \n") };
        match c {
            '\n' => return Tail::None,
            '(' => depth += 1,
            ')' if !in_angles => depth -= 1,
            ' ' if !in_angles => break,
            '>' if in_angles => {
                look.eat('>');
                break;
            }
            _ => {}
        }
        look.eat(c);
        match depth {
            0 => return Tail::Bytes(look.at),
            1..=DEPTH => {}
            _ => return Tail::None,
        }
    }
    look.eat_all(LABEL_CHARS, |c| c == ' ');
    let quote = look.beside();
    if let '"' | '\'' | '(' = quote {
        look.eat(quote);
        let close = if quote == '(' { ')' } else { quote };
        look.eat_all(PLAIN_HELD_BYTES, |c| c != close && c != '\n');
        look.eat(close);
        look.eat_all(LABEL_CHARS, |c| c == ' ');
    }
    match look.eat(')') {
        true => Tail::Bytes(look.at),
        false if look.ran_out => Tail::ran_out(more, ""),
        false => Tail::None,
    }
}

/// `[label]`; one that is empty repeats the text.
fn label(text: &str, more: bool) -> Tail {
    let mut look = Look::new(text);
    look.eat('[');
    look.eat_all(LABEL_CHARS, |c| !"[]\n".contains(c));
    match look.eat(']') {
        true => Tail::Bytes(look.at),
        false if look.ran_out => Tail::ran_out(more, ""),
        false => Tail::None,
    }
}

/// The beginning of an address.
#[derive(Debug, PartialEq)]
pub(super) enum Address<'a> {
    None,
    Wait,
    /// Only a scheme that is not said, of so many bytes.
    Scheme(usize),
    /// The host, the bytes up to its end, and whether the address goes on.
    Host(&'a str, usize, bool),
}

/// Whether an address can begin with this character.
pub(super) fn may_begin_address(c: char) -> bool {
    matches!(c, 'h' | 'w' | 'm' | 'f')
}

/// The address that begins here, if one does: of it the host is said.
pub(super) fn address(text: &str, more: bool) -> Address<'_> {
    let Some(scheme) = SCHEMES.into_iter().find(|scheme| text.starts_with(scheme)) else {
        let begun = more && SCHEMES.iter().any(|scheme| scheme.starts_with(text));
        return if begun { Address::Wait } else { Address::None };
    };
    if scheme == "mailto:" {
        return Address::Scheme(scheme.len());
    }
    let from = if scheme == "www." { 0 } else { scheme.len() };
    let mut look = Look::new(&text[from..]);
    let part = |c: char| (c.is_alphanumeric() || "-._".contains(c)) && c < '\u{2e80}';
    let host = look.eat_all(HOST_CHARS, part);
    let end = host.trim_end_matches(['.', '-', '_']);
    let goes_on = end.len() == host.len() && continues_address(&mut look);
    if look.ran_out && more {
        return Address::Wait;
    }
    let said = end.strip_prefix("www.").unwrap_or(end);
    if said.is_empty() || scheme == "www." && !said.contains('.') {
        return Address::None;
    }
    Address::Host(said, from + end.len(), goes_on)
}

fn continues_address(look: &mut Look<'_>) -> bool {
    match look.peek() {
        Some('/' | '?' | '#') => true,
        Some(':') => look.eat(':') && look.peek().is_some_and(|c| c.is_ascii_digit()),
        _ => false,
    }
}

/// Passes over the rest of an address: what was taken, and whether it is over. `depth` counts its own
/// parentheses.
pub(super) fn rest_of_address(text: &str, more: bool, depth: &mut u32) -> (Step, bool) {
    let mut look = Look::new(text);
    while let Some(c) = look.peek() {
        match c {
            _ if ends_address(c) => return (Step::Took(look.at), true),
            ')' if *depth == 0 => return (Step::Took(look.at), true),
            ')' => *depth -= 1,
            '(' => *depth += 1,
            _ if TRAILING.contains(c) => {
                let from = look.at;
                look.eat_all(super::marks::RUN_CHARS, |c| TRAILING.contains(c));
                match look.peek() {
                    None if more && from == 0 => return (Step::NEXT, false),
                    None if more => return (Step::Took(from), false),
                    None => return (Step::Took(from), true),
                    Some(c) if ends_address(c) || c == ')' && *depth == 0 => {
                        return (Step::Took(from), true);
                    }
                    Some(_) => continue,
                }
            }
            _ => {}
        }
        look.eat(c);
    }
    let step = if look.at == 0 && more { Step::NEXT } else { Step::Took(look.at) };
    (step, !more)
}

fn ends_address(c: char) -> bool {
    c.is_whitespace() || "<>\"`[]|{}".contains(c) || c >= '\u{2e80}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_links_only_with_a_destination() {
        let of = |text: &str| bracket(text, false, false);
        assert_eq!(of("[a](b) c"), Bracket::Link(2, 6));
        assert_eq!(of("[a](b \"t (x)\") c"), Bracket::Link(2, 14));
        assert_eq!(of("[a](<b c>)"), Bracket::Link(2, 10));
        assert_eq!(of("[a](b_(c))."), Bracket::Link(2, 10));
        assert_eq!(of("[![a](b)](c)"), Bracket::Link(8, 12));
        assert_eq!(of("[a][b]"), Bracket::Link(2, 6));
        assert_eq!(of("[^1] x"), Bracket::Mark(4));
        assert_eq!(of("[1][2]"), Bracket::Mark(3));
        assert_eq!(of("[2, 3](u)."), Bracket::Mark(9));
        for text in
            ["[sic]", "[sic](which is so)", "[a", "[a\n](b)", "[0, 1]", "[2024]", "[[[[[a]]]]](b)"]
        {
            assert_eq!(of(text), Bracket::Text, "{text}");
        }
        assert_eq!(bracket("[1] A", false, true), Bracket::Text);
        assert!(matches!(bracket("[a](b", true, false), Bracket::Wait(_)));
        assert_eq!(bracket("[a](b c", true, false), Bracket::Text);
        assert_eq!(bracket(&format!("[{}", "a".repeat(600)), true, false), Bracket::Text);
    }

    #[test]
    fn of_an_address_the_host_is_said() {
        let of = |text: &'static str| address(text, false);
        assert_eq!(of("https://www.example.com/a."), Address::Host("example.com", 23, true));
        assert_eq!(of("http://localhost:8080 x"), Address::Host("localhost", 16, true));
        assert_eq!(of("https://a.de: x"), Address::Host("a.de", 12, false));
        assert_eq!(of("https://a.de..."), Address::Host("a.de", 12, false));
        assert_eq!(of("www.a.de/x"), Address::Host("a.de", 8, true));
        for text in ["how", "www", "www.", "www.de", "https://", "https:///x", "httpsx"] {
            assert_eq!(of(text), Address::None, "{text}");
        }
        assert_eq!(address("htt", true), Address::Wait);
        assert_eq!(address("https://a.d", true), Address::Wait);
        for (text, passed) in
            [("/a.b/c. D", 6), ("/a_(b)) c", 6), ("/a?b=c&d,e**.", 10), ("/é/x|", 5)]
        {
            assert_eq!(rest_of_address(text, false, &mut 0), (Step::Took(passed), true), "{text}");
        }
    }
}
