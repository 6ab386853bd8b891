//! One step of a call: render, deliver, read, extract.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::call::{FailureKind, Outcome, Reply};
use crate::lang::template::{Scope, StepOutput};
use crate::plan::Route;
use crate::plan::request::RequestError;
use crate::plan::route::Step;
use crate::plan::when::Unmet;
use crate::upstream::delivery::{AttemptRecord, AttemptSpans, DeliveryError, DeliveryLog, DeliveryOptions};
use crate::upstream::{Request, Response, TransportError};

use super::failure::{CallError, FailureReply};
use super::{
    CacheUse, CallEnv, LateReply, Phase, PhaseTimes, cache, filter_extensions, run_blocking_if_large,
};

/// How one step went.
#[derive(Debug, Default)]
pub struct StepRecord {
    /// How its request was delivered; without a request when it could not be rendered.
    pub trace: DeliveryLog,
    /// How long its reply was waited for, from end to end: turns, tries and the pauses between them, and another call
    /// that was asking for the same.
    pub awaited: Duration,
    /// Whether its conditions did not hold.
    pub skipped: bool,
    /// Which of them did not; `None` when it is the one on an earlier step's failure.
    pub unmet: Option<Unmet>,
    /// How the cache answered, where the route has one.
    pub cache: Option<CacheUse>,
    /// How many bytes the body of its reply has.
    pub reply_bytes: usize,
    /// Whether it may have changed something at the upstream.
    pub may_have_written: bool,
    /// Whether it was still under way when its call had to be answered.
    pub overdue: bool,
    /// Why it failed, if it did.
    pub error: Option<Arc<CallError>>,
    /// Why a new reply could not be had, where an older one was used.
    pub stale_for: Option<CallError>,
    /// When its verbs ended, if spans are made.
    pub marks: PhaseTimes,
    /// Each time that its request was sent, in the order in which they ended.
    pub sendings: Vec<AttemptRecord>,
}

impl StepRecord {
    /// The kind of its failure, if it failed.
    pub fn failure(&self) -> Option<FailureKind> {
        self.error.as_ref().map(|error| error.kind())
    }

    /// The name of the upstream that its request is for, if it was rendered.
    pub fn upstream(&self) -> Option<&str> {
        self.trace.request.as_ref().map(|request| request.target.name.as_str())
    }

    /// Those of its sendings of which something came: none that was given up.
    pub fn tries(&self) -> impl DoubleEndedIterator<Item = &AttemptRecord> {
        self.sendings.iter().filter(|sending| sending.result.is_some())
    }
}

/// A step as it is asked.
#[derive(Clone, Copy)]
pub(super) struct StepRun<'a> {
    pub(super) step: &'a Step,
    pub(super) route: &'a Route,
    pub(super) scope: Scope<'a>,
    pub(super) env: CallEnv<'a>,
}

impl StepRun<'_> {
    /// Asks it, and takes out of the reply what the table wants.
    pub(super) async fn send(self) -> (StepRecord, StepOutput) {
        let marks = PhaseTimes::begin(self.env.traced);
        let (mut went, mut brought) = (StepRecord { marks, ..StepRecord::default() }, StepOutput::default());
        went.error = self.run(&mut went, &mut brought).await.err().map(Arc::new);
        if let Some(error) = &went.error {
            went.marks.note_failed(Phase::of(error));
        }
        (went, brought)
    }

    async fn run(&self, went: &mut StepRecord, brought: &mut StepOutput) -> Result<(), CallError> {
        let request = self.render()?;
        went.marks.note(Phase::Render);
        match self.route.cache.filter(|_| self.step.request.is_safe()) {
            // On the heap, so that calls without a cache do not carry it along.
            Some(policy) => Box::pin(cache::ask(self, policy, request, went, brought)).await,
            None => {
                let response = self.deliver(request, went).await.map_err(|error| match error {
                    // That nobody waits for it any more does not undo it.
                    DeliveryError::Transport(error @ TransportError::Timeout { .. })
                        if went.may_have_written =>
                    {
                        CallError::Unconfirmed(error)
                    }
                    DeliveryError::Transport(
                        error @ (TransportError::Lost { .. }
                        | TransportError::Invalid { .. }
                        | TransportError::TooLarge { .. }),
                    ) if went.may_have_written => CallError::Unanswered(error),
                    error => error.into(),
                })?;
                self.take(response, went, brought)
            }
        }
    }

    fn render(&self) -> Result<Request, RequestError> {
        let mut request = self.step.request.render(&self.scope)?;
        if let Some(name) = self.route.idempotency_key.as_ref().filter(|_| !self.step.request.is_safe()) {
            let step = self.step.name.as_deref().unwrap_or_default();
            // Hexadecimal digits fit into any header.
            if let Ok(key) = HeaderValue::try_from(self.env.key.idempotency_key(step)) {
                request.headers.insert(name.clone(), key);
            }
        }
        Ok(request)
    }

    /// Delivers the request. One that may have changed something is not given up when the time is over.
    pub(super) async fn deliver(
        &self,
        request: Request,
        went: &mut StepRecord,
    ) -> Result<Response, DeliveryError> {
        let safe = self.step.request.is_safe();
        let delivery = &self.step.request.upstream.delivery;
        let is_overdue = AtomicBool::new(false);
        let overdue = |error: TransportError| {
            is_overdue.store(true, Ordering::Relaxed);
            self.env.caller.reply_late(self.late_reply(error));
        };
        let sendings = AttemptSpans::new(self.env.traced.map(|traced| &traced.link));
        let way = DeliveryOptions {
            transport: self.env.transport,
            deadline: self.env.deadline,
            safe,
            repeatable: safe || self.route.idempotency_key.is_some(),
            // What a later step makes good is not waited for.
            overdue: if self.step.has_fallback { None } else { Some(&overdue) },
            resources: self.env.resources.upstream(delivery),
            spans: &sendings,
        };
        let began = Instant::now();
        // On the heap: all attempts of a request are too large to be moved along with each future around them.
        let delivered = Box::pin(delivery.deliver(request, way, &mut went.trace)).await;
        went.awaited += began.elapsed();
        went.may_have_written = !safe && went.trace.may_have_arrived;
        went.overdue = is_overdue.into_inner();
        went.sendings = sendings.into_records();
        went.marks.note(Phase::Send);
        delivered
    }

    /// What is answered while the request goes on.
    fn late_reply(&self, error: TransportError) -> LateReply {
        let error = CallError::Overdue(error);
        let said = FailureReply::on(&error, Some(self.route), &self.scope, self.env);
        let extensions = filter_extensions(self.env.platform, said.reply.extensions, &mut Vec::new());
        let outcome = Outcome { reply: Reply { extensions, ..said.reply }, failure: Some(error.kind()) };
        LateReply { outcome, error, upstream: self.step.request.upstream.delivery.target.name.clone() }
    }

    /// Reads a response and takes the values out of it.
    pub(super) fn take(
        &self,
        response: Response,
        went: &mut StepRecord,
        brought: &mut StepOutput,
    ) -> Result<(), CallError> {
        went.reply_bytes = response.body.len();
        run_blocking_if_large(went.reply_bytes, || {
            let reading = brought.reading.insert(self.step.read(response));
            brought.values = self.step.extract(reading, &self.route.replies)?;
            went.marks.note(Phase::Extract);
            Ok(())
        })
    }
}
