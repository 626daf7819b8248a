//! Where clauses end, in eight languages, and what holds for any text.

use super::speakable::DIGIT_GROUP;
use super::*;
use proptest::prelude::*;

fn at_once(text: &str) -> Vec<&str> {
    let mut from = 0;
    let next = || {
        let range = next_clause(text, from, false)?;
        from = range.end;
        Some(&text[range])
    };
    std::iter::from_fn(next).collect()
}

/// The same, where the text comes in pieces of these many characters in turn.
fn streamed(text: &str, pieces: &[usize]) -> Vec<String> {
    let (mut clauses, mut from, mut seen) = (Vec::new(), 0, String::new());
    let (mut rest, mut sizes) = (text.chars().peekable(), pieces.iter().cycle());
    while rest.peek().is_some() {
        seen.extend(rest.by_ref().take(*sizes.next().unwrap()));
        while let Some(range) = next_clause(&seen, from, true) {
            from = range.end;
            clauses.push(seen[range].to_owned());
        }
    }
    clauses.extend(at_once(&seen[from..]).into_iter().map(str::to_owned));
    clauses
}

/// A bar marks each cut; the space around it is not part of any clause.
#[test]
fn sentences_end_where_they_end() {
    for marked in [
        "Hello there.|How are you?|Fine!",
        "Dr. Smith met Mr. J. R. R. Tolkien at 10:30 a.m. on Sunday.|They talked.",
        "It costs 3.14 or 1,000.50 in v1.2.3 of a.txt.|See www.example.com/a?b=c, or write to a.b@c.de!|Ok?",
        "Fruits, e.g. apples, i.e. Red ones, etc. are fine, etc.|The end.",
        "See Fig. 3 and No. 5 vs. the U.S. Army.|Did he say no?|No.|Good.",
        "He said \"Stop.\"|\"Why?\" she asked.|(It was late.)|“So?”|‘Yes.’",
        "Well... maybe not.|Wait…|What?!|Wow!!!|(Really?!)",
        "... and so on.|-- Yes.|**Note.**|*Go.*",
        "1. Open the door.|The answer is 42.|Go on.",
        "To buy:|\n|- red apples|\n|- pears.|Or:|\n|1. nothing|\n|12) else\nat all",
        "A title without an end|\n\n|A text.|\r\n \r\n|More",
        "Am 3. Mai kam Hr. Meier, z. B. mit d.h. und z.B. Brot usw. nach Hause.|„Gut.“|Ja, der 2. Weltkrieg.",
        "»Ach so.«|Er ging.|»Komm mit!«",
        "« Quoi ? »|Il y en a.|M. Dupont et Mme. Durand arrivent !|Bonjour : « Oui. »|Merci.",
        "¿Qué tal?|¡Hola, Sr. López!|Son las 3 p. m. en EE. UU. ahora.|La Sra. Díaz, p. ej. ella.",
        "你好。|今天天气很好！|他说：“走吧。”|“好的……我们走。”|结束了吗？|是",
        "こんにちは。|「はい。」と言った。|「元気？」|はい！",
        "مرحبا.|كيف حالك؟|أنا بخير، شكرا.|نعم۔|لا",
        "د. أحمد هنا.|نعم",
        "नमस्ते।|आप कैसे हैं?|मैं ठीक हूँ।|डॉ. शर्मा ने कहा.|हाँ",
    ] {
        let expected: Vec<&str> =
            marked.split('|').filter(|clause| !clause.trim().is_empty()).collect();
        let text = marked.replace('|', " ");
        assert_eq!(at_once(&text), expected);
        assert_eq!(streamed(&text, &[1]), expected);
    }
}

#[test]
fn long_sentences_are_cut_at_the_best_place() {
    for marked in [
        "The first part of it is short;|the second, which is much longer, goes on for quite a while.",
        "Where the sentence has a comma in reach, it is cut at the,|last one of them before the target is reached and passed by.",
        "There is nothing but a conjunction in this one to cut at|because it has been written without any other marks in it",
        "He waited — and then he waited some more —|and nothing at all came of it in the end, as it had to be.",
        "word word word word word word word word word word word word|word word word word word word",
        "Only a few letters go beyond the target in this one sentence here.",
        "我们今天要去北京参观故宫，|然后去长城看看风景，最后回到酒店休息一下再吃晚饭。",
        "这是一个没有任何标点符号的很长的句子它一|直写下去没有停顿也没有空格直到最后才结束",
        "私は昨日友達と一緒に東京の大きな|デパートへ買い物に行きましたがとても|混んでいたのですぐに帰りました。",
    ] {
        let joined = if marked.is_ascii() || marked.contains('—') { " " } else { "" };
        let expected: Vec<&str> = marked.split('|').collect();
        let text = marked.replace('|', joined);
        assert_eq!(at_once(&text), expected);
        assert_eq!(streamed(&text, &[3, 1]), expected);
    }
}

#[test]
fn a_clause_waits_until_its_end_is_certain() {
    for (text, certain) in [
        ("It is 3.", false),
        ("It is 3.5", false),
        ("It is so.", false),
        ("It is so. ", false),
        ("It is so. T", true),
        ("\"So.\"", false),
        ("A title\n", false),
        ("A title\n\n", true),
        ("你好。", false),
        ("你好。我", true),
        ("  ", false),
        ("", false),
    ] {
        assert_eq!(next_clause(text, 0, true).is_some(), certain, "{text:?}");
    }
    assert_eq!(next_clause("é", 1, false), None);
    assert_eq!(next_clause("e", 9, false), None);
}

