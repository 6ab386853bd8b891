//! One attempt: it passes the breaker and the limit, is signed with the credential, and is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::breaker::{BreakerPermit, BreakerRefusal};
use super::limit::LimitPermit;
use super::{Delivery, DeliveryError, DeliveryLog, DeliveryOptions, DeliveryResult};
use crate::traceparent::TraceParent;
use crate::upstream::auth::{CredentialEnv, CredentialError, OutboundAuth};
use crate::upstream::{Request, Response, Times, TransportError};

/// How much longer a detached call may take, for the response to a write and for the safe requests after it.
pub const DETACHED_TIMEOUT: Duration = Duration::from_secs(30);

/// A timeout counts as a failure of the upstream only if the attempt had at least this much time.
const MIN_FAIR_TIMEOUT: Duration = Duration::from_millis(250);

/// Whether an attempt waits for a permit of the upstream's limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PermitWait {
    UntilDeadline,
    Never,
}

/// One attempt, and what it holds until it ends.
pub(super) struct Attempt<'a> {
    delivery: &'a Delivery,
    request: &'a mut Arc<Request>,
    options: DeliveryOptions<'a>,
    /// Whether no retry can follow it.
    is_last: bool,
    /// The breaker's permit, until the result of the request is reported to the breaker.
    breaker_permit: Option<BreakerPermit<'a>>,
    limit_permit: Option<LimitPermit>,
    log: &'a mut DeliveryLog,
}

/// A request that was sent, and how it ended.
struct Sent {
    request: Arc<Request>,
    result: Result<Response, TransportError>,
    /// How much time it had.
    given: Duration,
    began: Instant,
    ended: Instant,
    /// Whether it had enough time to count a timeout as a failure of the upstream.
    is_fair: bool,
}

impl Sent {
    /// How long the request took.
    fn took(&self) -> Duration {
        self.ended - self.began
    }
}

impl<'a> Attempt<'a> {
    /// An attempt with this request, which is signed in place.
    pub(super) fn new(
        delivery: &'a Delivery,
        request: &'a mut Arc<Request>,
        options: DeliveryOptions<'a>,
        is_last: bool,
        log: &'a mut DeliveryLog,
    ) -> Self {
        Self { delivery, request, options, is_last, breaker_permit: None, limit_permit: None, log }
    }
}

