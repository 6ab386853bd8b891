//! How often something took how long.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The most bounds that a histogram has.
const MOST: usize = 14;

/// The upper bounds of a histogram's buckets, ascending.
#[derive(Debug)]
pub struct Bounds(&'static [Duration]);

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// For what the proxy itself does, which takes microseconds when all is well.
pub(super) static OWN: Bounds = Bounds(&[
    us(50),
    us(100),
    us(250),
    us(500),
    us(1_000),
    us(2_500),
    us(5_000),
    us(10_000),
    us(25_000),
    us(50_000),
    us(100_000),
    us(250_000),
    us(1_000_000),
]);

/// For what goes over a network and is waited for by a caller, up to the deadlines of platforms.
pub(super) static WAITED_FOR: Bounds = Bounds(&[
    us(1_000),
    us(5_000),
    us(10_000),
    us(25_000),
    us(50_000),
    us(100_000),
    us(250_000),
    us(500_000),
    us(1_000_000),
    us(2_500_000),
    us(5_000_000),
    us(10_000_000),
    us(20_000_000),
]);

/// Times, counted by the bucket that they fall into.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static Bounds,
    /// One for each bound, and one for what is above all of them.
    buckets: [AtomicU64; MOST + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Nothing counted yet.
    pub fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, buckets: Default::default(), sum_nanos: AtomicU64::new(0) }
    }

    /// Counts one.
    pub fn note(&self, time: Duration) {
        let bucket = self.bounds.0.partition_point(|bound| *bound < time).min(MOST);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The upper bound of each bucket in seconds, and how many were at most that; the last one has no bound and all of
    /// them.
    pub fn cumulated(&self) -> Vec<(Option<f64>, u64)> {
        let mut count = 0;
        let bounds = self.bounds.0.iter().map(|bound| Some(bound.as_secs_f64())).chain([None]);
        let mut cumulated = Vec::with_capacity(MOST + 1);
        for (bound, bucket) in bounds.zip(&self.buckets) {
            count += bucket.load(Ordering::Relaxed);
            cumulated.push((bound, count));
        }
        cumulated
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// All times added up.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use crate::observe::metrics::histogram::*;

    #[test]
    fn a_time_is_in_the_bucket_of_its_bound_and_in_all_above() {
        let histogram = Histogram::new(&OWN);
        for micros in [0, 50, 51, 1_000_000, 1_000_001, 90_000_000] {
            histogram.note(Duration::from_micros(micros));
        }
        let cumulated = histogram.cumulated();
        assert_eq!(cumulated.len(), 14);
        assert_eq!(cumulated[..2], [(Some(0.00005), 2), (Some(0.0001), 3)]);
        assert_eq!(cumulated[12..], [(Some(1.0), 4), (None, 6)]);
        assert_eq!(histogram.sum(), Duration::from_micros(92_000_102));
    }

    #[test]
    fn bounds_ascend_and_there_is_a_bucket_for_each() {
        for bounds in [&OWN, &WAITED_FOR] {
            assert!(bounds.0.len() <= MOST && bounds.0.is_sorted());
        }
    }
}
