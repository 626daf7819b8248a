//! The samples inside of a RIFF WAVE that comes in pieces (Microsoft, *Multimedia Programming Interface*, 1991).
//! Invariants: only what is s16 mono PCM is taken; where it says how much there is, no more is taken, and less is no
//! end. Streams that cannot know write the largest size there is, or none.

/// A head with more than this in front of its samples is none of speech.
const HEAD_MOST_BYTES: usize = 4096;
const PCM: u16 = 1;
/// `WAVE_FORMAT_EXTENSIBLE`, whose samples are PCM if they say so in their sub-format.
const EXTENSIBLE: u16 = 0xFFFE;

/// A size from which on it is one that nobody knew: streams write the largest there is, of 31 bits or of 32.
const UNKNOWN: u32 = 0x7FFF_0000;

/// The samples of a stream: first its head is collected, then they are passed on.
#[derive(Default)]
pub struct WavSamples {
    head: Vec<u8>,
    begun: Option<Begun>,
}

/// Where the samples have begun.
#[derive(Clone, Copy)]
struct Begun {
    hz: u32,
    /// Bytes of samples that are still to come, where that is known.
    left: Option<u32>,
}

impl WavSamples {
    /// Takes bytes; once the samples have begun, their rate in Hz and those among them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<(u32, Vec<u8>)>, String> {
        if let Some(begun) = &mut self.begun {
            return Ok(Some((begun.hz, begun.samples(bytes.to_vec()))));
        }
        self.head.extend_from_slice(bytes);
        let Some((hz, at, size)) = begin(&self.head)? else {
            if self.head.len() > HEAD_MOST_BYTES {
                return Err("the head of its WAV does not end".into());
            }
            return Ok(None);
        };
        let left = Some(size).filter(|size| (1..UNKNOWN).contains(size));
        let samples = std::mem::take(&mut self.head).split_off(at);
        let begun = self.begun.insert(Begun { hz, left });
        Ok(Some((hz, begun.samples(samples))))
    }

    /// Whether all is there that was said to be.
    pub fn end(&self) -> Result<(), String> {
        match self.begun {
            None => Err("it ended within the head of its WAV".into()),
            Some(Begun { left: Some(left @ 1..), .. }) => {
                Err(format!("{left} bytes are missing of its WAV"))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Begun {
    /// Those of `bytes` that are samples: behind them may be anything.
    fn samples(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some(left) = &mut self.left {
            bytes.truncate(*left as usize);
            *left -= bytes.len() as u32;
        }
        bytes
    }
}

/// The rate, where the samples begin, and how many bytes they are said to be.
fn begin(head: &[u8]) -> Result<Option<(u32, usize, u32)>, String> {
    let Some((riff, _)) = head.split_at_checked(12) else { return Ok(None) };
    if &riff[..4] != b"RIFF" || &riff[8..] != b"WAVE" {
        return Err("it is no WAV".into());
    }
    let (mut at, mut hz) = (12, None);
    while let Some(chunk) = head.get(at..at + 8) {
        let size = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]) as usize;
        match &chunk[..4] {
            b"data" => {
                let found = hz.map(|hz| Some((hz, at + 8, size as u32)));
                return found.ok_or("its WAV has no format".into());
            }
            b"fmt " => {
                let Some(format) = head.get(at + 8..at + 24) else { return Ok(None) };
                hz = Some(rate(format)?);
            }
            _ => {}
        }
        // Chunks begin at even places.
        at = at.saturating_add(8).saturating_add(size).saturating_add(size % 2);
    }
    Ok(None)
}

/// The rate of the format in `fmt `.
fn rate(format: &[u8]) -> Result<u32, String> {
    let two = |at: usize| u16::from_le_bytes([format[at], format[at + 1]]);
    let hz = u32::from_le_bytes([format[4], format[5], format[6], format[7]]);
    let (kind, channels, bits) = (two(0), two(2), two(14));
    if ![PCM, EXTENSIBLE].contains(&kind) || channels != 1 || bits != 16 {
        return Err(format!(
            "its WAV has {channels} channels of {bits} bits in format {kind}, not one of 16 in PCM"
        ));
    }
    match hz {
        8_000..=48_000 => Ok(hz),
        _ => Err(format!("its WAV has {hz} samples a second")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::encode::wav_header;
    use proptest::prelude::*;

    fn whole(extra: &[u8]) -> Vec<u8> {
        let header = wav_header(None);
        [&header[..36], extra, &header[36..], &[1, 2, 3, 4]].concat()
    }

    #[test]
    fn the_head_is_taken_off_wherever_it_is_cut() {
        for extra in [&b""[..], b"LIST\x03\0\0\0abc\0"] {
            let wav = whole(extra);
            for cut in 0..wav.len() {
                let mut samples = WavSamples::default();
                let first = samples.push(&wav[..cut]).expect("good");
                let (hz, found) = match first {
                    Some((hz, found)) => (hz, [found, wav[cut..].to_vec()].concat()),
                    None => samples.push(&wav[cut..]).expect("good").expect("begun"),
                };
                assert_eq!((hz, &found[..]), (24_000, &[1, 2, 3, 4][..]), "cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_not_one_channel_of_s16_is_refused() {
        let with = |at: usize, byte: u8| {
            let mut wav = whole(b"");
            wav[at] = byte;
            WavSamples::default().push(&wav).err()
        };
        for (at, byte, said) in [
            (0, b'X', "no WAV"),
            (20, 3, "format 3"),
            (22, 2, "2 channels"),
            (34, 8, "8 bits"),
            (12, b'x', "no format"),
            (25, 0, "192 samples"),
        ] {
            let error = with(at, byte).expect("is bad");
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_size_that_is_known_is_kept_to() {
        let wav = |size: u32, bytes: usize| {
            let mut samples = WavSamples::default();
            let whole = [&wav_header(Some(size))[..], &vec![1; bytes]].concat();
            let taken = samples.push(&whole).expect("good").map(|(_, taken)| taken.len());
            (taken.expect("begun"), samples.end().is_ok())
        };
        assert_eq!(wav(40, 40), (40, true));
        assert_eq!(wav(40, 100), (40, true), "what stands behind them is not played");
        assert_eq!(wav(40, 38), (38, false));
        for unknown in [0, u32::MAX, 0x7FFF_FFFF] {
            assert_eq!(wav(unknown, 100), (100, true));
        }
        assert!(WavSamples::default().end().is_err());
    }

    proptest! {
        #[test]
        fn anything_at_all_ends_in_bounds(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..20)) {
            let mut wav = WavSamples::default();
            prop_assume!(wav.push(&wav_header(None)[..30]).is_ok());
            for part in &parts {
                if wav.push(part).is_err() {
                    break;
                }
                prop_assert!(wav.head.len() <= HEAD_MOST_BYTES + 700);
            }
        }
    }
}
