//! One call is one sentence: [`answer`]. Each verb takes what the one before it gave, and the [`Record`] sees it all.
//!
//! The two doors of the sentence, decode and encode, are the server's.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Map, Value};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::call::{Call, Outcome, Reply};
use crate::lang::jsonpath::MAX_VISITS;
use crate::lang::template::{Scope, StepOutput};
use crate::plan::arguments::Validated;
use crate::plan::replies::{Passed, PickError, Picked};
use crate::plan::{Plan, Route};
use crate::platform::Platform;
use crate::repeats::CallKey;
use crate::upstream::Transport;
use crate::upstream::delivery::DETACHED_TIMEOUT;

pub mod cache;
mod failure;
mod phases;
mod step;

pub use cache::{Cache, CacheUse};
pub use failure::{CallError, SaidBy};
pub use phases::{Phase, PhaseEnd, PhaseTimes, Traced};
pub use step::StepRecord;

use failure::FailureReply;
use step::StepRun;

/// A reply of more bytes than this may take some milliseconds of a thread, or many if it is made to.
const LARGE_REPLY: usize = 256 * 1024;

/// What every step of one call saw. The log line and `call --explain` print this and nothing else.
#[derive(Debug)]
pub struct Record {
    /// The call as it was decoded.
    pub call: Call,
    /// The arguments after validation.
    pub validated: Option<Validated>,
    /// What the steps brought, in the order of the route's steps.
    pub brought: Vec<StepOutput>,
    /// How the steps went, in the same order.
    pub steps: Vec<StepRecord>,
    /// The reply case that was taken, counted from 0.
    pub case: Option<usize>,
    /// The cases before it, and why none of them was.
    pub passed: Vec<Passed>,
    /// Where the text for a failure comes from, when no case is for it.
    pub said_by: Option<SaidBy>,
    /// Why values of the platform's own keys were left out of the reply.
    pub dropped: Vec<String>,
    /// Why the call failed, if it did.
    pub error: Option<CallError>,
    /// Why the failure could not be answered as the route says, if so.
    pub failure_error: Option<PickError>,
    /// What the call came to.
    pub outcome: Outcome,
    /// How long a turn of the route's own limit was waited for.
    pub waited: Duration,
    /// When it began.
    pub began: Instant,
    /// How long the whole call took.
    pub time: Duration,
    /// The trace that it is part of, if it is known, and when its verbs ended.
    pub traced: Option<Traced>,
}

/// What a call is answered with.
#[derive(Clone, Copy)]
pub struct CallEnv<'a> {
    /// The plan that the whole call sees.
    pub plan: &'a Plan,
    /// Who calls.
    pub platform: &'static dyn Platform,
    /// How upstreams are reached.
    pub transport: &'a dyn Transport,
    /// When the answer must be on its way.
    pub deadline: Instant,
    /// The time of the call, RFC 3339.
    pub now: &'a str,
    /// What tells the call from all others.
    pub identity: CallKey,
    /// What upstreams answered lately.
    pub cache: &'a Arc<Cache>,
    /// The trace that the call is part of.
    pub traced: Option<&'a Traced>,
    /// Takes what the platform is to be told at once.
    pub announce: &'a (dyn Fn(Map<String, Value>) + Sync),
    /// Takes the answer of a call whose time is over while a request that may have changed something goes on; the call
    /// goes on with it.
    pub overdue: &'a (dyn Fn(Overdue) + Sync),
}

/// What is answered when the time of a call is over before the call is.
#[derive(Debug)]
pub struct Overdue {
    /// What the platform gets.
    pub outcome: Outcome,
    /// What is waited for.
    pub error: CallError,
    /// The name of the upstream that is waited for.
    pub upstream: String,
}

impl fmt::Debug for CallEnv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallEnv")
            .field("platform", &self.platform.name())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Answers one call, or one event, by the route that is for it. Whatever happens, the record's outcome is something
/// that can be said.
pub async fn answer(call: Call, route: Option<&Route>, env: CallEnv<'_>) -> Record {
    let mut record = Record::new(call, env.traced);
    record.note(Phase::Find);
    let answered = match route {
        Some(route) => run(route, env, &mut record).await,
        None => Err(CallError::UnknownFunction),
    };
    match answered {
        Ok(picked) => {
            record.case = picked.case;
            record.outcome = Outcome { reply: picked.reply, failure: None };
        }
        Err(error) => record.fail(error, route, env),
    }
    record.filter_extension(env.platform);
    record.note(Phase::Answer);
    record.time = record.began.elapsed();
    record
}

/// The record of a call that is not answered by its steps, for a reason that lies outside of it.
pub fn given_up(call: Call, route: Option<&Route>, env: CallEnv<'_>, error: CallError) -> Record {
    let mut record = Record::new(call, env.traced);
    record.validated = route.and_then(|route| route.arguments.validate(&record.call.args).ok());
    record.fail(error, route, env);
    record.filter_extension(env.platform);
    record.note(Phase::Answer);
    record
}

