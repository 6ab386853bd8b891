//! From a finished request to a response: as many attempts as it is worth, within the time of the call, and no more
//! than the upstream can bear.
//!
//! Each attempt asks the breaker, waits for its turn, gets its credential and is sent. What one attempt is, and what
//! comes after it, is decided here; the parts that decide are values without a clock of their own.

mod attempt;
pub mod breaker;
mod latency;
pub mod limit;
pub mod retry;
mod sending;
pub mod state;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use thiserror::Error;
use tokio::time::{sleep, timeout};

pub use attempt::DETACHED_TIMEOUT;
pub use sending::{AttemptRecord, AttemptSpans};
pub use state::{Snapshot, UpstreamResources, UpstreamState};

use attempt::Turn;
use breaker::BreakerRefusal;
use limit::LimitError;
use retry::Retry;
use state::StatePolicy;

use super::auth::{CredentialError, OutboundAuth};
use super::{Request, Response, Target, Transport, TransportError};

/// How requests to one upstream are sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// How the upstream is spoken to.
    pub target: Arc<Target>,
    /// What proves to it who we are.
    pub auth: Option<Arc<dyn OutboundAuth>>,
    /// A hash of what the credential was built from; zeros without one.
    pub credential: [u8; 32],
    /// What is tried again.
    pub retry: Retry,
    /// When a second request is sent beside one that is late.
    pub hedge: Option<Hedge>,
    /// What the live state of the upstream depends on.
    pub policy: StatePolicy,
    /// Where that state stands among the resources of a plan.
    pub slot: usize,
}

/// When a request is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hedge {
    /// After so long.
    After(Duration),
    /// When it takes longer than 95 of 100 did lately.
    P95,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeliveryError {
    /// The credential could not be applied: nothing was sent.
    #[error("the request was not sent: {0}")]
    Credential(#[from] CredentialError),
    /// The upstream fails too often: nothing was sent.
    #[error("the request was not sent to `{upstream}`: {refused}")]
    Breaker {
        /// The upstream's name.
        upstream: String,
        /// What the breaker says.
        refused: BreakerRefusal,
    },
    /// The upstream is asked too often: nothing was sent.
    #[error("the request was not sent to `{upstream}`: {error}")]
    Limit {
        /// The upstream's name.
        upstream: String,
        /// What the limit says.
        error: LimitError,
    },
    /// No reply came back.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// What one request is sent with.
#[derive(Clone, Copy)]
pub struct DeliveryOptions<'a> {
    /// How upstreams are reached.
    pub transport: &'a dyn Transport,
    /// When the call must be answered.
    pub deadline: Instant,
    /// Whether the request changes nothing.
    pub safe: bool,
    /// Whether it may arrive twice: it changes nothing, or the upstream can tell that it is the same.
    pub repeatable: bool,
    /// Whom to tell that the time of the call is over while a request that may have changed something goes on. Where
    /// there is nobody, no request goes on.
    pub overdue: Option<&'a (dyn Fn(TransportError) + Sync)>,
    /// The live state of the upstream.
    pub resources: &'a UpstreamResources,
    /// Where its sendings are noted.
    pub sendings: &'a AttemptSpans<'a>,
}

impl std::fmt::Debug for DeliveryOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryOptions").field("safe", &self.safe).finish_non_exhaustive()
    }
}

/// What a delivery did.
#[derive(Debug, Default)]
pub struct DeliveryLog {
    /// The request as it was sent last, or as far as it came.
    pub request: Option<Arc<Request>>,
    /// How many times it was sent, or was about to be.
    pub attempts: u32,
    /// How many of them were sent beside one that was late.
    pub hedges: u32,
    /// How long the upstream took, attempts added up; `None`: it was never asked.
    pub time: Option<Duration>,
    /// How long a turn was waited for.
    pub waited: Duration,
    /// How long it was put off between one try and the next.
    pub paused: Duration,
    /// How long the credential took, which may have to be asked for.
    pub credential: Duration,
    /// Whether the upstream may have acted upon it.
    pub may_have_arrived: bool,
}

/// How an attempt ended.
type Ended = Result<Response, DeliveryError>;

