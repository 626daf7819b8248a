//! How a line begins: what block it opens or goes on with. Invariant: prose is told by its first
//! character; only marks that could still become something else are waited for.

use super::look::Look;
use super::table;

/// Spaces before a line's text that are looked at.
const INDENT_CHARS: usize = 64;
/// Marks of a rule, letters behind a fence, and of an address.
const MARKS: usize = 256;
/// Characters of a reference's label.
const LABEL_CHARS: usize = 128;
/// Digits of a numbered item.
const NUMBER_DIGITS: usize = 9;

/// How a line begins; the numbers are bytes that are done with.
#[derive(Debug, PartialEq)]
pub(super) enum Opening {
    /// Nothing on it.
    Blank(usize),
    Heading(usize),
    Bullet(usize),
    /// An item's number, which is said, begins and ends here.
    Number(usize, usize),
    Quote(usize),
    /// A line of dashes.
    Rule(usize),
    Fence {
        bytes: usize,
        mark: char,
        length: usize,
    },
    /// Code by its indentation.
    Indented(usize),
    /// The row of a table, behind its indentation.
    Row(usize),
    /// The mark of a footnote, whose text follows.
    Note(usize),
    /// `[label]: address`, of which nothing is said.
    Definition,
    /// Text, behind its indentation.
    Text(usize),
}

/// How `text` begins; `None` where more must come to know. `begun` is a line of which a mark was read,
/// as of a quote. Code by indentation stands only where a paragraph begins.
pub(super) fn opening(text: &str, more: bool, begun: bool, may_be_code: bool) -> Option<Opening> {
    let mut look = Look::new(text);
    let indent = look.eat_all(INDENT_CHARS, |c| c == ' ' || c == '\t');
    let columns = indent.len() + 3 * indent.matches('\t').count();
    let indented = look.at;
    let found = match look.peek() {
        None => Opening::Text(indented),
        Some('\n') => Opening::Blank(indented + 1),
        Some(_) if may_be_code && !begun && columns >= 4 => Opening::Indented(indented),
        Some(c) => marked(&mut look, c, begun).unwrap_or(Opening::Text(indented)),
    };
    (!(look.ran_out && more)).then_some(found)
}

fn marked(look: &mut Look<'_>, first: char, begun: bool) -> Option<Opening> {
    let from = look.at;
    match first {
        '#' => heading(look),
        '>' => {
            look.eat('>');
            look.eat(' ');
            // The space is known with the next character, and so is what follows.
            look.peek();
            Some(Opening::Quote(look.at))
        }
        '`' | '~' => fence(look, first),
        '|' => Some(Opening::Row(from)),
        '[' => definition(look, begun),
        '0'..='9' => number(look),
        '-' | '*' | '_' | '=' | ':' | '+' | '•' => {
            let rule = if "+•".contains(first) { None } else { rule(look) };
            if rule.is_none() && !look.ran_out {
                look.at = from;
                return bullet(look, first);
            }
            rule
        }
        _ => None,
    }
}

fn heading(look: &mut Look<'_>) -> Option<Opening> {
    let marks = look.eat_all(7, |c| c == '#').len();
    let spaced = look.beside().is_whitespace();
    look.eat_all(INDENT_CHARS, |c| c == ' ');
    (marks < 7 && spaced).then_some(Opening::Heading(look.at))
}

fn bullet(look: &mut Look<'_>, first: char) -> Option<Opening> {
    look.eat(first);
    let spaced = look.beside().is_whitespace();
    look.eat(' ');
    ("-*+•".contains(first) && spaced).then_some(Opening::Bullet(look.at))
}

fn number(look: &mut Look<'_>) -> Option<Opening> {
    let from = look.at;
    look.eat_all(NUMBER_DIGITS, |c| c.is_ascii_digit());
    let marked = look.eat('.') || look.eat(')');
    let spaced = marked && look.peek().is_some_and(char::is_whitespace);
    spaced.then_some(Opening::Number(from, look.at))
}

/// `---`, `* * *`, `===`, and the second line of a table whose first could not be known as one.
fn rule(look: &mut Look<'_>) -> Option<Opening> {
    let first = look.peek()?;
    let space = |c: char| c == ' ' || c == '\t';
    let kind = |c: char| c == first || space(c) || "|-: ".contains(c) && "-:".contains(first);
    let line = look.eat_all(MARKS, kind);
    let count = line.matches(first).count();
    let same = first != ':' && count > 2 && line.chars().all(|c| c == first || space(c));
    if !same && !table::is_delimiter(line) {
        // A letter tells that it is none; until then it may become one.
        look.peek();
        return None;
    }
    let full = line.chars().count() == MARKS;
    (full || look.peek().is_none() || look.eat('\n')).then_some(Opening::Rule(look.at))
}

