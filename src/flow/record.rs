//! Everything observed during one call. The log line, `call --explain` and the admin API show this and nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call::{Call, FailureKind, Outcome, Reply};
use crate::in_place::boxed;
use crate::lang::template::{Scope, StepOutput};
use crate::plan::Route;
use crate::plan::arguments::Validated;
use crate::plan::replies::{PickError, SkippedCase, SkippedCases};
use crate::platform::Platform;
use crate::state::StateError;

use super::extensions::filter_extensions;
use super::failure::FailureReply;
use super::step::RanStep;
use super::{
    CacheUse, CallEnv, CallError, DeliveryRecord, MemoryError, MemoryRecord, Phase, RecordedMemory,
    StepRecord, TextSource, Traced,
};

/// What every step of one call saw. The log line, `call --explain` and the admin API show this and nothing else.
#[derive(Debug)]
pub struct Record {
    /// The call as it was decoded.
    pub call: Call,
    /// The arguments after validation.
    pub validated: Option<Validated>,
    /// The output of each step that ran, in the order of the route's steps.
    pub outputs: Vec<StepOutput>,
    /// The records of the steps, in the same order.
    pub steps: Vec<StepRecord>,
    /// The index of the reply case that was picked, from 0.
    pub case: Option<usize>,
    /// The cases before it, with the reasons why they did not match.
    pub skipped_cases: SkippedCases,
    /// The source of the text for a failure that no reply case matched.
    pub text_source: Option<TextSource>,
    /// Why values of the platform's extension keys were left out of the reply.
    pub dropped: Vec<String>,
    /// Why the call failed, if it did. An error of a step is also in that step's record.
    pub error: Option<Arc<CallError>>,
    /// Why the reply case for the failure could not be rendered, if it could not.
    pub failure_error: Option<PickError>,
    /// What goes back to the platform.
    pub outcome: Outcome,
    /// What it recalled and remembered.
    pub memory: RecordedMemory,
    /// The delivery that it stored, or that it attempts.
    pub delivery: Option<Box<DeliveryRecord>>,
    /// The time limit of the operation of the store that failed, if one did.
    pub state_limit: Option<Duration>,
    /// The time spent waiting for a permit of the route's own limit.
    pub limit_wait: Duration,
    /// When it began.
    pub began: Instant,
    /// The duration of the whole call.
    pub time: Duration,
    /// The trace of the call, if it has one, and when its phases ended.
    pub traced: Option<Traced>,
}

impl Record {
    /// The record of a call that began at `began`.
    pub(super) fn new(call: Call, began: Instant, traced: Option<&Traced>) -> Box<Self> {
        boxed(|| Self {
            call,
            validated: None,
            outputs: Vec::new(),
            steps: Vec::new(),
            case: None,
            skipped_cases: SkippedCases::new(),
            text_source: None,
            dropped: Vec::new(),
            error: None,
            failure_error: None,
            outcome: Outcome::pending(),
            memory: RecordedMemory::default(),
            delivery: None,
            state_limit: None,
            limit_wait: Duration::ZERO,
            began,
            time: Duration::ZERO,
            traced: traced.cloned(),
        })
    }

    /// The record of a call that ended in an internal error after `time`.
    pub fn panicked(call: Call, time: Duration, traced: Option<&Traced>) -> Box<Self> {
        let error = CallError::Panicked;
        let mut record = Self::new(call, Instant::now(), traced);
        record.outcome = Outcome::failed(error.kind(), Reply::text(error.model_text()));
        record.time = time;
        record.note_failed(&error);
        record.error = Some(Arc::new(error));
        record
    }

    /// Adds a step. Inlined, so that the step is copied once.
    #[inline]
    pub(super) fn push(&mut self, ran: RanStep) {
        self.steps.push(ran.record);
        self.outputs.push(ran.output);
    }

