//! Tables, row by row: "Name: Anna, Age: 5." Invariant: a table begins with `|`, since a line that has
//! one later was half said when that shows; and a row is never much longer said than written.

use super::inline;
use super::language::Language;
use super::look::{Look, Step, Wait, window};
use super::voice::Voice;
use crate::limits::PLAIN_HELD_BYTES;
use crate::speech::clause;

/// The longest row, behind its indentation.
const ROW_BYTES: usize = PLAIN_HELD_BYTES - 2 * 64;
/// With its headers, a row may be so many times as long as it was written.
const ROW_GROWTH: usize = 6;

/// A table that is being read.
pub(super) struct Table {
    words: &'static Language,
    /// Of each column; empty where nothing is above.
    headers: Vec<String>,
}

impl Table {
    /// Reads the row at the beginning of `text`, or takes nothing where none is within the limits. The first one is a header, if a line of dashes follows.
    pub fn read(
        table: &mut Option<Self>,
        words: &'static Language,
        text: &str,
        more: bool,
        voice: &mut Voice,
    ) -> Step {
        let (near, more) = window(text, ROW_BYTES, more);
        let wait = Step::Wait(Wait { until: "\n", bytes: PLAIN_HELD_BYTES });
        let (line, end) = match near.split_once('\n') {
            Some((line, _)) => (line, line.len() + 1),
            None if more => return wait,
            // What is cut by the limit is no row.
            None if near.len() < text.len() => return Step::Took(0),
            None => (near, near.len()),
        };
        if is_delimiter(line) {
            return Step::Took(end);
        }
        if let Some(table) = table {
            table.say(line, voice);
            return Step::Took(end);
        }
        let below = near[end..].trim_start_matches([' ', '>']);
        match delimiter(below, more) {
            Delimiter::Wait => return Step::Wait(Wait::default()),
            Delimiter::Yes => {
                let headers = cells(line).iter().map(|cell| inline::whole(cell, words)).collect();
                *table = Some(Table { words, headers });
            }
            Delimiter::No => {
                let plain = Table { words, headers: Vec::new() };
                table.insert(plain).say(line, voice);
            }
        }
        Step::Took(end)
    }

    /// What is said of a cell. One with nothing but a drawing says nothing, or yes or no.
    fn cell(&self, cell: &str) -> String {
        let said = inline::whole(cell, self.words);
        let [yes, no] = self.words.marks;
        match said.trim_end_matches('\u{fe0f}') {
            "✅" | "✓" | "✔" | "☑" => yes.to_owned(),
            "❌" | "✗" | "✘" | "✕" | "❎" => no.to_owned(),
            _ if !clause::has_speech(&said) => String::new(),
            _ => said,
        }
    }

    fn say(&self, line: &str, voice: &mut Voice) {
        let cells: Vec<String> = cells(line).iter().map(|cell| self.cell(cell)).collect();
        let [colon, comma, stop] = self.words.row;
        let labelled =
            cells.iter().zip(self.headers.iter().map(Some).chain(std::iter::repeat(None)));
        let labelled = labelled.filter(|(cell, _)| !cell.is_empty()).map(|(cell, header)| {
            match header.filter(|header| !header.is_empty()) {
                Some(header) => format!("{header}{colon}{cell}"),
                None => cell.clone(),
            }
        });
        let mut said = labelled.collect::<Vec<_>>().join(comma);
        if said.len() > ROW_GROWTH * line.len() {
            let full: Vec<&str> =
                cells.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
            said = full.join(comma);
        }
        if said.ends_with(char::is_alphanumeric) {
            said.push_str(stop);
        }
        voice.paragraph();
        voice.pass(&said);
        voice.paragraph();
    }
}

/// What stands between the bars, but for those that are escaped or in code.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim();
    let line = line.strip_prefix('|').unwrap_or(line);
    let (mut cells, mut cell, mut code) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'|') => cell.extend(chars.next()),
            '|' if !code => cells.push(std::mem::take(&mut cell)),
            _ => {
                code ^= c == '`';
                cell.push(c);
            }
        }
    }
    if !cell.trim().is_empty() {
        cells.push(cell);
    }
    cells
}

enum Delimiter {
    Yes,
    No,
    Wait,
}

/// Whether the line below is one of dashes: mostly its first characters tell.
fn delimiter(below: &str, more: bool) -> Delimiter {
    let mut look = Look::new(below);
    let line = look.eat_all(PLAIN_HELD_BYTES, is_delimiter_part);
    match look.peek() {
        None if more => Delimiter::Wait,
        None | Some('\n') if is_delimiter(line) => Delimiter::Yes,
        _ => Delimiter::No,
    }
}

fn is_delimiter_part(c: char) -> bool {
    "|-: \t".contains(c)
}

/// `|---|:-:|`
pub(super) fn is_delimiter(line: &str) -> bool {
    line.contains('|') && line.contains("-") && line.chars().all(is_delimiter_part)
}
