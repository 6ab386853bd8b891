//! How long an upstream took lately.

use std::time::Duration;

use parking_lot::Mutex;

/// How many of the last times are remembered.
const REMEMBERED: usize = 128;

/// How many there must be before they say anything.
const ENOUGH: usize = 20;

/// The last times, oldest first once there are enough to go round.
#[derive(Debug, Default)]
pub(super) struct Latencies(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    times: Vec<Duration>,
    next: usize,
}

impl Latencies {
    /// Remembers how long an answer took.
    pub(super) fn note(&self, time: Duration) {
        let mut ring = self.0.lock();
        let next = ring.next;
        match ring.times.get_mut(next) {
            Some(oldest) => *oldest = time,
            None => ring.times.push(time),
        }
        ring.next = (next + 1) % REMEMBERED;
    }

    /// What 95 of 100 answers took at most; `None` while there are too few to say.
    pub(super) fn p95(&self) -> Option<Duration> {
        let mut times = {
            let ring = self.0.lock();
            if ring.times.len() < ENOUGH {
                return None;
            }
            ring.times.clone()
        };
        let place = (times.len() * 95).div_ceil(100) - 1;
        Some(*times.select_nth_unstable(place).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_95th_of_100_is_told_when_there_are_enough() {
        let latencies = Latencies::default();
        let note = |range: std::ops::RangeInclusive<u64>| {
            range.for_each(|ms| latencies.note(Duration::from_millis(ms)));
        };
        note(1..=19);
        assert_eq!(latencies.p95(), None);
        note(20..=20);
        assert_eq!(latencies.p95(), Some(Duration::from_millis(19)));
        note(21..=100);
        assert_eq!(latencies.p95(), Some(Duration::from_millis(95)));
        // Only the last ones count.
        note(1001..=1128);
        assert_eq!(latencies.p95(), Some(Duration::from_millis(1122)));
    }
}
