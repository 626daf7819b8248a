//! What is said of files.

use serde::Serialize;
use utoipa::ToSchema;

use crate::media::Entry;

/// Files, by name.
#[derive(Serialize, ToSchema)]
#[schema(as = MediaListing)]
pub struct Listing {
    /// The files.
    pub files: Vec<File>,
    /// Behind which name the next page begins; none where this is the last.
    #[schema(required)]
    pub next: Option<String>,
}

/// A file.
#[derive(Serialize, ToSchema)]
#[schema(as = MediaFile)]
pub struct File {
    /// Its name.
    name: String,
    /// Where it is found for good: with the hash of its content.
    #[schema(example = "/media/cat.0123456789abcdef0123456789abcdef.gif")]
    url: String,
    /// Its length.
    bytes: u64,
    /// What it is.
    #[schema(example = "image/gif")]
    r#type: &'static str,
    /// When it changed last: RFC 3339.
    #[schema(format = DateTime)]
    modified: String,
}

impl File {
    /// Of what is known of it.
    pub fn of(entry: &Entry) -> Self {
        let modified = jiff::Timestamp::try_from(entry.stamp.modified()).unwrap_or_default();
        Self {
            name: entry.name.to_string(),
            url: entry.address(),
            bytes: entry.stamp.length,
            r#type: entry.kind.media_type,
            modified: modified.to_string(),
        }
    }
}
