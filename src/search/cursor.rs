//! Where a page of hits goes on, given out as a word that says nothing to its reader. Invariant: a cursor that is
//! taken was signed here, for the same question; one of a snapshot is good for as long as the snapshot is kept.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Position, Question};
use crate::bounds::signing::SigningKey;
use crate::limits::{CURSOR_BYTES, SNAPSHOT_KEPT};

/// Of what is signed; another one is of another version of Evensong.
const VERSION: u8 = 1;

/// Signs cursors, and knows its own again.
pub struct Signer {
    key: SigningKey,
    /// The time, in ms since 1970.
    now: fn() -> u64,
}

/// Why a cursor is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// It was never given out here, or not whole.
    #[error("cursor must be one that was given as next_cursor")]
    Unknown,
    /// It is of another question.
    #[error("cursor belongs to another question: the other parameters must stay as they were")]
    OtherQuestion,
    /// It is of a snapshot that is gone.
    #[error("this cursor was good for {} s; ask again without it", SNAPSHOT_KEPT.as_secs())]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Said {
    version: u8,
    question: [u8; 8],
    position: Position,
    /// In ms since 1970.
    at: u64,
}

impl Signer {
    /// With `key`.
    pub fn new(key: SigningKey) -> Self {
        Self { key, now: unix_ms }
    }

    /// The cursor of `position` in the answer to `question`.
    pub fn sign(&self, position: &Position, question: &Question) -> String {
        let (position, at) = (position.clone(), (self.now)());
        let said = Said { version: VERSION, question: digest(question), position, at };
        BASE64.encode(self.key.sign(postcard::to_stdvec(&said).unwrap_or_default()))
    }

    /// The position of `cursor`, if it is one of `question`.
    pub fn open(&self, cursor: &str, question: &Question) -> Result<Position, CursorError> {
        if cursor.len() > CURSOR_BYTES {
            return Err(CursorError::Unknown);
        }
        let bytes = BASE64.decode(cursor).map_err(|_| CursorError::Unknown)?;
        let said = self.key.verify(&bytes).ok_or(CursorError::Unknown)?;
        let said: Said = postcard::from_bytes(said).map_err(|_| CursorError::Unknown)?;
        if said.version != VERSION {
            return Err(CursorError::Unknown);
        }
        if said.question != digest(question) {
            return Err(CursorError::OtherQuestion);
        }
        let age = Duration::from_millis((self.now)().saturating_sub(said.at));
        if matches!(said.position, Position::Score(..)) && age > SNAPSHOT_KEPT {
            return Err(CursorError::Expired);
        }
        Ok(said.position)
    }
}

/// The same for the same question, in every process.
fn digest(question: &Question) -> [u8; 8] {
    let bytes = postcard::to_stdvec(question).unwrap_or_default();
    let mut digest = [0; 8];
    digest.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..8]);
    digest
}

fn unix_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Sort, Words};

    fn question(text: &str) -> Question {
        Question { words: Words::parse(text).expect("short"), ..Question::default() }
    }

    #[test]
    fn a_cursor_is_good_for_its_question_and_nothing_else() {
        let signer = Signer::new(SigningKey::new([7; 32]));
        let place = Position::Score("snapshot".into(), 1.25, -3);
        let cursor = signer.sign(&place, &question("evening"));
        assert_eq!(signer.open(&cursor, &question("evening")), Ok(place.clone()));
        let other = signer.open(&cursor, &question("morning"));
        assert_eq!(other, Err(CursorError::OtherQuestion));
        let newest = Question { sort: Sort::Newest, ..question("evening") };
        assert_eq!(signer.open(&cursor, &newest), Err(CursorError::OtherQuestion));
        let elsewhere = Signer::new(SigningKey::new([8; 32])).open(&cursor, &question("evening"));
        assert_eq!(elsewhere, Err(CursorError::Unknown));
        for at in 0..cursor.len() {
            let mut forged = cursor.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("text");
            let opened = signer.open(&forged, &question("evening"));
            // The last character of the text has bits that stand for nothing.
            assert!(opened == Err(CursorError::Unknown) || forged == cursor, "{at}: {opened:?}");
        }
        for text in ["", "x", "%%%", &"A".repeat(CURSOR_BYTES + 1), &"A".repeat(40)] {
            assert_eq!(signer.open(text, &question("evening")), Err(CursorError::Unknown));
        }
    }

    #[test]
    fn a_snapshots_cursor_ends_with_it_and_one_by_time_does_not() {
        let mut signer = Signer::new(SigningKey::new([7; 32]));
        signer.now = || 1_000_000;
        let [by_score, by_time] = [Position::Score("s".into(), 1.0, 0), Position::Time(5, 6)]
            .map(|p| signer.sign(&p, &question("a")));
        signer.now = || 1_000_000 + SNAPSHOT_KEPT.as_millis() as u64;
        assert!(signer.open(&by_score, &question("a")).is_ok());
        signer.now = || 1_000_001 + SNAPSHOT_KEPT.as_millis() as u64;
        assert_eq!(signer.open(&by_score, &question("a")), Err(CursorError::Expired));
        assert!(signer.open(&by_time, &question("a")).is_ok());
    }
}
