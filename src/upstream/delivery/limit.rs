//! Concurrency and rate limits: `upstreams.x.limit` and `routes.x.limit`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep_until, timeout_at};

/// A limit. It has a concurrency, a rate, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitPolicy {
    /// How many may be in flight at the same time.
    pub concurrency: Option<u32>,
    /// How many may start per interval.
    pub rate: Option<Rate>,
    /// The longest wait for a permit. After that the request is refused.
    pub wait: Duration,
}

/// A rate limit, as a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time between two requests.
    pub interval: Duration,
    /// How many may start at once after an idle time.
    pub burst: u32,
}

/// Enforces a limit.
#[derive(Debug)]
pub struct Limiter {
    policy: LimitPolicy,
    permits: Option<Arc<Semaphore>>,
    /// When the next request is due if requests are evenly spaced.
    due: Mutex<Instant>,
}

/// A permit. It counts against the limit until it is dropped.
#[derive(Debug)]
pub struct LimitPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The concurrency limit stayed exhausted.
    #[error(
        "`limit.concurrency` ({0}) is reached, and no request ended within {wait} ms",
        wait = .1.as_millis()
    )]
    Full(u32, Duration),
    /// The rate limit is exhausted.
    #[error(
        "`limit.rate` is exhausted, and the next permit is {ahead} ms away, later than `limit.wait` or the deadline",
        ahead = .0.as_millis()
    )]
    Spent(Duration),
}

impl Limiter {
    /// A limiter with all permits available.
    pub fn new(policy: LimitPolicy) -> Self {
        let permits = policy.concurrency.map(|most| Arc::new(Semaphore::new(most as usize)));
        Self { policy, permits, due: Mutex::new(Instant::now()) }
    }

    /// Waits for a permit, at most `wait` of the policy and not beyond `deadline`.
    ///
    /// # Errors
    /// No permit is available in time. If waiting cannot help, this fails immediately.
    pub async fn enter(&self, deadline: Instant) -> Result<LimitPermit, LimitError> {
        let began = Instant::now();
        let until = deadline.min(began + self.policy.wait);
        let permit = match &self.permits {
            None => None,
            Some(permits) => match timeout_at(until.into(), Arc::clone(permits).acquire_owned()).await {
                Ok(permit) => permit.ok(),
                Err(_) => return Err(LimitError::Full(self.concurrency(), until - began)),
            },
        };
        if let Some(start) = self.reserve(Instant::now(), until)? {
            sleep_until(start.into()).await;
        }
        Ok(LimitPermit { _permit: permit })
    }

    /// Takes a permit without waiting.
    pub(super) fn try_enter(&self, now: Instant) -> Result<LimitPermit, LimitError> {
        let permit = match &self.permits {
            None => None,
            Some(permits) => match Arc::clone(permits).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => return Err(LimitError::Full(self.concurrency(), Duration::ZERO)),
            },
        };
        self.reserve(now, now)?;
        Ok(LimitPermit { _permit: permit })
    }

    /// Whether a permit is available.
    pub(super) fn has_room(&self) -> bool {
        self.permits.as_ref().is_none_or(|permits| permits.available_permits() > 0)
    }

    /// How many permits are in use; `None` without a concurrency limit.
    pub fn in_flight(&self) -> Option<usize> {
        let permits = self.permits.as_ref()?;
        Some((self.concurrency() as usize).saturating_sub(permits.available_permits()))
    }

    fn concurrency(&self) -> u32 {
        self.policy.concurrency.unwrap_or(0)
    }

    /// Reserves the next slot of the rate and returns its time, or `None` if it is now. Reserves nothing if the slot
    /// lies after `until`.
    fn reserve(&self, now: Instant, until: Instant) -> Result<Option<Instant>, LimitError> {
        let Some(Rate { interval, burst }) = self.policy.rate else { return Ok(None) };
        let mut due = self.due.lock();
        let next = (*due).max(now);
        let ahead = (next - now).saturating_sub(interval.saturating_mul(burst.saturating_sub(1)));
        if ahead > until.saturating_duration_since(now) {
            return Err(LimitError::Spent(ahead));
        }
        *due = next + interval;
        Ok((!ahead.is_zero()).then(|| now + ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    const MS: Duration = Duration::from_millis(1);

    fn limiter(concurrency: Option<u32>, rate: Option<Rate>, wait: Duration) -> Limiter {
        Limiter::new(LimitPolicy { concurrency, rate, wait })
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn permits_are_evenly_spaced_after_a_burst() {
        let limiter = limiter(None, Some(Rate { interval: 100 * MS, burst: 3 }), Duration::ZERO);
        let start = *limiter.due.lock();
        let far = start + Duration::from_secs(3600);
        let reserve = |after: Duration, until| {
            let now = start + after;
            limiter.reserve(now, until).map(|slot| slot.map(|slot| slot - start))
        };
        assert_eq!(
            [reserve(Duration::ZERO, start), reserve(Duration::ZERO, start), reserve(Duration::ZERO, start)],
            [Ok(None); 3]
        );
        assert_eq!(reserve(Duration::ZERO, start + 99 * MS), Err(LimitError::Spent(100 * MS)));
        assert_eq!(reserve(Duration::ZERO, far), Ok(Some(100 * MS)));
        assert_eq!(reserve(Duration::ZERO, far), Ok(Some(200 * MS)));
        assert_eq!(reserve(250 * MS, far), Ok(Some(300 * MS)));
        // Unused permits accumulate up to the burst.
        let later = 60_000 * MS;
        assert_eq!([reserve(later, start), reserve(later, start), reserve(later, start)], [Ok(None); 3]);
        assert_eq!(reserve(later, start + later), Err(LimitError::Spent(100 * MS)));
    }

    #[tokio::test]
    async fn the_policy_bounds_the_wait_for_a_permit() {
        let limiter = limiter(Some(1), None, 50 * MS);
        let first = limiter.enter(far()).await.unwrap();
        assert_eq!(limiter.in_flight(), Some(1));
        let full = limiter.enter(far()).await.unwrap_err();
        assert_eq!(full.to_string(), "`limit.concurrency` (1) is reached, and no request ended within 50 ms");
        assert_eq!(limiter.try_enter(Instant::now()).unwrap_err(), LimitError::Full(1, Duration::ZERO));

        let (second, ()) = tokio::join!(limiter.enter(far()), async { drop(first) });
        assert!(second.is_ok());
        drop(second);
        assert_eq!(limiter.in_flight(), Some(0));
    }

    #[tokio::test]
    async fn a_request_is_refused_immediately_if_its_permit_would_be_late() {
        let rate = Rate { interval: Duration::from_secs(3600), burst: 1 };
        let limiter = limiter(None, Some(rate), 50 * MS);
        assert!(limiter.enter(far()).now_or_never().unwrap().is_ok());
        let spent = limiter.enter(far()).now_or_never().unwrap().unwrap_err();
        assert!(matches!(spent, LimitError::Spent(ahead) if ahead > 60_000 * MS), "{spent}");
    }
}
