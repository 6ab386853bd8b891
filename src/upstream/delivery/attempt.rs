//! One attempt: the breaker, a turn, the credential, the request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::{Delivery, DeliveryError, DeliveryLog, DeliveryOptions, Ended};
use crate::upstream::{Request, Response, Times, TransportError};

/// How long a request that may have changed something is waited for after the time of its call is over.
pub const DETACHED_TIMEOUT: Duration = Duration::from_secs(30);

/// An attempt with less time than this, or than the upstream usually takes, says nothing about it when the time is over.
const FAIR: Duration = Duration::from_millis(250);

/// Whether an attempt waits for its turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Waited,
    AtOnce,
}

impl Delivery {
    /// One attempt, and what it did.
    pub(super) async fn attempt(
        &self,
        request: &Arc<Request>,
        way: DeliveryOptions<'_>,
        is_last: bool,
        turn: Turn,
    ) -> (Ended, DeliveryLog) {
        let mut trace = DeliveryLog::default();
        let ended = self.try_once(request, way, is_last, turn, &mut trace).await;
        (ended, trace)
    }

    /// One attempt: the breaker, a turn, the credential, the request.
    async fn try_once(
        &self,
        request: &Arc<Request>,
        way: DeliveryOptions<'_>,
        is_last: bool,
        turn: Turn,
        trace: &mut DeliveryLog,
    ) -> Ended {
        let breaker = self.health.breaker.as_ref();
        let upstream = || self.target.name.clone();
        let refused = |refused| DeliveryError::Breaker { upstream: upstream(), refused };
        let mut pass = breaker.map(|breaker| breaker.admit(Instant::now())).transpose().map_err(refused)?;
        let _place = match &self.health.limiter {
            None => None,
            Some(limiter) => {
                let began = Instant::now();
                let entered = match turn {
                    Turn::Waited => limiter.enter(way.deadline).await,
                    Turn::AtOnce => limiter.try_enter(began),
                };
                trace.waited += began.elapsed();
                Some(entered.map_err(|error| DeliveryError::Limit { upstream: upstream(), error })?)
            }
        };
        // The breaker may have opened while a turn was waited for.
        if let Some(breaker) = breaker
            && pass.as_ref().is_some_and(|pass| pass.is_over())
        {
            pass = Some(breaker.admit(Instant::now()).map_err(refused)?);
        }
        trace.attempts += 1;
        let pass = Mutex::new(pass);
        let tell = |good| {
            let pass = pass.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(change) = pass.and_then(|pass| pass.tell(good, Instant::now())) {
                let upstream = &self.target.name;
                tracing::warn!(%upstream, "{upstream}: {change}");
            }
        };
        let mut sent = Arc::clone(request);
        let mut may_renew = true;
        let (ended, verdict) = loop {
            let own = way.sendings.next();
            if own.is_some() || self.auth.is_some() {
                let mut finished = Request::clone(request);
                if let Some(own) = &own {
                    own.put_on(&mut finished.headers);
                }
                if let Some(auth) = &self.auth {
                    let began = Instant::now();
                    let applied = auth.apply(&mut finished, way.transport, way.deadline).await;
                    trace.credential += began.elapsed();
                    applied?;
                }
                sent = Arc::new(finished);
                trace.request = Some(Arc::clone(&sent));
            }
            let (began, ends) = (Instant::now(), self.target.ends(way.deadline));
            let given = ends.saturating_duration_since(began);
            // Steps, turns or a slow caller may have used up the time that the upstream needs.
            let is_fair = given >= self.health.latencies.p95().map_or(FAIR, |p95| p95.max(FAIR));
            // The breaker hears of what is late at once: until it ends, others would be sent after it, or kept waiting
            // for it as a probe.
            let overdue = |error| {
                if is_fair {
                    tell(false);
                }
                way.overdue.inspect(|overdue| overdue(error));
            };
            let way = DeliveryOptions { overdue: way.overdue.is_some().then_some(&overdue), ..way };
            let noted = way.sendings.begin(own.map(|own| own.span));
            let ended = self.send(&sent, way, is_last, ends).await;
            noted.end(&ended);
            let took = began.elapsed();
            trace.time = Some(trace.time.unwrap_or_default() + took);
            // Once more, whatever the method, when the upstream refuses a credential that can be had anew: it did not
            // act upon the request then.
            let renews = match (&self.auth, &ended) {
                (Some(auth), Ok(response)) => may_renew && auth.renews(&sent, response),
                _ => false,
            };
            if !renews {
                trace.may_have_arrived |= ended.as_ref().err().is_none_or(TransportError::may_have_arrived);
                // An answer that nobody waited for any more is as bad as none.
                let verdict = if took > given { Some(false) } else { verdict(&ended) };
                break (ended, verdict.filter(|_| took < given || is_fair));
            }
            may_renew = false;
        };
        if let Some(good) = verdict {
            tell(good);
        }
        Ok(ended?)
    }

    /// Sends a request, and waits for its response as long as it may take. What may have changed something is not
    /// given up when the time of the call is over, but told.
    async fn send(
        &self,
        request: &Arc<Request>,
        way: DeliveryOptions<'_>,
        is_last: bool,
        ends: Instant,
    ) -> Result<Response, TransportError> {
        let began = Instant::now();
        let request = Request::clone(request);
        let goes_on =
            way.overdue.filter(|_| !way.safe && (!way.repeatable || is_last || ends >= way.deadline));
        let Some(overdue) = goes_on else { return way.transport.send(request, Times::by(ends)).await };
        let times = Times { sent_by: ends, answered_by: ends + DETACHED_TIMEOUT };
        let mut sending = way.transport.send(request, times);
        tokio::select! {
            biased;
            ended = &mut sending => return ended,
            () = sleep_until(ends.into()) => {}
        }
        overdue(TransportError::overdue(began.elapsed()));
        sending.await
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
