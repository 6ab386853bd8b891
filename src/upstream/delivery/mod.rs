//! From a finished request to a response: attempts, retries and hedging, within the deadline of the call and the limits
//! of the upstream.
//!
//! Each attempt acquires a permit of the breaker and one of the limit, gets its credential, and is sent. The policies
//! are plain values: they read no clock.

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

use attempt::{Attempt, PermitWait};
use breaker::BreakerRefusal;
use limit::LimitError;
use retry::Retry;
use state::StatePolicy;

use super::auth::{CredentialError, OutboundAuth};
use super::{Request, Response, Target, Transport, TransportError};

/// How requests to one upstream are sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// How the upstream is reached.
    pub target: Arc<Target>,
    /// The credential.
    pub auth: Option<Arc<dyn OutboundAuth>>,
    /// A fingerprint of the credential's scheme and values; zeros without a credential.
    pub credential: [u8; 32],
    /// Where the table sets the credential, and the secrets that it uses; `None` without a credential. For people.
    pub credential_source: Option<Arc<str>>,
    /// Which failures are retried.
    pub retry: Retry,
    /// When a late request is hedged.
    pub hedge: Option<Hedge>,
    /// The policies that the upstream's live state depends on.
    pub policy: StatePolicy,
    /// The index of that state among the resources of a plan.
    pub slot: usize,
}

/// When a second request is sent beside a late one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hedge {
    /// After this time.
    After(Duration),
    /// After the 95th percentile of recent response times.
    P95,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeliveryError {
    /// The credential could not be applied, so nothing was sent.
    #[error("the request was not sent: {error}{}", advice(error, check.as_deref()))]
    Credential {
        /// Why it could not be applied.
        error: CredentialError,
        /// Where the table sets the credential.
        check: Option<Arc<str>>,
    },
    /// The circuit breaker refused the request, so nothing was sent.
    #[error("the request was not sent to `{upstream}`: {refused}")]
    Breaker {
        /// The upstream's name.
        upstream: String,
        /// The breaker's reason.
        refused: BreakerRefusal,
    },
    /// The limit had no permit in time, so nothing was sent.
    #[error("the request was not sent to `{upstream}`: {error}")]
    Limit {
        /// The upstream's name.
        upstream: String,
        /// Why there was no permit.
        error: LimitError,
    },
    /// There was no response.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// What to check, if the credential itself is wrong.
fn advice(error: &CredentialError, check: Option<&str>) -> String {
    match (error, check) {
        (CredentialError::Rejected(_), Some(check)) => format!("; check {check}"),
        _ => String::new(),
    }
}

/// The options of one request.
#[derive(Clone, Copy)]
pub struct DeliveryOptions<'a> {
    /// When the delivery begins.
    pub began: Instant,
    /// Carries the request.
    pub transport: &'a dyn Transport,
    /// The deadline of the call.
    pub deadline: Instant,
    /// Whether the request is safe: it changes nothing.
    pub safe: bool,
    /// Whether it may arrive twice: it is safe, or the upstream recognises duplicates.
    pub repeatable: bool,
    /// Called when a write exceeds its time but continues. Without it, the request is cancelled.
    pub overdue: Option<&'a (dyn Fn(TransportError) + Sync)>,
    /// The live state of the upstream.
    pub resources: &'a UpstreamResources,
    /// Records its attempts.
    pub spans: &'a AttemptSpans<'a>,
}

impl std::fmt::Debug for DeliveryOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveryOptions").field("safe", &self.safe).finish_non_exhaustive()
    }
}

/// What happened during a delivery.
#[derive(Debug, Default)]
pub struct DeliveryLog {
    /// How many attempts were made.
    pub attempts: u32,
    /// How many of them were hedged requests.
    pub hedges: u32,
    /// How long the upstream took, over all attempts; `None` if no request was sent.
    pub time: Option<Duration>,
    /// When the last request to the upstream ended; `None` if the delivery ended later, without another request.
    pub ended: Option<Instant>,
    /// The time spent waiting for a permit of the limit.
    pub waited: Duration,
    /// The pauses between attempts.
    pub paused: Duration,
    /// The time spent on the credential, which may need a token request.
    pub credential: Duration,
    /// Whether the upstream may have processed the request.
    pub may_have_arrived: bool,
}

/// How an attempt ended.
type DeliveryResult = Result<Response, DeliveryError>;

/// One of two attempts at the same request, after its end.
struct HedgedAttempt {
    ended: DeliveryResult,
    /// The request as it was sent.
    request: Arc<Request>,
    log: DeliveryLog,
}

impl Delivery {
    /// Delivery to a target with the default retries, without a credential, a breaker or a limit.
    pub fn plain(target: Target) -> Self {
        Self {
            target: Arc::new(target),
            auth: None,
            credential: [0; 32],
            credential_source: None,
            retry: Retry::default(),
            hedge: None,
            policy: StatePolicy::default(),
            slot: 0,
        }
    }

