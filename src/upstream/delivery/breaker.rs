//! The circuit breaker of an upstream: after too many failures nothing is sent for a while, then a few probes decide.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// How many parts the window is counted in: the oldest is forgotten as a whole.
const PARTS: usize = 10;

/// `upstreams.x.breaker`: when nothing is sent for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerPolicy {
    /// The share of failures from which on it opens, between 0 and 1.
    pub failure_rate: f64,
    /// Over which time failures are counted.
    pub window: Duration,
    /// How many calls there must be within the window before their share says anything.
    pub min_calls: u32,
    /// How long nothing is sent.
    pub open_for: Duration,
    /// How many calls are let through then, which must all go well.
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

/// Counts how requests to one upstream go, and refuses them while it is open.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: BreakerPhase,
    /// Counts the phases, so that a request that began in an earlier one says nothing about this one.
    number: u64,
}

#[derive(Debug)]
enum BreakerPhase {
    Closed(Window),
    Open { until: Instant },
    HalfOpen { under_way: u32, good: u32 },
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    good: u32,
    bad: u32,
}

/// The counts of the last parts of time.
#[derive(Debug)]
struct Window {
    parts: [Counts; PARTS],
    /// Which part is counted now, and when it began.
    part: usize,
    began: Instant,
}

/// What a breaker has come to, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests are sent.
    Closed,
    /// Nothing is sent for so long.
    Open(Duration),
    /// Probes are sent.
    HalfOpen,
}

impl BreakerState {
    /// The names of all of them.
    pub const SLUGS: [&str; 3] = ["closed", "open", "half_open"];

    /// The name, as the admin listener has it.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open(_) => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker is open: nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BreakerRefusal {
    /// For so long.
    #[error("its breaker is open, and nothing is sent to it for another {:.1} s", .0.as_secs_f64())]
    Open(Duration),
    /// Until the probes that are under way have told how it fares.
    #[error("its breaker is half open, and waits for the probe that is under way")]
    Probing,
}

/// What changed, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It opened after so many failures of so many requests.
    Opened { bad: u32, of: u32 },
    /// It stays open, since a probe failed.
    Reopened,
    /// It closed, since the probes went well.
    Closed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { bad, of } => {
                write!(f, "its breaker opens: {bad} of the last {of} requests failed")
            }
            Self::Reopened => write!(f, "its breaker stays open: a probe failed"),
            Self::Closed => write!(f, "its breaker closes: it answers again"),
        }
    }
}

/// The leave to send one request. Dropped without a word, it counts as nothing.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    number: u64,
    told: bool,
}

impl Breaker {
    pub(super) fn new(policy: BreakerPolicy, now: Instant) -> Self {
        let phase = BreakerPhase::Closed(Window::new(now));
        Self { policy, state: Mutex::new(State { phase, number: 0 }) }
    }

