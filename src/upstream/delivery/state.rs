//! The live state of one upstream. Each request updates it, and later requests depend on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use super::breaker::{Breaker, BreakerPolicy, BreakerState};
use super::latency::Latencies;
use super::limit::{LimitPolicy, Limiter};
use super::retry::Budget;
use crate::upstream::auth::TokenCell;

/// The policies that the state of an upstream depends on. If they change, the state is created again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatePolicy {
    /// The address of the upstream.
    pub base_url: Option<Url>,
    /// Its circuit breaker.
    pub breaker: Option<BreakerPolicy>,
    /// Its limit.
    pub limit: Option<LimitPolicy>,
}

/// The live state of one upstream.
#[derive(Debug, Default)]
pub struct UpstreamResources {
    /// Its state.
    pub state: Arc<UpstreamState>,
    /// Its token, if its auth scheme needs one.
    pub token: Arc<TokenCell>,
}

/// The state of an upstream that results from recent requests.
#[derive(Debug)]
pub struct UpstreamState {
    pub(super) breaker: Option<Breaker>,
    pub(super) limiter: Option<Limiter>,
    pub(super) budget: Budget,
    pub(super) latencies: Latencies,
    /// Whether retries and hedging are off, regardless of the settings of the delivery.
    pub(super) is_sent_once: bool,
}

/// The state of an upstream at one moment, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The state of the breaker, if there is one.
    pub breaker: Option<BreakerState>,
    /// How many requests are in flight; `None` without a concurrency limit.
    pub in_flight: Option<usize>,
    /// The 95th percentile of recent response times; `None` while there are too few.
    pub p95: Option<Duration>,
}

impl UpstreamState {
    /// The state of an upstream before its first request.
    pub fn new(breaker: Option<BreakerPolicy>, limit: Option<LimitPolicy>) -> Self {
        let now = Instant::now();
        Self {
            breaker: breaker.map(|policy| Breaker::new(policy, now)),
            limiter: limit.map(Limiter::new),
            budget: Budget::new(now),
            latencies: Latencies::default(),
            is_sent_once: false,
        }
    }

    /// A state without retries, hedging, circuit breaker and limits.
    pub fn without_resilience() -> Self {
        Self { is_sent_once: true, ..Self::default() }
    }

    /// The current state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            breaker: self.breaker.as_ref().map(|breaker| breaker.state_at(Instant::now())),
            in_flight: self.limiter.as_ref().and_then(Limiter::in_flight),
            p95: self.latencies.p95(),
        }
    }

    /// Whether the limit has a permit available.
    pub(super) fn has_room(&self) -> bool {
        self.limiter.as_ref().is_none_or(Limiter::has_room)
    }
}

impl Default for UpstreamState {
    fn default() -> Self {
        Self::new(None, None)
    }
}