#[test]
fn a_short_clause_ends_at_the_first_pause() {
    for (text, clause) in [
        ("Certainly, my dear, here it is.", "Certainly, my dear,"),
        ("That is a good question and a long answer.", "That is a good question"),
        ("Well — it is, in a word, complicated.", "Well — it is,"),
        ("Yes. And then, well, no.", "Yes."),
        ("これはとても長い、文です。", "これはとても長い、"),
    ] {
        assert_eq!(short_clause(text, 0, true).map(|range| &text[range]), Some(clause));
    }
    // What follows could still be "3,5", or "android".
    assert_eq!(short_clause("It is so and so 3,", 0, true), None);
    assert_eq!(short_clause("It is so long and", 0, true), None);
}

#[test]
fn only_what_can_be_said_is_left() {
    for (text, said) in [
        ("  a\tb\nc \u{7} d\u{200b}e\u{202e} ", "a b c de"),
        ("One\r\n\r\nTwo\n \nThree\u{2029}Four", "One\n\nTwo\n\nThree Four"),
        ("Great 👍🏽. Yes❤️ 👨‍👩‍👧 and🎉so🇩🇪", "Great. Yes and so"),
        ("To buy:\n- apples\n2. pears\nand plums", "To buy:\n\n- apples\n\n2. pears and plums"),
        ("1️⃣ of 5 % & 3 € at 20 °C", "1 of 5 % & 3 € at 20 °C"),
        ("می‌خواهم क्‍ष a‍b ‍c", "می‌خواهم क्‍ष ab c"),
        ("12345678901234", "1234 5678 9012 34"),
        ("1\u{202f}234\u{a0}567 €\u{a0}!", "1\u{a0}234\u{a0}567 € !"),
        ("a ---- b -- c", "a -- b -- c"),
        ("123456789012", "123456789012"),
        ("🙂 — ... \u{feff}!", ""),
    ] {
        assert_eq!(speakable(text), said);
    }
    let endless = speakable(&"a\u{301}".repeat(41));
    assert!(endless.split(' ').map(|word| word.chars().count()).eq([40, 40, 2]));
}

#[test]
fn garbage_is_cut_in_linear_time() {
    // It takes 2 s in a debug build; quadratic work on this much would take minutes.
    let marks_over_the_limit = "word ".repeat(20) + &"!".repeat(90);
    let units = r#"!|a| |a. |1 |"|z. B. |我|- |🇩|. " |etc. |a."#.split('|');
    for unit in units.chain(["\n ", "\u{301}", "\u{a0}x", &marks_over_the_limit]) {
        let text = unit.repeat(200_000 / unit.len());
        assert!(at_once(&text).iter().all(|clause| clause.chars().count() <= MOST_CHARS));
        assert!(speakable(&text).len() <= 250_000);
    }
}

/// Text of the pieces that decide something, and of any characters.
fn texts() -> impl Strategy<Value = String> {
    let pieces = " | | |\n|\n\n|\r\n|\n- |\n1. |\u{a0}|.|.|...|…|!|?|,|;|:| — |-|\"|'|“|”|«|»|(|)|a|z|B|I\
        |3|the|and|Word|Mr|etc|e.g.|10:30|https://a.b/c|12345678901234567890|é|ß|e\u{301}|\u{301}\
        |我|们|。|，|、|」|と|か|カ|한|हि|।|كي|؟|ไ|า|👍🏽|🇩🇪|\u{200d}|\u{200b}";
    let pieces: Vec<&str> = pieces.split('|').collect();
    let some = prop::sample::select(pieces).prop_map(str::to_owned);
    let piece = prop_oneof![9 => some, 1 => any::<String>()];
    prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn clauses_cover_the_text_in_order_within_the_limit(text in texts()) {
        let mut from = 0;
        while let Some(range) = next_clause(&text, from, false) {
            prop_assert!(text[from..range.start].trim().is_empty());
            let clause = &text[range.clone()];
            prop_assert!(!clause.is_empty() && clause.trim() == clause);
            prop_assert!(clause.chars().count() <= MOST_CHARS);
            from = range.end;
        }
        prop_assert!(text[from..].trim().is_empty());
    }

    #[test]
    fn streaming_gives_the_same_clauses(
        text in texts(),
        pieces in prop::collection::vec(1_usize..30, 1..8),
    ) {
        prop_assert_eq!(streamed(&text, &pieces), at_once(&text));
    }

    #[test]
    fn speakable_is_settled_and_bounded(text in texts()) {
        let once = speakable(&text);
        prop_assert_eq!(speakable(&once), once.clone());
        let (before, after) = (text.chars().count(), once.chars().count());
        prop_assert!(after <= before + before / DIGIT_GROUP);
    }

    #[test]
    fn ordinary_text_is_left_as_it_is(words in prop::collection::vec("[!-~]{1,12}", 1..40)) {
        let text = words.join(" ");
        // Rows of dashes are shortened, since engines crash of them.
        prop_assume!(text.chars().any(is_said) && !text.contains("---"));
        prop_assert_eq!(speakable(&text), text);
    }
}
