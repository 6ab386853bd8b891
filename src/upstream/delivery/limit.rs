//! How many requests are sent at a time, and how many in a time: `upstreams.x.limit` and `routes.x.limit`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep_until, timeout_at};

/// What a limit says. At least one of the two is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitPolicy {
    /// The most at the same time.
    pub concurrency: Option<u32>,
    /// The most in a time.
    pub rate: Option<Rate>,
    /// The longest that one waits for its turn; after that it is refused.
    pub wait: Duration,
}

/// So many in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The time from one to the next.
    pub interval: Duration,
    /// How many may come at once after a quiet time.
    pub burst: u32,
}

/// Lets so many through.
#[derive(Debug)]
pub struct Limiter {
    policy: LimitPolicy,
    places: Option<Arc<Semaphore>>,
    /// When the next would be due if they came evenly.
    due: Mutex<Instant>,
}

/// A place among those that may be under way; given back when it is dropped.
#[derive(Debug)]
pub struct LimitPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Why there is no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// As many as may be were under way all the time.
    #[error(
        "as many are under way as `limit.concurrency` allows ({0}), and none ended within {wait} ms",
        wait = .1.as_millis()
    )]
    Full(u32, Duration),
    /// There were as many as may be.
    #[error(
        "`limit.rate` is used up, and the next turn is {ahead} ms away, later than `limit.wait` or the deadline",
        ahead = .0.as_millis()
    )]
    Spent(Duration),
}

impl Limiter {
    /// A limit of which nothing is used yet.
    pub fn new(policy: LimitPolicy) -> Self {
        let places = policy.concurrency.map(|most| Arc::new(Semaphore::new(most as usize)));
        Self { policy, places, due: Mutex::new(Instant::now()) }
    }

    /// Waits for a turn, no longer than the limit says, and not beyond `deadline`.
    ///
    /// # Errors
    /// There is none in time. Where that is certain, it is told at once.
    pub async fn enter(&self, deadline: Instant) -> Result<LimitPermit, LimitError> {
        let began = Instant::now();
        let until = deadline.min(began + self.policy.wait);
        let permit = match &self.places {
            None => None,
            Some(places) => match timeout_at(until.into(), Arc::clone(places).acquire_owned()).await {
                Ok(permit) => permit.ok(),
                Err(_) => return Err(LimitError::Full(self.most(), until - began)),
            },
        };
        if let Some(turn) = self.turn(Instant::now(), until)? {
            sleep_until(turn.into()).await;
        }
        Ok(LimitPermit { _permit: permit })
    }

    /// A turn without waiting for it.
    pub(super) fn try_enter(&self, now: Instant) -> Result<LimitPermit, LimitError> {
        let permit = match &self.places {
            None => None,
            Some(places) => match Arc::clone(places).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => return Err(LimitError::Full(self.most(), Duration::ZERO)),
            },
        };
        self.turn(now, now)?;
        Ok(LimitPermit { _permit: permit })
    }

    /// Whether there is a place.
    pub(super) fn has_room(&self) -> bool {
        self.places.as_ref().is_none_or(|places| places.available_permits() > 0)
    }

    /// How many are under way; `None` when that is not limited.
    pub fn under_way(&self) -> Option<usize> {
        let places = self.places.as_ref()?;
        Some((self.most() as usize).saturating_sub(places.available_permits()))
    }

    fn most(&self) -> u32 {
        self.policy.concurrency.unwrap_or(0)
    }

    /// When the turn that is taken by this comes, if it is not now; nothing is taken when it comes after `until`.
    fn turn(&self, now: Instant, until: Instant) -> Result<Option<Instant>, LimitError> {
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
    fn turns_come_evenly_after_a_burst() {
        let limiter = limiter(None, Some(Rate { interval: 100 * MS, burst: 3 }), Duration::ZERO);
        let start = *limiter.due.lock();
        let far = start + Duration::from_secs(3600);
        let turn = |after: Duration, until| {
            let now = start + after;
            limiter.turn(now, until).map(|turn| turn.map(|turn| turn - start))
        };
        assert_eq!(
            [turn(Duration::ZERO, start), turn(Duration::ZERO, start), turn(Duration::ZERO, start)],
            [Ok(None); 3]
        );
        assert_eq!(turn(Duration::ZERO, start + 99 * MS), Err(LimitError::Spent(100 * MS)));
        assert_eq!(turn(Duration::ZERO, far), Ok(Some(100 * MS)));
        assert_eq!(turn(Duration::ZERO, far), Ok(Some(200 * MS)));
        assert_eq!(turn(250 * MS, far), Ok(Some(300 * MS)));
        // What is not used is saved up, but never more than the burst.
        let later = 60_000 * MS;
        assert_eq!([turn(later, start), turn(later, start), turn(later, start)], [Ok(None); 3]);
        assert_eq!(turn(later, start + later), Err(LimitError::Spent(100 * MS)));
    }

    #[tokio::test]
    async fn a_place_is_waited_for_no_longer_than_may_be() {
        let limiter = limiter(Some(1), None, 50 * MS);
        let first = limiter.enter(far()).await.unwrap();
        assert_eq!(limiter.under_way(), Some(1));
        let full = limiter.enter(far()).await.unwrap_err();
        assert_eq!(
            full.to_string(),
            "as many are under way as `limit.concurrency` allows (1), and none ended within 50 ms"
        );
        assert_eq!(limiter.try_enter(Instant::now()).unwrap_err(), LimitError::Full(1, Duration::ZERO));

        let (second, ()) = tokio::join!(limiter.enter(far()), async { drop(first) });
        assert!(second.is_ok());
        drop(second);
        assert_eq!(limiter.under_way(), Some(0));
    }

    #[tokio::test]
    async fn a_turn_that_comes_too_late_is_refused_at_once() {
        let rate = Rate { interval: Duration::from_secs(3600), burst: 1 };
        let limiter = limiter(None, Some(rate), 50 * MS);
        assert!(limiter.enter(far()).now_or_never().unwrap().is_ok());
        let spent = limiter.enter(far()).now_or_never().unwrap().unwrap_err();
        assert!(matches!(spent, LimitError::Spent(ahead) if ahead > 60_000 * MS), "{spent}");
    }
}
