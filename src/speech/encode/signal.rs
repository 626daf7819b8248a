//! What the lossy codecs are tested with: something like speech, and how near to it a decoder comes.

use crate::limits::SPEECH_HZ;

/// A voiced sound of 140 Hz with its overtones, in syllables, and noise of that amplitude.
pub fn speech(samples: usize, hiss: f64) -> Vec<i16> {
    let mut noise = 1u32;
    (0..samples)
        .map(|at| {
            let t = at as f64 / f64::from(SPEECH_HZ);
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noisy = f64::from(noise >> 16) / 65_536.0 - 0.5;
            let tone = |n: u32| (t * 140.0 * f64::from(n) * std::f64::consts::TAU).sin();
            let voiced: f64 = (1..12).map(|n| tone(n) / f64::from(n)).sum();
            let syllable = (t * 4.0 * std::f64::consts::PI).sin().abs();
            ((voiced * 6000.0 + noisy * hiss) * syllable) as i16
        })
        .collect()
}

/// Mean power in dB.
pub fn level_db(samples: &[i16]) -> f64 {
    let power: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    10.0 * (power / samples.len() as f64 + 1e-9).log10()
}

/// Power of what is `clean` over that of what is missing from `heard`, in dB.
pub fn snr_db(clean: &[i16], heard: &[i16]) -> f64 {
    let rest: Vec<i16> = clean.iter().zip(heard).map(|(a, b)| a.saturating_sub(*b)).collect();
    level_db(clean) - level_db(&rest)
}
