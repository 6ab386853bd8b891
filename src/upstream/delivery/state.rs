//! What is learned about one upstream from each request and heeded by the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

use super::breaker::{Breaker, BreakerPolicy, BreakerState};
use super::latency::Latencies;
use super::limit::{LimitPolicy, Limiter};
use super::retry::Budget;
use crate::upstream::auth::TokenCell;

/// What the state of an upstream depends on: under another policy it starts afresh.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatePolicy {
    /// Where the upstream is.
    pub base_url: Option<Url>,
    /// When nothing is sent to it for a while.
    pub breaker: Option<BreakerPolicy>,
    /// How much is sent to it.
    pub limit: Option<LimitPolicy>,
}

/// The live state of one upstream.
#[derive(Debug, Default)]
pub struct UpstreamResources {
    /// What is learned about it.
    pub state: Arc<UpstreamState>,
    /// The token that proves to it who we are, where its scheme needs one.
    pub token: Arc<TokenCell>,
}

/// What is learned about an upstream.
#[derive(Debug)]
pub struct UpstreamState {
    pub(super) breaker: Option<Breaker>,
    pub(super) limiter: Option<Limiter>,
    pub(super) budget: Budget,
    pub(super) latencies: Latencies,
    /// Whether each request is sent once only, whatever its delivery says.
    pub(super) is_sent_once: bool,
}

/// What the state of an upstream comes to, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The state of the breaker, if there is one.
    pub breaker: Option<BreakerState>,
    /// How many requests are in flight, where that is limited.
    pub under_way: Option<usize>,
    /// What 95 of 100 responses took at most lately, when there were enough to say.
    pub p95: Option<Duration>,
}

impl UpstreamState {
    /// An upstream about which nothing is known yet.
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

    /// An upstream without retries, hedging, breaker and limits.
    pub fn without_resilience() -> Self {
        Self { is_sent_once: true, ..Self::default() }
    }

    /// What it comes to now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            breaker: self.breaker.as_ref().map(|breaker| breaker.now(Instant::now())),
            under_way: self.limiter.as_ref().and_then(Limiter::under_way),
            p95: self.latencies.p95(),
        }
    }

    /// Whether another request could be sent at once.
    pub(super) fn has_room(&self) -> bool {
        self.limiter.as_ref().is_none_or(Limiter::has_room)
    }
}

impl Default for UpstreamState {
    fn default() -> Self {
        Self::new(None, None)
    }
}
