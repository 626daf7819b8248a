//! A deterministic test signal in the place of a voice: for tests, benches and soaks. Invariant: the
//! same text, speed and seed give the same samples; it is labelled as a test signal everywhere and
//! off unless configured, so that nobody takes it for speech.

use super::piece::Go;
use super::process::{Sink, Synthesizer};
use super::voices::{Voice, Voices};

const HZ: u32 = 24_000;
/// Seconds of tone per character at speed 1.0, about as long as speech takes.
const SECONDS_PER_CHAR: f64 = 0.065;
/// Seconds of silence between words at speed 1.0.
const SECONDS_BETWEEN_WORDS: f64 = 0.05;
/// A quarter of full scale: −12 dBFS.
const AMPLITUDE: f64 = 8192.0;
/// Ramp at both ends of a word, in seconds: no clicks.
const RAMP: f64 = 0.005;
/// Samples given over at once.
const CHUNK: usize = 480;

/// See the module.
pub struct Tone {
    voices: Voices,
}

impl Tone {
    /// The one voice there is.
    pub fn new() -> Self {
        let voice = Voice {
            id: "tone".into(),
            name: "Test signal (not a voice)".into(),
            language: "zxx".into(), // ISO 639-2: no linguistic content
            gender: None,
            engine_name: "tone".into(),
        };
        Self { voices: Voices { default: 0, all: vec![voice], variants: Vec::new() } }
    }
}

impl Synthesizer for Tone {
    fn hz(&self) -> u32 {
        HZ
    }

    fn voices(&self) -> &Voices {
        &self.voices
    }

    fn speak(&mut self, text: &str, _: &str, speed: f32, mut sink: Sink) -> Result<Sink, String> {
        let mut made = 0;
        for word in words(text) {
            if sink.boundary(made, word.start as u32) == Go::Stop {
                break;
            }
            let samples = tone(&text[word.clone()], f64::from(speed));
            for chunk in samples.chunks(CHUNK) {
                if sink.audio(chunk) == Go::Stop {
                    return Ok(sink);
                }
            }
            made += samples.len();
        }
        Ok(sink)
    }
}

fn words(text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    text.split_whitespace().map(move |word| {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        start..start + word.len()
    })
}

/// A sine whose pitch is of the word's first character, with ramps, then silence.
fn tone(word: &str, speed: f64) -> Vec<i16> {
    let hz = f64::from(HZ);
    let seconds = word.chars().count() as f64 * SECONDS_PER_CHAR / speed;
    let silence = (SECONDS_BETWEEN_WORDS / speed * hz) as usize;
    let pitch = 220.0 + 20.0 * (word.chars().next().map_or(0, u32::from) % 32) as f64;
    let count = (seconds * hz) as usize;
    let sample = |n: usize| {
        let (t, left) = (n as f64 / hz, (count - n) as f64 / hz);
        let ramp = (t / RAMP).min(left / RAMP).min(1.0);
        (AMPLITUDE * ramp * (std::f64::consts::TAU * pitch * t).sin()) as i16
    };
    (0..count).map(sample).chain(std::iter::repeat_n(0, silence)).collect()
}
