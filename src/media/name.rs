//! Names of files, as they stand in addresses. Invariant: a name that is accepted means one file beneath the root, by parts
//! that are neither hidden nor special to any system, and is written in one way only.

use std::fmt::Write as _;

use crate::limits::{MEDIA_NAME_BYTES, MEDIA_NAME_DEPTH, MEDIA_PART_BYTES};

/// Digits of a content's hash in a name: 128 bits.
pub const HASH_DIGITS: usize = 32;

/// A name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Without a hash, its parts divided by `/`.
    pub plain: String,
    /// The content that is meant, where the name says one.
    pub hash: Option<String>,
}

impl Name {
    /// Of a path behind `/media/`, decoded once.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let is_short = path.len() <= MEDIA_NAME_BYTES && parts.len() <= MEDIA_NAME_DEPTH;
        if !is_short || !parts.iter().all(|part| is_plain(part)) {
            return None;
        }
        let (folder, file) =
            path.rsplit_once('/').map_or(("", path), |(folder, file)| (folder, file));
        let Some((stem, hash, ending)) = hashed(file) else {
            return Some(Self { plain: path.to_string(), hash: None });
        };
        let slash = if folder.is_empty() { "" } else { "/" };
        let plain = format!("{folder}{slash}{stem}.{ending}");
        Some(Self { plain, hash: Some(hash.to_string()) })
    }
}

/// The parts of `cat.<hash>.gif`.
fn hashed(file: &str) -> Option<(&str, &str, &str)> {
    let (rest, ending) = file.rsplit_once('.')?;
    let (stem, hash) = rest.rsplit_once('.')?;
    let is_hash = hash.len() == HASH_DIGITS
        && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_hash && !stem.is_empty() && !ending.is_empty()).then_some((stem, hash, ending))
}

/// Whether a part stands for a file or a folder everywhere, and for nothing else.
fn is_plain(part: &str) -> bool {
    let is_special = |c: char| c.is_control() || r#"\:*?"<>|"#.contains(c) || is_unseen(c);
    !part.is_empty()
        && part.len() <= MEDIA_PART_BYTES
        // Hidden ones are ours, and those that lead elsewhere.
        && !part.starts_with(['.', ' '])
        && !part.ends_with(['.', ' '])
        && !part.chars().any(is_special)
}

/// What turns a name around or stands in it unseen: who reads it would read another one.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The address of the file `plain` with that content.
pub fn address(plain: &str, hash: &str) -> String {
    let (rest, ending) = plain.rsplit_once('.').unwrap_or((plain, ""));
    let mut address = String::with_capacity(plain.len() + HASH_DIGITS + 16);
    address.push_str("/media/");
    encode(rest, &mut address);
    address.push('.');
    address.push_str(hash);
    address.push('.');
    encode(ending, &mut address);
    address
}

/// As RFC 3986 has a path: what may stand in it stands, the rest is escaped.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                into.push(char::from(byte));
            }
            _ => {
                let _ = write!(into, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_name_may_carry_the_hash_of_its_content() {
        let name = |plain: &str, hash: Option<&str>| {
            Some(Name { plain: plain.to_string(), hash: hash.map(ToString::to_string) })
        };
        assert_eq!(Name::parse("cat.gif"), name("cat.gif", None));
        assert_eq!(Name::parse("a/b c/Kätzchen.gif"), name("a/b c/Kätzchen.gif", None));
        assert_eq!(Name::parse(&format!("cat.{HASH}.gif")), name("cat.gif", Some(HASH)));
        assert_eq!(Name::parse(&format!("a/cat.{HASH}.gif")), name("a/cat.gif", Some(HASH)));
        // Too short, in capitals, without a name or an ending: a part of a plain name.
        for plain in [&HASH[1..], &HASH.to_uppercase()] {
            let plain = format!("cat.{plain}.gif");
            assert_eq!(Name::parse(&plain), name(&plain, None));
        }
        let bare = format!("{HASH}.gif");
        assert_eq!(Name::parse(&bare), name(&bare, None));
    }

    #[test]
    fn what_leads_elsewhere_or_is_hidden_is_no_name() {
        let long = "a".repeat(MEDIA_PART_BYTES + 1);
        let deep = ["a"; MEDIA_NAME_DEPTH + 1].join("/");
        let wide = vec!["a".repeat(MEDIA_PART_BYTES); 6].join("/");
        for path in [
            "",
            ".",
            "..",
            "../a.gif",
            "a/../b.gif",
            "a/./b.gif",
            "/etc/passwd",
            "a//b.gif",
            "a/",
            "..\\a.gif",
            "a\\b.gif",
            "a\0.gif",
            "a\n.gif",
            "c:a.gif",
            "a.gif:stream",
            ".hidden",
            "a/.git/b",
            "a.gif.",
            "a.gif ",
            " a.gif",
            "a?.gif",
            "%2e%2e\u{0}",
            "a\u{202e}fig.exe",
            "a\u{200b}.gif",
            &long,
            &deep,
            &wide,
        ] {
            assert_eq!(Name::parse(path), None, "{path:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: ProptestConfig::default().cases.max(4096),
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_name_never_leaves_the_root(path in "[./\\\\a%~ \u{0}-\u{7f}ä]{0,40}") {
            if let Some(name) = Name::parse(&path) {
                let path = std::path::Path::new(&name.plain);
                let is_normal = |part| matches!(part, std::path::Component::Normal(_));
                prop_assert!(path.components().all(is_normal), "{path:?}");
                prop_assert_eq!(path.components().count(), name.plain.split('/').count());
            }
        }

        #[test]
        fn an_address_leads_back_to_its_name(
            folder in prop::option::of("[a-zäß0-9 _%&+-]{1,20}x"), stem in "[a-z0-9ü%#,'_-]{1,20}"
        ) {
            let plain = folder.map_or(format!("{stem}.gif"), |folder| format!("{}/{stem}.gif", folder.trim()));
            let address = address(&plain, HASH);
            let path = address.strip_prefix("/media/").expect("it is one of ours");
            let mut decoded = Vec::new();
            let mut bytes = path.bytes();
            while let Some(byte) = bytes.next() {
                decoded.push(match byte {
                    b'%' => {
                        let digits = [bytes.next(), bytes.next()].map(|digit| digit.expect("two"));
                        let digits = std::str::from_utf8(&digits).expect("ASCII").to_string();
                        u8::from_str_radix(&digits, 16).expect("hex")
                    }
                    byte => byte,
                });
            }
            let decoded = String::from_utf8(decoded).expect("UTF-8");
            let name = Name::parse(&decoded).expect("a name");
            prop_assert_eq!((name.plain, name.hash), (plain, Some(HASH.to_string())));
        }
    }
}
