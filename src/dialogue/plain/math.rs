//! Formulas in LaTeX: said where they are simple, else left to the caption. Invariant: an amount of
//! dollars is no formula, and is told from one without waiting for the next dollar.

use super::look::{Wait, window};
use crate::limits::{PLAIN_HELD_BYTES, PLAIN_SPAN_BYTES};

/// What `$`, `\(` or `\[` turned out to be.
#[derive(Debug, PartialEq)]
pub(super) enum Formula<'a> {
    /// Only that sign.
    Text,
    /// What stands inside, and the bytes of it all.
    Found(&'a str, usize),
    Wait(Wait),
}

/// Commands that a person says, by the sign that engines say for them.
const COMMANDS: [(&str, &str); 44] = [
    ("alpha", "α"),
    ("beta", "β"),
    ("gamma", "γ"),
    ("delta", "δ"),
    ("Delta", "Δ"),
    ("epsilon", "ε"),
    ("varepsilon", "ε"),
    ("theta", "θ"),
    ("lambda", "λ"),
    ("mu", "μ"),
    ("pi", "π"),
    ("rho", "ρ"),
    ("sigma", "σ"),
    ("Sigma", "Σ"),
    ("tau", "τ"),
    ("phi", "φ"),
    ("varphi", "φ"),
    ("omega", "ω"),
    ("Omega", "Ω"),
    ("times", "×"),
    ("cdot", "×"),
    ("div", "÷"),
    ("pm", "±"),
    ("le", "≤"),
    ("leq", "≤"),
    ("ge", "≥"),
    ("geq", "≥"),
    ("ne", "≠"),
    ("neq", "≠"),
    ("approx", "≈"),
    ("infty", "∞"),
    ("to", "→"),
    ("rightarrow", "→"),
    ("Rightarrow", "→"),
    ("degree", "°"),
    ("circ", "°"),
    ("ldots", "…"),
    ("dots", "…"),
    ("quad", " "),
    ("sqrt", "√"),
    ("text", ""),
    ("mathrm", ""),
    ("left", ""),
    ("right", ""),
];

/// What begins with the `$` that `text` begins with; `before` stands before it.
pub(super) fn dollar(text: &str, before: char, more: bool) -> Formula<'_> {
    if text == "$" && more {
        return Formula::Wait(Wait::default());
    }
    if text.starts_with("$$") {
        return closed(text, "$$", "$$", PLAIN_HELD_BYTES, more);
    }
    let next = text[1..].chars().next().unwrap_or(' ');
    if before.is_alphanumeric() || next.is_whitespace() {
        return Formula::Text;
    }
    let (near, more) = window(text, PLAIN_SPAN_BYTES, more);
    let inner = &near[1..];
    // A formula can begin with a number, but then something of a formula follows.
    let number = inner.trim_start_matches(|c: char| c.is_ascii_digit() || ".,".contains(c));
    if number.len() < inner.len() {
        match number.trim_start_matches(' ').chars().next() {
            None if more => return Formula::Wait(Wait::default()),
            Some(c) if "+=^_\\{*<>".contains(c) => {}
            _ => return Formula::Text,
        }
    }
    let mut prose = Prose::default();
    for (at, c) in inner.char_indices() {
        if c == '$' {
            let after = inner[at + 1..].chars().next();
            let spaced = inner[..at].ends_with(' ');
            return match after {
                None if more && !spaced => Formula::Wait(Wait::default()),
                _ if spaced || after.is_some_and(char::is_alphanumeric) => Formula::Text,
                _ => Formula::Found(&inner[..at], at + 2),
            };
        }
        if c == '\n' || prose.is_certain_with(c) {
            return Formula::Text;
        }
    }
    if more { Formula::Wait(Wait::default()) } else { Formula::Text }
}

/// Tells words from a formula: "$HOME is set", but not "$\text{speed} = v$".
#[derive(Default)]
struct Prose {
    letters: usize,
    words: usize,
    commands: bool,
}

impl Prose {
    fn is_certain_with(&mut self, c: char) -> bool {
        self.commands |= "\\{^_".contains(c);
        if c.is_alphabetic() {
            self.letters += 1;
        } else {
            self.words += usize::from(self.letters > 1);
            self.letters = 0;
        }
        !self.commands && self.words > 1
    }
}

/// What begins with `\(` or `\[`.
pub(super) fn bracketed(text: &str, more: bool) -> Formula<'_> {
    if text.starts_with("\\(") {
        closed(text, "\\(", "\\)", PLAIN_SPAN_BYTES, more)
    } else {
        closed(text, "\\[", "\\]", PLAIN_HELD_BYTES, more)
    }
}

/// Up to `close`, within a paragraph.
fn closed<'a>(text: &'a str, open: &str, close: &str, most: usize, more: bool) -> Formula<'a> {
    let (near, more) = window(text, most, more);
    let inner = &near[open.len()..];
    let blank = inner.find("\n\n").unwrap_or(inner.len());
    match inner[..blank].find(close) {
        Some(end) => Formula::Found(&inner[..end], open.len() + end + close.len()),
        None if more && blank == inner.len() => Formula::Wait(Wait { until: "$)]\n", bytes: most }),
        None => Formula::Text,
    }
}

