//! What is said of Markdown, and what holds for any text.

use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::limits::PLAIN_GROWTH;

fn said_in(language: &str, text: &str) -> String {
    let mut said = String::new();
    let mut plain = Plain::new(language);
    plain.push(text, &mut said);
    plain.finish(&mut said);
    said
}

fn said(text: &str) -> String {
    said_in("en", text)
}

/// The text in pieces of about these many bytes in turn.
pub(in crate::dialogue) fn cut_into<'a>(
    text: &'a str,
    sizes: &'a [usize],
) -> impl Iterator<Item = &'a str> {
    let (mut rest, mut sizes) = (text, sizes.iter().cycle());
    std::iter::from_fn(move || {
        let size = *sizes.next()?;
        let (piece, later) = rest.split_at(rest.ceil_char_boundary(size));
        rest = later;
        (!piece.is_empty()).then_some(piece)
    })
}

#[test]
fn marks_in_a_line_are_not_said() {
    for (written, expected) in [
        ("*a* **b** ***c*** _d_ __e__ ~~f~~", "a b c d e f"),
        ("2 * 3, 5*4, snake_case, 2**3, a*b, __init__", "2 * 3, 5*4, snake_case, 2**3, a*b, init"),
        ("**Note:** so. (*a*), \"**b**\"; **\"c\"**.", "Note: so. (a), \"b\"; \"c\"."),
        ("这是**重点**，**重点：**内容", "这是重点，重点：内容"),
        ("5* hotel *", "5* hotel *"),
        ("Run `cargo test` and ``a`b``.", "Run cargo test and ab."),
        ("A `snake_case` and `2 * 3 <b>`.", "A snake_case and 2 * 3 <b>."),
        ("[text](https://a.b \"t\") ![alt](x.png), [ref][1].", "text alt, ref."),
        ("[a `]` b](c), [**b**](u)[c](v)", "a ] b, bc"),
        ("[sic] [see](this one) [0, 1] [ ]", "[sic] [see](this one) [0, 1] [ ]"),
        ("So.[1] And [2, 3]. Or[^note]!", "So. And. Or!"),
        ("[![badge](https://a/b)](https://c) x", "badge x"),
        ("https://www.example.com/a/b?c=d#e.", "example.com."),
        ("(https://a.org/x_(y)), **https://b.de**", "(a.org), b.de"),
        ("www.example.com, <https://a.b/c>, <a.b@c.de>", "example.com, a.b, a.b@c.de"),
        ("Mail a.b@c.de or mailto:x@y.z", "Mail a.b@c.de or x@y.z"),
        ("请看https://example.com。谢谢", "请看example.com。谢谢"),
        ("a <b>b</b><br>c <span class=\"x\">d</span><!-- e -->f", "a b\nc df"),
        ("<p>a</p><p>b</p>", "a\n\nb\n\n"),
        ("Vec<u8>, <name>, a < b > c, <3", "Vec<u8>, <name>, a < b > c, <3"),
        ("A &amp; B&nbsp;&lt;C&gt; &#65;&#x42; &unknown; AT&T", "A & B\u{a0}<C> AB &unknown; AT&T"),
        ("\\*a\\* \\# \\\\ \\a 1\\. b\\\nc", "*a* # \\ \\a 1. b\nc"),
        ("$x$, $x^2$ and \\(a \\leq b\\)", "x, x squared and a ≤ b"),
        ("so $$\\sum_{i=1}^n x_i$$ is.", "so is."),
        ("\\[\nE = mc^2\n\\]", "E = mc squared"),
        ("It costs $5 and $10, or 7$.", "It costs 5 dollars and 10 dollars, or 7$."),
        ("Set $HOME or $PATH.", "Set $HOME or $PATH."),
    ] {
        assert_eq!(said(written), expected, "{written}");
    }
}

