//! Which marks are emphasis, and what stands for one character: entities, escapes. Invariant: only
//! the characters beside a run decide, and whether one is open; so no sentence waits for its close.

use super::look::Look;

/// Marks of one run that are looked at together.
pub(super) const RUN_CHARS: usize = 32;
/// The longest entity, with `&` and `;`.
const ENTITY_CHARS: usize = 32;

/// Whether a run of `mark` between `before` and `after` is emphasis, and not said. `open` counts the
/// marks that wait for their close. Space stands for a line's end.
pub(super) fn is_emphasis(
    mark: char,
    length: usize,
    before: char,
    after: char,
    open: &mut usize,
) -> bool {
    let (left, right) = (!after.is_whitespace(), !before.is_whitespace());
    if !left && !right {
        return false;
    }
    if mark == '~' {
        return length > 1;
    }
    let inside = before.is_alphanumeric() && after.is_alphanumeric();
    let latin = before.is_ascii() && after.is_ascii();
    let product = before.is_ascii_digit() && after.is_ascii_digit();
    let alone = latin && *open == 0 && (length == 1 || after.is_ascii_digit());
    if inside && (mark == '_' || product || alone) {
        return false;
    }
    let opens = left && after.is_alphanumeric() && (!right || opens_before(before));
    if *open > 0 && right && !opens {
        *open = open.saturating_sub(length);
    } else if !right || opens || left && inside {
        *open += length;
    } else if length == 1 {
        // "5*", "foo_": nothing was opened, so nothing closes.
        return false;
    }
    true
}

fn opens_before(c: char) -> bool {
    "([{\"'“‘«„‚¿¡—–-/「『（".contains(c)
}

/// The character that an entity stands for, at `&`: `&amp;`, `&#38;`, `&#x26;`. `None` is no entity.
pub(super) fn entity(look: &mut Look<'_>) -> Option<char> {
    look.eat('&');
    let name = look.eat_all(ENTITY_CHARS, |c| c.is_ascii_alphanumeric() || c == '#');
    if !look.eat(';') {
        return None;
    }
    let code = match name.strip_prefix('#') {
        Some(hex) if hex.starts_with(['x', 'X']) => u32::from_str_radix(&hex[1..], 16),
        Some(decimal) => decimal.parse(),
        None => return named(name),
    };
    let c = char::from_u32(code.ok()?)?;
    // A line's end would be one of the answer, and the rest is not for the ear.
    Some(if c.is_control() { ' ' } else { c })
}

fn named(name: &str) -> Option<char> {
    let found = ENTITIES.iter().find(|(listed, _)| *listed == name);
    found.map(|(_, c)| *c)
}

/// Those that models write.
const ENTITIES: [(&str, char); 48] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", '\u{a0}'),
    ("ensp", ' '),
    ("emsp", ' '),
    ("thinsp", ' '),
    ("shy", '\u{ad}'),
    ("zwj", '\u{200d}'),
    ("zwnj", '\u{200c}'),
    ("hellip", '…'),
    ("mdash", '—'),
    ("ndash", '–'),
    ("minus", '−'),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("laquo", '«'),
    ("raquo", '»'),
    ("bull", '•'),
    ("middot", '·'),
    ("copy", '©'),
    ("reg", '®'),
    ("trade", '™'),
    ("deg", '°'),
    ("euro", '€'),
    ("pound", '£'),
    ("yen", '¥'),
    ("cent", '¢'),
    ("sect", '§'),
    ("times", '×'),
    ("divide", '÷'),
    ("plusmn", '±'),
    ("le", '≤'),
    ("ge", '≥'),
    ("ne", '≠'),
    ("asymp", '≈'),
    ("rarr", '→'),
    ("larr", '←'),
    ("frac12", '½'),
    ("frac14", '¼'),
    ("frac34", '¾'),
    ("micro", 'µ'),
    ("auml", 'ä'),
    ("eacute", 'é'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_decides() {
        let mut open = 0;
        let mut mark =
            |mark, length, before, after| is_emphasis(mark, length, before, after, &mut open);
        assert!(mark('*', 2, ' ', 'b') && mark('*', 2, 'd', ' '));
        assert!(!mark('*', 1, '5', '4') && !mark('*', 1, ' ', ' ') && !mark('*', 1, 'a', 'b'));
        assert!(!mark('*', 2, '2', '3') && !mark('*', 2, 'x', '2') && !mark('*', 1, '5', ' '));
        assert!(mark('*', 2, '是', '重') && mark('*', 2, '：', '内'));
        assert!(mark('*', 1, '(', 'a') && mark('*', 1, 'b', ')'));
        assert!(!mark('*', 1, '(', ')'));
        assert!(!mark('_', 1, 'a', 'b') && mark('_', 1, ' ', 'a') && mark('_', 1, 'b', '.'));
        assert!(mark('~', 2, ' ', 'b') && !mark('~', 1, ' ', '5'));
    }

    #[test]
    fn entities_are_what_they_stand_for() {
        let decoded = |text: &str| entity(&mut Look::new(text));
        assert_eq!(decoded("&amp;"), Some('&'));
        assert_eq!(decoded("&#65;"), Some('A'));
        assert_eq!(decoded("&#x1F600;"), Some('😀'));
        assert_eq!(decoded("&#10;"), Some(' '));
        for text in ["&", "&T", "&;", "&#;", "&#x;", "&nothing;", "&#xd800;", "&#99999999999;"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }
}
