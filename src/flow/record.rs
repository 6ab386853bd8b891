//! What every step of one call saw.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call::{Call, Outcome, Reply};
use crate::lang::template::{Scope, StepOutput};
use crate::plan::Route;
use crate::plan::arguments::Validated;
use crate::plan::replies::{Passed, PickError};
use crate::platform::Platform;

use super::failure::FailureReply;
use super::{CacheUse, CallEnv, CallError, Phase, SaidBy, StepRecord, Traced, filter_extensions};

/// What every step of one call saw. The log line, `call --explain` and the admin API show this and nothing else.
#[derive(Debug)]
pub struct Record {
    /// The call as it was decoded.
    pub call: Call,
    /// The arguments after validation.
    pub validated: Option<Validated>,
    /// What each step that ran put out, in the order of the route's steps.
    pub outputs: Vec<StepOutput>,
    /// How the steps went, in the same order.
    pub steps: Vec<StepRecord>,
    /// The index of the reply case that was picked, from 0.
    pub case: Option<usize>,
    /// The cases before it, and why each was not picked.
    pub passed: Vec<Passed>,
    /// Where the text for a failure comes from, when no reply case matched it.
    pub said_by: Option<SaidBy>,
    /// Why values of the platform's extension keys were left out of the reply.
    pub dropped: Vec<String>,
    /// Why the call failed, if it did. An error of a step is also in that step's record.
    pub error: Option<Arc<CallError>>,
    /// Why the reply case for the failure could not be rendered, if it could not.
    pub failure_error: Option<PickError>,
    /// What goes back to the platform.
    pub outcome: Outcome,
    /// How long the call waited for a permit of the route's own limit.
    pub limit_wait: Duration,
    /// When it began.
    pub began: Instant,
    /// How long the whole call took.
    pub time: Duration,
    /// The trace that it is part of, if any, and when its phases ended.
    pub traced: Option<Traced>,
}

impl Record {
    pub(super) fn new(call: Call, traced: Option<&Traced>) -> Self {
        Self {
            call,
            validated: None,
            outputs: Vec::new(),
            steps: Vec::new(),
            case: None,
            passed: Vec::new(),
            said_by: None,
            dropped: Vec::new(),
            error: None,
            failure_error: None,
            outcome: Outcome { reply: Reply::default(), failure: None },
            limit_wait: Duration::ZERO,
            began: Instant::now(),
            time: Duration::ZERO,
            traced: traced.cloned(),
        }
    }

    /// The record of a call that ended in an internal error after `time`.
    pub fn panicked(call: Call, time: Duration, traced: Option<&Traced>) -> Self {
        let error = CallError::Panicked;
        let outcome = Outcome { reply: Reply::text(error.model_text()), failure: Some(error.kind()) };
        let mut record = Self { outcome, time, ..Self::new(call, traced) };
        record.note_failed(&error);
        record.error = Some(Arc::new(error));
        record
    }

    /// Notes the end of a phase, if spans are made.
    pub(super) fn note(&mut self, phase: Phase) {
        if let Some(traced) = &mut self.traced {
            traced.marks.note(phase);
        }
    }

    fn note_failed(&mut self, error: &CallError) {
        if let Some(traced) = &mut self.traced {
            traced.marks.note_failed(Phase::of(error).of_call());
        }
    }

    /// Ends the call with a failure: picks the reply for it.
    pub(super) fn fail(&mut self, error: Arc<CallError>, route: Option<&Route>, env: CallEnv<'_>) {
        self.note_failed(&error);
        let said = FailureReply::on(&error, route, &self.scope(env.now), env);
        self.case = said.case;
        // A case that was passed over before the failure keeps its first reason.
        let is_new = |passed: &Passed| self.passed.iter().all(|known| known.case != passed.case);
        let new: Vec<Passed> = said.passed.into_iter().filter(is_new).collect();
        self.passed.extend(new);
        self.said_by = said.by;
        self.failure_error = said.error;
        self.outcome = Outcome { reply: said.reply, failure: Some(error.kind()) };
        self.error = Some(error);
    }

