//! Histograms of durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The most bounds of a histogram.
const MAX_BOUNDS: usize = 14;

/// The upper bounds of a histogram's buckets, ascending.
#[derive(Debug)]
pub struct Bounds(&'static [Duration]);

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// For the overhead of the proxy, usually microseconds.
pub(super) static OVERHEAD_BOUNDS: Bounds = Bounds(&[
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

/// For durations that include the network, up to the deadlines of platforms.
pub(super) static NETWORK_BOUNDS: Bounds = Bounds(&[
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

/// Durations, counted in buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static Bounds,
    /// One for each bound, and one for durations above all bounds.
    buckets: [AtomicU64; MAX_BOUNDS + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, buckets: Default::default(), sum_nanos: AtomicU64::new(0) }
    }

    /// Counts a duration.
    pub fn note(&self, time: Duration) {
        let bucket = self.bounds.0.partition_point(|bound| *bound < time).min(MAX_BOUNDS);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The cumulative counts: the upper bound of each bucket in seconds, and the number of durations up to it. The last
    /// bucket has no bound and counts all.
    pub fn cumulative(&self) -> Vec<(Option<f64>, u64)> {
        let mut count = 0;
        let bounds = self.bounds.0.iter().map(|bound| Some(bound.as_secs_f64())).chain([None]);
        let mut cumulative = Vec::with_capacity(MAX_BOUNDS + 1);
        for (bound, bucket) in bounds.zip(&self.buckets) {
            count += bucket.load(Ordering::Relaxed);
            cumulative.push((bound, count));
        }
        cumulative
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use crate::observe::metrics::histogram::*;

    #[test]
    fn a_duration_counts_in_its_bucket_and_all_above() {
        let histogram = Histogram::new(&OVERHEAD_BOUNDS);
        for micros in [0, 50, 51, 1_000_000, 1_000_001, 90_000_000] {
            histogram.note(Duration::from_micros(micros));
        }
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative.len(), 14);
        assert_eq!(cumulative[..2], [(Some(0.00005), 2), (Some(0.0001), 3)]);
        assert_eq!(cumulative[12..], [(Some(1.0), 4), (None, 6)]);
        assert_eq!(histogram.sum(), Duration::from_micros(92_000_102));
    }

    #[test]
    fn bounds_ascend_and_each_has_a_bucket() {
        for bounds in [&OVERHEAD_BOUNDS, &NETWORK_BOUNDS] {
            assert!(bounds.0.len() <= MAX_BOUNDS && bounds.0.is_sorted());
        }
    }
}
