//! The flow of one call: [`answer`]. Each phase takes the output of the previous one, and the [`Record`] collects
//! everything.
//!
//! Decoding and encoding are not part of it: they belong to the dispatcher.

mod accept;
mod blocking;
pub mod cache;
mod cached;
mod call_key;
mod env;
mod error;
mod execute;
mod extensions;
mod failure;
mod memory;
mod phases;
mod reason;
mod record;
mod schedule;
mod step;
mod stored_call;

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;

use crate::call::{Call, Outcome};
use crate::in_place::pinned;
use crate::lang::jsonpath::MAX_VISITS;
use crate::plan::Route;
use crate::plan::arguments::{CallValues, Validation};
use crate::plan::replies::{Picked, SkippedCases};
use crate::upstream::delivery::DETACHED_TIMEOUT;
use crate::upstream::delivery::limit::LimitPermit;

pub use accept::{ATTEMPT_TIMEOUT, DeliveryAttempt, DeliveryRecord};
pub use blocking::run_blocking_if_large;
pub use cache::{Cache, CacheUse};
pub use call_key::{CallKey, Identity};
pub use env::{CallEnv, Caller, LateReply, NoCaller, StateAccess};
pub use error::CallError;
pub use failure::TextSource;
pub use memory::{MemoryError, MemoryRecord, RecordedMemory};
pub use phases::{Phase, PhaseEnd, PhaseTimes, Traced};
pub use reason::{FailureReason, OF_STEPS};
pub use record::Record;
pub use step::StepRecord;
pub use stored_call::StoredCall;

use execute::execute;
use extensions::filter_extensions;
use schedule::{Next, next};
use step::{RanStep, StepRun};

/// Answers one call or event by its route. The record always has an outcome with a usable reply. `validation` is that of
/// the arguments, if [`CallKey::of`] has done it.
pub async fn answer(
    call: Call,
    validation: Option<Validation>,
    route: Option<&Route>,
    env: &CallEnv<'_>,
) -> Box<Record> {
    let mut record = Record::new(call, env.began, env.traced);
    record.note(Phase::FindRoute);
    let answered = match route {
        // On the heap, to keep the future of other calls small.
        Some(route) if route.state.is_needed() => {
            Box::pin(run_with_state(route, validation, env, &mut record)).await
        }
        Some(route) => run(route, validation, env, &mut record).await,
        None => Err(Arc::new(CallError::UnknownFunction)),
    };
    match answered {
        Ok(Picked { case: Some(case), failure: Some(kind), reply }) => {
            record.fail_as_declared(case, kind, reply, route, env);
        }
        Ok(picked) => {
            record.case = picked.case;
            record.outcome = Outcome::answered(picked.reply);
        }
        Err(error) => record.fail(error, route, env),
    }
    record.filter_extensions(env.platform);
    record.note(Phase::Reply);
    if let Some(route) = route.filter(|route| route.state.remembers) {
        Box::pin(memory::remember(route, env, &mut record)).await;
        record.note(Phase::Store);
    }
    record.time = record.began.elapsed();
    record
}

/// Sends the requests of a call that was accepted before. There is no reply; the record says whether it
/// failed.
pub async fn deliver(
    stored: StoredCall,
    delivery: DeliveryRecord,
    route: &Route,
    env: &CallEnv<'_>,
) -> Box<Record> {
    let StoredCall { call, memory, now: _ } = stored;
    // Null if memory could not be read when the call was accepted.
    let lacks_memory = memory.is_null() && route.state.recalls() && call.context.conversation.is_some();
    let mut record = Record::new(call, env.began, env.traced);
    record.delivery = Some(Box::new(delivery));
    record.memory.recalled = Some(Arc::new(memory));
    record.memory.is_sensitive = route.state.sensitive;
    record.note(Phase::FindRoute);
    if let Err(error) = run_delivery(route, env, &mut record).await {
        record.fail_without_reply(error);
    }
    if !lacks_memory {
        memory::remember(route, env, &mut record).await;
    }
    record.time = record.began.elapsed();
    record
}

async fn run_delivery(route: &Route, env: &CallEnv<'_>, record: &mut Record) -> Result<(), Arc<CallError>> {
    validate(route, None, env, record)?;
    let env = &within_timeout(route, env);
    let permit = acquire_permit(route, env, record).await?;
    run_steps(route, env, record).await?;
    drop(permit);
    Ok(())
}

/// The record of a call that fails without running.
pub fn not_run(
    call: Call,
    validation: Option<Validation>,
    route: Option<&Route>,
    env: &CallEnv<'_>,
    error: CallError,
) -> Box<Record> {
    let mut record = Record::new(call, env.began, env.traced);
    record.validated = route.and_then(|route| validated(route, validation, env, &record).ok());
    record.fail(Arc::new(error), route, env);
    record.filter_extensions(env.platform);
    record.note(Phase::Reply);
    record
}

/// Runs the phases of a call that uses the memory of its conversation, or whose requests are sent later.
async fn run_with_state(
    route: &Route,
    validation: Option<Validation>,
    env: &CallEnv<'_>,
    record: &mut Record,
) -> Result<Picked, Arc<CallError>> {
    memory::recall(route, env, record).await;
    let Some(delivery) = route.state.delivery else { return run(route, validation, env, record).await };
    validate(route, validation, env, record)?;
    announce(route, env, record);
    accept::accept(route, delivery, env, record).await
}

