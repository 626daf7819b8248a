//! Makes speech longer at the same pitch, as it comes: for speeds below an engine's slowest.
//!
//! Invariants: what comes out depends on the samples alone, never on how they were cut into pushes;
//! its length is the input's times the factor, within one window (20 ms); each sample is one of the
//! input's or lies between two of them, so silence stays silence and full scale cannot wrap; all of
//! the input is heard; a stream holds 36 ms of it, with its tables less than 5 KiB at 48,000 Hz. It
//! costs 0.0001 to 0.0006 CPU seconds per second of output (release build, one core).
//!
//! The method is WSOLA (W. Verhelst, M. Roelands: "An overlap-add technique based on waveform
//! similarity for high quality time-scale modification of speech", ICASSP 1993). Each hop of output
//! is taken from near the place in the input that is due, and goes on as the one before would have
//! gone on: it is that very continuation, a plain copy, or else the place that is most like it,
//! faded in over it. A jump in a voice is thus whole pitch periods long.

use std::f64::consts::PI;

/// Output is made in hops of this length, a pitch period or two. Hop and fade make a window.
const HOP_SECONDS: f64 = 0.012;
/// What is compared, and faded over. Shorter than the hop: where a noise (s, f) is faded over
/// itself it loses loudness, so there is some plain sound in each hop.
const FADE_SECONDS: f64 = 0.008;
/// How far from its due place a hop may be taken, to either side: both together hold one period of
/// a voice of 62 Hz.
const REACH_SECONDS: f64 = 0.008;
/// A whole search: a window and the reach twice. Half a millisecond more, since each is rounded.
const HELD_SECONDS: f64 = 0.0365;
/// The search goes first over the sound averaged down to about this rate: it keeps two formants.
const COARSE_HZ: u32 = 6_000;
/// What is never louder is a pause: -60 dB of full scale.
const PAUSE_PEAK: u16 = 32;

/// One stream's stretcher. Lengths and places are in samples, places in `held`.
pub struct Stretcher {
    factor: f64,
    hop: usize,
    reach: usize,
    /// How many samples the coarse search averages.
    stride: usize,
    /// The weight of what is faded in, rising; as long as a fade.
    fade: Vec<i16>,
    /// Input that may still be needed, and how much came before it.
    held: Vec<i16>,
    origin: u64,
    /// Where the last hop would go on: from there on, a whole fade is held once a hop was made.
    next: usize,
    hops: u64,
}

impl Stretcher {
    /// A stretcher of speech at `hz`, 8,000 to 48,000, that makes `factor` times as much of it, 1.0
    /// to 4.0; what lies outside is clamped. 1.0 passes through and holds nothing.
    pub fn new(hz: u32, factor: f64) -> Self {
        // A factor that is not a number is not greater, either.
        let stretches = factor > 1.0;
        let hz = if stretches { hz.clamp(8_000, 48_000) } else { 0 };
        let samples = |seconds: f64| (seconds * f64::from(hz)).round() as usize;
        Self {
            factor: if stretches { factor.min(4.0) } else { 1.0 },
            hop: samples(HOP_SECONDS),
            reach: samples(REACH_SECONDS),
            stride: (hz / COARSE_HZ).max(1) as usize,
            fade: raised_cosine(samples(FADE_SECONDS)),
            held: Vec::with_capacity(samples(HELD_SECONDS)),
            origin: 0,
            next: 0,
            hops: 0,
        }
    }

    /// Takes the next samples and appends to `out` what is ready.
    pub fn push(&mut self, mut input: &[i16], out: &mut Vec<i16>) {
        if self.hop == 0 {
            return out.extend_from_slice(input);
        }
        loop {
            let enough = self.first_place() + 2 * self.reach + self.window();
            let (now, later) = input.split_at(input.len().min(enough - self.held.len()));
            self.held.extend_from_slice(now);
            input = later;
            if self.held.len() < enough {
                return;
            }
            self.make_hop(out);
            let done = self.first_place().min(self.next);
            self.held.drain(..done);
            self.origin += done as u64;
            self.next -= done;
        }
    }

