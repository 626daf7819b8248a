//! MP3 by LAME: MPEG-2 Layer III, 24 kHz mono, 64 kbit/s constant. Invariant: the stream is nothing
//! but frames of 192 bytes, each decodable without those before it, and how many of them a number of
//! samples becomes is known before they are made.
//!
//! No bit reservoir, so a listener may join and a transfer may break at any frame; no Xing or LAME
//! frame, which would tell of a file whose length is known; no ID3. That is what a browser's
//! MediaSource takes as `audio/mpeg` from byte 0. Without the LAME frame no decoder knows how much
//! silence to take off: what is heard starts `DELAY_SAMPLES` (46 ms) late, in every player.
//!
//! Quality 5 is LAME's own default: the whole psychoacoustic model, simple noise shaping. It costs
//! 0.004 CPU seconds per second of speech (7 and 9: 0.002, 2: 0.006) and 0.6 ms to set up, and its
//! memory is the same at each. At this bit rate LAME turns the sound down by 0.44 dB, so that decoders
//! do not clip; it is left at that.
//!
//! LAME asks `calloc` for 385 KiB, most of it for album art and ReplayGain and never touched:
//! [`STATE_BYTES`] is what is. That it stays so hangs on the allocator, which must be ours for C as well
//! and must not write to a large block that is to be zero: see `main`. glibc's own would touch 276 KiB
//! and keep them when the stream has gone.
//!
//! `unsafe`: the safe wrapper has no setter for the reservoir; LAME is asked for it directly.
#![allow(unsafe_code)]

use std::sync::Once;

use mp3lame_encoder::{Bitrate, Builder, Encoder, FlushGap, Mode, MonoPcm, Quality, ffi};

use super::EncodeError;
use crate::limits::{KIB, SPEECH_HZ};

/// Memory of one encoder: 81 KiB touched when 300 of them speak, and a little for what the allocator
/// rounds up.
pub const STATE_BYTES: usize = 96 * KIB;
/// Samples of one frame of MPEG-2 Layer III.
const FRAME_SAMPLES: usize = 576;
/// 576 samples at 24 kHz are 24 ms, and 64 kbit/s over 24 ms are 192 bytes, so none is padded.
const FRAME_BYTES: usize = 192;
/// Zeros that LAME puts in front (its `ENCDELAY`).
const ENCODER_DELAY_SAMPLES: u64 = 576;
/// From the first decoded sample to the first sample of speech: LAME's delay, and 529 samples of
/// every decoder's filter bank.
#[cfg(test)]
pub const DELAY_SAMPLES: usize = ENCODER_DELAY_SAMPLES as usize + 529;
/// What the calls to LAME rest on: mono input, settings it accepted, room for what it writes.
const NOTHING_TO_REFUSE: &str = "LAME has settings it accepted, and room for every frame";

/// An encoder in the middle of a stream.
pub struct Mp3 {
    lame: Encoder,
    samples: u64,
    written: u64,
}

impl Mp3 {
    /// An encoder at the beginning of a stream; it takes 0.6 ms and [`STATE_BYTES`].
    pub fn new() -> Result<Self, EncodeError> {
        // LAME fills tables that all encoders share, the first time and again each time, with the same
        // values. Only the very first time could another thread see them half filled.
        static TABLES: Once = Once::new();
        TABLES.call_once(|| drop(lame()));
        Ok(Self { lame: lame()?, samples: 0, written: 0 })
    }

    /// The most bytes that `samples` more samples and the end of the stream can become.
    pub fn most_bytes(&self, samples: usize) -> usize {
        (bytes_of(self.samples + samples as u64) - self.written) as usize
    }

    /// Appends the frames that `samples` complete; the first comes with the 800th sample.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        // No more than a frame at once: LAME keeps a buffer as large as the largest piece it saw.
        for piece in samples.chunks(FRAME_SAMPLES) {
            out.reserve(FRAME_BYTES);
            let made = self.lame.encode_to_vec(MonoPcm(piece), out).expect(NOTHING_TO_REFUSE);
            self.samples += piece.len() as u64;
            self.written += made as u64;
        }
    }

    /// Appends what is still inside, and silence up to the end of the last frame.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let left = self.most_bytes(0);
        if left == 0 {
            return;
        }
        out.reserve(left);
        let made = self.lame.flush_to_vec::<FlushGap>(out).expect(NOTHING_TO_REFUSE);
        self.written += made as u64;
    }
}

/// Bytes of a whole stream of `samples`. LAME adds as much silence as lets the last sample through
/// both delays: at least a frame of it, and what fills the last frame.
fn bytes_of(samples: u64) -> u64 {
    let frame = FRAME_SAMPLES as u64;
    let frames = (samples + ENCODER_DELAY_SAMPLES).div_ceil(frame) + 1;
    if samples == 0 { 0 } else { frames * FRAME_BYTES as u64 }
}

