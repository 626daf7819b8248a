//! What a worker may send of a piece: audio up to word boundaries, and never more than the job
//! allows. Invariant: what is sent ends at a word boundary, so a piece that was cut, or whose worker
//! died, goes on with the next word, none repeated and none lost.

use super::Ended;

/// Samples of the next word that are faded out where a piece is cut: 2.5 ms at 22,050 Hz, too short
/// to be heard as a sound and long enough not to be heard as a click.
const FADE_SAMPLES: usize = 55;

/// Takes what is sent: samples, and the bytes of text that they complete.
pub trait Outlet {
    /// False when nobody wants more.
    fn send(&mut self, samples: &[i16], spoken: u32) -> bool;
}

/// What the synthesizer should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Go on.
    On,
    /// Stop at once: the piece is full or nobody wants it.
    Stop,
}

/// One piece in the making.
pub struct Piece<O> {
    outlet: O,
    most: usize,
    sent: usize,
    /// Samples since the last boundary: not yet sure to fit.
    held: Vec<i16>,
    /// Byte of the text at which the held samples begin.
    boundary: u32,
    outcome: Outcome,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Going,
    Full,
    Unwanted,
}

impl<O: Outlet> Piece<O> {
    /// A piece of at most `most_samples`.
    pub fn new(outlet: O, most_samples: u32) -> Self {
        let most = most_samples as usize;
        Self { outlet, most, sent: 0, held: Vec::new(), boundary: 0, outcome: Outcome::Going }
    }

    /// Adds samples.
    pub fn audio(&mut self, samples: &[i16]) -> Go {
        if self.outcome != Outcome::Going {
            return Go::Stop;
        }
        self.held.extend_from_slice(samples);
        if self.sent + self.held.len() > self.most.saturating_sub(FADE_SAMPLES) {
            self.outcome = Outcome::Full;
            return Go::Stop;
        }
        Go::On
    }

    /// Says that a word begins `at_sample` samples into the piece, at byte `at_text` of its text.
    pub fn boundary(&mut self, at_sample: usize, at_text: u32) -> Go {
        if self.outcome != Outcome::Going {
            return Go::Stop;
        }
        let count = at_sample.saturating_sub(self.sent).min(self.held.len());
        if count > 0 && at_text > self.boundary {
            self.send(count, at_text);
        }
        if self.outcome == Outcome::Going { Go::On } else { Go::Stop }
    }

    /// Ends the piece. `None` when not even its first word fits; then nothing was sent.
    pub fn end(mut self, text_bytes: u32) -> Option<Ended> {
        match self.outcome {
            Outcome::Going => {
                self.send(self.held.len(), text_bytes);
                Some(Ended::Done)
            }
            Outcome::Full if self.sent == 0 => None,
            Outcome::Full => {
                self.fade_out();
                Some(Ended::More(self.boundary))
            }
            Outcome::Unwanted => Some(Ended::More(self.boundary)),
        }
    }

    fn send(&mut self, count: usize, spoken: u32) {
        if !self.outlet.send(&self.held[..count], spoken) {
            self.outcome = Outcome::Unwanted;
        }
        self.held.drain(..count);
        self.sent += count;
        self.boundary = spoken;
    }

    /// The waveform does not break off: the first samples of the word that is not said here follow,
    /// faded to nothing.
    fn fade_out(&mut self) {
        let tail: Vec<i16> = (self.held.iter().take(FADE_SAMPLES).enumerate())
            .map(|(n, sample)| {
                let left = (FADE_SAMPLES - 1).saturating_sub(n) as i32;
                (i32::from(*sample) * left / FADE_SAMPLES as i32) as i16
            })
            .collect();
        self.outlet.send(&tail, self.boundary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sent(Vec<i16>, u32);

    impl Outlet for &mut Sent {
        fn send(&mut self, samples: &[i16], spoken: u32) -> bool {
            self.0.extend_from_slice(samples);
            self.1 = spoken;
            true
        }
    }

    #[test]
    fn a_piece_that_fits_is_sent_whole() {
        let mut sent = Sent::default();
        let mut piece = Piece::new(&mut sent, 1000);
        assert_eq!(piece.audio(&[1; 300]), Go::On);
        assert_eq!(piece.boundary(200, 4), Go::On);
        assert_eq!(piece.audio(&[1; 100]), Go::On);
        assert_eq!(piece.end(9), Some(Ended::Done));
        assert_eq!((sent.0.len(), sent.1), (400, 9));
    }

    #[test]
    fn a_full_piece_ends_at_its_last_word_with_a_fade() {
        let mut sent = Sent::default();
        let mut piece = Piece::new(&mut sent, 500);
        assert_eq!(piece.audio(&[1000; 300]), Go::On);
        assert_eq!(piece.boundary(250, 6), Go::On);
        assert_eq!(piece.audio(&[1000; 300]), Go::Stop);
        assert_eq!(piece.boundary(400, 8), Go::Stop, "what comes after the limit is not looked at");
        assert_eq!(piece.end(20), Some(Ended::More(6)));
        assert_eq!((sent.0.len(), sent.1), (250 + FADE_SAMPLES, 6));
        assert!(sent.0[250..].is_sorted_by(|a, b| a >= b));
        assert_eq!(sent.0.last(), Some(&0));
    }

    #[test]
    fn a_first_word_that_does_not_fit_sends_nothing() {
        let mut sent = Sent::default();
        let mut piece = Piece::new(&mut sent, 100);
        assert_eq!(piece.audio(&[1; 300]), Go::Stop);
        assert_eq!(piece.end(20), None);
        assert!(sent.0.is_empty());
    }

    #[test]
    fn never_more_than_the_limit_whatever_the_order_of_events() {
        for most in [56, 100, 999, 5000] {
            let mut sent = Sent::default();
            let mut piece = Piece::new(&mut sent, most);
            for word in 1..100u32 {
                piece.audio(&[7; 90]);
                piece.boundary(word as usize * 90 - 20, word);
            }
            piece.end(100);
            assert!(sent.0.len() <= most as usize, "{} of {most}", sent.0.len());
        }
    }
}
