//! Evensong's own documentation as documents, so that a first search finds something true. Invariant: it comes from the
//! very files that people read.

use super::{Batch, Change, Document, Origin};

/// The files, and how they are called where they are found.
const FILES: &[(&str, &str)] = &[
    ("README", include_str!("../../README.md")),
    ("Architecture", include_str!("../../ARCHITECTURE.md")),
    ("Operating", include_str!("../../docs/operating.md")),
    ("Metrics", include_str!("../../docs/metrics.md")),
    ("Faults", include_str!("../../docs/faults.md")),
    ("Changelog", include_str!("../../CHANGELOG.md")),
];
/// When it was made is not known; all of it is older than whatever comes.
const MADE: &str = "2026-01-01T00:00:00Z";

/// What it is now: another text has another version.
pub fn version() -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, text) in FILES {
        hasher.update(name.as_bytes()).update(text.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_string()
}

/// All of it.
pub fn batch() -> Batch {
    let documents = FILES.iter().flat_map(|(name, text)| sections(name, text));
    let changes = documents.map(|document| Change::Put(Box::new(document), Origin::Guide));
    Batch { changes: changes.collect(), checkpoint: None, is_visible: true }
}

/// A document for each heading and what stands below it.
fn sections(file: &str, text: &str) -> Vec<Document> {
    let mut sections: Vec<(String, String)> = vec![(file.to_string(), String::new())];
    let mut in_code = false;
    for line in text.lines() {
        in_code ^= line.starts_with("```");
        match line.strip_prefix('#').filter(|_| !in_code) {
            Some(heading) => {
                let heading = plain(heading.trim_start_matches('#'));
                sections.push((heading.trim().to_string(), String::new()));
            }
            None => {
                if let Some((_, text)) = sections.last_mut() {
                    text.push_str(&plain(line));
                    text.push('\n');
                }
            }
        }
    }
    let filled = sections.into_iter().filter(|(_, text)| !text.trim().is_empty());
    let document = |(number, (heading, text)): (usize, (String, String))| {
        let made = Document {
            id: format!("evensong:{}:{number}", file.to_lowercase()),
            kind: "guide".into(),
            title: if heading == file { heading } else { format!("{heading} · {file}") },
            text: text.trim().to_string(),
            created_at: MADE.into(),
            tags: vec!["evensong".into(), file.to_lowercase()],
            creator: Some("Evensong".into()),
            ..Document::default()
        };
        made.checked().ok()
    };
    filled.enumerate().filter_map(document).collect()
}

/// A line of Markdown, without what only marks.
fn plain(line: &str) -> String {
    let line = line.trim_start_matches('>').replace("**", "").replace('`', "");
    let line = line.replace('|', " ");
    // [text](address) is its text.
    let mut out = String::with_capacity(line.len());
    let mut rest = line.as_str();
    while let Some((before, behind)) = rest.split_once("](") {
        let (lead, text) = before.rsplit_once('[').unwrap_or((before, ""));
        let lead = lead.strip_suffix('!').unwrap_or(lead);
        out += lead;
        out += text;
        rest = behind.split_once(')').map_or("", |(_, rest)| rest);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_gives_documents_that_can_be_read_aloud() {
        let batch = batch();
        assert!(batch.changes.len() > 20, "{}", batch.changes.len());
        for change in batch.changes {
            let Change::Put(document, _) = change else { panic!("only documents") };
            assert!(!document.text.contains("**") && !document.text.contains("]("), "{document:?}");
        }
        for (name, text) in FILES {
            assert!(!sections(name, text).is_empty(), "{name}");
        }
        assert_eq!(plain("> **a** [b `c`](http://d) ![e](f) | g"), " a b c e   g");
    }
}
