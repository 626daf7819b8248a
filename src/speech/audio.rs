//! From samples to encoded bytes: stretched, resampled, encoded, a step at a time. Invariant: what lies between the
//! steps is bounded by one of them, and its buffers are used again.

use super::encode::{Encoder, Format};
use super::resample::Resampler;
use super::stretch::Stretcher;
use crate::limits::SPEECH_HZ;

/// Samples that are resampled and encoded at once.
pub const STEP_SAMPLES: usize = 1024;

/// Resampling and encoding, with buffers that are used again.
pub struct Audio {
    stretcher: Stretcher,
    factor: f64,
    resampler: Resampler,
    pub encoder: Encoder,
    hz: u32,
    input: Vec<i16>,
    stretched: Vec<i16>,
    output: Vec<i16>,
    bytes: Vec<u8>,
    /// Samples made so far, at 24 kHz.
    pub made: u64,
    /// Input samples of the unfinished word that were delivered already; its next job passes them
    /// over.
    pub inside_word: usize,
}

impl Audio {
    /// From `hz` into `format`; `factor` is by how much what comes in is made longer.
    pub fn new(hz: u32, factor: f64, format: Format) -> Result<Self, String> {
        Ok(Self {
            stretcher: Stretcher::new(hz, factor),
            factor,
            resampler: Resampler::new(hz, SPEECH_HZ).map_err(|error| error.to_string())?,
            encoder: Encoder::new(format).map_err(|error| error.to_string())?,
            hz,
            input: Vec::new(),
            stretched: Vec::new(),
            output: Vec::new(),
            bytes: Vec::new(),
            made: 0,
            inside_word: 0,
        })
    }

    /// Takes samples, s16 little-endian; `completes_word` says that a word ends with the last of them.
    pub fn push(&mut self, pcm: &[u8], completes_word: bool) {
        self.input.clear();
        self.input.extend(pcm.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])));
        self.inside_word = if completes_word { 0 } else { self.inside_word + self.input.len() };
        self.encode();
    }

    /// Takes so many samples of silence.
    pub fn silence(&mut self, samples: usize) {
        self.input.clear();
        self.input.resize(samples, 0);
        self.encode();
    }

    /// Encodes what is still inside.
    pub fn finish(&mut self) {
        self.input.clear();
        self.stretched.clear();
        self.output.clear();
        self.stretcher.finish(&mut self.stretched);
        self.resampler.push(&self.stretched, &mut self.output);
        self.resampler.finish(&mut self.output);
        self.made += self.output.len() as u64;
        self.encoder.encode(&self.output, &mut self.bytes);
        self.encoder.finish(&mut self.bytes);
    }

    fn encode(&mut self) {
        self.stretched.clear();
        self.output.clear();
        self.stretcher.push(&self.input, &mut self.stretched);
        self.resampler.push(&self.stretched, &mut self.output);
        self.made += self.output.len() as u64;
        self.encoder.encode(&self.output, &mut self.bytes);
    }

    /// Bytes that are encoded so far.
    pub fn encoded(&self) -> usize {
        self.bytes.len()
    }

    /// What is encoded so far.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Gets the emptied buffer back, so that the next piece needs no new one.
    pub fn give_back(&mut self, mut bytes: Vec<u8>) {
        bytes.clear();
        self.bytes = bytes;
    }

    /// How long what was made so far is.
    pub fn made_ms(&self) -> u64 {
        self.made * 1000 / u64::from(SPEECH_HZ)
    }

    /// Samples at 24 kHz that about `input` samples become.
    pub fn output_samples(&self, input: usize) -> u64 {
        (input as f64 * self.factor * f64::from(SPEECH_HZ) / f64::from(self.hz)) as u64
    }

    /// Input samples that surely become no more than `output` samples.
    pub fn input_samples(&self, output: usize) -> u32 {
        let stretched = output as u64 * u64::from(self.hz) / u64::from(SPEECH_HZ);
        // What a stretcher still holds of the piece before comes with this one.
        let (mut input, held) = (stretched as usize, self.stretcher.most_out(0));
        if self.factor > 1.0 {
            input = (input.saturating_sub(held) as f64 / self.factor) as usize;
        }
        u32::try_from(input).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_an_unfinished_word_are_counted_until_it_is_complete() {
        let mut audio = Audio::new(SPEECH_HZ, 1.0, Format::Pcm).expect("the same rate");
        audio.push(&[0; 200], true);
        assert_eq!(audio.inside_word, 0);
        audio.push(&[0; 100], false);
        assert_eq!(audio.inside_word, 50);
        audio.push(&[0; 60], true);
        assert_eq!(audio.inside_word, 0);
    }
}
