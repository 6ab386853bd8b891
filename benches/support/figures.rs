//! Figures, and how they are shown.

use std::time::Duration;

/// Times of calls, in order.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn of(times: &[Duration]) -> Self {
        let mut times = times.to_vec();
        times.sort_unstable();
        Self(times)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this share of the calls took at most.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// How many took longer than this.
    pub(crate) fn longer_than(&self, time: Duration) -> usize {
        self.0.len() - self.0.partition_point(|taken| *taken <= time)
    }

    pub(crate) fn longest(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

/// A time in milliseconds.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
