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
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            continue;
        }
        match line.strip_prefix('#').filter(|_| !in_code) {
            Some(heading) => {
                let heading = plain(heading.trim_start_matches('#'));
                sections.push((heading.trim().to_string(), String::new()));
            }
            None => {
                if let Some((_, text)) = sections.last_mut() {
                    let begins = line.starts_with(['-', '|']) || line.trim().is_empty() || in_code;
                    add(text, &plain(line), begins);
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

/// Lines of a paragraph are one, so that sentences stay whole; an item, a row or a command `begins` another.
fn add(text: &mut String, line: &str, begins: bool) {
    let line = line.trim();
    let gap = if begins || text.ends_with('\n') || text.is_empty() { "\n" } else { " " };
    text.push_str(gap);
    text.push_str(line);
    if begins && line.is_empty() {
        text.push('\n');
    }
}

/// A line of Markdown, without what only marks.
fn plain(line: &str) -> String {
    let line = line.trim_start_matches('>').trim_start();
    let line = line.strip_prefix("- ").unwrap_or(line).replace("**", "").replace('`', "");
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
    let out = row(&(out + rest));
    let words = out.split(' ').map(|word| match word.trim_end_matches(['.', ',', ';', ':']) {
        // *word*, and nothing else that has a star in it.
        marked if marked.len() > 2 && marked.starts_with('*') && marked.ends_with('*') => {
            word.replace('*', "")
        }
        _ => word.to_string(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A row of a table as a sentence of its cells; the rule below its head is nothing.
fn row(line: &str) -> String {
    if !line.starts_with('|') {
        return line.to_string();
    }
    let cells = line.trim_matches('|').split('|').map(str::trim);
    let said = cells.filter(|cell| cell.chars().any(char::is_alphanumeric));
    said.collect::<Vec<_>>().join(": ")
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
        assert_eq!(plain("> **a** [b `c`](http://d) ![e](f) *g*."), "a b c e g.");
        assert_eq!(plain("| **Is** | what `it` *is* | |"), "Is: what it is");
        assert_eq!(plain("|---|:-:|"), "");
        let text = &sections(
            "File",
            "# A\nOne sentence\non two lines.\n\n- an *item*\n\n```sh\nls\n```\n",
        )[0]
        .text;
        assert_eq!(text, "One sentence on two lines.\n\n\nan item\n\n\nls");
    }
}