#[test]
fn blocks_become_paragraphs() {
    for (written, expected) in [
        ("# A\nb", "A\n\nb"),
        ("a\n## B ##\nc", "a\n\nB\n\nc"),
        ("A\n===\nb\n---\nc", "A\n\nb\n\nc"),
        ("So:\n- a\n- b\n  - c\n* d\n+ e\n• f", "So:\n\na\n\nb\n\nc\n\nd\n\ne\n\nf"),
        ("1. a\n2) b\n   goes on\n10. c", "1. a\n\n2) b\ngoes on\n\n10. c"),
        ("- [ ] a\n- [x] b", "a\n\nb"),
        ("- a\n\n    more of a\n\nb", "a\n\nmore of a\n\nb"),
        ("> a\n> b\n\nc", "a\nb\n\nc"),
        ("a\n> b\n> - c\nd", "a\n\nb\n\nc\n\nd"),
        ("a\n\n***\n\n- - -\n___\nb", "a\n\nb"),
        ("#hashtag\n-5 is\n**b**\n1.5 x", "#hashtag\n-5 is\nb\n1.5 x"),
        ("a[^1]\n\n[^1]: b\n[c]: https://d.e \"f\"\ng", "a\n\nb\n\ng"),
        ("[1] A source\n[2] B", "[1] A source\n[2] B"),
        ("a\r\nb\r\n\r\nc\rd", "a\nb\n\nc\nd"),
        ("a  \nb\\\nc\n\n\n\n  d\n", "a\nb\nc\n\nd"),
        ("", ""),
        (" \n\n ", ""),
    ] {
        assert_eq!(said(written), expected, "{written}");
    }
}

#[test]
fn code_is_told_of_once() {
    let code = "There is code for that on the screen.";
    for written in [
        "a\n```rust\nfn x() {}\n\n# no heading\n```\nb",
        "a\n~~~\n```\n~~~\nb",
        "a\n\n    code\n\n    more\n\nb",
        "a\n````\n```\n````\nb",
    ] {
        assert_eq!(said(written), format!("a\n\n{code}\n\nb"), "{written}");
    }
    assert_eq!(said("- a\n  ```\n  x\n  ```\n- b"), format!("a\n\n{code}\n\nb"));
    assert_eq!(said("> ```\n> x\n> ```\n> b"), format!("{code}\n\nb"));
    assert_eq!(said("> ```\n> x\nb"), format!("{code}\n\nb"));
    assert_eq!(said("a\n```"), format!("a\n\n{code}\n\n"));
    assert_eq!(said("```a``` b"), "a b");
    assert_eq!(said_in("de-AT", "```\nx"), "Den Code dazu gibt es auf dem Bildschirm.\n\n");
    assert_eq!(said_in("zh-CN", "```\nx"), "代码显示在屏幕上。\n\n");
    assert_eq!(said_in("sv", "```\nx"), format!("{code}\n\n"));
}

#[test]
fn rows_are_sentences() {
    for (written, expected) in [
        (
            "| Name | Age |\n|:-----|----:|\n| **Anna** | 5 |\n| Bob | `6` |\n\nSo.",
            "Name: Anna, Age: 5.\n\nName: Bob, Age: 6.\n\nSo.",
        ),
        ("| a | b \\| c |\n| d | |", "a, b | c.\n\nd.\n\n"),
        ("| | km |\n|-|-|\n| Rome | ~5 km |\n", "Rome, km: about 5 kilometers.\n\n"),
        ("> | a |\n> |---|\n> | b! |\nc", "a: b!\n\nc"),
        ("| A | B | C |\n|-|-|-|\n| ✅ | ❌ | 🎉 |\n", "A: yes, B: no.\n\n"),
        ("| a long header of a column |\n|-|\n|b|", "b.\n\n"),
    ] {
        assert_eq!(said(written), expected, "{written}");
    }
    assert_eq!(said_in("ja", "| 名 |\n|-|\n| 花子 |"), "名：花子。\n\n");
}

#[test]
fn what_is_too_long_for_a_mark_is_text() {
    let long = "x".repeat(PLAIN_HELD_BYTES);
    for written in
        [format!("a [{long}](b) c"), format!("a <!-- {long} --> c"), format!("a $${long}$$ c")]
    {
        assert_eq!(said(&written).matches('x').count(), long.len());
    }
    // An address and code have no bound, and need no room.
    assert_eq!(said(&format!("https://a.b/{long}{long} c")), "a.b c");
    assert!(!said(&format!("```\n{long}\n{long}")).contains('x'));
}