/// The sentence.
async fn run(route: &Route, env: CallEnv<'_>, record: &mut Record) -> Result<Picked, CallError> {
    record.validated = Some(route.arguments.validate(&record.call.args)?);
    route.allowed.check(&record.scope(env.now), env.plan.believes(env.platform))?;
    record.note(Phase::Check);
    announce(route, env, record);
    let deadline = route.timeout.map_or(env.deadline, |timeout| env.deadline.min(Instant::now() + timeout));
    let place = match &route.limiter {
        Some(limiter) => {
            let began = Instant::now();
            let entered = limiter.enter(deadline).await;
            record.waited = began.elapsed();
            Some(entered?)
        }
        None => None,
    };
    if place.is_some() {
        record.note(Phase::Wait);
    }
    ask(route, CallEnv { deadline, ..env }, record).await?;
    if !route.steps.is_empty() {
        record.note(Phase::Ask);
    }
    drop(place);
    let scope = record.scope(env.now);
    let extracted = || route.extracted(&record.brought);
    let mut passed = Vec::new();
    let (platform, guard) = (env.platform.name(), env.platform.guard());
    let pick = || route.replies.pick(&scope, extracted, platform, guard, &mut passed);
    let picked = run_blocking_if_large(record.steps.iter().map(|step| step.reply_bytes).sum(), pick);
    record.passed = passed;
    Ok(picked?)
}

/// Does work over a reply, or several, of so many bytes. What takes long leaves its thread to the other calls.
fn run_blocking_if_large<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let threads =
        || Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes > LARGE_REPLY && threads() { tokio::task::block_in_place(work) } else { work() }
}

/// Tells the platform what it is to know at once. What cannot be rendered is left out; the call goes on.
fn announce(route: &Route, env: CallEnv<'_>, record: &mut Record) {
    let platform = env.platform;
    match route.announcement(&record.scope(env.now), platform.name(), platform.guard()) {
        Ok(own) if own.is_empty() => {}
        Ok(own) => (env.announce)(admit(platform, own, &mut record.dropped)),
        Err(error) => record.dropped.push(format!("what should be told at once is left out: {error}")),
    }
}

