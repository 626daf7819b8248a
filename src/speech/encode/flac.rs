//! FLAC by flacenc, a block at a time. Invariant: what is decoded is what went in, bit for bit, and a
//! block is never larger than the samples in it and [`FRAME_HEAD_BYTES`].
//!
//! flacenc's streams are made whole, in memory, but the step below them is public: one block of
//! samples in, one frame out. So the frames are its, and the 42 bytes in front of them ours: a
//! STREAMINFO for a stream whose length is not known (total samples, frame sizes and MD5 are 0, which
//! RFC 9639 8.2 has for "unknown"). Every block has 1152 samples (48 ms), only the last one fewer.
//!
//! Linear prediction of order 10 costs 0.0013 CPU seconds per second of speech and makes 182 kbit/s of
//! 384 (fixed predictors alone: 0.0004, 196). Coefficients have 12 bits: then no prediction of 16-bit
//! samples leaves 32 bits (2^11 · 2^15 · 10 < 2^30). The last block gets the fixed predictors, since
//! flacenc keeps a window for each length of block that it predicted linearly, for ever.
//!
//! flacenc also keeps its working buffers with the thread, not with the encoder: 15 KiB a thread at
//! this block size, once.

use flacenc::bitsink::ByteSink;
use flacenc::component::{BitRepr, StreamInfo};
use flacenc::config;
use flacenc::error::{Verified, Verify};
use flacenc::source::{Fill, FrameBuf};

use super::EncodeError;
use crate::limits::{KIB, SPEECH_HZ};

/// Memory of one encoder: 12 KiB, and the 21 KiB that encoding a block takes and gives back.
pub const STATE_BYTES: usize = 36 * KIB;
/// Samples of every block but the last.
const BLOCK_SAMPLES: usize = 1152;
/// The marker, and STREAMINFO with its block header.
pub const HEADER_BYTES: usize = 4 + 4 + 34;
/// What a frame can have beside its samples, at most (RFC 9639 9.1): 4 fixed bytes, 6 of number, 2 of
/// size, 1 of checksum; 1 for the kind of prediction; 2 of checksum; 2 since flacenc does not count a
/// predictor's own head when it compares it to bare samples.
pub const FRAME_HEAD_BYTES: usize = 18;
/// What the calls to flacenc rest on; 2^31 blocks are more than three years of speech.
const NOTHING_TO_REFUSE: &str =
    "flacenc has a block that fits, 16-bit samples and a number below 2^31";

/// An encoder in the middle of a stream.
pub struct Flac {
    info: StreamInfo,
    full: Verified<config::Encoder>,
    last: Verified<config::Encoder>,
    /// The block in the making.
    waiting: Vec<i32>,
    block: FrameBuf,
    frame: ByteSink,
    frames: usize,
}

impl Flac {
    /// An encoder at the beginning of a stream; it takes microseconds and [`STATE_BYTES`].
    pub fn new() -> Result<Self, EncodeError> {
        let error = |reason: String| EncodeError { codec: "flac", reason };
        let verified = |config: config::Encoder| {
            config.into_verified().map_err(|(_, refusal)| error(refusal.to_string()))
        };
        let refused = |refusal: flacenc::error::VerifyError| error(refusal.to_string());
        Ok(Self {
            info: StreamInfo::new(SPEECH_HZ as usize, 1, 16).map_err(refused)?,
            full: verified(settings(true))?,
            last: verified(settings(false))?,
            waiting: Vec::with_capacity(BLOCK_SAMPLES),
            block: FrameBuf::with_size(1, BLOCK_SAMPLES).map_err(refused)?,
            frame: ByteSink::new(),
            frames: 0,
        })
    }

    /// The most bytes that `samples` more samples and the end of the stream can become, header
    /// included.
    pub fn most_bytes(&self, samples: usize) -> usize {
        let samples = self.waiting.len() + samples;
        if samples == 0 {
            return 0;
        }
        let header = if self.frames == 0 { HEADER_BYTES } else { 0 };
        header + samples * 2 + samples.div_ceil(BLOCK_SAMPLES) * FRAME_HEAD_BYTES
    }

