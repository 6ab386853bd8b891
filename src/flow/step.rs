//! One step of a call: render, deliver, read, extract.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;

use crate::call::{FailureKind, Outcome};
use crate::in_place::pinned;
use crate::lang::template::{Scope, StepOutput};
use crate::plan::Route;
use crate::plan::request::RequestError;
use crate::plan::route::Step;
use crate::plan::when::UnmetCondition;
use crate::upstream::delivery::{AttemptRecord, AttemptSpans, DeliveryError, DeliveryLog, DeliveryOptions};
use crate::upstream::{Request, Response, TransportError};

use super::extensions::filter_extensions;
use super::failure::FailureReply;
use super::{CacheUse, CallEnv, CallError, LateReply, Phase, PhaseTimes, run_blocking_if_large};

/// The record of one step.
#[derive(Debug, Default)]
pub struct StepRecord {
    /// The request as it was last sent, or as far as it was built; `None` if it could not be rendered.
    pub request: Option<Arc<Request>>,
    /// The delivery of the request.
    pub delivery: DeliveryLog,
    /// The time spent waiting for the response: permits, attempts, pauses between them, and another call's identical
    /// request.
    pub wait_time: Duration,
    /// Whether it was skipped because its conditions did not hold.
    pub skipped: bool,
    /// The condition that did not hold; `None` if the step is a fallback of a step that did not fail.
    pub unmet: Option<UnmetCondition>,
    /// How the cache was used, if the route has one.
    pub cache: Option<CacheUse>,
    /// The size of the response body, in bytes.
    pub response_bytes: usize,
    /// Whether it may have changed something at the upstream.
    pub may_have_written: bool,
    /// Whether it was still in flight when the call got its late reply.
    pub overdue: bool,
    /// Why it failed, if it did.
    pub error: Option<Arc<CallError>>,
    /// Why there was no new response, if a stale one was used.
    pub refresh_error: Option<CallError>,
    /// When its phases ended; empty without spans.
    pub phase_times: PhaseTimes,
    /// The attempts to send its request, in the order in which they ended.
    pub attempts: Vec<AttemptRecord>,
}

impl StepRecord {
    /// The kind of failure, if it failed.
    pub fn failure(&self) -> Option<FailureKind> {
        self.error.as_ref().map(|error| error.kind())
    }

    /// The name of the upstream, if a request was rendered.
    pub fn upstream(&self) -> Option<&str> {
        self.request.as_ref().map(|request| request.target.name.as_str())
    }

    /// The attempts that were not cancelled.
    pub fn finished_attempts(&self) -> impl DoubleEndedIterator<Item = &AttemptRecord> {
        self.attempts.iter().filter(|attempt| attempt.result.is_some())
    }
}

/// A step that ran, or was skipped.
#[derive(Default)]
pub(super) struct RanStep {
    pub(super) record: StepRecord,
    pub(super) output: StepOutput,
}

/// A step and everything needed to run it.
#[derive(Clone, Copy)]
pub(super) struct StepRun<'a> {
    pub(super) step: &'a Step,
    pub(super) route: &'a Route,
    pub(super) scope: Scope<'a>,
    pub(super) env: &'a CallEnv<'a>,
    /// When it must have ended.
    pub(super) deadline: Instant,
}

impl StepRun<'_> {
    /// Renders the request.
    pub(super) fn render(&self) -> Result<Request, RequestError> {
        let mut request = self.step.request.render(&self.scope)?;
        // If a value that the response is searched for is missing, nothing is sent.
        self.step
            .extraction
            .check(&self.scope)
            .map_err(|(name, source)| RequestError::Render { part: format!("extract.{name}"), source })?;
        if let Some(name) = self.route.idempotency_key.as_ref().filter(|_| !self.step.request.is_safe()) {
            let step = self.step.name.as_deref().unwrap_or_default();
            // Hexadecimal digits are valid in any header value.
            if let Ok(key) = HeaderValue::try_from(self.env.key.idempotency_key(step)) {
                request.headers.insert(name.clone(), key);
            }
        }
        Ok(request)
    }

    /// Delivers the request. At the deadline, a request that changes something is not cancelled, unless the step has a
    /// fallback.
    pub(super) async fn deliver(
        &self,
        request: Request,
        record: &mut StepRecord,
    ) -> Result<Response, DeliveryError> {
        let safe = self.step.request.is_safe();
        let delivery = &self.step.request.upstream.delivery;
        let is_overdue = AtomicBool::new(false);
        let overdue = |error: TransportError| {
            is_overdue.store(true, Ordering::Relaxed);
            self.env.caller.reply_late(self.late_reply(error));
        };
        let spans = AttemptSpans::new(self.env.traced.map(|traced| &traced.link), &request);
        let began = Instant::now();
        let options = DeliveryOptions {
            began,
            transport: self.env.transport,
            deadline: self.deadline,
            safe,
            repeatable: safe || self.route.idempotency_key.is_some(),
            // A request with a fallback does not continue past the deadline, nor one that will be retried anyway.
            overdue: (!self.step.has_fallback && self.env.caller.is_waiting()).then_some(&overdue),
            resources: self.env.resources.upstream(delivery),
            spans: &spans,
        };
        // On the heap: the future holds all attempts and would be copied into each future around it.
        let request = record.request.insert(Arc::new(request));
        let delivered = pinned(|| delivery.deliver(request, options, &mut record.delivery)).await;
        let ended = record.delivery.ended.unwrap_or_else(Instant::now);
        record.wait_time += ended.saturating_duration_since(began);
        record.may_have_written = !safe && record.delivery.may_have_arrived;
        record.overdue = is_overdue.into_inner();
        record.attempts = spans.into_records();
        record.phase_times.note(Phase::Send);
        delivered
    }

    /// The reply while the request is still in flight.
    fn late_reply(&self, error: TransportError) -> LateReply {
        let error = CallError::Overdue(error);
        let mut failure = FailureReply::on(&error, Some(self.route), &self.scope, self.env);
        filter_extensions(self.env.platform, &mut failure.reply.extensions, &mut Vec::new());
        let outcome = Outcome::failed(error.kind(), failure.reply);
        LateReply { outcome, error, upstream: self.step.request.upstream.delivery.target.name.clone() }
    }

    /// Reads a response and extracts the values.
    pub(super) fn take(
        &self,
        response: Response,
        record: &mut StepRecord,
        output: &mut StepOutput,
    ) -> Result<(), CallError> {
        record.response_bytes = response.body.len();
        run_blocking_if_large(record.response_bytes, || {
            let response = output.response.insert(self.step.read(response));
            output.values = self.step.extract(response, &self.scope, &self.route.replies)?;
            record.phase_times.note(Phase::Extract);
            Ok(())
        })
    }
}
