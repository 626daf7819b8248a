//! Turns a stream of mono s16 samples of one rate into another rate, as it comes.
//!
//! Invariant: what comes out depends on the samples alone, never on how they were cut into pushes,
//! and after `finish` there are exactly `round(input * to / from)` of them, aligned with the input:
//! sample 0 is sample 0, with the filter's delay taken off the front.
//!
//! The work is rubato's FFT resampler at the smallest block that keeps its filter sharp. rubato lets
//! no two resamplers share an FFT plan, so smallness comes from the block instead: a stream holds
//! about 49 bytes of heap per frame of block, input and output together. To 24,000 Hz that is 10 to
//! 22 KiB from any common rate (15 KiB from 22,050 Hz); at most 81 KiB between any two of them
//! (32,000 and 11,025 Hz, which share little). It costs 0.0001 to 0.0005 CPU seconds per second of
//! speech (release build, one core), and 0.1 ms to set up.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

/// Telephone speech, the lowest rate that any engine or encoder here uses.
const LOWEST_HZ: u32 = 8_000;
/// Opus and video sound; nothing in speech goes higher.
const HIGHEST_HZ: u32 = 48_000;
/// Frames on the shorter side of a block, at least. The filter is as long as the block: at 80
/// frames it still passes 0.85 of the lower rate's band unharmed.
const LEAST_BLOCK_FRAMES: u32 = 80;
/// Frames of a block, in and out together, at most. The worst pair of common rates takes 1,721; a
/// pair without a common divisor would take up to 96,000 (5 MB).
const MOST_BLOCK_FRAMES: u32 = 2_048;
/// What a full-scale sample is as a float.
const FULL_SCALE: f32 = 32_768.0;

/// Why two rates cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum ResampleError {
    /// One of the rates is not a rate of speech.
    #[error(
        "cannot resample {from_hz} Hz to {to_hz} Hz: \
         rates from {LOWEST_HZ} to {HIGHEST_HZ} Hz will do"
    )]
    OutOfRange {
        /// Rate of the input.
        from_hz: u32,
        /// Rate asked for.
        to_hz: u32,
    },
    /// The rates share so small a divisor that a block would be seconds long.
    #[error(
        "cannot resample {from_hz} Hz to {to_hz} Hz: \
         their ratio needs a block of {block_frames} frames, {MOST_BLOCK_FRAMES} at most will do"
    )]
    OddRatio {
        /// Rate of the input.
        from_hz: u32,
        /// Rate asked for.
        to_hz: u32,
        /// Frames that one block would hold, in and out together.
        block_frames: u32,
    },
    /// rubato would not build it.
    #[error("cannot build the resampler")]
    Build(#[from] rubato::ResamplerConstructionError),
}

/// One stream's resampler. Equal rates pass through and hold nothing.
pub struct Resampler {
    work: Option<Box<Work>>,
}

impl Resampler {
    /// A resampler from `from_hz` to `to_hz`, both 8,000 to 48,000 Hz.
    pub fn new(from_hz: u32, to_hz: u32) -> Result<Self, ResampleError> {
        let speech = LOWEST_HZ..=HIGHEST_HZ;
        if !speech.contains(&from_hz) || !speech.contains(&to_hz) {
            return Err(ResampleError::OutOfRange { from_hz, to_hz });
        }
        if from_hz == to_hz {
            return Ok(Self { work: None });
        }
        let (frames_in, frames_out) = block(from_hz, to_hz);
        let block_frames = frames_in + frames_out;
        if block_frames > MOST_BLOCK_FRAMES {
            return Err(ResampleError::OddRatio { from_hz, to_hz, block_frames });
        }
        let work = Work::new(from_hz, to_hz, frames_in as usize, frames_out as usize)?;
        Ok(Self { work: Some(Box::new(work)) })
    }

    /// Takes the next samples and appends to `out` what is ready.
    pub fn push(&mut self, input: &[i16], out: &mut Vec<i16>) {
        match &mut self.work {
            Some(work) => work.push(input, out),
            None => out.extend_from_slice(input),
        }
    }

    /// Appends the rest. The next push starts a new stream, as if newly built.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        if let Some(work) = &mut self.work {
            work.finish(out);
        }
    }
}

/// Frames of one block, in and out: the smallest multiple of the reduced ratio whose shorter side
/// is not below `LEAST_BLOCK_FRAMES`.
fn block(from_hz: u32, to_hz: u32) -> (u32, u32) {
    let divisor = common_divisor(from_hz, to_hz);
    let (unit_in, unit_out) = (from_hz / divisor, to_hz / divisor);
    let units = LEAST_BLOCK_FRAMES.div_ceil(unit_in.min(unit_out));
    (units * unit_in, units * unit_out)
}

fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

struct Work {
    fft: Fft<f32>,
    from_hz: u64,
    to_hz: u64,
    /// The block being filled; `filled` of it are real.
    block_in: Vec<f32>,
    filled: usize,
    block_out: Vec<f32>,
    /// Frames of delay still to be dropped from the front.
    skip: usize,
    taken: u64,
    given: u64,
}