impl Attempt<'_> {
    /// Sends the request. If the upstream refuses a credential that can be renewed, sends it once more, even if it is a
    /// write: the upstream did not process it.
    pub(super) async fn run(&mut self, wait: PermitWait) -> DeliveryResult {
        self.admit(wait).await?;
        let mut sent = self.sign_and_send().await?;
        if self.renews(&sent) {
            sent = self.sign_and_send().await?;
        }
        self.judge(&sent);
        Ok(sent.result?)
    }

    /// Acquires the permits of the breaker and the limit.
    async fn admit(&mut self, wait: PermitWait) -> Result<(), DeliveryError> {
        self.breaker_permit = self.breaker_permit()?;
        self.limit_permit = self.limit_permit(wait).await?;
        // The breaker may have opened during the wait for the limit.
        if self.breaker_permit.as_ref().is_some_and(BreakerPermit::is_stale) {
            self.breaker_permit = self.breaker_permit()?;
        }
        self.log.attempts += 1;
        Ok(())
    }

    async fn limit_permit(&mut self, wait: PermitWait) -> Result<Option<LimitPermit>, DeliveryError> {
        let Some(limiter) = &self.options.resources.state.limiter else { return Ok(None) };
        let began = Instant::now();
        let entered = match wait {
            PermitWait::UntilDeadline => limiter.enter(self.options.deadline).await,
            PermitWait::Never => limiter.try_enter(began),
        };
        self.log.waited += began.elapsed();
        entered.map(Some).map_err(|error| DeliveryError::Limit { upstream: self.upstream(), error })
    }

    async fn sign_and_send(&mut self) -> Result<Sent, DeliveryError> {
        self.log.ended = None;
        let span = self.options.spans.next();
        self.sign(span.as_ref()).await?;
        Ok(self.send(span.map(|span| span.span)).await)
    }

    /// Adds the trace context and the credential to the request, or replaces those of an earlier attempt.
    async fn sign(&mut self, span: Option<&TraceParent>) -> Result<(), DeliveryError> {
        let auth = self.delivery.auth.as_deref();
        if span.is_none() && auth.is_none() {
            return Ok(());
        }
        let began = auth.map(|_| Instant::now());
        let signed = self.signed(span, auth).await;
        self.log.credential += began.map(|began| began.elapsed()).unwrap_or_default();
        signed.map_err(|error| {
            let check = self.delivery.credential_source.clone();
            DeliveryError::Credential { error, check }
        })
    }

    async fn signed(
        &mut self,
        span: Option<&TraceParent>,
        auth: Option<&dyn OutboundAuth>,
    ) -> Result<(), CredentialError> {
        let DeliveryOptions { transport, deadline, resources, .. } = self.options;
        let env = CredentialEnv { token: &resources.token, transport, deadline };
        let token = match auth.and_then(|auth| auth.token(&self.delivery.target, env)) {
            Some(token) => Some(token.await?),
            None => None,
        };
        // Copied only if another attempt uses it, too.
        let request = Arc::make_mut(self.request);
        if let Some(span) = span.filter(|_| self.options.spans.are_sent()) {
            span.inject(&mut request.headers);
        }
        auth.map_or(Ok(()), |auth| auth.apply(request, token))
    }

    /// Sends a request and waits for its response. If it is a write, it is not cancelled at the end of its time unless
    /// a retry can follow: `overdue` is called, and the request continues.
    async fn send(&mut self, span: Option<u64>) -> Sent {
        let (options, request) = (self.options, Arc::clone(self.request));
        let began = Instant::now();
        let ends = self.delivery.target.ends(began, options.deadline);
        let given = ends.saturating_duration_since(began);
        // Earlier steps, a wait for a permit or a slow caller may have used up the time that the upstream needs.
        let is_fair = given >= MIN_FAIR_TIMEOUT && options.resources.state.latencies.p95_is_within(given);
        let is_final = !options.repeatable || self.is_last || ends >= options.deadline;
        let overdue = options.overdue.filter(|_| !options.safe && is_final);
        let answered_by = if overdue.is_some() { ends + DETACHED_TIMEOUT } else { ends };
        let pending = options.spans.begin(span, began);
        let mut sending = options.transport.send(&request, Times { began, sent_by: ends, answered_by });
        let result = match overdue {
            None => sending.as_mut().await,
            Some(overdue) => tokio::select! {
                biased;
                result = &mut sending => result,
                () = sleep_until(ends.into()) => {
                    // Report a late request immediately, so that the breaker can open or end its probe before the
                    // request ends.
                    if is_fair {
                        self.report(false, Instant::now());
                    }
                    overdue(TransportError::overdue(began.elapsed()));
                    sending.as_mut().await
                }
            },
        };
        drop(sending);
        let sent = Sent { request, result, given, began, ended: Instant::now(), is_fair };
        pending.end(sent.ended, &sent.result);
        self.log.time = Some(self.log.time.unwrap_or_default() + sent.took());
        self.log.ended = Some(sent.ended);
        sent
    }

    /// Whether the upstream refused the credential and the credential can be renewed.
    fn renews(&self, sent: &Sent) -> bool {
        let token = &self.options.resources.token;
        match (&self.delivery.auth, &sent.result) {
            (Some(auth), Ok(response)) => auth.renews(token, &sent.request, response),
            _ => false,
        }
    }

    /// Reports the result to the breaker if it reflects the upstream's health.
    fn judge(&mut self, sent: &Sent) {
        let error = sent.result.as_ref().err();
        self.log.may_have_arrived |= error.is_none_or(TransportError::may_have_arrived);
        // A response after the deadline counts as a failure.
        let verdict = if sent.took() > sent.given { Some(false) } else { verdict(&sent.result) };
        if let Some(good) = verdict.filter(|_| sent.took() < sent.given || sent.is_fair) {
            self.report(good, sent.ended);
        }
    }

    /// Reports to the breaker, once.
    fn report(&mut self, good: bool, at: Instant) {
        if let Some(change) = self.breaker_permit.take().and_then(|permit| permit.report(good, at)) {
            let upstream = &self.delivery.target.name;
            tracing::warn!(%upstream, "{upstream}: {change}");
        }
    }

    fn upstream(&self) -> String {
        self.delivery.target.name.clone()
    }
}

impl<'a> Attempt<'a> {
    /// The breaker's permit to send a request now; `None` without a breaker.
    fn breaker_permit(&self) -> Result<Option<BreakerPermit<'a>>, DeliveryError> {
        let Some(breaker) = &self.options.resources.state.breaker else { return Ok(None) };
        let refused = |refused: BreakerRefusal| DeliveryError::Breaker { upstream: self.upstream(), refused };
        breaker.admit(Instant::now()).map(Some).map_err(refused)
    }
}

/// Whether a result is a success of the upstream; `None` if it does not reflect the upstream's health.
fn verdict(result: &Result<Response, TransportError>) -> Option<bool> {
    match result.as_ref().map_err(TransportError::cause) {
        Ok(response) => Some(!response.status.is_server_error()),
        Err(
            TransportError::Timeout { .. }
            | TransportError::Connect { .. }
            | TransportError::Lost { .. }
            | TransportError::Invalid { .. },
        ) => Some(false),
        Err(
            TransportError::TooLarge { .. }
            | TransportError::NoRoom(_)
            | TransportError::Incomplete { .. }
            | TransportError::Forbidden(_)
            | TransportError::Unsendable { .. },
        ) => None,
    }
}
