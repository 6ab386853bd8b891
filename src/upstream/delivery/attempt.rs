//! One attempt: the breaker, the limit, the credential, the request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::breaker::{BreakerRefusal, Pass};
use super::limit::LimitPermit;
use super::{Delivery, DeliveryError, DeliveryLog, DeliveryOptions, Ended};
use crate::traceparent::TraceParent;
use crate::upstream::auth::CredentialEnv;
use crate::upstream::{Request, Response, Times, TransportError};

/// How long a request that may have changed something is waited for after the time of its call is over.
pub const DETACHED_TIMEOUT: Duration = Duration::from_secs(30);

/// An attempt with less time than this, or than the upstream usually takes, says nothing about it when the time is over.
const FAIR: Duration = Duration::from_millis(250);

/// Whether an attempt waits for a permit of the upstream's limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Waited,
    AtOnce,
}

/// One attempt, and what it holds until it ends.
struct Attempt<'a> {
    delivery: &'a Delivery,
    request: &'a Arc<Request>,
    options: DeliveryOptions<'a>,
    /// Whether no other attempt follows it.
    is_last: bool,
    /// The leave of the breaker, until it has been told how the request went.
    pass: Option<Pass<'a>>,
    permit: Option<LimitPermit>,
    log: DeliveryLog,
}

/// A request that was sent, and how it ended.
struct Sent {
    request: Arc<Request>,
    result: Result<Response, TransportError>,
    /// How long it had.
    given: Duration,
    /// How long it took.
    took: Duration,
    /// Whether the time that it had was enough to judge the upstream by it.
    is_fair: bool,
}

impl Delivery {
    /// One attempt, and what it did.
    pub(super) async fn attempt(
        &self,
        request: &Arc<Request>,
        options: DeliveryOptions<'_>,
        is_last: bool,
        turn: Turn,
    ) -> (Ended, DeliveryLog) {
        let (pass, permit, log) = (None, None, DeliveryLog::default());
        let mut attempt = Attempt { delivery: self, request, options, is_last, pass, permit, log };
        let ended = attempt.run(turn).await;
        (ended, attempt.log)
    }
}