impl Delivery {
    /// Delivery to a target without a credential, a breaker or a limit, and with the usual retries.
    pub fn plain(target: Target) -> Self {
        Self {
            target: Arc::new(target),
            auth: None,
            credential: [0; 32],
            retry: Retry::default(),
            hedge: None,
            policy: StatePolicy::default(),
            slot: 0,
        }
    }

    /// Delivers a request, and once more where that is worth it.
    ///
    /// # Errors
    /// There is no response, for the reason of the last attempt. A response is one whatever its status.
    pub async fn deliver(
        &self,
        request: Request,
        way: DeliveryOptions<'_>,
        trace: &mut DeliveryLog,
    ) -> Result<Response, DeliveryError> {
        let state = &*way.resources.state;
        let attempts = if state.is_sent_once { 1 } else { self.retry.attempts };
        state.budget.earn(Instant::now());
        let request = Arc::new(request);
        trace.request = Some(Arc::clone(&request));
        let mut made = 1;
        loop {
            let ended = self.round(&request, way, made >= attempts, trace).await;
            if made >= attempts || !self.retry.is_worth(&ended, way.repeatable) {
                return ended;
            }
            let pause = self.retry.pause(made, &ended, fastrand::f64());
            let now = Instant::now();
            let is_in_time = pause < way.deadline.saturating_duration_since(now);
            if !is_in_time || !state.budget.spend(now) {
                return ended;
            }
            sleep(pause).await;
            trace.paused += now.elapsed();
            made += 1;
        }
    }

    /// One attempt, and a second one beside it when it is late.
    async fn round(
        &self,
        request: &Arc<Request>,
        way: DeliveryOptions<'_>,
        is_last: bool,
        trace: &mut DeliveryLog,
    ) -> Ended {
        let (began, state) = (Instant::now(), &*way.resources.state);
        let late_after = match self.hedge.filter(|_| way.safe && !state.is_sent_once) {
            Some(Hedge::After(after)) => Some(after),
            Some(Hedge::P95) => state.latencies.p95(),
            None => None,
        };
        let mut first = pin!(self.attempt(request, way, is_last, Turn::Waited));
        let in_time = match late_after {
            Some(after) => timeout(after, &mut first).await.ok(),
            None => Some(first.as_mut().await),
        };
        let (ended, went) = match in_time {
            Some(attempt) => attempt,
            None if state.has_room() && state.budget.spend(Instant::now()) => {
                trace.hedges += 1;
                let second = pin!(self.attempt(request, way, is_last, Turn::AtOnce));
                match select(first, second).await {
                    Either::Left((attempt, second)) => self.better(attempt, second, trace).await,
                    Either::Right((attempt, first)) => self.better(attempt, first, trace).await,
                }
            }
            None => first.await,
        };
        if let (true, Ok(response)) = (way.safe, &ended)
            && !response.status.is_server_error()
        {
            // From the first attempt on: what a late one would have taken is at least that.
            state.latencies.note(began.elapsed().saturating_sub(went.waited));
        }
        trace.add(went);
        ended
    }

    /// The first of two attempts to end, unless the other one is worth waiting for.
    async fn better(
        &self,
        attempt: (Ended, DeliveryLog),
        other: impl Future<Output = (Ended, DeliveryLog)>,
        trace: &mut DeliveryLog,
    ) -> (Ended, DeliveryLog) {
        let is_good =
            |ended: &Ended| ended.as_ref().is_ok_and(|response| !self.retry.wants(response.status.as_u16()));
        if is_good(&attempt.0) {
            // The other one is given up where it stands, and does not say what it did.
            trace.attempts += 1;
            return attempt;
        }
        let other = other.await;
        let (taken, left) =
            if is_good(&other.0) || attempt.0.is_err() { (other, attempt) } else { (attempt, other) };
        trace.add(left.1);
        taken
    }
}

impl DeliveryLog {
    fn add(&mut self, went: Self) {
        self.request = went.request.or(self.request.take());
        self.attempts += went.attempts;
        self.hedges += went.hedges;
        self.time = match (self.time, went.time) {
            (Some(one), Some(other)) => Some(one + other),
            (one, other) => one.or(other),
        };
        self.waited += went.waited;
        self.paused += went.paused;
        self.credential += went.credential;
        self.may_have_arrived |= went.may_have_arrived;
    }
}