    /// Appends the rest. The next push starts a new stream, as if newly built.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        // Too short for one hop, it is said as it is, and silence makes up the length.
        let fits = self.held.len() >= self.window();
        while fits && self.wanting(0) > self.held.len() - self.next + self.reach {
            self.make_hop(out);
        }
        let whole = out.len() + self.wanting(0);
        out.extend_from_slice(&self.held[self.next..]);
        if !fits {
            out.resize(whole, 0);
        }
        self.held.clear();
        (self.origin, self.next, self.hops) = (0, 0, 0);
    }

    /// Samples that pushes of `input` samples in all and the `finish` behind them append at most.
    pub fn most_out(&self, input: usize) -> usize {
        // The end is said whole, wherever the last hop left off: up to a window too much.
        self.wanting(input) + self.window()
    }

    /// Samples that a hop takes: itself, and what the next is faded over.
    fn window(&self) -> usize {
        self.hop + self.fade.len()
    }

    /// Output that is still to be made of all that came so far and of `more`.
    fn wanting(&self, more: usize) -> usize {
        let input = self.origin + (self.held.len() + more) as u64;
        ((input as f64 * self.factor).round() as u64 - self.hops * self.hop as u64) as usize
    }

    /// The first place in `held` that the next hop may be taken from. Due is the place whose hop
    /// ends as far into the input as it will end in the output.
    fn first_place(&self) -> usize {
        let ends = (self.hops + 1) as f64 * self.hop as f64 / self.factor;
        (ends.round() as u64).saturating_sub(self.origin + (self.hop + self.reach) as u64) as usize
    }

    /// Appends one hop. At the stream's end its place is moved forward to where a window is left.
    fn make_hop(&mut self, out: &mut Vec<i16>) {
        let last = (self.first_place() + 2 * self.reach).min(self.held.len() - self.window());
        let first = last.saturating_sub(2 * self.reach);
        let place = self.place(first, last);
        let new = &self.held[place..place + self.hop];
        if place == self.next {
            out.extend_from_slice(new);
        } else {
            let (faded_in, plain) = new.split_at(self.fade.len());
            let weighed = self.held[self.next..].iter().zip(faded_in).zip(&self.fade);
            out.extend(weighed.map(|((&old, &new), &weight)| mix(old, new, weight)));
            out.extend_from_slice(plain);
        }
        self.next = place + self.hop;
        self.hops += 1;
    }

    /// The place from `first` to `last` to go on at.
    fn place(&self, first: usize, last: usize) -> usize {
        let fade = self.fade.len();
        if first_pause(&self.held[self.next..self.next + fade], fade).is_some() {
            // In a pause any place is alike, and the earliest is best: the sound behind it then has
            // the longest way before it must jump, and its onset (p, t, k) is not heard twice. If
            // there is none, the latest has the least of the sound that had just ended.
            first_pause(&self.held[first..last + fade], fade).map_or(last, |place| first + place)
        } else if (first..=last).contains(&self.next) {
            self.next
        } else {
            self.most_alike(first, last)
        }
    }

    /// The place from `first` to `last` that is most like what would come next.
    fn most_alike(&self, first: usize, last: usize) -> usize {
        let (fade, stride) = (self.fade.len(), self.stride);
        let wanted = &self.held[self.next..self.next + fade];
        let field = average(&self.held[first..last + fade], stride);
        let near = first + best_match(&average(wanted, stride), &field) * stride;
        let from = near.saturating_sub(stride).max(first);
        let to = (near + stride).min(last);
        from + best_match(wanted, &self.held[from..to + fade])
    }
}

/// Rises from nothing to one over `length` samples, and sums up to one with itself reversed.
fn raised_cosine(length: usize) -> Vec<i16> {
    let weight = |n| 0.5 - 0.5 * (PI * (n as f64 + 0.5) / length as f64).cos();
    (0..length).map(|n| (weight(n) * f64::from(i16::MAX)).round() as i16).collect()
}

/// Lies between `old` and `new`: the weight is of 2^15, and below it.
fn mix(old: i16, new: i16, weight: i16) -> i16 {
    let (old, new) = (i32::from(old), i32::from(new));
    // At most 65,535 * 32,767 + 2^14, which is below 2^31.
    (old + (((new - old) * i32::from(weight) + (1 << 14)) >> 15)) as i16
}

fn average(samples: &[i16], stride: usize) -> Vec<i16> {
    let mean = |few: &[i16]| few.iter().map(|&s| i32::from(s)).sum::<i32>() / stride as i32;
    samples.chunks_exact(stride).map(|few| mean(few) as i16).collect()
}

/// Where in `samples` the first pause of this length begins.
fn first_pause(samples: &[i16], length: usize) -> Option<usize> {
    let mut quiet = 0;
    let end = samples.iter().position(|sample| {
        quiet = if sample.unsigned_abs() <= PAUSE_PEAK { quiet + 1 } else { 0 };
        quiet == length
    });
    end.map(|end| end + 1 - length)
}

/// Where in `field` the shape of `wanted` is found best: the greatest normalized correlation.
fn best_match(wanted: &[i16], field: &[i16]) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (place, found) in field.windows(wanted.len()).enumerate() {
        let alike = product(wanted, found) as f64 / (product(found, found).max(1) as f64).sqrt();
        if alike > best.1 {
            best = (place, alike);
        }
    }
    best.0
}

