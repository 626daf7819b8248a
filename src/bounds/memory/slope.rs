//! How quickly a number grows, and how sure that is: a line by least squares, with the bounds that its
//! slope passes with a probability of 5 % each (Student's t). Invariant: noise without a trend gives
//! bounds on both sides of zero, and fewer than three points give nothing.

use serde::Serialize;

/// The 95 % quantile of Student's t with 1 to 30 degrees of freedom; one of more is taken for 30.
const T_95: [f64; 30] = [
    6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771,
    1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714, 1.711, 1.708, 1.706,
    1.703, 1.701, 1.699, 1.697,
];

/// A slope in bytes a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Slope {
    /// The best estimate.
    pub bytes_per_minute: f64,
    /// It is more than this with a probability of 95 %,
    pub low: f64,
    /// and less than this with a probability of 95 %.
    pub high: f64,
}

/// The slope of `points`, each a time in minutes and a number of bytes.
pub fn fit(points: impl Iterator<Item = (f64, f64)> + Clone) -> Option<Slope> {
    let count = points.clone().count();
    let n = count as f64;
    let (time, value) = points.clone().fold((0.0, 0.0), |(t, v), point| (t + point.0, v + point.1));
    let (time, value) = (time / n, value / n);
    let (mut spread, mut product) = (0.0, 0.0);
    for (t, v) in points.clone() {
        spread += (t - time).powi(2);
        product += (t - time) * (v - value);
    }
    if count < 3 || spread <= f64::EPSILON {
        return None;
    }
    let slope = product / spread;
    let off = points.map(|(t, v)| (v - value - slope * (t - time)).powi(2)).sum::<f64>();
    let error = (off / (n - 2.0) / spread).sqrt();
    let reach = error * T_95[(count - 3).min(T_95.len() - 1)];
    Some(Slope { bytes_per_minute: slope, low: slope - reach, high: slope + reach })
}

#[cfg(all(test, not(evensong_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Option<Slope> {
        fit(values.iter().enumerate().map(|(n, value)| (n as f64, *value)))
    }

    #[test]
    fn a_straight_line_is_known_for_sure() {
        let slope = of(&[5.0, 7.0, 9.0, 11.0]).expect("a slope");
        assert_eq!((slope.low, slope.bytes_per_minute, slope.high), (2.0, 2.0, 2.0));
    }

    #[test]
    fn a_single_step_is_no_trend() {
        let slope = of(&[0.0, 100.0, 100.0]).expect("a slope");
        assert!(slope.low < 0.0 && slope.bytes_per_minute == 50.0, "{slope:?}");
    }

    /// The textbook's example: Draper and Smith's t for 2 degrees of freedom is 2.920.
    #[test]
    fn the_bounds_are_those_of_student() {
        let slope = of(&[1.0, 3.0, 2.0, 5.0]).expect("a slope");
        let error = (2.7f64 / 2.0 / 5.0).sqrt();
        assert!((slope.bytes_per_minute - 1.1).abs() < 1e-12);
        assert!((slope.high - 1.1 - 2.920 * error).abs() < 1e-12, "{slope:?}");
    }

    #[test]
    fn too_little_gives_nothing() {
        assert_eq!((of(&[]), of(&[1.0]), of(&[1.0, 2.0])), (None, None, None));
        assert_eq!(fit([(1.0, 0.0), (1.0, 5.0), (1.0, 9.0)].into_iter()), None, "no time passed");
    }

    proptest! {
        #[test]
        fn the_estimate_lies_within_its_bounds(values in prop::collection::vec(0.0..1e12f64, 3..40)) {
            let slope = of(&values).expect("a slope");
            prop_assert!(slope.low <= slope.bytes_per_minute && slope.bytes_per_minute <= slope.high);
        }

        #[test]
        fn a_constant_adds_nothing(values in prop::collection::vec(0.0..1e9f64, 3..40), more in 0.0..1e9f64) {
            let raised: Vec<_> = values.iter().map(|value| value + more).collect();
            let (a, b) = (of(&values).expect("a slope"), of(&raised).expect("a slope"));
            prop_assert!((a.bytes_per_minute - b.bytes_per_minute).abs() < 1.0, "{a:?} {b:?}");
        }
    }
}
