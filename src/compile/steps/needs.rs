//! What a route needs of the bodies of its responses. This decides how each body is parsed.

use crate::lang::body::BodyNeed;
use crate::lang::template::Uses;
use crate::plan::replies::Replies;
use crate::plan::route::Step;

/// Sets what the route needs of the body of each step's response: for extracts, for conditions, and for the names in
/// templates. What is used only after a failure needs nothing, so that it makes no response a failure.
pub(in crate::compile) fn set(steps: &mut [Step], replies: &Replies, uses: &Uses) {
    let mut needs: Vec<BodyNeed> = steps
        .iter()
        .map(|step| if step.extraction.extracts.is_empty() { BodyNeed::Nothing } else { BodyNeed::Parts })
        .collect();
    let mut raise = |step: usize, need: BodyNeed| {
        if let Some(known) = needs.get_mut(step) {
            *known = need.max(*known);
        }
    };
    for body in uses.bodies() {
        match body.step {
            Some(step) => raise(step, body.need),
            None => last_before(steps, body.before).for_each(|step| raise(step, body.need)),
        }
    }
    if replies.cases.iter().any(|case| case.when.failure.is_empty() && case.when.looks_inside()) {
        last_before(steps, steps.len()).for_each(|step| raise(step, BodyNeed::Parts));
    }
    for (index, step) in steps.iter().enumerate().filter(|(_, step)| step.when.looks_inside()) {
        let in_group = |earlier: &&Step| step.group.is_some() && earlier.group == step.group;
        let group_start = index - steps[..index].iter().rev().take_while(in_group).count();
        last_before(steps, group_start).for_each(|step| raise(step, BodyNeed::Parts));
    }
    for (step, need) in steps.iter_mut().zip(needs) {
        step.body.need = need;
    }
}

/// The steps that may give the last response before the step at `before`: back to the nearest one that always runs.
fn last_before(steps: &[Step], before: usize) -> impl Iterator<Item = usize> {
    let always_runs =
        |step: &Step| step.when.is_unconditional() && step.after_failure_of.is_none() && !step.has_fallback;
    let before = before.min(steps.len());
    let first = steps[..before].iter().rposition(always_runs).unwrap_or(0);
    first..before
}
