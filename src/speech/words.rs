//! When which word is heard. Invariant: words rise in time, and each lies within the sound that it is of.

use serde::Serialize;
use utoipa::ToSchema;

use crate::limits::SPEECH_HZ;

/// A word, and when it is heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Word {
    /// As it was given to the engine, with its marks.
    pub word: String,
    /// From the first sample of the stream.
    pub start_ms: u32,
    /// From the first sample of the stream.
    pub end_ms: u32,
    /// Where the engine gives no times: shared out by length.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub proportional: bool,
}

/// The words of `text`, which is heard from sample `began` to sample `ended` of a stream. An engine tells where most words end;
/// of those that it says as one, each gets a share by its length.
pub fn spread(text: &str, began: u64, ended: u64) -> Vec<Word> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let weight = |word: &&str| word.chars().count() as u64 + 1;
    let whole: u64 = words.iter().map(weight).sum();
    let length = ended.saturating_sub(began);
    let at = |weighed: u64| milliseconds(began + length * weighed / whole.max(1));
    let mut weighed = 0;
    words
        .iter()
        .map(|word| {
            let start_ms = at(weighed);
            weighed += weight(word);
            let word = (*word).to_string();
            Word { word, start_ms, end_ms: at(weighed), proportional: false }
        })
        .collect()
}

fn milliseconds(samples: u64) -> u32 {
    u32::try_from(samples * 1000 / u64::from(SPEECH_HZ)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_share_the_time_that_they_have_together() {
        let second = u64::from(SPEECH_HZ);
        let words = spread(" No, it  isn't ", second, 3 * second);
        let times: Vec<_> = words.iter().map(|w| (w.word.as_str(), w.start_ms, w.end_ms)).collect();
        assert_eq!(times, [("No,", 1000, 1615), ("it", 1615, 2076), ("isn't", 2076, 3000)]);
        assert!(spread(" ", 0, 10).is_empty());
        let none = &spread("x", 24, 24)[0];
        assert_eq!((none.start_ms, none.end_ms), (1, 1));
    }
}
