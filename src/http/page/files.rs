//! The page's files as `build.rs` put them in the binary. Invariant: every form of a file decodes to the same bytes,
//! and a compressed one is smaller than the plain one.

use std::sync::LazyLock;

use serde::Deserialize;

/// A file in all its forms.
pub struct File {
    /// Its path beneath `assets/page`.
    pub name: &'static str,
    /// BLAKE3 of its content, 32 hexadecimal digits.
    pub hash: &'static str,
    /// As it is.
    pub identity: &'static [u8],
    /// Compressed, the smallest form first; none where that would not make it smaller.
    pub coded: Vec<(Coding, &'static [u8])>,
}

/// Where a form lies among [`BYTES`].
type Place = (usize, usize);

/// A file as the index has it.
#[derive(Deserialize)]
struct Entry {
    name: &'static str,
    hash: &'static str,
    identity: Place,
    coded: Vec<(Coding, Place)>,
}

/// A content coding (RFC 9110, 8.4.1; br: RFC 7932; zstd: RFC 8878).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// Brotli.
    Br,
    /// Zstandard.
    Zstd,
    /// gzip.
    Gzip,
}

static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/page.bin"));
static INDEX: &str = include_str!(concat!(env!("OUT_DIR"), "/page.json"));

/// Sorted by name.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let entries: Vec<Entry> = serde_json::from_str(INDEX).expect("build.rs writes it in this form");
    entries.into_iter().map(File::from).collect()
});

impl From<Entry> for File {
    fn from(Entry { name, hash, identity, coded }: Entry) -> Self {
        let bytes = |(begin, end): Place| &BYTES[begin..end];
        let coded = coded.into_iter().map(|(coding, place)| (coding, bytes(place))).collect();
        Self { name, hash, identity: bytes(identity), coded }
    }
}

impl File {
    /// The file of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        let at = FILES.binary_search_by(|file| file.name.cmp(name)).ok()?;
        FILES.get(at)
    }

    /// The names of its forms, as `Accept-Encoding` has them.
    pub fn codings(&self) -> Vec<&'static str> {
        let coded = self.coded.iter().map(|(coding, _)| coding.name());
        coded.chain(["identity"]).collect()
    }
}

impl Coding {
    /// As `Content-Encoding` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Br => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Whether a client means it by `name`, in whichever case.
    pub fn is(self, name: &str) -> bool {
        // RFC 9110, 8.4.1.3: equivalent to gzip.
        let old = self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip");
        old || name.eq_ignore_ascii_case(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::FILES;

    #[test]
    fn the_table_is_sorted_and_no_form_is_larger_than_the_file() {
        assert!(FILES.len() > 50, "{} files", FILES.len());
        assert!(FILES.is_sorted_by(|one, next| one.name < next.name));
        for file in FILES.iter() {
            let sizes: Vec<_> = file.coded.iter().map(|(_, form)| form.len()).collect();
            assert!(sizes.is_sorted(), "{}: {sizes:?}", file.name);
            assert!(sizes.iter().all(|size| *size < file.identity.len()), "{}", file.name);
        }
    }
}