    /// Delivers a request, with retries. `request` becomes the request as it was last sent, or as far as it was built.
    ///
    /// # Errors
    /// There was no response; the error is that of the last attempt. A response with any status is not an error.
    pub async fn deliver(
        &self,
        request: &mut Arc<Request>,
        options: DeliveryOptions<'_>,
        log: &mut DeliveryLog,
    ) -> Result<Response, DeliveryError> {
        let state = &*options.resources.state;
        let attempts = if state.is_sent_once { 1 } else { self.retry.attempts };
        let mut began = options.began;
        state.budget.earn(began);
        let mut made = 1;
        loop {
            let ended = self.round(request, options, (began, made >= attempts), log).await;
            if made >= attempts || !self.retry.applies(&ended, options.repeatable) {
                return ended;
            }
            let pause = self.retry.pause(made, &ended, fastrand::f64());
            let now = Instant::now();
            let is_in_time = pause < options.deadline.saturating_duration_since(now);
            if !is_in_time || !state.budget.spend(now) {
                return ended;
            }
            sleep(pause).await;
            began = Instant::now();
            log.paused += began - now;
            made += 1;
        }
    }

    /// Makes one attempt, which begins at `began`, and hedges it if it is late.
    async fn round(
        &self,
        request: &mut Arc<Request>,
        options: DeliveryOptions<'_>,
        (began, is_last): (Instant, bool),
        log: &mut DeliveryLog,
    ) -> DeliveryResult {
        let (state, waited) = (&*options.resources.state, log.waited);
        log.ended = None;
        let late_after = match self.hedge.filter(|_| options.safe && !state.is_sent_once) {
            Some(Hedge::After(after)) => Some(after),
            Some(Hedge::P95) => state.latencies.p95(),
            None => None,
        };
        let ended = match late_after {
            None => {
                let mut attempt = Attempt::new(self, request, options, is_last, log);
                attempt.run(PermitWait::UntilDeadline).await
            }
            // On the heap: two attempts would make the future of every request large.
            Some(after) => {
                let better = Box::pin(self.hedged(request, options, (after, is_last), log)).await;
                log.add(better.log);
                *request = better.request;
                better.ended
            }
        };
        if let (true, Ok(response)) = (options.safe, &ended)
            && !response.status.is_server_error()
        {
            // Measured from the first attempt, because a late attempt would have taken at least this long.
            state.latencies.record(began.elapsed().saturating_sub(log.waited.saturating_sub(waited)));
        }
        ended
    }

    /// Makes an attempt, and a second one beside it if it takes longer than `late_after`.
    async fn hedged(
        &self,
        request: &Arc<Request>,
        options: DeliveryOptions<'_>,
        (late_after, is_last): (Duration, bool),
        log: &mut DeliveryLog,
    ) -> HedgedAttempt {
        let state = &*options.resources.state;
        let attempt = async |wait| {
            let (mut request, mut log) = (Arc::clone(request), DeliveryLog::default());
            let ended = Attempt::new(self, &mut request, options, is_last, &mut log).run(wait).await;
            HedgedAttempt { ended, request, log }
        };
        let mut first = pin!(attempt(PermitWait::UntilDeadline));
        if let Ok(attempt) = timeout(late_after, &mut first).await {
            return attempt;
        }
        if !state.has_room() || !state.budget.spend(Instant::now()) {
            return first.await;
        }
        log.hedges += 1;
        let second = pin!(attempt(PermitWait::Never));
        match select(first, second).await {
            Either::Left((attempt, second)) => self.better(attempt, second, log).await,
            Either::Right((attempt, first)) => self.better(attempt, first, log).await,
        }
    }

    /// The better of two attempts. `attempt` ended first and wins if it succeeded. Otherwise `other` wins, unless only
    /// `attempt` has a response.
    async fn better(
        &self,
        attempt: HedgedAttempt,
        other: impl Future<Output = HedgedAttempt>,
        log: &mut DeliveryLog,
    ) -> HedgedAttempt {
        let is_good = |attempt: &HedgedAttempt| {
            attempt.ended.as_ref().is_ok_and(|response| !self.retry.covers(response.status.as_u16()))
        };
        if is_good(&attempt) {
            // The other attempt is cancelled, so its log is lost.
            log.attempts += 1;
            return attempt;
        }
        let other = other.await;
        let (taken, left) =
            if is_good(&other) || attempt.ended.is_err() { (other, attempt) } else { (attempt, other) };
        log.add(left.log);
        taken
    }
}

impl DeliveryLog {
    fn add(&mut self, other: Self) {
        self.attempts += other.attempts;
        self.hedges += other.hedges;
        self.time = match (self.time, other.time) {
            (Some(ours), Some(theirs)) => Some(ours + theirs),
            (ours, theirs) => ours.or(theirs),
        };
        self.ended = self.ended.max(other.ended);
        self.waited += other.waited;
        self.paused += other.paused;
        self.credential += other.credential;
        self.may_have_arrived |= other.may_have_arrived;
    }
}
