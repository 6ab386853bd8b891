//! The pause after a failed login, which grows with each failure. Servers lock out clients that try again too often.

use std::time::{Duration, Instant};

/// The pause after the first refusal. It doubles with each further one.
pub(super) const REFUSED: Duration = Duration::from_secs(1);
/// The same for a failure that may be over soon, such as a lost connection.
pub(super) const FAILED: Duration = Duration::from_millis(250);
/// The longest pause, before jitter.
const LONGEST: Duration = Duration::from_secs(60);
/// Jitter changes a pause by at most this share, in both directions, so that instances do not try again together.
const JITTER: f64 = 0.25;

/// Consecutive failures, and the end of the pause after the last one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    failures: u32,
    ends: Instant,
}

impl Backoff {
    /// The pause after a failure at `now`; `before` is the pause after the failure before it, and `first` the pause
    /// after a first failure of this kind.
    pub(super) fn after(before: Option<Self>, first: Duration, now: Instant) -> Self {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let pause = first.saturating_mul(2_u32.saturating_pow(failures - 1)).min(LONGEST);
        let jitter = 1.0 - JITTER + 2.0 * JITTER * fastrand::f64();
        Self { failures, ends: now + pause.mul_f64(jitter) }
    }

    /// How much of the pause is left; `None` if it is over.
    pub(super) fn left(self, now: Instant) -> Option<Duration> {
        self.ends.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_maximum() {
        let now = Instant::now();
        let mut backoff = None;
        for seconds in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let next = Backoff::after(backoff, REFUSED, now);
            let left = next.left(now).unwrap().as_secs_f64();
            assert!((seconds * 0.75..=seconds * 1.25).contains(&left), "{seconds}: {left}");
            assert_eq!(next.left(now + Duration::from_secs(76)), None);
            backoff = Some(next);
        }
        let ceaseless = Backoff { failures: u32::MAX, ends: now };
        assert!(Backoff::after(Some(ceaseless), FAILED, now).left(now).is_some());
    }
}
