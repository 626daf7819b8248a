//! Sound as it stands on the wire: samples of 16 bits at 24 kHz, or a telephone's at 8 kHz (ITU-T G.711). Invariant: however it is cut into
//! pieces, what comes out is the same.

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};
use serde_json::{Value, json};

use crate::limits::SPEECH_HZ;
use crate::speech::resample::Resampler;

/// Samples of a telephone in a second.
const TELEPHONE_HZ: u32 = 8_000;

/// As what sound comes or goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// Samples, the low byte first, at 24 kHz.
    #[default]
    Pcm,
    /// A telephone's in North America and Japan.
    Ulaw,
    /// A telephone's elsewhere.
    Alaw,
}

impl Wire {
    /// What would do, as an error says it.
    pub const KNOWN: &str =
        r#"{"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcmu"} or {"type": "audio/pcma"}"#;

    /// As it is asked for: an object, or its older name alone.
    pub fn read(format: &Value) -> Option<Self> {
        let kind = format.as_str().or_else(|| format.get("type")?.as_str())?;
        let rate = format.get("rate").and_then(Value::as_u64);
        match kind {
            "audio/pcm" | "pcm16" if rate.is_none_or(|rate| rate == u64::from(SPEECH_HZ)) => {
                Some(Wire::Pcm)
            }
            "audio/pcmu" | "g711_ulaw" => Some(Wire::Ulaw),
            "audio/pcma" | "g711_alaw" => Some(Wire::Alaw),
            _ => None,
        }
    }

    /// As it is told.
    pub fn told(self) -> Value {
        match self {
            Wire::Pcm => json!({"type": "audio/pcm", "rate": SPEECH_HZ}),
            Wire::Ulaw => json!({"type": "audio/pcmu"}),
            Wire::Alaw => json!({"type": "audio/pcma"}),
        }
    }
}

/// Sound on its way out, of one answer.
pub struct Outward {
    wire: Wire,
    /// None where samples go as they are.
    resampler: Option<Resampler>,
}

/// Sound on its way in, of one question.
pub struct Inward {
    wire: Wire,
    resampler: Option<Resampler>,
}

impl Outward {
    /// An answer that goes out as `wire`.
    pub fn new(wire: Wire) -> Self {
        Self { wire, resampler: resampler(wire, SPEECH_HZ, TELEPHONE_HZ) }
    }

    /// More samples, as bytes.
    pub fn push(&mut self, sound: &[u8]) -> Vec<u8> {
        let Some(resampler) = &mut self.resampler else { return sound.to_vec() };
        let mut out = Vec::new();
        resampler.push(&samples(sound), &mut out);
        self.encode(&out)
    }

    /// What is left.
    pub fn finish(&mut self) -> Vec<u8> {
        let Some(resampler) = &mut self.resampler else { return Vec::new() };
        let mut out = Vec::new();
        resampler.finish(&mut out);
        self.encode(&out)
    }

    fn encode(&self, samples: &[i16]) -> Vec<u8> {
        let encode = if self.wire == Wire::Alaw { encode_alaw } else { encode_ulaw };
        samples.iter().map(|sample| encode(*sample)).collect()
    }
}

impl Inward {
    /// As what it comes.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Bytes of samples that so many bytes become, about.
    pub fn grows(&self, bytes: usize) -> usize {
        match self.resampler {
            None => bytes,
            Some(_) => bytes * 2 * (SPEECH_HZ / TELEPHONE_HZ) as usize,
        }
    }

    /// A question that comes in as `wire`.
    pub fn new(wire: Wire) -> Self {
        Self { wire, resampler: resampler(wire, TELEPHONE_HZ, SPEECH_HZ) }
    }

    /// More of what came, as samples.
    pub fn push(&mut self, sound: &[u8]) -> Vec<u8> {
        let Some(resampler) = &mut self.resampler else { return sound.to_vec() };
        let decode = if self.wire == Wire::Alaw { decode_alaw } else { decode_ulaw };
        let said: Vec<i16> = sound.iter().map(|byte| decode(*byte)).collect();
        let mut out = Vec::new();
        resampler.push(&said, &mut out);
        out.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }
}

fn resampler(wire: Wire, from_hz: u32, to_hz: u32) -> Option<Resampler> {
    // These two rates can be joined: a test says so.
    Resampler::new(from_hz, to_hz).ok().filter(|_| wire != Wire::Pcm)
}

fn samples(sound: &[u8]) -> Vec<i16> {
    sound.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a second of a tone that a telephone carries.
    fn tone(hz: u32) -> Vec<i16> {
        let turn = std::f32::consts::TAU * 440.0 / hz as f32;
        (0..hz / 2).map(|n| ((n as f32 * turn).sin() * 12_000.0) as i16).collect()
    }

    fn bytes(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }

    #[test]
    fn formats_are_known_by_their_names_and_told_by_the_newer_ones() {
        for (asked, wire) in [
            (json!({"type": "audio/pcm"}), Some(Wire::Pcm)),
            (json!({"type": "audio/pcm", "rate": 24_000}), Some(Wire::Pcm)),
            (json!({"type": "audio/pcm", "rate": 16_000}), None),
            (json!("pcm16"), Some(Wire::Pcm)),
            (json!("g711_ulaw"), Some(Wire::Ulaw)),
            (json!({"type": "audio/pcma"}), Some(Wire::Alaw)),
            (json!({"type": "audio/opus"}), None),
            (json!(3), None),
        ] {
            assert_eq!(Wire::read(&asked), wire, "{asked}");
        }
        for wire in [Wire::Pcm, Wire::Ulaw, Wire::Alaw] {
            assert_eq!(Wire::read(&wire.told()), Some(wire));
        }
    }

    #[test]
    fn a_telephone_says_what_was_said_however_it_is_cut() {
        let said = bytes(&tone(SPEECH_HZ));
        for wire in [Wire::Ulaw, Wire::Alaw] {
            let whole = {
                let mut speaking = Outward::new(wire);
                [speaking.push(&said), speaking.finish()].concat()
            };
            assert_eq!(whole.len(), 4_000, "{wire:?}: half a second");
            let mut speaking = Outward::new(wire);
            let mut cut: Vec<u8> =
                said.chunks(998).flat_map(|piece| speaking.push(piece)).collect();
            cut.extend(speaking.finish());
            assert_eq!(cut, whole, "{wire:?}");
            // What a telephone brings is that tone again, but for the noise that its 8 bits add (G.711: 38 dB).
            let back = samples(&Inward::new(wire).push(&whole));
            let wanted = tone(SPEECH_HZ);
            let (mut noise, mut power) = (0.0, 0.0);
            for (got, wanted) in back.iter().zip(&wanted).take(10_000).skip(1_000) {
                noise += (f64::from(*got) - f64::from(*wanted)).powi(2);
                power += f64::from(*wanted).powi(2);
            }
            let decibels = 10.0 * (power / noise).log10();
            assert!(decibels > 30.0, "{wire:?}: {decibels} dB");
        }
        assert_eq!(Outward::new(Wire::Pcm).push(&said), said);
        assert_eq!(Inward::new(Wire::Pcm).push(&said), said);
    }
}