fn product(a: &[i16], b: &[i16]) -> i64 {
    a.iter().zip(b).map(|(&a, &b)| i64::from(i32::from(a) * i32::from(b))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(hz: u32, factor: f64, input: &[i16], piece: usize) -> Vec<i16> {
        let (mut stretcher, mut out) = (Stretcher::new(hz, factor), Vec::new());
        for _again in 0..2 {
            out.clear();
            input.chunks(piece).for_each(|samples| stretcher.push(samples, &mut out));
            let most = out.len() + stretcher.most_out(0);
            stretcher.finish(&mut out);
            assert!(out.len() <= most && most == stretcher.most_out(input.len()));
        }
        assert!(2 * (stretcher.held.capacity() + stretcher.fade.capacity()) < 5_000);
        out
    }

    fn noise(length: u32) -> Vec<i16> {
        (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 16) as i16).collect()
    }

    fn biggest_step(samples: &[i16]) -> f64 {
        samples.windows(2).map(|two| two[0].abs_diff(two[1])).max().unwrap().into()
    }

    #[test]
    fn the_length_fits_and_pieces_of_any_size_give_the_same_samples() {
        for (hz, factor) in [(8_000, 1.01), (22_050, 1.83), (24_000, 2.0), (48_000, 4.0)] {
            for length in [0, 1, 100, 440, 441, 442, 800, 1_500, 5_000, 22_051] {
                let input = noise(length);
                let whole = stretch(hz, factor, &input, 30_000);
                let wrong = (whole.len() as f64 - f64::from(length) * factor).abs();
                assert!(wrong <= 0.02 * f64::from(hz) + 1.0, "{length} by {factor}: {wrong} off");
                let same = |piece| stretch(hz, factor, &input, piece) == whole;
                assert!([7, 441, 1_024].into_iter().all(same), "{length} by {factor}");
            }
        }
        assert_eq!(stretch(8_000, 1.0, &[1, -2, 3], 2), [1, -2, 3]);
        assert_eq!(stretch(8_000, f64::NAN, &[1, -2, 3], 2), [1, -2, 3]);
    }

    #[test]
    fn what_is_level_stays_so_and_nothing_wraps() {
        for level in [0, 1, i16::MAX, i16::MIN] {
            assert!(stretch(22_050, 1.83, &[level; 9_000], 500).iter().all(|&s| s == level));
        }
        let fade = raised_cosine(384);
        assert!(fade.iter().is_sorted_by_key(|&weight| mix(i16::MIN, i16::MAX, weight)));
        assert!(fade.iter().rev().is_sorted_by_key(|&weight| mix(i16::MAX, i16::MIN, weight)));
    }

    #[test]
    fn a_voice_keeps_its_pitch_and_gets_no_clicks() {
        for (hz, tone_hz) in [(8_000, 150.0), (22_050, 70.0), (22_050, 150.0), (48_000, 333.0)] {
            let phase = |n: u32| f64::from(n) * tone_hz / f64::from(hz) * 2.0 * PI;
            let sine: Vec<i16> = (0..hz).map(|n| (2e4 * phase(n).sin()) as i16).collect();
            // Humps of a tenth of the period, as of a glottis.
            let hump = |n| 3e4 * (10.0 * (phase(n).cos() - 1.0)).exp() - 5e3;
            let pulses: Vec<i16> = (0..hz).map(|n| hump(n) as i16).collect();
            for (input, factor) in [(&sine, 1.83), (&pulses, 1.2), (&pulses, 1.83), (&sine, 4.0)] {
                let out = stretch(hz, factor, input, 500);
                let mut rises = (1..out.len()).filter(|&n| out[n - 1] < 0 && out[n] >= 0);
                let first = rises.next().unwrap();
                let (count, last) = rises.fold((0, 0), |(count, _), n| (count + 1, n));
                let found_hz = f64::from(count * hz) / (last - first) as f64;
                assert!((found_hz / tone_hz - 1.0).abs() < 0.01, "{tone_hz} became {found_hz}");
                assert!(biggest_step(&out) < 1.1 * biggest_step(input), "{tone_hz} by {factor}");
            }
        }
    }

    #[test]
    fn a_burst_behind_a_pause_is_not_heard_twice() {
        let bursts = [vec![0; 3_000], noise(250)].concat().repeat(20);
        for factor in [1.2, 1.83, 2.0] {
            let out = stretch(22_050, factor, &[bursts.clone(), vec![0; 3_000]].concat(), 500);
            let pauses = out.split(|&s| s != 0).filter(|pause| pause.len() > 40);
            assert_eq!(pauses.count(), 21);
        }
    }
}