impl Attempt<'_> {
    /// Sends the request; once more, whatever its method, when the upstream refuses a credential that can be renewed:
    /// it did not act upon the request then.
    async fn run(&mut self, turn: Turn) -> Ended {
        self.admit(turn).await?;
        let mut sent = self.sign_and_send().await?;
        if self.renews(&sent) {
            sent = self.sign_and_send().await?;
        }
        self.judge(&sent);
        Ok(sent.result?)
    }

    /// Gets the leave of the breaker and a permit of the limit.
    async fn admit(&mut self, turn: Turn) -> Result<(), DeliveryError> {
        self.pass = self.leave()?;
        self.permit = self.permit(turn).await?;
        // The breaker may have opened while the permit was waited for.
        if self.pass.as_ref().is_some_and(Pass::is_over) {
            self.pass = self.leave()?;
        }
        self.log.attempts += 1;
        Ok(())
    }

    async fn permit(&mut self, turn: Turn) -> Result<Option<LimitPermit>, DeliveryError> {
        let Some(limiter) = &self.options.resources.state.limiter else { return Ok(None) };
        let began = Instant::now();
        let entered = match turn {
            Turn::Waited => limiter.enter(self.options.deadline).await,
            Turn::AtOnce => limiter.try_enter(began),
        };
        self.log.waited += began.elapsed();
        entered.map(Some).map_err(|error| DeliveryError::Limit { upstream: self.upstream(), error })
    }

    async fn sign_and_send(&mut self) -> Result<Sent, DeliveryError> {
        let span = self.options.sendings.next();
        let request = self.sign(span.as_ref()).await?;
        Ok(self.send(request, span.map(|span| span.span)).await)
    }

    /// The request with its place in the trace and its credential.
    async fn sign(&mut self, span: Option<&TraceParent>) -> Result<Arc<Request>, DeliveryError> {
        let auth = self.delivery.auth.as_ref();
        if span.is_none() && auth.is_none() {
            return Ok(Arc::clone(self.request));
        }
        let mut finished = Request::clone(self.request);
        if let Some(span) = span {
            span.put_on(&mut finished.headers);
        }
        if let Some(auth) = auth {
            let began = Instant::now();
            let DeliveryOptions { transport, deadline, resources, .. } = self.options;
            let env = CredentialEnv { token: &resources.token, transport, deadline };
            let applied = auth.apply(&mut finished, env).await;
            self.log.credential += began.elapsed();
            applied?;
        }
        let signed = Arc::new(finished);
        self.log.request = Some(Arc::clone(&signed));
        Ok(signed)
    }

    /// Sends a request, and waits for its response as long as it may take. One that may have changed something is not
    /// dropped when the time of the call is over: the caller is told, and it goes on.
    async fn send(&mut self, request: Arc<Request>, span: Option<u64>) -> Sent {
        let options = self.options;
        let (began, ends) = (Instant::now(), self.delivery.target.ends(options.deadline));
        let given = ends.saturating_duration_since(began);
        // Steps, waiting for a permit or a slow caller may have used up the time that the upstream needs.
        let p95 = options.resources.state.latencies.p95();
        let is_fair = given >= p95.map_or(FAIR, |p95| p95.max(FAIR));
        let is_final = !options.repeatable || self.is_last || ends >= options.deadline;
        let overdue = options.overdue.filter(|_| !options.safe && is_final);
        let answered_by = if overdue.is_some() { ends + DETACHED_TIMEOUT } else { ends };
        let noted = options.sendings.begin(span);
        let mut sending = options.transport.send(&request, Times { sent_by: ends, answered_by });
        let result = match overdue {
            None => sending.as_mut().await,
            Some(overdue) => tokio::select! {
                biased;
                result = &mut sending => result,
                () = sleep_until(ends.into()) => {
                    // The breaker hears of a late request at once: until it ends, others would be sent after it, or
                    // kept waiting for it as a probe.
                    if is_fair {
                        self.report(false);
                    }
                    overdue(TransportError::overdue(began.elapsed()));
                    sending.as_mut().await
                }
            },
        };
        drop(sending);
        noted.end(&result);
        let took = began.elapsed();
        self.log.time = Some(self.log.time.unwrap_or_default() + took);
        Sent { request, result, given, took, is_fair }
    }

    /// Whether the upstream refused the credential, and another can be had.
    fn renews(&self, sent: &Sent) -> bool {
        let token = &self.options.resources.token;
        match (&self.delivery.auth, &sent.result) {
            (Some(auth), Ok(response)) => auth.renews(token, &sent.request, response),
            _ => false,
        }
    }

    /// Tells the breaker how the request went, where that says something about the upstream.
    fn judge(&mut self, sent: &Sent) {
        let error = sent.result.as_ref().err();
        self.log.may_have_arrived |= error.is_none_or(TransportError::may_have_arrived);
        // A response that nobody waited for any more is as bad as none.
        let verdict = if sent.took > sent.given { Some(false) } else { verdict(&sent.result) };
        if let Some(good) = verdict.filter(|_| sent.took < sent.given || sent.is_fair) {
            self.report(good);
        }
    }

    /// Tells the breaker, unless it has been told already.
    fn report(&mut self, good: bool) {
        if let Some(change) = self.pass.take().and_then(|pass| pass.tell(good, Instant::now())) {
            let upstream = &self.delivery.target.name;
            tracing::warn!(%upstream, "{upstream}: {change}");
        }
    }

    fn upstream(&self) -> String {
        self.delivery.target.name.clone()
    }
}

impl<'a> Attempt<'a> {
    /// Leave of the breaker to send a request now; `None` without a breaker.
    fn leave(&self) -> Result<Option<Pass<'a>>, DeliveryError> {
        let Some(breaker) = &self.options.resources.state.breaker else { return Ok(None) };
        let refused = |refused: BreakerRefusal| DeliveryError::Breaker { upstream: self.upstream(), refused };
        breaker.admit(Instant::now()).map(Some).map_err(refused)
    }
}

/// Whether the end of an attempt speaks for its upstream; `None` when it says nothing about it.
fn verdict(ended: &Result<Response, TransportError>) -> Option<bool> {
    match ended {
        Ok(response) => Some(!response.status.is_server_error()),
        Err(
            TransportError::Timeout { .. }
            | TransportError::Connect { .. }
            | TransportError::Lost { .. }
            | TransportError::Invalid { .. },
        ) => Some(false),
        Err(
            TransportError::TooLarge { .. }
            | TransportError::Forbidden(_)
            | TransportError::Unsendable { .. },
        ) => None,
    }
}