/// Runs the phases of a call.
async fn run(
    route: &Route,
    validation: Option<Validation>,
    env: &CallEnv<'_>,
    record: &mut Record,
) -> Result<Picked, Arc<CallError>> {
    validate(route, validation, env, record)?;
    announce(route, env, record);
    let env = &within_timeout(route, env);
    let permit = acquire_permit(route, env, record).await?;
    run_steps(route, env, record).await?;
    drop(permit);
    pick(route, env, record)
}

/// The arguments as the route declares them.
fn validated(
    route: &Route,
    validation: Option<Validation>,
    env: &CallEnv<'_>,
    record: &Record,
) -> Validation {
    validation.unwrap_or_else(|| {
        let scope = record.scope(env.now);
        let values = CallValues { zone: &|| env.plan.zone.of(&scope), scope: Some(&scope) };
        route.arguments.validate_in(&record.call.args, values)
    })
}

/// Validates the arguments, and checks them against the values that the platform allows.
fn validate(
    route: &Route,
    validation: Option<Validation>,
    env: &CallEnv<'_>,
    record: &mut Record,
) -> Result<(), CallError> {
    record.validated = Some(validated(route, validation, env, record)?);
    route.allowed.check(&record.scope(env.now), env.plan.trusts(env.platform))?;
    record.note(Phase::Validate);
    Ok(())
}

/// Sends the platform the extension values that it gets before the reply. If they cannot be rendered, they are left out
/// and the call continues.
fn announce(route: &Route, env: &CallEnv<'_>, record: &mut Record) {
    let platform = env.platform;
    match route.announcement(&record.scope(env.now), platform.name(), platform.guard()) {
        Ok(extensions) if extensions.is_empty() => {}
        Ok(mut extensions) => {
            filter_extensions(platform, &mut extensions, &mut record.dropped);
            env.caller.announce(extensions);
        }
        Err(error) => record.dropped.push(format!("the announcement is left out: {error}")),
    }
}

/// `env` with the deadline shortened to the route's own timeout.
fn within_timeout<'a>(route: &Route, env: &CallEnv<'a>) -> CallEnv<'a> {
    let deadline = route.timeout.map_or(env.deadline, |timeout| env.deadline.min(Instant::now() + timeout));
    CallEnv { deadline, ..*env }
}

/// Waits for a permit of the route's own limit, if it has one.
async fn acquire_permit(
    route: &Route,
    env: &CallEnv<'_>,
    record: &mut Record,
) -> Result<Option<LimitPermit>, CallError> {
    let limiter = route.limit.as_ref().and_then(|limit| env.resources.limiter(limit.slot));
    let Some(limiter) = limiter else { return Ok(None) };
    let began = Instant::now();
    let entered = limiter.enter(env.deadline).await;
    record.limit_wait = began.elapsed();
    let permit = entered?;
    record.note(Phase::Wait);
    Ok(Some(permit))
}

/// Runs the route's steps in order; steps of one group run concurrently.
async fn run_steps(route: &Route, env: &CallEnv<'_>, record: &mut Record) -> Result<(), Arc<CallError>> {
    record.steps.reserve_exact(route.steps.len());
    record.outputs.reserve_exact(route.steps.len());
    loop {
        let last_status = record.scope(env.now).response().map(|response| response.status());
        let group = match next(route, &record.steps, last_status) {
            Next::Run(group) => group,
            Next::Fail(error) => return Err(error),
            Next::Done => break,
        };
        if group.len() == 1 {
            let mut ran = RanStep::default();
            run_step(group.start, route, env, record, &mut ran).await;
            record.push(ran);
            continue;
        }
        let mut ran: Vec<_> = group.clone().map(|_| RanStep::default()).collect();
        join_all(group.zip(&mut ran).map(|(index, ran)| run_step(index, route, env, record, ran))).await;
        ran.into_iter().for_each(|ran| record.push(ran));
    }
    if !route.steps.is_empty() {
        record.note(Phase::RunSteps);
    }
    Ok(())
}

/// Runs one step, unless its conditions do not hold.
async fn run_step(index: usize, route: &Route, env: &CallEnv<'_>, record: &Record, ran: &mut RanStep) {
    let (step, scope) = (&route.steps[index], record.scope(env.now));
    let is_wanted = step.after_failure_of.is_none_or(|earlier| record.steps[earlier].error.is_some());
    let unmet = step.when.unmet(&scope, &mut { MAX_VISITS });
    if !is_wanted || unmet.is_some() {
        (ran.record.skipped, ran.record.unmet) = (true, unmet);
        return;
    }
    // After a late reply, only safe requests are sent: the caller would not learn of another change.
    let deadline = match record.was_overdue() {
        true if step.request.is_safe() => env.deadline + DETACHED_TIMEOUT,
        true => Instant::now(),
        false => env.deadline,
    };
    // On the heap, because a large future is copied into the future that awaits it.
    pinned(|| execute(StepRun { step, route, scope, env, deadline }, ran)).await;
}

/// Picks the reply case and renders it.
fn pick(route: &Route, env: &CallEnv<'_>, record: &mut Record) -> Result<Picked, Arc<CallError>> {
    let mut skipped_cases = SkippedCases::new();
    let bytes = record.steps.iter().map(|step| step.response_bytes).sum();
    let picked = run_blocking_if_large(bytes, || {
        let extracted = || route.extracted(&record.outputs);
        let (platform, guard) = (env.platform.name(), env.platform.guard());
        route.replies.pick(&record.scope(env.now), extracted, platform, guard, &mut skipped_cases)
    });
    record.skipped_cases = skipped_cases;
    picked.map_err(|error| Arc::new(error.into()))
}
