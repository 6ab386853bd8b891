//! The circuit breaker of an upstream. After too many failures no requests are sent for a while; then a few probes
//! decide whether it closes.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// How many buckets the window has. The oldest bucket expires as a whole.
const BUCKETS: usize = 10;

/// `upstreams.x.breaker`: when the breaker opens, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerPolicy {
    /// The failure rate at which it opens, between 0 and 1.
    pub failure_rate: f64,
    /// The period over which requests are counted.
    pub window: Duration,
    /// How many requests the window must hold before the failure rate counts.
    pub min_calls: u32,
    /// How long it stays open.
    pub open_for: Duration,
    /// How many probes are then sent. All must succeed.
    pub probes: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failure_rate: 0.5,
            window: Duration::from_secs(30),
            min_calls: 10,
            open_for: Duration::from_secs(10),
            probes: 1,
        }
    }
}

/// Counts the results of requests to one upstream, and refuses requests while it is open.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: BreakerPhase,
    /// The number of the phase. The result of a request that began in an earlier phase is ignored.
    number: u64,
}

#[derive(Debug)]
enum BreakerPhase {
    Closed(Window),
    Open { until: Instant },
    HalfOpen { in_flight: u32, good: u32 },
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    good: u32,
    bad: u32,
}

/// The counts of the latest buckets.
#[derive(Debug)]
struct Window {
    buckets: [Counts; BUCKETS],
    /// The current bucket, and when it began.
    bucket: usize,
    began: Instant,
}

/// The state of a breaker, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests are sent.
    Closed,
    /// No requests are sent for this long.
    Open(Duration),
    /// Only probes are sent.
    HalfOpen,
}

impl BreakerState {
    /// The names of all states.
    pub const SLUGS: [&str; 3] = ["closed", "open", "half_open"];

    /// The name in the admin API and in metrics.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BreakerRefusal {
    /// It stays open for this long.
    #[error("its circuit breaker is open for another {:.1} s", .0.as_secs_f64())]
    Open(Duration),
    /// It waits for the probes in flight.
    #[error("its circuit breaker is half open and waits for a probe in flight")]
    Probing,
}

/// A change of state, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It opened after `bad` of `of` requests failed.
    Opened { bad: u32, of: u32 },
    /// A probe failed.
    Reopened,
    /// The probes succeeded.
    Closed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { bad, of } => {
                write!(f, "circuit breaker opened: {bad} of the last {of} requests failed")
            }
            Self::Reopened => write!(f, "circuit breaker stays open: a probe failed"),
            Self::Closed => write!(f, "circuit breaker closed: the probes succeeded"),
        }
    }
}

/// Permission to send one request. Dropped without a report, it counts neither as success nor as failure.
#[derive(Debug)]
pub(super) struct BreakerPermit<'a> {
    breaker: &'a Breaker,
    number: u64,
    reported: bool,
}

impl Breaker {
    pub(super) fn new(policy: BreakerPolicy, now: Instant) -> Self {
        let phase = BreakerPhase::Closed(Window::new(now));
        Self { policy, state: Mutex::new(State { phase, number: 0 }) }
    }

    /// Acquires a permit to send a request now.
    pub(super) fn admit(&self, now: Instant) -> Result<BreakerPermit<'_>, BreakerRefusal> {
        let mut state = self.state();
        if let BreakerPhase::Open { until } = state.phase {
            if now < until {
                return Err(BreakerRefusal::Open(until - now));
            }
            state.enter(BreakerPhase::HalfOpen { in_flight: 0, good: 0 });
        }
        if let BreakerPhase::HalfOpen { in_flight, good } = &mut state.phase {
            if *in_flight + *good >= self.policy.probes {
                return Err(BreakerRefusal::Probing);
            }
            *in_flight += 1;
        }
        Ok(BreakerPermit { breaker: self, number: state.number, reported: false })
    }

    /// The state at `now`.
    pub(super) fn state_at(&self, now: Instant) -> BreakerState {
        match self.state().phase {
            BreakerPhase::Closed(_) => BreakerState::Closed,
            BreakerPhase::Open { until } if now < until => BreakerState::Open(until - now),
            BreakerPhase::Open { .. } | BreakerPhase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn enter(&mut self, phase: BreakerPhase) {
        self.phase = phase;
        self.number += 1;
    }
}

impl BreakerPermit<'_> {
    /// Whether the breaker has changed its phase since. If so, the request needs a new permit.
    pub(super) fn is_stale(&self) -> bool {
        self.breaker.state().number != self.number
    }

    /// Reports the result of the request.
    pub(super) fn report(mut self, good: bool, now: Instant) -> Option<Change> {
        self.reported = true;
        let policy = &self.breaker.policy;
        let mut state = self.breaker.state();
        if state.number != self.number {
            return None;
        }
        match &mut state.phase {
            BreakerPhase::Closed(window) => {
                let counts = window.count(good, now, policy.window);
                let of = counts.good.saturating_add(counts.bad);
                let is_failing = of >= policy.min_calls
                    && f64::from(counts.bad) >= f64::from(of) * policy.failure_rate
                    && counts.bad > 0;
                if !is_failing {
                    return None;
                }
                state.enter(BreakerPhase::Open { until: now + policy.open_for });
                Some(Change::Opened { bad: counts.bad, of })
            }
            BreakerPhase::HalfOpen { .. } if !good => {
                state.enter(BreakerPhase::Open { until: now + policy.open_for });
                Some(Change::Reopened)
            }
            BreakerPhase::HalfOpen { in_flight, good } => {
                *in_flight = in_flight.saturating_sub(1);
                *good += 1;
                if *good < policy.probes {
                    return None;
                }
                state.enter(BreakerPhase::Closed(Window::new(now)));
                Some(Change::Closed)
            }
            BreakerPhase::Open { .. } => None,
        }
    }
}

