//! Containers and codecs: 24 kHz mono s16 in, a client's format out. Invariant: an encoder holds no
//! more than the plan of `limits` says, and its output for n samples is bounded before it is made.

mod flac;
mod mp3;
mod opus;
#[cfg(test)]
mod signal;

use crate::limits::{self, SPEECH_HZ};
use flac::Flac;
use mp3::Mp3;
use opus::Opus;

/// The formats that this build makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// MPEG-2 Layer III, 64 kbit/s.
    Mp3,
    /// Opus in Ogg, about 32 kbit/s.
    Opus,
    /// FLAC, without loss.
    Flac,
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
    const fn new(ring_pages: usize, encoder_bytes: usize) -> Self {
        let scratch_bytes = limits::SPEECH_SCRATCH_BYTES + encoder_bytes;
        let plan = Self { ring_pages, scratch_bytes };
        let most = limits::STREAM_MOST_BYTES - limits::SSE_SCRATCH_BYTES;
        assert!(plan.stream_bytes() <= most);
        assert!(plan.shared_bytes() + limits::LISTENER_BYTES <= most);
        let most = limits::REMOTE_STREAM_MOST_BYTES - limits::SSE_SCRATCH_BYTES - limits::TLS_BYTES;
        assert!(plan.recoded_bytes() <= most && limits::PASSING_BYTES <= most);
        plan
    }

    /// All that a stream for one reader can hold.
    pub const fn stream_bytes(self) -> usize {
        self.ring_pages * limits::PAGE_BYTES + self.scratch_bytes + limits::LISTENER_BYTES
    }

    /// Bytes of a shared stream that are kept; a longest piece must fit, as it must fit the ring.
    pub const fn log_bytes(self) -> usize {
        let ring = self.ring_pages * limits::PAGE_BYTES;
        if ring > limits::LOG_BYTES { ring } else { limits::LOG_BYTES }
    }

    /// All that a stream can hold that comes from elsewhere and is encoded here.
    pub const fn recoded_bytes(self) -> usize {
        let encoder = self.encoder_bytes();
        let own = limits::RECODED_RING_PAGES * limits::PAGE_BYTES + limits::RECODE_SCRATCH_BYTES;
        own + encoder + limits::UPSTREAM_SIDE_BYTES + limits::LISTENER_BYTES
    }

    /// The encoder's part of the scratch.
    pub const fn encoder_bytes(self) -> usize {
        self.scratch_bytes - limits::SPEECH_SCRATCH_BYTES
    }

    /// All that a shared stream can hold beside what its readers do.
    pub const fn shared_bytes(self) -> usize {
        self.log_bytes() + self.scratch_bytes
    }
}

impl Format {
    /// Every format of this build.
    pub const ALL: [Format; 5] =
        [Format::Mp3, Format::Opus, Format::Flac, Format::Wav, Format::Pcm];
    /// Made where nothing is asked for (OpenAI's default).
    pub const DEFAULT: Format = Format::Mp3;

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Format::Mp3 => "mp3",
            Format::Opus => "opus",
            Format::Flac => "flac",
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
            Format::Mp3 => "audio/mpeg",
            Format::Opus => "audio/ogg",
            Format::Flac => "audio/flac",
            Format::Wav => "audio/wav",
            Format::Pcm => "audio/pcm;rate=24000;channels=1",
        }
    }

    /// About how many bytes a second of speech takes.
    pub fn bytes_per_second(self) -> usize {
        match self {
            Format::Mp3 => 8_000,
            Format::Opus => 4_000,
            Format::Flac => 24_000,
            Format::Wav | Format::Pcm => SPEECH_HZ as usize * 2,
        }
    }

    /// What a stream of this format begins with, out of its first bytes: who comes in the middle needs it first.
    pub fn preamble(self, first: &bytes::Bytes) -> bytes::Bytes {
        let bytes = match self {
            Format::Mp3 | Format::Pcm => 0,
            Format::Opus => opus::HEADER_BYTES,
            Format::Flac => flac::HEADER_BYTES,
            Format::Wav => WAV_HEADER_BYTES,
        };
        first.slice(..bytes.min(first.len()))
    }

    /// See [`Plan`].
    pub const fn plan(self) -> Plan {
        const MP3: Plan = Plan::new(limits::SMALL_RING_PAGES, mp3::STATE_BYTES);
        const OPUS: Plan = Plan::new(limits::SMALL_RING_PAGES, opus::STATE_BYTES);
        const FLAC: Plan = Plan::new(limits::FLAC_RING_PAGES, flac::STATE_BYTES);
        const PCM: Plan = Plan::new(limits::PCM_RING_PAGES, 0);
        match self {
            Format::Mp3 => MP3,
            Format::Opus => OPUS,
            Format::Flac => FLAC,
            Format::Wav | Format::Pcm => PCM,
        }
    }
}