/// ` ```rust `, but not ` ```code``` `, which is in a line.
fn fence(look: &mut Look<'_>, mark: char) -> Option<Opening> {
    let length = look.eat_all(MARKS, |c| c == mark).len();
    if length < 3 {
        return None;
    }
    let open = |c: char| c != '\n' && (c != '`' || mark == '~');
    look.eat_all(MARKS, open);
    let ends = look.peek().is_none() || look.eat('\n');
    ends.then_some(Opening::Fence { bytes: look.at, mark, length })
}

/// Whether a quote's mark stands at the beginning of a line.
pub(super) fn is_quoted(look: &mut Look<'_>) -> bool {
    look.eat_all(INDENT_CHARS, |c| c == ' ' || c == '\t');
    look.peek() == Some('>')
}

/// Passes `mark`s that may close a fence of `length`, at the beginning of a line; whether they do.
pub(super) fn closes_fence(look: &mut Look<'_>, mark: char, length: usize) -> bool {
    look.eat_all(INDENT_CHARS, |c| " \t>".contains(c));
    let marks = look.eat_all(MARKS, |c| c == mark).len();
    if marks < length {
        return false;
    }
    look.eat_all(INDENT_CHARS, |c| c == ' ' || c == '\t');
    look.peek().is_none() || look.eat('\n')
}

/// `[label]: address "title"`, `[^1]: text`, and the box of a task.
fn definition(look: &mut Look<'_>, begun: bool) -> Option<Opening> {
    look.eat('[');
    let label = look.eat_all(LABEL_CHARS, |c| !"[]\n".contains(c));
    if !look.eat(']') {
        return None;
    }
    if begun && matches!(label, " " | "x" | "X") && look.peek() == Some(' ') {
        return Some(Opening::Quote(look.at));
    }
    if !look.eat(':') {
        return None;
    }
    look.eat_all(INDENT_CHARS, |c| c == ' ');
    if label.starts_with('^') {
        return Some(Opening::Note(look.at));
    }
    let address = look.eat_all(MARKS, |c| !c.is_whitespace());
    look.eat_all(INDENT_CHARS, |c| c == ' ');
    let points = address.starts_with(['<', '/', '#']) || address.contains("://");
    let titled = look.peek().is_none_or(|c| "\n\"'(".contains(c));
    (points && titled).then_some(Opening::Definition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Opening {
        opening(text, false, false, false).unwrap()
    }

    #[test]
    fn a_line_is_what_its_marks_say() {
        assert_eq!(of("## A"), Opening::Heading(3));
        assert_eq!(of("- a"), Opening::Bullet(2));
        assert_eq!(of("  * a"), Opening::Bullet(4));
        assert_eq!(of("12. a"), Opening::Number(0, 3));
        assert_eq!(of("> a"), Opening::Quote(2));
        assert_eq!(of("- - -\na"), Opening::Rule(6));
        assert_eq!(of("***"), Opening::Rule(3));
        assert_eq!(of("===\n"), Opening::Rule(4));
        assert_eq!(of("--|:-:\n"), Opening::Rule(7));
        assert_eq!(of("```rust\nx"), Opening::Fence { bytes: 8, mark: '`', length: 3 });
        assert_eq!(of("[^1]: a"), Opening::Note(6));
        assert_eq!(of("[a]: https://b \"c\""), Opening::Definition);
        assert_eq!(of("  \n"), Opening::Blank(3));
        assert_eq!(of("| a"), Opening::Row(0));
        assert_eq!(opening("    a", false, false, true), Some(Opening::Indented(4)));
        assert_eq!(opening("[x] a", false, true, true), Some(Opening::Quote(3)));
    }

    #[test]
    fn prose_is_text_at_once() {
        for text in
            ["a", "#a", "-a", "**b", "*b", "5 ", "5.5", "–", "\"", "~5", "`a", "--", "__i", "=="]
        {
            let known = opening(&format!("{text}x"), true, false, true);
            assert_eq!(known, Some(Opening::Text(0)), "{text}");
        }
        for text in ["", "#", "-", "- ", "--", "5", "5.", "``", "```a", "[a", "[a]:", "  "] {
            assert_eq!(opening(text, true, false, true), None, "{text}");
        }
        assert_eq!(opening("[a] b", false, false, false), Some(Opening::Text(0)));
        assert_eq!(of("```a``` b"), Opening::Text(0));
    }
}