/// Asks the route's steps in their order, those of a group together.
async fn ask(route: &Route, env: CallEnv<'_>, record: &mut Record) -> Result<(), CallError> {
    while record.steps.len() < route.steps.len() {
        let together = route.together(record.steps.len());
        let scope = record.scope(env.now);
        let is_overdue = record.steps.iter().any(|step| step.overdue);
        let asked = together.map(|index| {
            let step = &route.steps[index];
            let wanted = step.after_failure_of.is_none_or(|earlier| record.steps[earlier].error.is_some());
            // The call has been answered: what is changed now, nobody would hear of.
            let deadline = match is_overdue {
                true if step.request.is_safe() => env.deadline + DETACHED_TIMEOUT,
                true => Instant::now(),
                false => env.deadline,
            };
            async move {
                let unmet = step.when.unmet(&scope, &mut { MAX_VISITS });
                if wanted && unmet.is_none() {
                    StepRun { step, route, scope, env: CallEnv { deadline, ..env } }.send().await
                } else {
                    (StepRecord { skipped: true, unmet, ..StepRecord::default() }, StepOutput::default())
                }
            }
        });
        for (step, brought) in join_all(asked).await {
            record.steps.push(step);
            record.brought.push(brought);
        }
        // A failure that no later step makes good ends the call; a status that a case names ends the asking.
        let mut asked = route.steps.iter().zip(&record.steps);
        if asked.any(|(step, went)| !step.has_fallback && went.error.is_some()) {
            let failed = route.steps.iter().zip(&mut record.steps).filter(|(_, went)| went.error.is_some());
            // Told before others is the one that may yet come to something, be it that a step was to make it good.
            let told = failed.min_by_key(|(step, went)| {
                (!matches!(went.error, Some(CallError::Unconfirmed(_))), step.has_fallback)
            });
            if let Some(error) = told.and_then(|(_, went)| went.error.take()) {
                return Err(error);
            }
        }
        let last = record.scope(env.now).response();
        if last.is_some_and(|reading| !(200..300).contains(&reading.status()))
            && record.steps.last().is_some_and(|went| went.error.is_none() && !went.skipped)
        {
            break;
        }
    }
    // A fallback that was wanted but did not run leaves the failure standing.
    let made_good = |failed: usize| {
        route.steps.iter().zip(&record.steps).any(|(step, went)| {
            step.after_failure_of == Some(failed) && !went.skipped && went.error.is_none()
        })
    };
    let standing =
        (0..record.steps.len()).find(|index| record.steps[*index].error.is_some() && !made_good(*index));
    match standing.and_then(|index| record.steps[index].error.take()) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Lets the platform look at what only it understands; what does not fit is left out, the rest still goes.
fn admit(platform: &dyn Platform, own: Map<String, Value>, dropped: &mut Vec<String>) -> Map<String, Value> {
    own.into_iter()
        .filter_map(|(key, value)| {
            let (admitted, complaints) = platform.filter_extension(&key, value);
            dropped.extend(complaints);
            admitted.map(|value| (key, value))
        })
        .collect()
}

impl Record {
    fn new(call: Call, traced: Option<&Traced>) -> Self {
        Self {
            call,
            validated: None,
            brought: Vec::new(),
            steps: Vec::new(),
            case: None,
            passed: Vec::new(),
            said_by: None,
            dropped: Vec::new(),
            error: None,
            failure_error: None,
            outcome: Outcome { reply: Reply::default(), failure: None },
            waited: Duration::ZERO,
            began: Instant::now(),
            time: Duration::ZERO,
            traced: traced.cloned(),
        }
    }

    fn note(&mut self, verb: Phase) {
        if let Some(traced) = &mut self.traced {
            traced.marks.note(verb);
        }
    }

    fn note_failed(&mut self, error: &CallError) {
        if let Some(traced) = &mut self.traced {
            traced.marks.note_failed(Phase::of(error).of_call());
        }
    }

    fn fail(&mut self, error: CallError, route: Option<&Route>, env: CallEnv<'_>) {
        self.note_failed(&error);
        let said = FailureReply::on(&error, route, &self.scope(env.now), env);
        self.case = said.case;
        // Those that were passed over before it failed have been so for a better reason.
        let is_new = |passed: &Passed| self.passed.iter().all(|known| known.case != passed.case);
        let new: Vec<Passed> = said.passed.into_iter().filter(is_new).collect();
        self.passed.extend(new);
        self.said_by = said.by;
        self.failure_error = said.error;
        self.outcome = Outcome { reply: said.reply, failure: Some(error.kind()) };
        self.error = Some(error);
    }

    fn filter_extension(&mut self, platform: &dyn Platform) {
        let own = std::mem::take(&mut self.outcome.reply.own);
        self.outcome.reply.own = admit(platform, own, &mut self.dropped);
    }

    /// Whether some request was rendered whole, whether or not it arrived.
    pub fn was_rendered(&self) -> bool {
        self.steps.iter().any(|step| step.trace.request.is_some())
    }

    /// How long upstreams took, steps added up; `None` when none was asked.
    pub fn upstream_time(&self) -> Option<Duration> {
        self.steps.iter().filter_map(|step| step.trace.time).reduce(|sum, time| sum + time)
    }

    /// How long the proxy itself took: not what was waited for, be it an upstream, a turn, another try or another call's
    /// reply. Of steps that are asked at the same time, the longest wait counts.
    pub fn own_time(&self, route: Option<&Route>) -> Duration {
        let (mut elsewhere, mut next) = (self.waited, 0);
        while next < self.steps.len() {
            let together = route.map_or(next..next + 1, |route| route.together(next));
            let waits = self.steps[next..together.end.min(self.steps.len())].iter().map(|step| step.awaited);
            elsewhere += waits.max().unwrap_or_default();
            next = together.end;
        }
        self.time.saturating_sub(elsewhere)
    }

    /// The first use of the cache, if some reply came out of it.
    pub fn cache_use(&self) -> Option<CacheUse> {
        self.steps.iter().filter_map(|step| step.cache).find(|used| *used != CacheUse::Miss)
    }

    /// How often requests were sent, or were about to be, when that was more than once for one of them.
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

    /// Whether it may have changed something at an upstream.
    pub fn may_have_written(&self) -> bool {
        self.steps.iter().any(|step| step.may_have_written)
    }

    /// Whether the outcome stands for every repeat of the call: something may have been changed, and to ask again could
    /// change it twice.
    pub fn is_final(&self, route: Option<&Route>) -> bool {
        // Only an id gives the repeat the same key at the upstream.
        let repeatable =
            self.call.context.id.is_some() && route.is_some_and(|route| route.idempotency_key.is_some());
        match &self.error {
            None => self.may_have_written(),
            // Nobody knows how far it came.
            Some(CallError::Panicked) => true,
            Some(_) => self.may_have_written() && !repeatable,
        }
    }

    /// Whether it was answered before it had ended.
    pub fn was_overdue(&self) -> bool {
        self.steps.iter().any(|step| step.overdue)
    }

    /// The record of a call that ended in a fault of our own after `time`.
    pub fn panicked(call: Call, time: Duration, traced: Option<&Traced>) -> Self {
        let error = CallError::Panicked;
        let outcome = Outcome { reply: Reply::text(error.model_text()), failure: Some(error.kind()) };
        let mut record = Self { outcome, time, ..Self::new(call, traced) };
        record.note_failed(&error);
        record.error = Some(error);
        record
    }

    /// What templates saw when the call ended.
    pub fn scope<'a>(&'a self, now: &'a str) -> Scope<'a> {
        static NOTHING: serde_json::Value = serde_json::Value::Null;
        Scope {
            args: self.validated.as_ref().map_or(&NOTHING, |validated| &validated.args),
            call: &self.call.context,
            steps: &self.brought,
            now,
        }
    }
}
