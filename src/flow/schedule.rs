//! Which steps of a route run next: a pure function of the route and of the steps that ran.

use std::ops::Range;
use std::sync::Arc;

use crate::plan::Route;

use super::{CallError, StepRecord};

/// What happens next in a call.
#[derive(Debug, Clone)]
pub(super) enum Next {
    /// These steps run, concurrently.
    Run(Range<usize>),
    /// The call fails with the error of a step.
    Fail(Arc<CallError>),
    /// No step is left; the reply is picked.
    Done,
}

/// What happens after the steps that ran; `last_status` is the status of the last response, if there was one.
pub(super) fn next(route: &Route, ran: &[StepRecord], last_status: Option<u16>) -> Next {
    if let Some(error) = ends_call(route, ran) {
        return Next::Fail(error);
    }
    if ran.len() < route.steps.len() && !is_stopped(ran, last_status) {
        return Next::Run(route.together(ran.len()));
    }
    standing(route, ran).map_or(Next::Done, Next::Fail)
}

/// The error that ends the call at once: some step failed that has no fallback. An unconfirmed write is reported before
/// others, even if a fallback was meant to make up for it, since it may still succeed.
fn ends_call(route: &Route, ran: &[StepRecord]) -> Option<Arc<CallError>> {
    let failed = || {
        let steps = route.steps.iter().zip(ran);
        steps.filter_map(|(step, record)| Some((step.has_fallback, record.error.as_ref()?)))
    };
    if failed().all(|(has_fallback, _)| has_fallback) {
        return None;
    }
    let is_confirmed = |error: &CallError| !matches!(error, CallError::Unconfirmed(_));
    let reported = failed().min_by_key(|(has_fallback, error)| (is_confirmed(error), *has_fallback));
    reported.map(|(_, error)| Arc::clone(error))
}

/// Whether the last step got a status outside 200-299 that a reply case names: that case answers, and no further step
/// runs.
fn is_stopped(ran: &[StepRecord], last_status: Option<u16>) -> bool {
    last_status.is_some_and(|status| !(200..300).contains(&status))
        && ran.last().is_some_and(|last| last.error.is_none() && !last.skipped)
}

/// The error of a step whose fallback did not run, or failed too.
fn standing(route: &Route, ran: &[StepRecord]) -> Option<Arc<CallError>> {
    let made_good = |failed: usize| {
        route.steps.iter().zip(ran).any(|(step, record)| {
            step.after_failure_of == Some(failed) && !record.skipped && record.error.is_none()
        })
    };
    let errors = ran.iter().enumerate().filter_map(|(index, record)| Some((index, record.error.as_ref()?)));
    errors.filter(|(index, _)| !made_good(*index)).map(|(_, error)| Arc::clone(error)).next()
}
