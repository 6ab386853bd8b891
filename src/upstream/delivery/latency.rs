//! Recent response times of an upstream.

use std::time::Duration;

use parking_lot::Mutex;

/// How many response times are kept.
const CAPACITY: usize = 128;

/// How many response times a percentile needs.
const MIN_SAMPLES: usize = 20;

/// A ring buffer of the latest response times.
#[derive(Debug, Default)]
pub(super) struct Latencies(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    times: Vec<Duration>,
    next: usize,
}

impl Latencies {
    /// Adds a response time.
    pub(super) fn record(&self, time: Duration) {
        let mut ring = self.0.lock();
        let next = ring.next;
        match ring.times.get_mut(next) {
            Some(oldest) => *oldest = time,
            None => ring.times.push(time),
        }
        ring.next = (next + 1) % CAPACITY;
    }

    /// Whether the 95th percentile is at most `limit`, or there are too few samples. Every attempt asks, so this counts
    /// samples in place. Computing the percentile would copy the samples and partly sort them.
    pub(super) fn p95_is_within(&self, limit: Duration) -> bool {
        let ring = self.0.lock();
        let count = ring.times.len();
        count < MIN_SAMPLES || ring.times.iter().filter(|time| **time <= limit).count() > p95_index(count)
    }

    /// The 95th percentile; `None` while there are too few samples.
    pub(super) fn p95(&self) -> Option<Duration> {
        let mut times = {
            let ring = self.0.lock();
            if ring.times.len() < MIN_SAMPLES {
                return None;
            }
            ring.times.clone()
        };
        let index = p95_index(times.len());
        Some(*times.select_nth_unstable(index).1)
    }
}

/// The index of the 95th percentile among `count` sorted samples.
fn p95_index(count: usize) -> usize {
    (count * 95).div_ceil(100) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_compared_with_the_percentile() {
        let latencies = Latencies::default();
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..500 {
            latencies.record(Duration::from_millis(random.u64(..20)));
            for limit in (0..20).map(Duration::from_millis) {
                let expected = latencies.p95().is_none_or(|p95| p95 <= limit);
                assert_eq!(latencies.p95_is_within(limit), expected, "{limit:?}");
            }
        }
    }

    #[test]
    fn p95_needs_enough_samples() {
        let latencies = Latencies::default();
        let record = |range: std::ops::RangeInclusive<u64>| {
            range.for_each(|ms| latencies.record(Duration::from_millis(ms)));
        };
        record(1..=19);
        assert_eq!(latencies.p95(), None);
        record(20..=20);
        assert_eq!(latencies.p95(), Some(Duration::from_millis(19)));
        record(21..=100);
        assert_eq!(latencies.p95(), Some(Duration::from_millis(95)));
        // Only the latest 128 samples count.
        record(1001..=1128);
        assert_eq!(latencies.p95(), Some(Duration::from_millis(1122)));
    }
}
