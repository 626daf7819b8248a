//! What a worker may send of a piece: audio up to word boundaries, and never more than the job
//! allows. Invariant: what is sent ends at a word boundary, so a piece that was cut, or whose worker
//! died, goes on with the next word, none repeated and none lost.

use super::Ended;

/// Samples of the next word that are faded out where a piece is cut: 2.5 ms at 22,050 Hz, too short
/// to be heard as a sound and long enough not to be heard as a click.
const FADE_SAMPLES: usize = 55;

/// Takes what is sent: samples, and the bytes of text that they complete, if they end a word.
pub trait Outlet {
    /// False when nobody wants more.
    fn send(&mut self, samples: &[i16], spoken: Option<u32>) -> bool;
}

/// What the synthesizer should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Go on.
    On,
    /// Stop at once: the piece is full or nobody wants it.
    Stop,
}

/// How much of a piece is wanted, in samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The most that may be sent.
    pub most: usize,
    /// Passed over at the beginning: it was sent before, of a word longer than a piece or of one whose
    /// worker died.
    pub skip: usize,
    /// Whether a first word that does not fit is sent as far as it does. Else nothing is sent of it,
    /// and it is asked for again when there is more room.
    pub cut_words: bool,
}

/// One piece in the making.
pub struct Piece<O> {
    outlet: O,
    want: Want,
    /// Samples that came and are not held any more: passed over or sent.
    gone: usize,
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
    /// A piece as wanted.
    pub fn new(outlet: O, want: Want) -> Self {
        let (held, outcome) = (Vec::new(), Outcome::Going);
        Self { outlet, want, gone: 0, sent: 0, held, boundary: 0, outcome }
    }

    /// Adds samples.
    pub fn audio(&mut self, samples: &[i16]) -> Go {
        if self.outcome != Outcome::Going {
            return Go::Stop;
        }
        let passed = self.want.skip.saturating_sub(self.gone).min(samples.len());
        self.gone += passed;
        self.held.extend_from_slice(&samples[passed..]);
        if self.sent + self.held.len() > self.want.most.saturating_sub(FADE_SAMPLES) {
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
        if at_text > self.boundary {
            let count = at_sample.saturating_sub(self.gone).min(self.held.len());
            // The word that was sent in part came to its end sooner this time.
            self.want.skip = self.want.skip.min(at_sample);
            if count > 0 {
                self.send(count, Some(at_text));
            }
            self.boundary = at_text;
        }
        if self.outcome == Outcome::Going { Go::On } else { Go::Stop }
    }

    /// Ends the piece.
    pub fn end(mut self, text_bytes: u32) -> Ended {
        match self.outcome {
            Outcome::Going => {
                self.send(self.held.len(), Some(text_bytes));
                return Ended::Done;
            }
            // Of a word longer than a piece as much as there may be; the next piece passes it over.
            Outcome::Full if self.sent == 0 && self.want.cut_words => {
                let most = self.want.most.saturating_sub(2 * FADE_SAMPLES).min(self.held.len());
                self.send(most, None);
            }
            Outcome::Full if self.sent == 0 => {}
            Outcome::Full => self.fade_out(),
            Outcome::Unwanted => {}
        }
        Ended::More(self.boundary)
    }

    fn send(&mut self, count: usize, spoken: Option<u32>) {
        if !self.outlet.send(&self.held[..count], spoken) {
            self.outcome = Outcome::Unwanted;
        }
        self.held.drain(..count);
        self.sent += count;
        self.gone += count;
        self.boundary = spoken.unwrap_or(self.boundary);
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
        self.outlet.send(&tail, Some(self.boundary));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sent(Vec<i16>, Option<u32>);

    impl Outlet for &mut Sent {
        fn send(&mut self, samples: &[i16], spoken: Option<u32>) -> bool {
            self.0.extend_from_slice(samples);
            self.1 = spoken;
            true
        }
    }

    fn most(most: usize) -> Want {
        Want { most, skip: 0, cut_words: false }
    }

    #[test]
    fn a_piece_that_fits_is_sent_whole() {
        let mut sent = Sent::default();
        let mut piece = Piece::new(&mut sent, most(1000));
        assert_eq!(piece.audio(&[1; 300]), Go::On);
        assert_eq!(piece.boundary(200, 4), Go::On);
        assert_eq!(piece.audio(&[1; 100]), Go::On);
        assert_eq!(piece.end(9), Ended::Done);
        assert_eq!((sent.0.len(), sent.1), (400, Some(9)));
    }

    #[test]
    fn a_full_piece_ends_at_its_last_word_with_a_fade() {
        let mut sent = Sent::default();
        let mut piece = Piece::new(&mut sent, most(500));
        assert_eq!(piece.audio(&[1000; 300]), Go::On);
        assert_eq!(piece.boundary(250, 6), Go::On);
        assert_eq!(piece.audio(&[1000; 300]), Go::Stop);
        assert_eq!(piece.boundary(400, 8), Go::Stop, "what comes after the limit is not looked at");
        assert_eq!(piece.end(20), Ended::More(6));
        assert_eq!((sent.0.len(), sent.1), (250 + FADE_SAMPLES, Some(6)));
        assert!(sent.0[250..].is_sorted_by(|a, b| a >= b));
        assert_eq!(sent.0.last(), Some(&0));
    }

    #[test]
    fn a_first_word_that_does_not_fit_is_left_for_more_room() {
        let mut sent = Sent::default();
        let mut piece = Piece::new(&mut sent, most(100));
        assert_eq!(piece.audio(&[1; 300]), Go::Stop);
        assert_eq!(piece.end(20), Ended::More(0));
        assert!(sent.0.is_empty());
    }

    #[test]
    fn a_word_longer_than_a_piece_goes_on_where_it_was_cut() {
        let word: Vec<i16> = (0..1000).collect();
        let mut whole = Vec::new();
        for _ in 0..10 {
            let mut sent = Sent::default();
            let want = Want { most: 400, skip: whole.len(), cut_words: true };
            let mut piece = Piece::new(&mut sent, want);
            let _ = word.chunks(90).all(|chunk| piece.audio(chunk) == Go::On);
            let ended = piece.end(12);
            assert!(sent.0.len() <= 400);
            whole.extend(sent.0);
            match ended {
                Ended::Done => break,
                other => assert_eq!((other, sent.1), (Ended::More(0), None)),
            }
        }
        assert_eq!(whole, word);
    }

    #[test]
    fn never_more_than_the_limit_whatever_the_order_of_events() {
        for limit in [56, 100, 999, 5000] {
            for cut_words in [false, true] {
                let mut sent = Sent::default();
                let mut piece = Piece::new(&mut sent, Want { most: limit, skip: 30, cut_words });
                for word in 1..100u32 {
                    piece.audio(&[7; 90]);
                    piece.boundary(word as usize * 90 - 20, word);
                }
                piece.end(100);
                assert!(sent.0.len() <= limit, "{} of {limit}", sent.0.len());
            }
        }
    }
}
