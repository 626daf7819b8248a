//! HTML in an answer: tags and comments are not said, addresses in angles by their host. Invariant:
//! only tags that HTML has are tags, so `Vec<u8>` and `<name>` stay as they were written.

use super::look::{Look, Wait, window};
use super::voice::Voice;
use crate::limits::{PLAIN_HELD_BYTES, PLAIN_SPAN_BYTES};

/// Letters of the longest tag, and one.
const NAME_CHARS: usize = 12;
/// What ends an address in angles.
const ADDRESS_ENDS: &str = "<> \t\n";
/// Attributes of one tag.
const ATTRIBUTES: usize = 32;

/// What an angle turned out to be.
#[derive(Debug, PartialEq)]
pub(super) enum Angle<'a> {
    /// Nothing but an angle.
    Text,
    /// So many bytes of a tag or a comment, and what it does to the text.
    Tag(usize, Effect),
    /// An address, and its bytes with the angles.
    Address(&'a str, usize),
    Wait(Wait),
}

/// What a tag does to the text around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effect {
    None,
    Space,
    Line,
    Paragraph,
}

/// Tags by what they do.
const TAGS: [(Effect, &str); 4] = [
    (
        Effect::Paragraph,
        "p div section article header footer main nav aside ul ol li dl dt dd table thead tbody tfoot \
         tr caption h1 h2 h3 h4 h5 h6 hr blockquote details summary pre figure figcaption center form",
    ),
    (Effect::Line, "br"),
    (Effect::Space, "td th img video audio iframe"),
    (
        Effect::None,
        "a abbr b bdi bdo big button cite code col colgroup data del dfn em font i input ins kbd \
         label mark picture q rp rt ruby s samp small source span strike strong sub sup time tt u var wbr",
    ),
];

/// What begins with the `<` that `text` begins with.
pub(super) fn angle(text: &str, more: bool) -> Angle<'_> {
    if text.starts_with("<!--") || more && "<!--".starts_with(text) {
        return comment(text, more);
    }
    let (near, more) = window(text, PLAIN_SPAN_BYTES, more);
    let mut look = Look::new(near);
    look.eat('<');
    let slash = look.eat('/');
    let from = look.at;
    let name = look.eat_all(NAME_CHARS, |c| c.is_ascii_alphanumeric());
    let next = look.peek();
    if next.is_none() && more {
        return Angle::Wait(Wait::default());
    }
    let effect = effect_of(name);
    match next {
        Some('>' | '/' | ' ') if effect.is_some() => {}
        Some(c) if !slash && !c.is_whitespace() && c != '>' => {
            return address(&near[from..], more);
        }
        _ => return Angle::Text,
    }
    let closed = attributes(&mut look);
    match (closed, effect) {
        (true, Some(effect)) => Angle::Tag(look.at, effect),
        _ if look.ran_out && more => Angle::Wait(Wait::default()),
        _ => Angle::Text,
    }
}

fn effect_of(name: &str) -> Option<Effect> {
    let name = name.to_ascii_lowercase();
    let of = |list: &str| list.split_whitespace().any(|listed| listed == name);
    TAGS.iter().find(|(_, list)| of(list)).map(|(effect, _)| *effect)
}

/// Passes what stands between a tag's name and its end, if it is attributes.
fn attributes(look: &mut Look<'_>) -> bool {
    for _ in 0..ATTRIBUTES {
        let spaced = !look.eat_all(PLAIN_SPAN_BYTES, |c| c == ' ').is_empty();
        look.eat('/');
        if look.eat('>') {
            return true;
        }
        let named = |c: char| c.is_ascii_alphanumeric() || "-_:".contains(c);
        if !spaced || look.eat_all(PLAIN_SPAN_BYTES, named).is_empty() {
            return false;
        }
        if look.eat('=') {
            let quote = look.beside();
            if let '"' | '\'' = quote {
                look.eat(quote);
                look.eat_all(PLAIN_SPAN_BYTES, |c| c != quote && c != '\n');
                if !look.eat(quote) {
                    return false;
                }
            } else {
                look.eat_all(PLAIN_SPAN_BYTES, |c| !" <>\n\"'".contains(c));
            }
        }
    }
    false
}

fn comment(text: &str, more: bool) -> Angle<'_> {
    let (near, more) = window(text, PLAIN_HELD_BYTES, more);
    match near.get(4..).and_then(|inner| inner.find("-->")) {
        Some(end) => Angle::Tag(4 + end + 3, Effect::None),
        None if more && near.len() < 4 => Angle::Wait(Wait::default()),
        None if more => Angle::Wait(Wait { until: ">", bytes: PLAIN_HELD_BYTES }),
        None => Angle::Text,
    }
}

/// `https://example.com>` or `a@example.com>`.
fn address(text: &str, more: bool) -> Angle<'_> {
    let mut look = Look::new(text);
    let address = look.eat_all(PLAIN_SPAN_BYTES, |c| !ADDRESS_ENDS.contains(c));
    let closed = look.eat('>');
    if look.ran_out && more {
        return Angle::Wait(Wait { until: ADDRESS_ENDS, bytes: PLAIN_SPAN_BYTES });
    }
    if closed && (address.contains("://") || address.contains('@')) {
        Angle::Address(address, 1 + look.at)
    } else {
        Angle::Text
    }
}

impl Effect {
    /// Does to `voice` what the tag does.
    pub fn apply(self, voice: &mut Voice) {
        match self {
            Effect::None => voice.drop(),
            Effect::Space => voice.text(" "),
            Effect::Line => voice.line(),
            Effect::Paragraph => voice.paragraph(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_those_of_html() {
        for (text, bytes) in [
            ("<b>x", 3),
            ("</b>", 4),
            ("<br/>", 5),
            ("<br />", 6),
            ("<A HREF=\"a>b\" x=1 y>", 20),
            ("<!-- a\n\n- b -->c", 15),
        ] {
            assert!(matches!(angle(text, false), Angle::Tag(n, _) if n == bytes), "{text}");
        }
        for text in
            ["<", "<u8>", "<name>", "< b>", "<3", "<b then. >", "<b", "<a href=\"x\n\">", "<!-- a"]
        {
            assert_eq!(angle(text, false), Angle::Text, "{text}");
        }
        assert_eq!(angle("<https://a.b/c>.", false), Angle::Address("https://a.b/c", 15));
        assert_eq!(angle("<a.b@c.de>", false), Angle::Address("a.b@c.de", 10));
        assert!(matches!(angle("<b cl", true), Angle::Wait(_)));
    }
}