    /// Records the end of a phase, if the call has spans.
    pub(super) fn note(&mut self, phase: Phase) {
        if let Some(traced) = &mut self.traced {
            traced.phase_times.note(phase);
        }
    }

    fn note_failed(&mut self, error: &CallError) {
        if let Some(traced) = &mut self.traced {
            traced.phase_times.note_failed(Phase::of(error).of_call());
        }
    }

    /// Ends the call with a failure: picks the reply for it.
    pub(super) fn fail(&mut self, error: Arc<CallError>, route: Option<&Route>, env: &CallEnv<'_>) {
        self.note_failed(&error);
        let failure = FailureReply::on(&error, route, &self.scope(env.now), env);
        self.case = failure.case;
        // A case that matched, but could not be rendered or declares the failure, is in the error. One that was skipped
        // keeps its first reason.
        let matched = match &*error {
            CallError::Pick(PickError::Render { case, .. }) | CallError::Declared { case, .. } => Some(*case),
            _ => None,
        };
        let is_new = |skipped: &SkippedCase| {
            Some(skipped.case) != matched && self.skipped_cases.iter().all(|known| known.case != skipped.case)
        };
        let new: SkippedCases = failure.skipped_cases.into_iter().filter(is_new).collect();
        self.skipped_cases.extend(new);
        self.text_source = failure.source;
        self.failure_error = failure.error;
        self.outcome = Outcome::failed(error.kind(), failure.reply);
        self.error = Some(error);
    }

    /// Ends a delivery with a failure: nobody waits for a reply.
    pub(super) fn fail_without_reply(&mut self, error: Arc<CallError>) {
        self.note_failed(&error);
        self.outcome = Outcome { failure: Some(error.kind()), ..Outcome::pending() };
        self.error = Some(error);
    }

    /// Ends the call with the failure that a reply case declares. A case without a text and data gets the text of its
    /// kind of failure.
    pub(super) fn fail_as_declared(
        &mut self,
        case: usize,
        kind: FailureKind,
        reply: Reply,
        route: Option<&Route>,
        env: &CallEnv<'_>,
    ) {
        let error = Arc::new(CallError::Declared { case, kind });
        if reply.text.is_none() && reply.data.is_none() {
            self.fail(error, route, env);
            if self.case.is_none() {
                Arc::make_mut(&mut self.outcome.reply).extensions = reply.extensions;
            }
            return;
        }
        self.note_failed(&error);
        self.case = Some(case);
        self.outcome = Outcome::failed(kind, reply);
        self.error = Some(error);
    }

    /// The reply cases that matched, as indices from 0: the one that declared the call a failure, and the one that gave
    /// the reply.
    pub fn matched_cases(&self) -> impl Iterator<Item = usize> {
        let declared = match self.error.as_deref() {
            Some(CallError::Declared { case, .. }) => Some(*case),
            _ => None,
        };
        declared.into_iter().chain(self.case.filter(|case| declared != Some(*case)))
    }

    /// Lets the platform check the values of its extension keys. Values that it does not accept are dropped.
    pub(super) fn filter_extensions(&mut self, platform: &dyn Platform) {
        if self.outcome.reply.extensions.iter().any(|extension| !extension.is_valid) {
            let reply = Arc::make_mut(&mut self.outcome.reply);
            filter_extensions(platform, &mut reply.extensions, &mut self.dropped);
        }
    }

    /// The values that templates could use when the call ended.
    pub fn scope<'a>(&'a self, now: &'a str) -> Scope<'a> {
        static NULL: serde_json::Value = serde_json::Value::Null;
        Scope {
            args: self.validated.as_ref().map_or(&NULL, |validated| &validated.args),
            call: &self.call.context,
            steps: &self.outputs,
            now,
            memory: self.memory.recalled.as_deref().unwrap_or(&NULL),
        }
    }

