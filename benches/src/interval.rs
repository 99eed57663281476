//! A median and how far it can be trusted.
//!
//! The ratios of the rounds are not normal: a few rounds are far off, always to one side. A mean
//! with a standard error would follow them. The median does not, and resampling the rounds says how
//! much it would move if the run were repeated, without a model of the noise.

use core::fmt;

use crate::Random;

const RESAMPLES: usize = 2_000;
const SEED: u64 = 0x0C0E_1A4E;

/// A median with its bootstrap 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The median of `values` and its interval; `None` without values.
    pub fn of(values: &[f64]) -> Option<Interval> {
        let median = median(&mut values.to_vec())?;
        let mut random = Random::new(SEED);
        let mut resample = vec![0.0; values.len()];
        let mut medians = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            for value in &mut resample {
                *value = values[random.below(values.len() as u64) as usize];
            }
            medians.extend(self::median(&mut resample));
        }
        medians.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| medians[((RESAMPLES - 1) as f64 * share).round() as usize];
        Some(Interval {
            low: at(0.025),
            median,
            high: at(0.975),
        })
    }

    /// How far its farther end is from 1. What is not a number is nowhere near.
    pub fn distance_from_one(&self) -> f64 {
        match self.low.is_nan() || self.high.is_nan() {
            // `max` would take the other end, and every comparison with NaN is false.
            true => f64::INFINITY,
            false => (1.0 - self.low).max(self.high - 1.0),
        }
    }

    /// Whether the whole interval lies within `share` of 1.
    pub fn is_one_within(&self, share: f64) -> bool {
        self.distance_from_one() <= share
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} [{:.3}, {:.3}]", self.median, self.low, self.high)
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_leave_no_doubt() {
        let interval = Interval::of(&[0.5; 20]).unwrap();
        assert_eq!(
            interval,
            Interval {
                low: 0.5,
                median: 0.5,
                high: 0.5
            }
        );
    }

    #[test]
    fn a_few_wild_values_do_not_move_it() {
        let mut values: Vec<f64> = (0..57).map(|n| 0.98 + f64::from(n % 5) * 0.01).collect();
        values.extend([40.0, 50.0, 60.0]);
        let interval = Interval::of(&values).unwrap();
        assert!(interval.is_one_within(0.03), "{interval}");
    }

    #[test]
    fn two_camps_widen_it() {
        let values: Vec<f64> = (0..20)
            .map(|n| if n % 2 == 0 { 0.5 } else { 2.0 })
            .collect();
        let interval = Interval::of(&values).unwrap();
        assert_eq!((interval.low, interval.high), (0.5, 2.0));
    }

    #[test]
    fn what_is_no_number_is_not_close_to_one() {
        for values in [vec![f64::NAN; 20], [[1.0; 10], [f64::NAN; 10]].concat()] {
            let interval = Interval::of(&values).unwrap();
            assert_eq!(interval.distance_from_one(), f64::INFINITY, "{interval}");
        }
    }

    #[test]
    fn nothing_has_no_median() {
        assert_eq!(Interval::of(&[]), None);
    }
}
