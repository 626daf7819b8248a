//! The samples inside of a RIFF WAVE that comes in pieces (Microsoft, *Multimedia Programming Interface*, 1991).
//! Invariant: only what is s16 mono PCM is taken; its sizes are not believed, since streams say what they like
//! there.

/// A head with more than this in front of its samples is none of speech.
const HEAD_MOST_BYTES: usize = 4096;
const PCM: u16 = 1;
/// `WAVE_FORMAT_EXTENSIBLE`, whose samples are PCM if they say so in their sub-format.
const EXTENSIBLE: u16 = 0xFFFE;

/// Collects the head of a stream until its samples begin.
#[derive(Default)]
pub struct WavSamples {
    head: Vec<u8>,
}

impl WavSamples {
    /// Takes bytes; once the samples have begun, their rate in Hz and those that have come.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<(u32, Vec<u8>)>, String> {
        self.head.extend_from_slice(bytes);
        let Some((hz, at)) = begin(&self.head)? else {
            if self.head.len() > HEAD_MOST_BYTES {
                return Err("the head of its WAV does not end".into());
            }
            return Ok(None);
        };
        let samples = self.head.split_off(at);
        Ok(Some((hz, samples)))
    }
}

/// The rate, and where the samples begin.
fn begin(head: &[u8]) -> Result<Option<(u32, usize)>, String> {
    let Some((riff, _)) = head.split_at_checked(12) else { return Ok(None) };
    if &riff[..4] != b"RIFF" || &riff[8..] != b"WAVE" {
        return Err("it is no WAV".into());
    }
    let (mut at, mut hz) = (12, None);
    while let Some(chunk) = head.get(at..at + 8) {
        let size = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]) as usize;
        match &chunk[..4] {
            b"data" => {
                return hz.map(|hz| Some((hz, at + 8))).ok_or("its WAV has no format".into());
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
        8_000..=192_000 => Ok(hz),
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

    proptest! {
        #[test]
        fn anything_at_all_ends_in_bounds(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..20)) {
            let mut wav = WavSamples::default();
            prop_assume!(wav.push(&wav_header(None)[..30]).is_ok());
            for part in &parts {
                match wav.push(part) {
                    Ok(None) => prop_assert!(wav.head.len() <= HEAD_MOST_BYTES),
                    _ => break,
                }
            }
        }
    }
}
