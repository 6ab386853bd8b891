//! Runs one step, with or without the cache.

use std::sync::Arc;

use crate::lang::template::StepOutput;
use crate::upstream::TransportError;
use crate::upstream::delivery::DeliveryError;

use super::cached;
use super::step::{RanStep, StepRecord, StepRun};
use super::{CallError, Phase, PhaseTimes};

/// Runs a step: renders and delivers its request, and extracts values from the response.
pub(super) async fn execute(step: StepRun<'_>, ran: &mut RanStep) {
    let RanStep { record, output } = ran;
    record.phase_times = PhaseTimes::begin(step.env.traced);
    record.error = run(&step, record, output).await.err().map(Arc::new);
    if let Some(error) = &record.error {
        record.phase_times.note_failed(Phase::of(error));
    }
}

async fn run(step: &StepRun<'_>, record: &mut StepRecord, output: &mut StepOutput) -> Result<(), CallError> {
    let request = step.render()?;
    record.phase_times.note(Phase::Render);
    if let Some(policy) = step.route.cache.filter(|_| step.step.request.is_safe()) {
        // On the heap, to keep the future of calls without a cache small.
        return Box::pin(cached::fetch(step, policy, request, record, output)).await;
    }
    if !step.step.request.is_safe()
        && let Some(marking) = step.env.caller.before_write()
    {
        marking.await?;
    }
    match step.deliver(request, record).await {
        Ok(response) => step.take(response, record, output),
        Err(error) if record.may_have_written => Err(unconfirmed(error)),
        Err(error) => Err(error.into()),
    }
}

/// The error of a request that may have taken effect although it failed.
fn unconfirmed(error: DeliveryError) -> CallError {
    match error {
        DeliveryError::Transport(error @ TransportError::Incomplete { .. }) => CallError::Unread(error),
        DeliveryError::Transport(error @ TransportError::Timeout { .. }) => CallError::Unconfirmed(error),
        DeliveryError::Transport(
            error @ (TransportError::Lost { .. }
            | TransportError::Invalid { .. }
            | TransportError::TooLarge { .. }
            | TransportError::NoRoom(_)),
        ) => CallError::Unanswered(error),
        error => error.into(),
    }
}