    /// Appends the frames that `samples` complete; the first comes with the 1152nd sample.
    pub fn encode(&mut self, mut samples: &[i16], out: &mut Vec<u8>) {
        while !samples.is_empty() {
            let (piece, rest) =
                samples.split_at(samples.len().min(BLOCK_SAMPLES - self.waiting.len()));
            self.waiting.extend(piece.iter().map(|sample| i32::from(*sample)));
            samples = rest;
            if self.waiting.len() == BLOCK_SAMPLES {
                self.frame(out);
            }
        }
    }

    /// Appends what is still inside, as a shorter block.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.waiting.is_empty() {
            self.frame(out);
        }
    }

    fn frame(&mut self, out: &mut Vec<u8>) {
        if self.frames == 0 {
            out.extend_from_slice(&header());
        }
        let settings = if self.waiting.len() == BLOCK_SAMPLES { &self.full } else { &self.last };
        self.block.fill_interleaved(&self.waiting).expect(NOTHING_TO_REFUSE);
        let frame =
            flacenc::encode_fixed_size_frame(settings, &self.block, self.frames, &self.info)
                .expect(NOTHING_TO_REFUSE);
        self.frame.clear();
        frame.write(&mut self.frame).expect(NOTHING_TO_REFUSE);
        out.extend_from_slice(self.frame.as_slice());
        self.waiting.clear();
        self.frames += 1;
    }
}

fn settings(linear: bool) -> config::Encoder {
    let mut settings = config::Encoder::default();
    let block = &mut settings.subframe_coding;
    block.use_lpc = linear;
    block.qlpc.lpc_order = 10;
    block.qlpc.quant_precision = 12;
    // By counting, not by estimating: an estimate may choose what is larger than the bare samples.
    block.fixed.order_sel = config::OrderSel::BitCount;
    settings
}