impl Drop for BreakerPermit<'_> {
    fn drop(&mut self) {
        if self.reported {
            return;
        }
        let mut state = self.breaker.state();
        if state.number == self.number
            && let BreakerPhase::HalfOpen { in_flight, .. } = &mut state.phase
        {
            // Another probe may be sent instead.
            *in_flight = in_flight.saturating_sub(1);
        }
    }
}

impl Window {
    fn new(now: Instant) -> Self {
        Self { buckets: [Counts::default(); BUCKETS], bucket: 0, began: now }
    }

    /// Counts one request and returns the counts of the whole window.
    fn count(&mut self, good: bool, now: Instant, window: Duration) -> Counts {
        let part = window / BUCKETS as u32;
        let passed = now.saturating_duration_since(self.began).as_nanos() / part.as_nanos().max(1);
        let passed = usize::try_from(passed).unwrap_or(usize::MAX);
        for _ in 0..passed.min(BUCKETS) {
            self.bucket = (self.bucket + 1) % BUCKETS;
            self.buckets[self.bucket] = Counts::default();
        }
        if passed > 0 {
            self.began = now;
        }
        let counts = &mut self.buckets[self.bucket];
        let counter = if good { &mut counts.good } else { &mut counts.bad };
        *counter = counter.saturating_add(1);
        self.buckets.iter().fold(Counts::default(), |sum, part| Counts {
            good: sum.good.saturating_add(part.good),
            bad: sum.bad.saturating_add(part.bad),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn breaker(now: Instant) -> Breaker {
        Breaker::new(BreakerPolicy { min_calls: 4, probes: 2, ..BreakerPolicy::default() }, now)
    }

    fn report(breaker: &Breaker, good: bool, now: Instant) -> Option<Change> {
        breaker.admit(now).unwrap().report(good, now)
    }

    /// A breaker that opened at `now`.
    fn opened(now: Instant) -> Breaker {
        let breaker = breaker(now);
        let changes: Vec<_> =
            [true, true, false, false].into_iter().filter_map(|good| report(&breaker, good, now)).collect();
        assert_eq!(changes, [Change::Opened { bad: 2, of: 4 }]);
        breaker
    }

    #[test]
    fn opens_at_the_failure_rate_but_not_before() {
        let now = Instant::now();
        let few = breaker(now);
        assert!((0..3).all(|_| report(&few, false, now).is_none()), "fewer than `min_calls`");
        let healthy = breaker(now);
        assert!((0..100).all(|call| report(&healthy, call % 5 != 0, now).is_none()), "a fifth fails");
        assert_eq!(healthy.state_at(now), BreakerState::Closed);

        let open = opened(now);
        assert_eq!(open.state_at(now), BreakerState::Open(seconds(10)));
        let refused = open.admit(now + seconds(4)).unwrap_err();
        assert_eq!(refused.to_string(), "its circuit breaker is open for another 6.0 s");
    }

    #[test]
    fn failures_expire_with_the_window() {
        let start = Instant::now();
        let breaker = breaker(start);
        assert!((0..3).all(|_| report(&breaker, false, start).is_none()));
        assert_eq!(report(&breaker, false, start + seconds(31)), None);
        let later = start + seconds(34);
        assert_eq!(report(&breaker, false, later), None);
        assert_eq!(report(&breaker, false, later), None);
        assert_eq!(report(&breaker, false, later), Some(Change::Opened { bad: 4, of: 4 }));
    }

    #[test]
    fn probes_decide_whether_the_breaker_closes() {
        let now = Instant::now();
        let open = opened(now);
        let later = now + seconds(10);
        assert_eq!(open.state_at(later), BreakerState::HalfOpen);
        let (first, second) = (open.admit(later).unwrap(), open.admit(later).unwrap());
        assert_eq!(open.admit(later).unwrap_err(), BreakerRefusal::Probing);
        assert_eq!(first.report(true, later), None);
        assert_eq!(open.admit(later).unwrap_err(), BreakerRefusal::Probing);
        assert_eq!(second.report(true, later), Some(Change::Closed));
        assert_eq!(open.state_at(later), BreakerState::Closed);

        let open = opened(now);
        let (first, second) = (open.admit(later).unwrap(), open.admit(later).unwrap());
        assert_eq!(first.report(false, later), Some(Change::Reopened));
        assert_eq!(second.report(true, later), None, "it began before the breaker opened again");
        assert_eq!(open.state_at(later), BreakerState::Open(seconds(10)));
    }

    #[test]
    fn a_dropped_probe_is_replaced_by_another() {
        let now = Instant::now();
        let open = opened(now);
        let later = now + seconds(10);
        let (first, second) = (open.admit(later).unwrap(), open.admit(later).unwrap());
        drop(first);
        assert!(open.admit(later).is_ok_and(|third| third.report(true, later).is_none()));
        assert_eq!(second.report(true, later), Some(Change::Closed));
    }

    #[test]
    fn results_from_an_earlier_phase_are_ignored() {
        let now = Instant::now();
        let breaker = breaker(now);
        let early = breaker.admit(now).unwrap();
        assert!((0..4).any(|_| report(&breaker, false, now).is_some()));
        let later = now + seconds(10);
        let probe = breaker.admit(later).unwrap();
        assert_eq!(early.report(false, later), None);
        assert_eq!(breaker.state_at(later), BreakerState::HalfOpen);
        drop(probe);
    }
}