    /// Lets the platform check the values of its extension keys; a value that it would refuse is dropped.
    pub(super) fn filter_extensions(&mut self, platform: &dyn Platform) {
        let extensions = std::mem::take(&mut self.outcome.reply.extensions);
        self.outcome.reply.extensions = filter_extensions(platform, extensions, &mut self.dropped);
    }

    /// What templates saw when the call ended.
    pub fn scope<'a>(&'a self, now: &'a str) -> Scope<'a> {
        static NOTHING: serde_json::Value = serde_json::Value::Null;
        Scope {
            args: self.validated.as_ref().map_or(&NOTHING, |validated| &validated.args),
            call: &self.call.context,
            steps: &self.outputs,
            now,
        }
    }

    /// The errors of all steps, and the call's own where no step had it.
    pub fn errors(&self) -> impl Iterator<Item = &CallError> {
        let steps = self.steps.iter().filter_map(|step| step.error.as_deref());
        let own = self.error.as_ref().filter(|error| !self.is_of_step(error));
        steps.chain(own.map(|error| &**error))
    }

    fn is_of_step(&self, error: &Arc<CallError>) -> bool {
        self.steps.iter().filter_map(|step| step.error.as_ref()).any(|known| Arc::ptr_eq(known, error))
    }

    /// Whether some request was rendered, whether or not it arrived.
    pub fn was_rendered(&self) -> bool {
        self.steps.iter().any(|step| step.trace.request.is_some())
    }

    /// How long upstreams took, all steps added up; `None` when no request was sent.
    pub fn upstream_time(&self) -> Option<Duration> {
        self.steps.iter().filter_map(|step| step.trace.time).reduce(|sum, time| sum + time)
    }

    /// How long the proxy itself took: without waiting for upstreams, permits, pauses between attempts, or another
    /// call's response. Of steps that run concurrently, the longest wait counts.
    pub fn own_time(&self, route: Option<&Route>) -> Duration {
        let (mut elsewhere, mut next) = (self.limit_wait, 0);
        while next < self.steps.len() {
            let together = route.map_or(next..next + 1, |route| route.together(next));
            let waits = self.steps[next..together.end.min(self.steps.len())].iter().map(|step| step.awaited);
            elsewhere += waits.max().unwrap_or_default();
            next = together.end;
        }
        self.time.saturating_sub(elsewhere)
    }

    /// The first use of the cache, if some response came from it.
    pub fn cache_use(&self) -> Option<CacheUse> {
        self.steps.iter().filter_map(|step| step.cache).find(|used| *used != CacheUse::Miss)
    }

    /// The number of attempts of all requests, when one of them took more than one.
    pub fn attempts(&self) -> Option<u32> {
        let attempts = self.steps.iter().map(|step| step.trace.attempts);
        attempts.clone().any(|attempts| attempts > 1).then(|| attempts.sum())
    }

    /// The upstreams that requests went to, as one text; `None` if there were none.
    pub fn upstreams(&self) -> Option<String> {
        let mut names: Vec<&str> = self.steps.iter().filter_map(StepRecord::upstream).collect();
        names.dedup();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Whether the call may have changed something at an upstream.
    pub fn may_have_written(&self) -> bool {
        self.steps.iter().any(|step| step.may_have_written)
    }

    /// Whether the outcome also answers a retry of the call: something may have been changed, and another request could
    /// change it twice. `by_id` tells whether the retry is one by its id.
    pub fn is_final(&self, route: Option<&Route>, by_id: bool) -> bool {
        // Only a call id gives the retry the same idempotency key at the upstream.
        let repeatable = by_id && route.is_some_and(|route| route.idempotency_key.is_some());
        match self.error.as_deref() {
            None => self.may_have_written(),
            // Nobody knows how far it came.
            Some(CallError::Panicked) => true,
            Some(_) => self.may_have_written() && !repeatable,
        }
    }

    /// Whether its reply went out before it had ended.
    pub fn was_overdue(&self) -> bool {
        self.steps.iter().any(|step| step.overdue)
    }
}
