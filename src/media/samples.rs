//! Pictures of our own, for a folder that has none: each moves, repeats for ever, and is as large as those that people send one
//! another. Invariant: the same number gives the same bytes; drawing one takes no more than 4 MiB.

use std::f32::consts::TAU;

use gif::{Encoder, EncodingError, Frame, Repeat};

/// How many there are.
pub const SAMPLES: usize = NAMES.len();

const NAMES: [&str; 24] = [
    "tide", "ember", "lagoon", "aurora", "meadow", "dusk", "coral", "slate", "petal", "dune",
    "frost", "plum", "amber", "reef", "moss", "comet", "linen", "storm", "peach", "orbit", "fern",
    "violet", "harbor", "vesper",
];
const FRAMES: usize = 20;
/// Hundredths of a second.
const DELAY: u16 = 6;
const COLORS: usize = 64;
/// What each is to be about as large as, and the pixels at a side with which that is tried first.
const TARGET_BYTES: usize = 400_000;
const FIRST_SIDE: usize = 96;

/// What the file is called.
pub fn name(number: usize) -> String {
    format!("{}.gif", NAMES[number % SAMPLES])
}

/// A picture: a GIF of 300,000 to 500,000 bytes.
pub fn sample(number: usize) -> Vec<u8> {
    let mut side = FIRST_SIDE;
    let mut bytes = Vec::new();
    // How well it can be packed depends on what it shows.
    for _ in 0..4 {
        bytes = draw(number, side).unwrap_or_default();
        let ratio = TARGET_BYTES as f32 / bytes.len().max(1) as f32;
        if (0.85..1.15).contains(&ratio) {
            break;
        }
        side = ((side as f32 * ratio.sqrt()) as usize).clamp(FIRST_SIDE, 400);
    }
    bytes
}

fn draw(number: usize, side: usize) -> Result<Vec<u8>, EncodingError> {
    let size = side as u16;
    let mut encoder = Encoder::new(Vec::new(), size, size, &palette(number))?;
    encoder.set_repeat(Repeat::Infinite)?;
    for frame in 0..FRAMES {
        let turn = frame as f32 / FRAMES as f32 * TAU;
        let mut pixels = Vec::with_capacity(side * side);
        for y in 0..side {
            for x in 0..side {
                let at = |place: usize| place as f32 / side as f32 * 2.0 - 1.0;
                let height = height(number, at(x), at(y), turn).clamp(-1.0, 1.0);
                pixels.push(((height + 1.0) / 2.0 * (COLORS - 1) as f32).round() as u8);
            }
        }
        let frame = Frame { delay: DELAY, ..Frame::from_indexed_pixels(size, size, pixels, None) };
        encoder.write_frame(&frame)?;
    }
    encoder.into_inner()
}

/// From −1 to 1 at a place from −1 to 1, after a part of a full turn.
fn height(number: usize, x: f32, y: f32, turn: f32) -> f32 {
    let n = (number / 6) as f32;
    let (radius, angle) = (x.hypot(y), y.atan2(x));
    match number % 6 {
        // Waves from three sides.
        0 => {
            let waves = (4.0 * x + turn).sin()
                + ((5.0 + n) * y - turn).sin()
                + (4.0 * (x + y) + turn + n).sin();
            waves / 3.0
        }
        // Rings around two places that circle each other.
        1 => {
            let (dx, dy) = (0.45 * turn.cos(), 0.45 * turn.sin());
            let rings = |cx: f32, cy: f32| ((9.0 + 2.0 * n) * (x - cx).hypot(y - cy) - turn).sin();
            (rings(dx, dy) + rings(-dx, -dy)) / 2.0
        }
        // Arms that turn.
        2 => ((3.0 + n) * angle + 7.0 * radius - turn * 2.0).sin() * (1.0 - 0.4 * radius),
        // A window of a church.
        3 => {
            let part = TAU / (6.0 + 2.0 * n);
            let folded = (angle.rem_euclid(part) - part / 2.0).abs();
            let (u, v) = (radius * folded.cos(), radius * folded.sin());
            ((8.0 * u - turn).sin() + (11.0 * v + turn).cos()) / 2.0
        }
        // Hills behind hills.
        4 => {
            let hills = (1..4).filter(|hill| {
                let hill = *hill as f32;
                y > -0.8
                    + 0.45 * hill
                    + 0.18 * (3.0 * x * hill.sqrt() + turn + 2.0 * hill + n).sin()
            });
            let light = 0.12 * (10.0 * radius - turn).sin();
            -0.9 + 0.55 * hills.count() as f32 + light + 0.2 * (1.0 - y) / 2.0
        }
        // Drops in a lattice.
        _ => {
            let cells = 3.0 + n;
            let (cx, cy) = ((cells * x).rem_euclid(1.0) - 0.5, (cells * y).rem_euclid(1.0) - 0.5);
            let phase = (cells * x).floor() * 0.7 + (cells * y).floor() * 1.1;
            (9.0 * cx.hypot(cy) - turn + phase).sin() * 0.7 + 0.3 * (2.0 * (x - y) + turn).sin()
        }
    }
}

/// Colors that run into one another, others for each number: three cosines, whose phases turn by the golden angle.
fn palette(number: usize) -> Vec<u8> {
    let hue = number as f32 * 2.399_963;
    let color = |step: usize| {
        let at = step as f32 / (COLORS - 1) as f32;
        [0.0, 0.9, 1.9].map(|shift| {
            let light = 0.18 + 0.72 * at;
            let tint = 0.5 + 0.5 * (hue + shift + at * 2.2).cos();
            ((light * (0.35 + 0.65 * tint)).clamp(0.0, 1.0) * 255.0) as u8
        })
    };
    (0..COLORS).flat_map(color).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::kind;
    use std::collections::HashSet;

    #[test]
    fn each_is_a_picture_of_its_own_of_the_usual_size_and_its_name_says_so() {
        let mut seen = HashSet::new();
        for number in 0..SAMPLES {
            let bytes = sample(number);
            assert!(
                (300_000..=500_000).contains(&bytes.len()),
                "{}: {} bytes",
                name(number),
                bytes.len()
            );
            assert_eq!(kind::of_content(&bytes), kind::of_name(&name(number)));
            assert!(seen.insert(name(number)) && seen.insert(blake3::hash(&bytes).to_string()));
            if let Some(folder) = std::env::var_os("EVENSONG_SAMPLES") {
                std::fs::write(std::path::Path::new(&folder).join(name(number)), bytes)
                    .expect("written");
            }
        }
        assert_eq!(sample(3), sample(3));
    }
}