impl Work {
    fn new(
        from_hz: u32,
        to_hz: u32,
        frames_in: usize,
        frames_out: usize,
    ) -> Result<Self, ResampleError> {
        // Blackman's stop band (-74 dB) is below what s16 speech shows, and it passes more of the
        // band than rubato's own choice at this length.
        let window = WindowFunction::Blackman;
        let (rate_in, rate_out) = (from_hz as usize, to_hz as usize);
        let fft = Fft::new_custom(rate_in, rate_out, frames_in, 1, 1, window, FixedSync::Both)?;
        Ok(Self {
            fft,
            from_hz: from_hz.into(),
            to_hz: to_hz.into(),
            block_in: vec![0.0; frames_in],
            filled: 0,
            block_out: vec![0.0; frames_out],
            skip: delay(frames_in, frames_out),
            taken: 0,
            given: 0,
        })
    }

    fn push(&mut self, mut input: &[i16], out: &mut Vec<i16>) {
        while !input.is_empty() {
            let room = self.block_in.len() - self.filled;
            let (now, later) = input.split_at(room.min(input.len()));
            let free = &mut self.block_in[self.filled..];
            for (slot, &sample) in free.iter_mut().zip(now) {
                *slot = f32::from(sample) / FULL_SCALE;
            }
            self.filled += now.len();
            self.taken += now.len() as u64;
            input = later;
            if self.filled == self.block_in.len() {
                self.run(u64::MAX, out);
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<i16>) {
        let whole = (self.taken * self.to_hz + self.from_hz / 2) / self.from_hz;
        while self.given < whole {
            self.block_in[self.filled..].fill(0.0);
            self.run(whole - self.given, out);
        }
        self.fft.reset();
        self.filled = 0;
        self.skip = delay(self.block_in.len(), self.block_out.len());
        (self.taken, self.given) = (0, 0);
    }

    /// Resamples the block and appends at most `most` frames of it.
    fn run(&mut self, most: u64, out: &mut Vec<i16>) {
        let (frames_in, frames_out) = (self.block_in.len(), self.block_out.len());
        let input = InterleavedSlice::new(&self.block_in[..], 1, frames_in)
            .expect("one channel of this length");
        let mut output = InterleavedSlice::new_mut(&mut self.block_out[..], 1, frames_out)
            .expect("one channel of this length");
        self.fft
            .process_into_buffer(&input, &mut output, None)
            .expect("the blocks have the sizes it was built for");
        self.filled = 0;

        let dropped = self.skip.min(frames_out);
        self.skip -= dropped;
        let ready = &self.block_out[dropped..];
        let kept = ready.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        out.extend(ready[..kept].iter().map(|&sample| to_s16(sample)));
        self.given += kept as u64;
    }
}

/// Output frames by which rubato is late. Its filter's peak stands at the input frame `frames_in /
/// 2`, rounded down, which its own `output_delay` leaves out.
fn delay(frames_in: usize, frames_out: usize) -> usize {
    ((frames_in / 2) * frames_out + frames_in / 2) / frames_in
}

/// Rounds to the nearest sample; `as` stops at the ends instead of wrapping.
fn to_s16(sample: f32) -> i16 {
    let scaled = sample * FULL_SCALE;
    (scaled + 0.5_f32.copysign(scaled)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    const RATES_HZ: [u32; 9] =
        [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
    const PAIRS_HZ: [(u32, u32); 8] = [
        (22_050, 24_000),
        (16_000, 24_000),
        (44_100, 24_000),
        (24_000, 48_000),
        (24_000, 8_000),
        (22_050, 8_000),
        (8_000, 48_000),
        (24_000, 22_050),
    ];

    fn resample(from_hz: u32, to_hz: u32, input: &[i16], piece: usize) -> Vec<i16> {
        let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
        let mut out = Vec::new();
        input.chunks(piece).for_each(|samples| resampler.push(samples, &mut out));
        resampler.finish(&mut out);
        out
    }

    fn sine(rate_hz: u32, tone_hz: f64, frames: usize) -> Vec<i16> {
        let step = TAU * tone_hz / f64::from(rate_hz);
        (0..frames).map(|n| (20_000.0 * (step * n as f64).sin()).round() as i16).collect()
    }

    /// Least-squares fit of a sine of this tone: amplitude, phase in radians, and the power of all
    /// that is left over against the sine's, in dB.
    fn fit(samples: &[i16], rate_hz: u32, tone_hz: f64) -> (f64, f64, f64) {
        let step = TAU * tone_hz / f64::from(rate_hz);
        let scale = 2.0 / samples.len() as f64;
        let (mut a, mut b) = (0.0, 0.0);
        let mut noise = 0.0;
        // A few rounds: over a cut that is no whole period, sine and cosine are not orthogonal.
        for _ in 0..4 {
            let (mut more_a, mut more_b) = (0.0, 0.0);
            noise = 0.0;
            for (n, &sample) in samples.iter().enumerate() {
                let (sin, cos) = (step * n as f64).sin_cos();
                let rest = f64::from(sample) - a * sin - b * cos;
                more_a += rest * sin * scale;
                more_b += rest * cos * scale;
                noise += rest * rest * scale;
            }
            (a, b) = (a + more_a, b + more_b);
        }
        (a.hypot(b), b.atan2(a), 10.0 * (noise / (a * a + b * b)).log10())
    }

    #[test]
    fn a_sine_keeps_pitch_level_and_place() {
        for (from_hz, to_hz) in PAIRS_HZ {
            let band_hz = f64::from(from_hz.min(to_hz)) / 2.0;
            for tone_hz in [100.0, 440.0, 1_000.0, 0.5 * band_hz, 0.85 * band_hz] {
                let out = resample(from_hz, to_hz, &sine(from_hz, tone_hz, from_hz as usize), 500);
                let edge = to_hz as usize / 10;
                let (amplitude, phase, noise_db) = fit(&out[edge..9 * edge], to_hz, tone_hz);
                let level_db = 20.0 * (amplitude / 20_000.0).log10();
                // The phase that is missing, as frames between half a period before and after.
                let started = tone_hz * edge as f64 / f64::from(to_hz);
                let missing = (started - phase / TAU + 0.5).rem_euclid(1.0) - 0.5;
                let late = missing / tone_hz * f64::from(to_hz);
                let case = format!(
                    "{from_hz}->{to_hz}, {tone_hz} Hz: {level_db:.3} dB, noise {noise_db:.1} dB, \
                     {late:.2} frames late"
                );
                assert!(level_db.abs() < 0.1 && noise_db < -60.0 && late.abs() <= 0.51, "{case}");
            }
        }
    }

    #[test]
    fn a_tone_above_the_new_band_is_gone() {
        let out = resample(24_000, 8_000, &sine(24_000, 5_000.0, 24_000), 500);
        assert!(out[400..7_600].iter().all(|s| s.abs() < 20), "an alias is left");
    }

    #[test]
    fn the_length_is_exact_for_every_pair() {
        for from_hz in RATES_HZ {
            for to_hz in RATES_HZ {
                for frames in [0, 1, 2, 79, 80, 147, 148, 1_000, 2_501] {
                    let out = resample(from_hz, to_hz, &vec![1_000; frames], 64);
                    let exact = (frames as f64 * f64::from(to_hz) / f64::from(from_hz)).round();
                    assert_eq!(out.len(), exact as usize, "{from_hz}->{to_hz} of {frames}");
                }
            }
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_samples_and_it_can_be_used_again() {
        let noise: Vec<i16> =
            (0..5_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 16) as i16).collect();
        for (from_hz, to_hz) in PAIRS_HZ {
            let whole = resample(from_hz, to_hz, &noise, noise.len());
            for piece in [1, 7, 146, 147, 148, 1_024] {
                assert_eq!(
                    resample(from_hz, to_hz, &noise, piece),
                    whole,
                    "{from_hz}->{to_hz} by {piece}"
                );
            }
            let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
            for _ in 0..2 {
                let mut out = Vec::new();
                resampler.push(&noise, &mut out);
                resampler.finish(&mut out);
                assert_eq!(out, whole);
            }
        }
    }

    #[test]
    fn silence_stays_silent_and_full_scale_does_not_wrap() {
        for (from_hz, to_hz) in PAIRS_HZ {
            assert!(resample(from_hz, to_hz, &[0; 3_000], 100).iter().all(|&s| s == 0));
            let square: Vec<i16> =
                (0..4_000).map(|n| if n / 200 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
            let out = resample(from_hz, to_hz, &square, 100);
            // The middle half of each plateau: a wrapped overshoot would show here or beside it as
            // the other sign.
            for (n, &s) in out.iter().enumerate() {
                let at = n as f64 * f64::from(from_hz) / f64::from(to_hz) / 200.0;
                let high = (at as usize).is_multiple_of(2);
                if (0.03..0.97).contains(&at.fract()) {
                    assert!(
                        if high { s > 20_000 } else { s < -20_000 },
                        "{from_hz}->{to_hz} at {n}: {s}"
                    );
                }
            }
        }
    }

    #[test]
    fn equal_rates_pass_and_hopeless_ones_are_refused() {
        assert_eq!(resample(24_000, 24_000, &[1, -2, 3], 2), [1, -2, 3]);
        assert!(Resampler::new(24_000, 24_000).unwrap().work.is_none());
        assert!(matches!(Resampler::new(22_051, 24_000), Err(ResampleError::OddRatio { .. })));
        for rates in [(0, 24_000), (24_000, 0), (7_999, 24_000), (24_000, 96_000)] {
            assert!(matches!(
                Resampler::new(rates.0, rates.1),
                Err(ResampleError::OutOfRange { .. })
            ));
        }
    }
}