    /// Leave to send a request now.
    pub(super) fn admit(&self, now: Instant) -> Result<Pass<'_>, BreakerRefusal> {
        let mut state = self.state();
        if let BreakerPhase::Open { until } = state.phase {
            if now < until {
                return Err(BreakerRefusal::Open(until - now));
            }
            state.enter(BreakerPhase::HalfOpen { under_way: 0, good: 0 });
        }
        if let BreakerPhase::HalfOpen { under_way, good } = &mut state.phase {
            if *under_way + *good >= self.policy.probes {
                return Err(BreakerRefusal::Probing);
            }
            *under_way += 1;
        }
        Ok(Pass { breaker: self, number: state.number, told: false })
    }

    /// What it has come to.
    pub(super) fn now(&self, now: Instant) -> BreakerState {
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

impl Pass<'_> {
    /// Whether the breaker has changed since, so that leave must be had anew.
    pub(super) fn is_over(&self) -> bool {
        self.breaker.state().number != self.number
    }

    /// Tells how the request went.
    pub(super) fn tell(mut self, good: bool, now: Instant) -> Option<Change> {
        self.told = true;
        let policy = &self.breaker.policy;
        let mut state = self.breaker.state();
        if state.number != self.number {
            return None;
        }
        match &mut state.phase {
            BreakerPhase::Closed(window) => {
                let counts = window.count(good, now, policy.window);
                let of = counts.good.saturating_add(counts.bad);
                let is_sick = of >= policy.min_calls
                    && f64::from(counts.bad) >= f64::from(of) * policy.failure_rate
                    && counts.bad > 0;
                if !is_sick {
                    return None;
                }
                state.enter(BreakerPhase::Open { until: now + policy.open_for });
                Some(Change::Opened { bad: counts.bad, of })
            }
            BreakerPhase::HalfOpen { .. } if !good => {
                state.enter(BreakerPhase::Open { until: now + policy.open_for });
                Some(Change::Reopened)
            }
            BreakerPhase::HalfOpen { under_way, good } => {
                *under_way = under_way.saturating_sub(1);
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

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let mut state = self.breaker.state();
        if state.number == self.number
            && let BreakerPhase::HalfOpen { under_way, .. } = &mut state.phase
        {
            // Another probe may take its place.
            *under_way = under_way.saturating_sub(1);
        }
    }
}

impl Window {
    fn new(now: Instant) -> Self {
        Self { parts: [Counts::default(); PARTS], part: 0, began: now }
    }

    /// Counts one request; gives the counts of the whole window.
    fn count(&mut self, good: bool, now: Instant, window: Duration) -> Counts {
        let part = window / PARTS as u32;
        let passed = now.saturating_duration_since(self.began).as_nanos() / part.as_nanos().max(1);
        let passed = usize::try_from(passed).unwrap_or(usize::MAX);
        for _ in 0..passed.min(PARTS) {
            self.part = (self.part + 1) % PARTS;
            self.parts[self.part] = Counts::default();
        }
        if passed > 0 {
            self.began = now;
        }
        let counts = &mut self.parts[self.part];
        let counter = if good { &mut counts.good } else { &mut counts.bad };
        *counter = counter.saturating_add(1);
        self.parts.iter().fold(Counts::default(), |sum, part| Counts {
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

    fn tell(breaker: &Breaker, good: bool, now: Instant) -> Option<Change> {
        breaker.admit(now).unwrap().tell(good, now)
    }

    /// A breaker that opened at `now`.
    fn opened(now: Instant) -> Breaker {
        let breaker = breaker(now);
        let changes: Vec<_> =
            [true, true, false, false].into_iter().filter_map(|good| tell(&breaker, good, now)).collect();
        assert_eq!(changes, [Change::Opened { bad: 2, of: 4 }]);
        breaker
    }

    #[test]
    fn it_opens_when_the_share_of_failures_is_reached_and_not_before() {
        let now = Instant::now();
        let few = breaker(now);
        assert!((0..3).all(|_| tell(&few, false, now).is_none()), "fewer than `min_calls`");
        let healthy = breaker(now);
        assert!((0..100).all(|call| tell(&healthy, call % 5 != 0, now).is_none()), "a fifth fails");
        assert_eq!(healthy.now(now), BreakerState::Closed);

        let open = opened(now);
        assert_eq!(open.now(now), BreakerState::Open(seconds(10)));
        let refused = open.admit(now + seconds(4)).unwrap_err();
        assert_eq!(refused.to_string(), "its breaker is open, and nothing is sent to it for another 6.0 s");
    }

    #[test]
    fn failures_are_forgotten_with_the_window() {
        let start = Instant::now();
        let breaker = breaker(start);
        assert!((0..3).all(|_| tell(&breaker, false, start).is_none()));
        assert_eq!(tell(&breaker, false, start + seconds(31)), None);
        let later = start + seconds(34);
        assert_eq!(tell(&breaker, false, later), None);
        assert_eq!(tell(&breaker, false, later), None);
        assert_eq!(tell(&breaker, false, later), Some(Change::Opened { bad: 4, of: 4 }));
    }

    #[test]
    fn probes_decide_whether_it_closes() {
        let now = Instant::now();
        let open = opened(now);
        let later = now + seconds(10);
        assert_eq!(open.now(later), BreakerState::HalfOpen);
        let (first, second) = (open.admit(later).unwrap(), open.admit(later).unwrap());
        assert_eq!(open.admit(later).unwrap_err(), BreakerRefusal::Probing);
        assert_eq!(first.tell(true, later), None);
        assert_eq!(open.admit(later).unwrap_err(), BreakerRefusal::Probing);
        assert_eq!(second.tell(true, later), Some(Change::Closed));
        assert_eq!(open.now(later), BreakerState::Closed);

        let open = opened(now);
        let (first, second) = (open.admit(later).unwrap(), open.admit(later).unwrap());
        assert_eq!(first.tell(false, later), Some(Change::Reopened));
        assert_eq!(second.tell(true, later), None, "it began before the breaker opened again");
        assert_eq!(open.now(later), BreakerState::Open(seconds(10)));
    }

    #[test]
    fn a_probe_without_an_end_leaves_its_place_to_another() {
        let now = Instant::now();
        let open = opened(now);
        let later = now + seconds(10);
        let (first, second) = (open.admit(later).unwrap(), open.admit(later).unwrap());
        drop(first);
        assert!(open.admit(later).is_ok_and(|third| third.tell(true, later).is_none()));
        assert_eq!(second.tell(true, later), Some(Change::Closed));
    }

    #[test]
    fn what_began_before_it_opened_says_nothing_afterwards() {
        let now = Instant::now();
        let breaker = breaker(now);
        let early = breaker.admit(now).unwrap();
        assert!((0..4).any(|_| tell(&breaker, false, now).is_some()));
        let later = now + seconds(10);
        let probe = breaker.admit(later).unwrap();
        assert_eq!(early.tell(false, later), None);
        assert_eq!(breaker.now(later), BreakerState::HalfOpen);
        drop(probe);
    }
}
