//! Containers and codecs: 24 kHz mono s16 in, a client's format out. Invariant: an encoder holds no
//! more than the plan of `limits` says, and its output for n samples is bounded before it is made.

use crate::limits::{self, SPEECH_HZ};

/// The formats that this build makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// RIFF WAVE around [`Format::Pcm`]; sizes are 0xFFFFFFFF, since a stream's length is not known.
    Wav,
    /// Bare s16 little-endian mono at 24 kHz.
    Pcm,
}

/// What a stream of a format reserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Pages of its ring.
    pub ring_pages: usize,
    /// Encoder, resampler, frames in flight, text and tasks, in bytes.
    pub scratch_bytes: usize,
}

impl Plan {
    /// All that a stream for one reader can hold.
    pub const fn stream_bytes(self) -> usize {
        self.ring_pages * limits::PAGE_BYTES + self.scratch_bytes + limits::LISTENER_BYTES
    }

    /// All that a shared stream can hold beside what its readers do.
    pub const fn log_bytes(self) -> usize {
        limits::LOG_BYTES + self.scratch_bytes
    }
}

impl Format {
    /// Every format of this build.
    pub const ALL: [Format; 2] = [Format::Wav, Format::Pcm];

    /// Made where nothing is asked for.
    pub const DEFAULT: Format = Format::Wav;

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Format::Wav => "wav",
            Format::Pcm => "pcm",
        }
    }

    /// The format of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Media type, honest about rate and channels where the type has room for it.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Wav => "audio/wav",
            Format::Pcm => "audio/pcm;rate=24000;channels=1",
        }
    }

    /// About how many bytes a second of speech takes.
    pub fn bytes_per_second(self) -> usize {
        match self {
            Format::Wav | Format::Pcm => SPEECH_HZ as usize * 2,
        }
    }

    /// See [`Plan`].
    pub fn plan(self) -> Plan {
        let scratch_bytes = limits::SPEECH_SCRATCH_BYTES;
        Plan { ring_pages: limits::PCM_RING_PAGES, scratch_bytes }
    }
}

/// Encodes one stream.
pub struct Encoder {
    format: Format,
    begun: bool,
}

impl Encoder {
    /// An encoder at the beginning of a stream.
    pub fn new(format: Format) -> Self {
        Self { format, begun: false }
    }

    /// The most bytes that `samples` more samples can become, header included.
    pub fn most_bytes(&self, samples: usize) -> usize {
        samples * 2 + if self.begun { 0 } else { WAV_HEADER_BYTES }
    }

    /// The most samples that surely fit into `bytes`.
    pub fn samples_within(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.most_bytes(0)) / 2
    }

    /// Appends the bytes of `samples` to `out`, before the first ones the container's header.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        if samples.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.begun, true) && self.format == Format::Wav {
            out.extend_from_slice(&wav_header(None));
        }
        out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    }
}

/// Bytes of a WAV header.
pub const WAV_HEADER_BYTES: usize = 44;

/// A WAV header for `data_bytes` of 24 kHz mono s16, or for a stream whose length is not known
/// (Microsoft RIFF, `WAVEFORMATEX` without extension).
pub fn wav_header(data_bytes: Option<u32>) -> [u8; WAV_HEADER_BYTES] {
    let data = data_bytes.unwrap_or(u32::MAX);
    let riff = data.saturating_add(WAV_HEADER_BYTES as u32 - 8);
    let mut header = [0; WAV_HEADER_BYTES];
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &riff.to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16u32.to_le_bytes(),
        &1u16.to_le_bytes(), // PCM
        &1u16.to_le_bytes(), // one channel
        &SPEECH_HZ.to_le_bytes(),
        &(SPEECH_HZ * 2).to_le_bytes(),
        &2u16.to_le_bytes(),
        &16u16.to_le_bytes(),
        b"data",
        &data.to_le_bytes(),
    ];
    let mut at = 0;
    for field in fields {
        header[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wav_stream_has_one_header_and_then_samples() {
        let mut encoder = Encoder::new(Format::Wav);
        let mut out = Vec::new();
        encoder.encode(&[], &mut out);
        assert!(out.is_empty(), "no header before the first audio");
        assert_eq!(encoder.most_bytes(3), 50);
        encoder.encode(&[1, -1], &mut out);
        encoder.encode(&[2], &mut out);
        assert_eq!(&out[..4], b"RIFF");
        assert_eq!(&out[4..8], &[255; 4]);
        assert_eq!(&out[WAV_HEADER_BYTES..], &[1, 0, 255, 255, 2, 0]);
    }

    #[test]
    fn a_known_length_stands_in_the_header() {
        let header = wav_header(Some(100));
        assert_eq!(&header[4..8], &136u32.to_le_bytes());
        assert_eq!(&header[40..], &100u32.to_le_bytes());
    }

    #[test]
    fn names_lead_back_to_their_format() {
        for format in Format::ALL {
            assert_eq!(Format::named(format.name()), Some(format));
        }
        assert_eq!(Format::named("aac"), None);
    }
}