#[test]
fn garbage_is_read_in_linear_time() {
    let began = Instant::now();
    let units = "a|*|**a |_|`|[|]|[a](|[a] |(|![|<|<a |<!--|&|&a|\\|\\(|\\[|$|$$|$a|$1 |#|# |- |> |1. |```\n|~|\
                 h|https://|https://a/|www.|1|1,|1–|~1 |5 km |→|²|\n|\n\n|\r|  |    a\n|:|=|-|é|我|\u{301}"
        .split('|');
    for unit in units.chain(["|", "|a", "| a |\n", "|-|\n", "a|b\n"]) {
        let text = unit.repeat(30_000 / unit.len());
        let mut plain = Plain::new("en");
        let mut said = String::new();
        for piece in cut_into(&text, &[7]) {
            plain.push(piece, &mut said);
        }
        plain.finish(&mut said);
        assert!(said.len() <= PLAIN_GROWTH * text.len() + 64, "{unit}");
    }
    // Quadratic work would take minutes.
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}

/// Text of the pieces that decide something, and of any characters.
pub(in crate::dialogue) fn texts() -> impl Strategy<Value = String> {
    let pieces = " ¦ ¦ ¦\n¦\n¦\n\n¦\r\n¦\r¦\t¦    ¦*¦**¦_¦__¦~¦~~¦`¦``¦```¦```rust\n¦[¦]¦(¦)¦](¦](u)¦![¦[1]¦[^1]\
        ¦[^1]: ¦[a]: https://b\n¦[ ] ¦<¦>¦<b>¦</b>¦<br>¦<p>¦<!--¦-->¦<https://a.b/c>¦&¦&amp;¦&#65;¦;¦\\¦\\(¦\\)¦\\[\
        ¦\\]¦$¦$$¦$x$¦x^2¦\\frac{1}{2}¦\n# ¦\n## ¦ ##\n¦\n- ¦\n* ¦\n1. ¦\n> ¦\n---\n¦\n===\n¦\n|¦|¦|---|---|\n\
        ¦| a | b |\n¦https://a.b/c¦www.a.b¦http¦mailto:¦a@b.c¦-¦–¦—¦->¦→¦=>¦²¦.¦,¦:¦!¦?¦\"¦'¦“¦”¦a¦I¦h¦w¦the¦and¦Word\
        ¦snake_case¦5¦10¦1,000.5¦ km¦ km/h¦°C¦ m²¦$5¦€¦~5¦%¦M¦ million¦s¦é¦e\u{301}¦我¦们¦。¦，¦：¦か¦한¦👍🏽¦🇩🇪¦\u{200d}";
    let pieces: Vec<&str> = pieces.split('¦').collect();
    let some = prop::sample::select(pieces).prop_map(str::to_owned);
    let long = (0_usize..700).prop_map(|length| "long ".repeat(length / 5));
    let piece = prop_oneof![60 => some, 3 => any::<String>(), 1 => long];
    prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_pieces_make_no_difference(
        text in texts(),
        sizes in prop::collection::vec(1_usize..40, 1..8),
        language in prop::sample::select(vec!["en", "de", "ja", "sv"]),
    ) {
        let mut plain = Plain::new(language);
        let mut pieces = String::new();
        for piece in cut_into(&text, &sizes) {
            plain.push(piece, &mut pieces);
            prop_assert!(plain.held() <= PLAIN_HELD_BYTES + 256, "{} held", plain.held());
        }
        let (mut plain_at_once, mut at_once) = (Plain::new(language), String::new());
        plain_at_once.push(&text, &mut at_once);
        prop_assert_eq!(&pieces, &at_once);
        plain.finish(&mut pieces);
        plain_at_once.finish(&mut at_once);
        prop_assert_eq!(&pieces, &at_once);
        prop_assert_eq!(plain.held(), 0);
        prop_assert!(pieces.len() <= PLAIN_GROWTH * text.len() + 64);
        prop_assert!(!pieces.contains("\n\n\n") && !pieces.starts_with(char::is_whitespace));
    }

    #[test]
    fn prose_goes_through_at_once(
        words in prop::collection::vec("[A-Za-zäéß我か]{1,9}[,;:.!?…)’”]{0,2}", 1..60),
        gaps in prop::collection::vec(prop::sample::select(vec![" ", " ", " – ", "-", "—", "\n", "\n\n", " (", " “"]), 60),
    ) {
        let text: String = words.iter().zip(&gaps).flat_map(|(word, gap)| [word.as_str(), gap]).collect();
        let text = text.trim_end();
        let (mut plain, mut said) = (Plain::new("en"), String::new());
        for piece in cut_into(text, &[1]) {
            plain.push(piece, &mut said);
            // White space, and what could begin an address.
            prop_assert!(plain.held() <= "https:".len() + 3, "{} held", plain.held());
        }
        plain.finish(&mut said);
        prop_assert_eq!(said, text);
    }
}
