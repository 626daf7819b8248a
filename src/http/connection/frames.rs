//! The frames of HTTP/2 as they come in, counted (RFC 9113, 4.1 and 10.5). Invariant: a frame that
//! makes us work and brings nothing is paid for from a bucket that fills slowly, and faster while the
//! peer takes what we send; who has none left is told ENHANCE_YOUR_CALM and cut. A head that was
//! begun is known as such until it is whole.

use tokio::time::Instant;

use crate::limits::{H2_CALM_A_SECOND, H2_CALM_ANSWER, H2_CALM_BURST, H2_CALM_SENT_BYTES};

/// GOAWAY with ENHANCE_YOUR_CALM, for the whole connection.
pub const CALM_DOWN: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11];

const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Follows the frames of one connection, from behind the preface.
#[derive(Debug)]
pub struct Frames {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that are there.
    got: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
    /// A head was begun, and its last frame has not come.
    in_head: bool,
    /// Nothing whole has come yet: not even the settings that must be first.
    first: bool,
    credit: f64,
    filled: Instant,
}

impl Frames {
    /// At the first frame.
    pub fn new() -> Self {
        Self {
            header: [0; HEADER_BYTES],
            got: 0,
            left: 0,
            in_head: false,
            first: true,
            credit: H2_CALM_BURST,
            filled: Instant::now(),
        }
    }

    /// Looks at what came in; false when the peer has to be cut.
    pub fn check(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = self.left.min(bytes.len());
                (self.left, bytes) = (self.left - count, &bytes[count..]);
                self.first &= self.left > 0;
                continue;
            }
            self.header[self.got] = bytes[0];
            (self.got, bytes) = (self.got + 1, &bytes[1..]);
            if self.got == HEADER_BYTES {
                self.got = 0;
                if !self.begin() {
                    return false;
                }
            }
        }
        true
    }

    /// So many answers went out whole: a client acknowledges each of them, however small.
    pub fn answered(&mut self, answers: u32) {
        self.credit = (self.credit + f64::from(answers) * H2_CALM_ANSWER).min(H2_CALM_BURST);
    }

    /// The peer took so many bytes: it may answer for them.
    pub fn sent(&mut self, bytes: usize) {
        self.credit = (self.credit + bytes as f64 / H2_CALM_SENT_BYTES).min(H2_CALM_BURST);
    }

    /// Whether the peer owes the rest of something that must not take long: the first settings, a
    /// head, a frame that is no data.
    pub fn owes(&self) -> bool {
        let in_frame = self.got > 0 || (self.left > 0 && self.header[3] != DATA);
        self.first || self.in_head || in_frame
    }

    /// A frame's header is there.
    fn begin(&mut self) -> bool {
        let [high, mid, low, kind, flags, ..] = self.header;
        self.left = usize::from(high) << 16 | usize::from(mid) << 8 | usize::from(low);
        self.first &= self.left > 0;
        match kind {
            HEADERS | CONTINUATION => self.in_head = flags & END_HEADERS == 0,
            _ => {}
        }
        let useful = match kind {
            DATA => self.left > 0 || flags & END_STREAM != 0,
            HEADERS => true,
            _ => false,
        };
        useful || self.pay()
    }

    fn pay(&mut self) -> bool {
        let now = Instant::now();
        let seconds = now.duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.credit = (self.credit + seconds * H2_CALM_A_SECOND).min(H2_CALM_BURST);
        let enough = self.credit >= 1.0;
        self.credit -= f64::from(u8::from(enough));
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, (payload >> 8) as u8, payload as u8, kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER_BYTES + payload, 0);
        frame
    }

    fn past(mut frames: Frames, frame: &[u8], most: usize) -> usize {
        (0..most).take_while(|_| frames.check(frame)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_bring_nothing_run_out() {
        let most = H2_CALM_BURST as usize;
        for (name, flood) in [
            ("ping", frame(6, 0, 8)),
            ("settings", frame(4, 0, 0)),
            ("reset", frame(3, 0, 4)),
            ("priority", frame(2, 0, 5)),
            ("empty data", frame(0, 0, 0)),
            ("continuation", frame(9, 0, 1)),
            ("unknown", frame(99, 0, 0)),
            ("window update", frame(8, 0, 4)),
        ] {
            assert_eq!(past(Frames::new(), &flood, 100_000), most, "{name}");
        }
        let heads = [frame(1, 4, 30), frame(0, 0, 100), frame(0, 1, 0)].concat();
        assert_eq!(past(Frames::new(), &heads, 10_000), 10_000, "these bring something");
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_or_waits_may_send_more() {
        let mut frames = Frames::new();
        let ping = frame(6, 0, 8);
        for _ in 0..H2_CALM_BURST as usize {
            assert!(frames.check(&ping));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(past(frames, &ping, 100_000), H2_CALM_A_SECOND as usize);
        let mut frames = Frames::new();
        let update = frame(8, 0, 4);
        for _ in 0..100_000 {
            assert!(frames.check(&update), "two updates for 2 KiB of audio are a reader's");
            assert!(frames.check(&update));
            frames.sent(2048);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_is_owed_until_it_is_whole() {
        let mut frames = Frames::new();
        assert!(frames.owes(), "the first settings");
        let owes = |frames: &mut Frames, bytes: &[u8]| {
            assert!(frames.check(bytes));
            frames.owes()
        };
        assert!(owes(&mut frames, &frame(4, 0, 6)[..12]));
        assert!(!owes(&mut frames, &[0; 3]));
        assert!(owes(&mut frames, &frame(1, 0, 20)), "a head without its end");
        assert!(owes(&mut frames, &frame(9, 0, 20)));
        assert!(!owes(&mut frames, &frame(9, 4, 20)));
        assert!(owes(&mut frames, &frame(6, 0, 8)[..4]), "half of a frame's header");
        assert!(!owes(&mut frames, &frame(6, 0, 8)[4..]));
        assert!(!owes(&mut frames, &frame(0, 0, 1000)[..500]), "data may take its time");
    }
}