/// The marker and STREAMINFO, the only metadata block (RFC 9639 8.1, 8.2).
fn header() -> [u8; HEADER_BYTES] {
    let block = (BLOCK_SAMPLES as u16).to_be_bytes();
    // 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of samples.
    let format = (u64::from(SPEECH_HZ) << 44 | (16 - 1) << 36).to_be_bytes();
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(b"fLaC\x80\0\0\x22");
    header[8..10].copy_from_slice(&block);
    header[10..12].copy_from_slice(&block);
    header[18..26].copy_from_slice(&format);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(samples: &[i16], chunk: usize) -> Vec<u8> {
        let mut flac = Flac::new().unwrap();
        let mut out = Vec::new();
        let whole_bound = flac.most_bytes(samples.len());
        for piece in samples.chunks(chunk) {
            let (before, bound) = (out.len(), flac.most_bytes(piece.len()));
            flac.encode(piece, &mut out);
            assert!(out.len() - before <= bound);
        }
        let (before, bound) = (out.len(), flac.most_bytes(0));
        flac.finish(&mut out);
        assert!(out.len() - before <= bound);
        assert!(out.len() <= whole_bound, "{} of {whole_bound}", out.len());
        assert_eq!(flac.most_bytes(0), 0);
        let whole = out.len();
        flac.finish(&mut out);
        assert_eq!(out.len(), whole, "a second end adds nothing");
        out
    }

    fn decoded(flac: &[u8]) -> Vec<i16> {
        let mut reader = claxon::FlacReader::new(flac).unwrap();
        let info = reader.streaminfo();
        assert_eq!((info.sample_rate, info.channels, info.bits_per_sample), (SPEECH_HZ, 1, 16));
        assert_eq!((info.min_block_size, info.max_block_size), (1152, 1152));
        assert_eq!((info.samples, info.min_frame_size, info.max_frame_size), (None, None, None));
        assert_eq!(info.md5sum, [0; 16]);
        reader.samples().map_while(Result::ok).map(|sample| sample as i16).collect()
    }

    fn noise(samples: usize) -> Vec<i16> {
        let mut state = 1u32;
        (0..samples)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as i16
            })
            .collect()
    }

    fn tone(samples: usize) -> Vec<i16> {
        (0..samples).map(|at| ((at as f64 * 0.05).sin() * 20_000.0) as i16).collect()
    }

    /// What predictors and Rice codes have trouble with.
    fn hard(samples: usize) -> Vec<Vec<i16>> {
        let of = |f: &dyn Fn(usize) -> i16| (0..samples).map(f).collect::<Vec<_>>();
        vec![
            of(&|_| 0),
            of(&|_| i16::MIN),
            of(&|at| if at % 2 == 0 { i16::MAX } else { i16::MIN }),
            of(&|at| if at / 60 % 2 == 0 { i16::MAX } else { i16::MIN }),
            of(&|at| if at % 1152 == 600 { i16::MIN } else { 0 }),
            of(&|at| (at as u32 * 2_500) as i16),
            noise(samples),
            noise(samples).iter().map(|sample| sample / 4096).collect(),
            noise(samples)
                .iter()
                .enumerate()
                .map(|(at, sample)| if at / 300 % 3 == 0 { *sample } else { sample / 8192 })
                .collect(),
            tone(samples),
        ]
    }

    #[test]
    fn every_sample_comes_back() {
        for length in [1, 2, 15, 16, 63, 64, 65, 1151, 1152, 1153, 1200, 2304, 10_000] {
            for (kind, samples) in hard(length).into_iter().enumerate() {
                assert!(decoded(&encoded(&samples, 700)) == samples, "{length} of kind {kind}");
            }
        }
    }

    #[test]
    fn a_tone_gets_smaller_and_noise_hardly_larger() {
        assert!(encoded(&tone(24_000), 480).len() < 24_000);
        assert!(encoded(&noise(24_000), 480).len() < 48_000 + 21 * FRAME_HEAD_BYTES);
        assert!(encoded(&[0; 24_000], 480).len() < 400);
    }

    #[test]
    fn cuts_leave_no_trace() {
        let samples = tone(10_000);
        let whole = encoded(&samples, 10_000);
        for chunk in [1, 7, 1151, 1152, 1153, 4096] {
            assert!(encoded(&samples, chunk) == whole, "in chunks of {chunk}");
        }
        assert_eq!(encoded(&[], 1), b"", "nothing said, nothing sent");
    }

    #[test]
    fn what_arrived_before_a_cut_is_heard() {
        let samples = tone(10_000);
        let flac = encoded(&samples, 480);
        for cut in [HEADER_BYTES, flac.len() / 2, flac.len() - 1] {
            let heard = decoded(&flac[..cut]);
            assert_eq!(heard.len() % BLOCK_SAMPLES, 0);
            assert!(heard == samples[..heard.len()], "cut at {cut}");
        }
    }

    #[test]
    fn the_header_comes_once_with_the_first_block() {
        let mut flac = Flac::new().unwrap();
        let mut out = Vec::new();
        flac.encode(&tone(1151), &mut out);
        assert!(out.is_empty());
        flac.encode(&[0], &mut out);
        assert_eq!(&out[..8], b"fLaC\x80\0\0\x22");
        assert_eq!(out[18..26], [0x05, 0xDC, 0x00, 0xF0, 0, 0, 0, 0]);
        // Sync, fixed blocks; 1152 samples at 24 kHz; mono, 16 bits; number 0.
        assert_eq!(out[HEADER_BYTES..][..5], [0xFF, 0xF8, 0x37, 0x08, 0]);
        assert_eq!(out.windows(4).filter(|four| four == b"fLaC").count(), 1);
    }

    #[test]
    fn an_encoder_may_change_threads() {
        fn sent<T: Send>() {}
        sent::<Flac>();
    }
}
