//! What a file may be: pictures, films and sounds that no browser runs. Invariant: a kind is told by the first bytes of a content,
//! and a file is served as no other; what could hold a script (SVG, HTML, XML) is none.

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its media type.
    pub media_type: &'static str,
    /// What its files' names end in, in lower case.
    pub endings: &'static [&'static str],
}

/// All of them.
pub const KINDS: [Kind; 10] = [
    Kind { media_type: "image/gif", endings: &["gif"] },
    Kind { media_type: "image/png", endings: &["png"] },
    Kind { media_type: "image/jpeg", endings: &["jpg", "jpeg"] },
    Kind { media_type: "image/webp", endings: &["webp"] },
    Kind { media_type: "image/avif", endings: &["avif"] },
    Kind { media_type: "video/mp4", endings: &["mp4", "m4v"] },
    Kind { media_type: "video/webm", endings: &["webm"] },
    Kind { media_type: "audio/mpeg", endings: &["mp3"] },
    Kind { media_type: "audio/ogg", endings: &["ogg", "opus", "oga"] },
    Kind { media_type: "audio/wav", endings: &["wav"] },
];

/// What the first bytes of a content say; [`MEDIA_HEAD_BYTES`](crate::limits::MEDIA_HEAD_BYTES) of them are enough.
pub fn of_content(head: &[u8]) -> Option<Kind> {
    let begins = |magic: &[u8]| head.starts_with(magic);
    let at =
        |place: usize, magic: &[u8]| head.get(place..).is_some_and(|rest| rest.starts_with(magic));
    let media_type = if begins(b"GIF87a") || begins(b"GIF89a") {
        "image/gif"
    } else if begins(b"\x89PNG\r\n\x1a\n") {
        "image/png"
    } else if begins(b"\xff\xd8\xff") {
        "image/jpeg"
    } else if begins(b"RIFF") && at(8, b"WEBP") {
        "image/webp"
    } else if begins(b"RIFF") && at(8, b"WAVE") {
        "audio/wav"
    } else if at(4, b"ftyp") {
        // ISO base media: the brand says which of its many formats.
        match head.get(8..12)? {
            b"avif" | b"avis" => "image/avif",
            b"isom" | b"iso2" | b"iso4" | b"iso5" | b"iso6" | b"mp41" | b"mp42" | b"avc1"
            | b"M4V " | b"dash" => "video/mp4",
            _ => return None,
        }
    } else if begins(b"\x1a\x45\xdf\xa3") && head.windows(4).any(|four| four == b"webm") {
        "video/webm"
    } else if begins(b"OggS") {
        "audio/ogg"
    } else if begins(b"ID3") || is_mpeg_frame(head) {
        "audio/mpeg"
    } else {
        return None;
    };
    KINDS.into_iter().find(|kind| kind.media_type == media_type)
}

/// The head of a frame of MPEG-1 or -2 audio, layer III: ISO 11172-3, 2.4.1.3.
fn is_mpeg_frame(head: &[u8]) -> bool {
    let &[0xff, second, third, ..] = head else { return false };
    let (bitrate, rate) = (third >> 4, third >> 2 & 0b11);
    second & 0b1110_0110 == 0b1110_0010 && (1..15).contains(&bitrate) && rate != 0b11
}

/// What a name says.
pub fn of_name(name: &str) -> Option<Kind> {
    let (_, ending) = name.rsplit_once('.')?;
    let ends = |kind: &Kind| kind.endings.iter().any(|known| ending.eq_ignore_ascii_case(known));
    KINDS.into_iter().find(ends)
}

/// All endings, for people.
pub fn endings() -> String {
    let all: Vec<_> =
        KINDS.iter().flat_map(|kind| kind.endings).map(|ending| format!(".{ending}")).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_and_not_the_name() {
        for (head, media_type) in [
            (&b"GIF89a\x01\x00"[..], "image/gif"),
            (b"GIF87a<html><script>", "image/gif"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
            (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
            (b"\0\0\0\x20ftypavif", "image/avif"),
            (b"\0\0\0\x20ftypisom", "video/mp4"),
            (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "video/webm"),
            (b"OggS\0\x02", "audio/ogg"),
            (b"ID3\x04\0", "audio/mpeg"),
            (b"\xff\xfb\x90\x64", "audio/mpeg"),
            (b"\xff\xf3\x40\xc4", "audio/mpeg"),
        ] {
            assert_eq!(of_content(head).map(|kind| kind.media_type), Some(media_type), "{head:?}");
        }
        for head in [
            &b""[..],
            b"GIF",
            b"<svg xmlns=",
            b"  <!doctype html>",
            b"<?xml version",
            b"%PDF-1.7",
            b"MZ\x90",
            b"\0\0\0\x20ftypqt  ",
            b"\x1a\x45\xdf\xa3 matroska",
            b"\xff\xff\xff",
            b"\xff\xfb\xf0",
            b"RIFF\0\0\0\0AVI ",
            b"\xff",
            b"\xff\xd8",
            b"PK\x03\x04",
        ] {
            assert_eq!(of_content(head), None, "{head:?}");
        }
    }

    #[test]
    fn a_name_says_a_kind_by_its_ending_alone() {
        let kind = |name| of_name(name).map(|kind| kind.media_type);
        assert_eq!(kind("a/b.GIF"), Some("image/gif"));
        assert_eq!(kind("a.tar.jpeg"), Some("image/jpeg"));
        for name in ["a", "gif", "a.svg", "a.html", "a.gif.exe", "a.", "a.gif/b"] {
            assert_eq!(kind(name), None, "{name}");
        }
    }
}