/// How one says it, if it is simple: letters, numbers, signs, single fractions, and powers, which are
/// called as in `powers`.
pub(super) fn plainly(formula: &str, powers: [&str; 3]) -> Option<String> {
    let mut said = String::with_capacity(formula.len());
    let mut rest = formula.trim();
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = command(rest, &mut said)?,
            '^' | '_' => rest = script(c, rest, powers, &mut said)?,
            '{' | '}' | '&' => {}
            '\n' | '\t' | '~' => said.push(' '),
            '|' | '#' | '%' | '$' | '[' | ']' => return None,
            _ => said.push(c),
        }
    }
    let words: Vec<&str> = said.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn command<'a>(rest: &'a str, said: &mut String) -> Option<&'a str> {
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    if name.is_empty() {
        // "\," and "\ " are spaces, "\%" is the sign; "\\" begins a line of several.
        let sign = rest.chars().next().filter(|c| *c != '\\')?;
        said.push(if "%$&#".contains(sign) { sign } else { ' ' });
        return Some(&rest[sign.len_utf8()..]);
    }
    if name == "frac" {
        let (above, rest) = group(rest)?;
        let (below, rest) = group(rest)?;
        said.push_str(&format!("{above} / {below}"));
        return Some(rest);
    }
    let (_, sign) = COMMANDS.iter().find(|(listed, _)| *listed == name)?;
    let relation = sign.chars().all(|c| "×÷±≤≥≠≈→".contains(c)) && !sign.is_empty();
    said.push_str(&if relation { format!(" {sign} ") } else { (*sign).to_owned() });
    Some(rest)
}

/// `{…}` without anything that would have to be said in another way.
fn group(text: &str) -> Option<(&str, &str)> {
    let (inner, rest) = text.strip_prefix('{')?.split_once('}')?;
    let simple = inner.chars().all(|c| c.is_alphanumeric() || " .,+-".contains(c));
    (simple && !inner.is_empty()).then_some((inner, rest))
}

/// Powers, and indices of one digit or letter.
fn script<'a>(kind: char, rest: &'a str, powers: [&str; 3], said: &mut String) -> Option<&'a str> {
    let (inner, rest) = match group(rest) {
        Some(parts) => parts,
        None if rest.starts_with("\\circ") => return Some(rest),
        None => {
            let first = rest.chars().next().filter(|c| c.is_ascii_alphanumeric())?;
            rest.split_at(first.len_utf8())
        }
    };
    let [squared, cubed, power] = powers;
    let single = inner.chars().count() == 1;
    let number = inner.strip_prefix('-').unwrap_or(inner);
    match (kind, inner) {
        ('^', "2") if squared.is_empty() => said.push('²'),
        ('^', "3") if cubed.is_empty() => said.push('³'),
        ('^', "2") => said.push_str(&format!(" {squared}")),
        ('^', "3") => said.push_str(&format!(" {cubed}")),
        ('^', _) if power.is_empty() => return None,
        ('^', _) if single || number.bytes().all(|b| b.is_ascii_digit()) => {
            said.push_str(&format!(" {power} {inner}"));
        }
        ('_', _) if single => said.push_str(&format!(" {inner}")),
        _ => return None,
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_no_formulas() {
        let text = [
            "$5 and $10",
            "$5.50$",
            "$",
            "$ x$",
            "$HOME is set to $x",
            "$a/$b",
            "$5M$",
            "$x",
            "$a\n$",
            "$3 + $4",
        ];
        for text in text {
            assert_eq!(dollar(text, ' ', false), Formula::Text, "{text}");
        }
        assert_eq!(dollar("$x$", 'S', false), Formula::Text);
        assert_eq!(dollar("$5 is", ' ', true), Formula::Text);
        assert_eq!(dollar("$PATH of the", ' ', true), Formula::Text);
        for (text, inner) in
            [("$x$.", "x"), ("$2^n$", "2^n"), ("$$a\nb$$", "a\nb"), ("$3 + 4 = 7$", "3 + 4 = 7")]
        {
            assert!(
                matches!(dollar(text, ' ', false), Formula::Found(found, _) if found == inner),
                "{text}"
            );
        }
        assert_eq!(bracketed("\\(x\\)", false), Formula::Found("x", 5));
        assert_eq!(bracketed("\\[x\n\n\\]", true), Formula::Text);
    }

    #[test]
    fn simple_formulas_are_said() {
        for (formula, said) in [
            ("x", "x"),
            ("E = mc^2", "E = mc squared"),
            ("a \\times b \\leq \\frac{1}{2}", "a × b ≤ 1 / 2"),
            ("\\alpha + x_1", "α + x 1"),
            ("20^\\circ", "20°"),
            ("r^3 \\cdot 10^{-8}", "r³ × 10 to the -8"),
            ("\\text{speed} = v", "speed = v"),
            ("\\sqrt{2} \\approx 1.41", "√2 ≈ 1.41"),
        ] {
            assert_eq!(plainly(formula, ["squared", "", "to the"]).as_deref(), Some(said));
        }
        for formula in [
            "\\sum_{i=1}^n i",
            "e^{-x}",
            "10^8",
            "\\begin{pmatrix} a \\\\ b \\end{pmatrix}",
            "",
            "\\int",
        ] {
            assert_eq!(plainly(formula, [""; 3]), None, "{formula}");
        }
    }
}
