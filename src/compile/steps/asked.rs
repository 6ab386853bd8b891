//! What a route asks of the bodies of its responses, which decides how each is read.

use crate::lang::body::Asked;
use crate::lang::template::Uses;
use crate::plan::replies::Replies;
use crate::plan::route::Step;
use crate::plan::when::When;

/// Tells each step what the route asks of the body of its response: by its extracts, by conditions, and by the names in
/// templates. What is said only after a failure asks nothing: no body is a failure for its sake.
pub(in crate::compile) fn note(steps: &mut [Step], replies: &Replies, uses: &Uses) {
    let mut asked: Vec<Asked> = steps
        .iter()
        .map(|step| if step.extraction.extracts.is_empty() { Asked::Nothing } else { Asked::Parts })
        .collect();
    let mut ask = |step: usize, what: Asked| {
        if let Some(known) = asked.get_mut(step) {
            *known = what.max(*known);
        }
    };
    for body in uses.bodies() {
        match body.step {
            Some(step) => ask(step, body.asked),
            None => last_before(steps, body.before).for_each(|step| ask(step, body.asked)),
        }
    }
    let looks_inside = |when: &When| when.found.is_some() || when.missing.is_some();
    if replies.cases.iter().any(|case| case.when.failure.is_empty() && looks_inside(&case.when)) {
        last_before(steps, steps.len()).for_each(|step| ask(step, Asked::Parts));
    }
    for (index, step) in steps.iter().enumerate().filter(|(_, step)| looks_inside(&step.when)) {
        let with = |earlier: &&Step| step.group.is_some() && earlier.group == step.group;
        let group_start = index - steps[..index].iter().rev().take_while(with).count();
        last_before(steps, group_start).for_each(|step| ask(step, Asked::Parts));
    }
    for (step, asked) in steps.iter_mut().zip(asked) {
        step.body.asked = asked;
    }
}

/// The steps of which one gets the last response before the step at `before`: back to the nearest that always runs.
fn last_before(steps: &[Step], before: usize) -> impl Iterator<Item = usize> {
    let always_runs =
        |step: &Step| step.when.is_unconditional() && step.after_failure_of.is_none() && !step.has_fallback;
    let before = before.min(steps.len());
    let first = steps[..before].iter().rposition(always_runs).unwrap_or(0);
    first..before
}