    /// The errors of all steps, and the error of the call if it is not one of them.
    pub fn errors(&self) -> impl Iterator<Item = &CallError> {
        let steps = self.steps.iter().filter_map(|step| step.error.as_deref());
        let own = self.error.as_ref().filter(|error| !self.is_of_step(error));
        steps.chain(own.map(|error| &**error))
    }

    fn is_of_step(&self, error: &Arc<CallError>) -> bool {
        self.steps.iter().filter_map(|step| step.error.as_ref()).any(|known| Arc::ptr_eq(known, error))
    }

    /// Whether a request was rendered, even if it was not sent.
    pub fn was_rendered(&self) -> bool {
        self.steps.iter().any(|step| step.request.is_some())
    }

    /// The time that upstreams took, added up over all steps; `None` if no request was sent.
    pub fn upstream_time(&self) -> Option<Duration> {
        self.steps.iter().filter_map(|step| step.delivery.time).reduce(|sum, time| sum + time)
    }

    /// The time spent in the proxy itself: without upstreams, permits, pauses between attempts, or another call's
    /// response. Of steps that run concurrently, the longest wait counts.
    pub fn overhead(&self, route: Option<&Route>) -> Duration {
        let (mut waited, mut next) = (self.limit_wait, 0);
        while next < self.steps.len() {
            let group = route.map_or(next..next + 1, |route| route.group_at(next));
            let waits = self.steps[next..group.end.min(self.steps.len())].iter().map(|step| step.wait_time);
            waited += waits.max().unwrap_or_default();
            next = group.end;
        }
        self.time.saturating_sub(waited)
    }

    /// The first use of the cache other than a miss.
    pub fn cache_use(&self) -> Option<CacheUse> {
        self.steps.iter().filter_map(|step| step.cache).find(|used| *used != CacheUse::Miss)
    }

    /// The number of attempts of all steps, if one step took more than one.
    pub fn attempts(&self) -> Option<u32> {
        let attempts = self.steps.iter().map(|step| step.delivery.attempts);
        attempts.clone().any(|attempts| attempts > 1).then(|| attempts.sum())
    }

    /// The names of the upstreams that requests were rendered for, separated by commas; `None` if there are none.
    pub fn upstreams(&self) -> Option<String> {
        let mut names: Vec<&str> = self.steps.iter().filter_map(StepRecord::upstream).collect();
        names.dedup();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Whether the call may have changed something at an upstream.
    pub fn may_have_written(&self) -> bool {
        self.steps.iter().any(|step| step.may_have_written)
    }

    /// Whether a retry of the call gets the same outcome: the call may have changed something, and running it again
    /// could change it twice. `by_id` says whether the retry is recognised by its call id.
    pub fn is_final(&self, route: Option<&Route>, by_id: bool) -> bool {
        let repeatable = by_id && route.is_some_and(Route::reruns_failures);
        match self.error.as_deref() {
            None => self.may_have_written() || self.is_accepted(),
            // It is unknown how far the call got.
            Some(CallError::Panicked) => true,
            Some(_) => self.may_have_written() && !repeatable,
        }
    }

    /// Whether the call was stored, so that its requests are sent later.
    pub fn is_accepted(&self) -> bool {
        self.delivery.as_ref().is_some_and(|delivery| delivery.attempt.is_none())
    }

    /// What the store could not do for the call.
    pub fn state_error(&self) -> Option<&StateError> {
        let of_memory = match &self.memory.error {
            Some(MemoryError::Store(error)) => Some(error),
            _ => None,
        };
        match self.error.as_deref() {
            Some(CallError::NotStored(error)) => Some(error),
            _ => of_memory,
        }
    }

    /// Whether the store did anything for the call.
    pub fn used_state(&self) -> bool {
        let MemoryRecord { recalled, remembered, .. } = &*self.memory;
        self.delivery.is_some() || recalled.is_some() || !remembered.is_empty()
    }

    /// Whether the reply was sent before the call ended.
    pub fn was_overdue(&self) -> bool {
        self.steps.iter().any(|step| step.overdue)
    }
}
