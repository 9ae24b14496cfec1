//! Latencies, counted in buckets that are never wider than a thirty-second of their value, so that a worker can hand over
//! millions of them in a line.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Buckets for each power of two.
const STEPS: u64 = 32;

/// Points of a curve for each factor of ten in what is left.
const CURVE_STEPS: f64 = 8.0;

/// See the module's head. Nanoseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Histogram {
    buckets: BTreeMap<u64, u64>,
    pub count: u64,
    pub max_ns: u64,
}

/// Buckets are numbered by their powers of two, and by steps within them.
fn bucket(ns: u64) -> u64 {
    if ns < STEPS {
        return ns;
    }
    let power = u64::from(ns.ilog2());
    let shift = power - u64::from(STEPS.ilog2());
    (shift + 1) * STEPS + (ns >> shift) - STEPS
}

/// The middle of a bucket.
fn value(bucket: u64) -> u64 {
    if bucket < STEPS {
        return bucket;
    }
    let (shift, step) = (bucket / STEPS - 1, bucket % STEPS);
    ((STEPS + step) << shift) + (1 << shift) / 2
}

impl Histogram {
    pub fn add(&mut self, ns: u64) {
        *self.buckets.entry(bucket(ns)).or_default() += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
        self.count += other.count;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The value that this share of all values, from 0 to 1, does not exceed; 0 if there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (share * self.count as f64).ceil() as u64;
        let mut passed = 0;
        for (bucket, count) in &self.buckets {
            passed += count;
            if passed >= wanted {
                return value(*bucket).min(self.max_ns);
            }
        }
        self.max_ns
    }

    /// Points of the distribution: shares of all values, closer and closer to all of them, and what these do not exceed.
    pub fn curve(&self) -> Vec<(f64, u64)> {
        let left = |step: u32| 10f64.powf(-f64::from(step) / CURVE_STEPS);
        let one = 1.0 / self.count.max(1) as f64;
        let mut points: Vec<(f64, u64)> = (0..)
            .map(left)
            .take_while(|left| *left > one)
            .map(|left| (1.0 - left, self.quantile(1.0 - left)))
            .collect();
        if self.count > 0 {
            points.push((1.0 - one, self.max_ns));
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_never_far_from_what_is_in_it() {
        for ns in (0..100_000).chain((0..60).map(|power| 1 << power)) {
            let found = value(bucket(ns));
            assert!(found.abs_diff(ns) <= ns / 32 + 1, "{ns} becomes {found}");
        }
        let mut last = 0;
        for ns in 0..100_000 {
            assert!(bucket(ns) == last || bucket(ns) == last + 1);
            last = bucket(ns);
        }
    }

    #[test]
    fn a_curve_ends_at_the_greatest_value_and_never_falls() {
        let mut histogram = Histogram::default();
        assert!(histogram.curve().is_empty());
        (1..=1_000).for_each(|value| histogram.add(value * 1_000));
        let curve = histogram.curve();
        assert!(curve.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1), "{curve:?}");
        let (share, ns) = curve[curve.len() - 1];
        assert!((share - 0.999).abs() < 1e-9 && ns == 1_000_000, "{curve:?}");
    }

    #[test]
    fn quantiles_of_both_halves_of_a_merger() {
        let (mut low, mut high) = (Histogram::default(), Histogram::default());
        (0..99).for_each(|_| low.add(10));
        high.add(1_000_000);
        low.merge(&high);
        assert_eq!((low.count, low.quantile(0.5), low.quantile(0.99), low.max_ns), (100, 10, 10, 1_000_000));
        assert!(low.quantile(1.0).abs_diff(1_000_000) < 32_000);
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