fn lame() -> Result<Encoder, EncodeError> {
    let error = |reason: String| EncodeError { codec: "mp3", reason };
    let refused = |refusal| error(format!("{refusal:?}"));
    let mut builder = Builder::new().ok_or_else(|| error("no memory".into()))?;
    builder.set_num_channels(1).map_err(refused)?;
    builder.set_sample_rate(SPEECH_HZ).map_err(refused)?;
    builder.set_output_sample_rate(SPEECH_HZ.try_into().ok()).map_err(refused)?;
    builder.set_mode(Mode::Mono).map_err(refused)?;
    builder.set_brate(Bitrate::Kbps64).map_err(refused)?;
    builder.set_quality(Quality::Good).map_err(refused)?;
    builder.set_to_write_vbr_tag(false).map_err(refused)?;
    // SAFETY: the pointer is the builder's own, alive and not kept; the call stores one number in it.
    let answer = unsafe { ffi::lame_set_disable_reservoir(builder.as_ptr(), 1) };
    if answer < 0 {
        return Err(error(format!("the bit reservoir stays on ({answer})")));
    }
    builder.build().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::super::signal::{self, level_db, snr_db};
    use super::*;

    fn speech(samples: usize) -> Vec<i16> {
        signal::speech(samples, 300.0)
    }

    fn encoded(samples: &[i16], chunk: usize) -> Vec<u8> {
        let mut mp3 = Mp3::new().unwrap();
        let mut out = Vec::new();
        for piece in samples.chunks(chunk) {
            let (before, bound) = (out.len(), mp3.most_bytes(piece.len()));
            mp3.encode(piece, &mut out);
            assert!(out.len() - before <= bound);
        }
        let (before, bound) = (out.len(), mp3.most_bytes(0));
        mp3.finish(&mut out);
        assert_eq!(out.len() - before, bound, "the bound is exact");
        mp3.finish(&mut out);
        assert_eq!(out.len() - before, bound, "a second end adds nothing");
        out
    }

    /// Decoded by a decoder that shares nothing with LAME.
    fn decoded(mut mp3: &[u8]) -> Vec<i16> {
        let mut decoder = nanomp3::Decoder::new();
        let mut frame = [0i16; nanomp3::MAX_SAMPLES_PER_FRAME];
        let mut all = Vec::new();
        while !mp3.is_empty() {
            let (used, result) = decoder.decode(mp3, &mut frame);
            mp3 = &mp3[used..];
            if let Ok(info) = result {
                assert_eq!((info.sample_rate, info.bitrate), (SPEECH_HZ, 64));
                all.extend_from_slice(&frame[..info.samples_produced]);
            }
        }
        all
    }

    #[test]
    fn every_frame_stands_alone() {
        let mp3 = encoded(&speech(30_000), 1000);
        assert_eq!(mp3.len() % FRAME_BYTES, 0);
        for frame in mp3.chunks(FRAME_BYTES) {
            // Sync, MPEG-2 Layer III without CRC; 64 kbit/s, 24 kHz, not padded; mono (ISO 13818-3).
            assert_eq!(&frame[..3], &[0xFF, 0xF3, 0x84]);
            assert_eq!(frame[3] >> 6, 0b11);
            assert_eq!(frame[4], 0, "main_data_begin: nothing from an earlier frame");
        }
    }

    #[test]
    fn what_went_in_comes_out_a_delay_later() {
        for length in [1, 575, 576, 577, 799, 800, 24_000, 50_001] {
            let speech = speech(length);
            let heard = decoded(&encoded(&speech, 480));
            assert!(heard.len() >= length + DELAY_SAMPLES, "{length}: the last sample is covered");
            assert!(heard.len() < length + DELAY_SAMPLES + 2 * FRAME_SAMPLES, "and little more");
            if length > 1000 {
                let heard = &heard[DELAY_SAMPLES..][..length];
                assert!((level_db(&speech) - level_db(heard)).abs() < 0.5, "{length}");
                let snr = snr_db(&speech, heard);
                assert!(snr > 15.0, "{length}: {snr} dB");
            }
        }
    }

    #[test]
    fn cuts_leave_no_trace() {
        let speech = speech(20_000);
        let whole = encoded(&speech, 20_000);
        for chunk in [1, 7, 479, 576, 577, 2048] {
            assert!(encoded(&speech, chunk) == whole, "in chunks of {chunk}");
        }
        assert_eq!(encoded(&[], 1), b"", "nothing said, nothing sent");
    }

    #[test]
    fn a_listener_may_join_at_any_frame_and_lose_the_rest() {
        let speech = speech(40_000);
        let mp3 = encoded(&speech, 480);
        for frame in [1, 10, 33] {
            let heard = decoded(&mp3[frame * FRAME_BYTES..]);
            let from = frame * FRAME_SAMPLES;
            // The overlap of its first frame is missing.
            let heard = &heard[2 * FRAME_SAMPLES..][..10_000];
            let said = &speech[from + 2 * FRAME_SAMPLES - DELAY_SAMPLES..][..10_000];
            assert!(snr_db(said, heard) > 15.0);
        }
        for cut in [500, 5_000, 5_555] {
            let heard = decoded(&mp3[..cut]);
            assert!(heard.len() >= (cut / FRAME_BYTES - 1) * FRAME_SAMPLES);
        }
    }

    #[test]
    fn the_first_frame_leaves_early() {
        let mut mp3 = Mp3::new().unwrap();
        let mut out = Vec::new();
        mp3.encode(&speech(799), &mut out);
        assert!(out.is_empty());
        mp3.encode(&[0], &mut out);
        assert_eq!(out.len(), FRAME_BYTES, "after 33 ms of audio");
    }

    #[test]
    fn silence_stays_silent_and_full_scale_does_not_wrap() {
        let silence = decoded(&encoded(&[0; 24_000], 480));
        assert!(silence.iter().all(|sample| sample.unsigned_abs() <= 1));
        let square: Vec<i16> =
            (0..24_000).map(|at| if at / 60 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let heard = decoded(&encoded(&square, 480));
        let snr = snr_db(&square, &heard[DELAY_SAMPLES..][..24_000]);
        assert!(snr > 10.0, "{snr} dB");
    }

    #[test]
    fn an_encoder_may_change_threads() {
        fn sent<T: Send>() {}
        sent::<Mp3>();
    }
}