/// Why an encoder cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the {codec} encoder cannot be set up: {reason}")]
pub struct EncodeError {
    /// The format's name.
    pub codec: &'static str,
    /// What the library said.
    pub reason: String,
}

/// Encodes one stream.
pub enum Encoder {
    /// See [`Format::Mp3`].
    Mp3(Box<Mp3>),
    /// See [`Format::Opus`].
    Opus(Box<Opus>),
    /// See [`Format::Flac`].
    Flac(Box<Flac>),
    /// See [`Format::Wav`] and [`Format::Pcm`]: the header that is still to be written.
    Plain(Option<[u8; WAV_HEADER_BYTES]>),
}

impl Encoder {
    /// An encoder at the beginning of a stream.
    pub fn new(format: Format) -> Result<Self, EncodeError> {
        Ok(match format {
            Format::Mp3 => Encoder::Mp3(Box::new(Mp3::new()?)),
            Format::Opus => Encoder::Opus(Box::new(Opus::new()?)),
            Format::Flac => Encoder::Flac(Box::new(Flac::new()?)),
            Format::Wav => Encoder::Plain(Some(wav_header(None))),
            Format::Pcm => Encoder::Plain(None),
        })
    }

    /// The most bytes that `samples` more samples and the end of the stream can become, header
    /// included.
    pub fn most_bytes(&self, samples: usize) -> usize {
        match self {
            Encoder::Mp3(mp3) => mp3.most_bytes(samples),
            Encoder::Opus(opus) => opus.most_bytes(samples),
            Encoder::Flac(flac) => flac.most_bytes(samples),
            Encoder::Plain(header) => samples * 2 + header.map_or(0, |header| header.len()),
        }
    }

    /// The most samples, up to `most`, that surely fit into `bytes`.
    pub fn samples_within(&self, bytes: usize, most: usize) -> usize {
        let (mut fits, mut too_many) = (0, most + 1);
        while too_many - fits > 1 {
            let middle = fits.midpoint(too_many);
            if self.most_bytes(middle) <= bytes { fits = middle } else { too_many = middle }
        }
        fits
    }

    /// Appends the bytes that `samples` complete to `out`, before the first ones the container's
    /// header.
    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        if samples.is_empty() {
            return;
        }
        match self {
            Encoder::Mp3(mp3) => mp3.encode(samples, out),
            Encoder::Opus(opus) => opus.encode(samples, out),
            Encoder::Flac(flac) => flac.encode(samples, out),
            Encoder::Plain(header) => {
                out.extend(header.take().into_iter().flatten());
                out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
            }
        }
    }

    /// Appends what is still inside.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Encoder::Mp3(mp3) => mp3.finish(out),
            Encoder::Opus(opus) => opus.finish(out),
            Encoder::Flac(flac) => flac.finish(out),
            Encoder::Plain(_) => {}
        }
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

    fn encoder(format: Format) -> Encoder {
        Encoder::new(format).expect("it can be made")
    }

    #[test]
    fn a_wav_stream_has_one_header_and_then_samples() {
        let mut encoder = encoder(Format::Wav);
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

    #[test]
    fn every_format_keeps_its_bound_and_the_least_piece_fits_its_ring() {
        let least = limits::PIECE_LEAST.as_millis() as usize * SPEECH_HZ as usize / 1000;
        // The worst there is for a codec: noise at full scale.
        let mut seed = 1u32;
        let mut noise = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as u16 as i16
        };
        for format in Format::ALL {
            let mut encoder = encoder(format);
            let ring = (format.plan().ring_pages - 1) * limits::PAGE_BYTES;
            assert!(encoder.samples_within(ring, usize::MAX / 4) >= least, "{format:?}");
            for _ in 0..5 {
                let samples: Vec<i16> = (0..least).map(|_| noise()).collect();
                let most = encoder.most_bytes(least);
                assert!(encoder.samples_within(most, least) == least, "{format:?}");
                let mut out = Vec::new();
                encoder.encode(&samples, &mut out);
                assert!(out.len() <= most, "{format:?}: {} of {most}", out.len());
            }
            let (mut end, most) = (Vec::new(), encoder.most_bytes(0));
            encoder.finish(&mut end);
            assert!(end.len() <= most, "{format:?}: {} of {most}", end.len());
        }
    }
}
