//! Decides which steps of a route run next: a pure function of the route and of the steps that ran.

use std::ops::Range;
use std::sync::Arc;

use crate::plan::Route;

use super::{CallError, StepRecord};

/// The next action of a call.
#[derive(Debug, Clone)]
pub(super) enum Next {
    /// These steps run, concurrently.
    Run(Range<usize>),
    /// The call fails with the error of a step.
    Fail(Arc<CallError>),
    /// No step is left; the reply is picked.
    Done,
}

/// The action after the steps that ran. `last_status` is the status of the last response, if there is one.
pub(super) fn next(route: &Route, ran: &[StepRecord], last_status: Option<u16>) -> Next {
    if let Some(error) = ends_call(route, ran) {
        return Next::Fail(error);
    }
    if ran.len() < route.steps.len() && !is_stopped(ran, last_status) {
        return Next::Run(route.group_at(ran.len()));
    }
    unhandled_error(route, ran).map_or(Next::Done, Next::Fail)
}

/// The error that ends the call immediately: that of a failed step without a fallback. A write that may have succeeded is
/// reported before other errors, even if it has a fallback.
fn ends_call(route: &Route, ran: &[StepRecord]) -> Option<Arc<CallError>> {
    let failed = || {
        let steps = route.steps.iter().zip(ran);
        steps.filter_map(|(step, record)| Some((step.has_fallback, record.error.as_ref()?)))
    };
    if failed().all(|(has_fallback, _)| has_fallback) {
        return None;
    }
    let rank = |error: &CallError| match error {
        CallError::Unconfirmed(_) => 0,
        CallError::Unread(_) => 1,
        _ => 2,
    };
    let reported = failed().min_by_key(|(has_fallback, error)| (rank(error), *has_fallback));
    reported.map(|(_, error)| Arc::clone(error))
}

/// Whether the last response has a status outside 200-299 that a reply case names. That case is then the reply, and no
/// further step runs.
fn is_stopped(ran: &[StepRecord], last_status: Option<u16>) -> bool {
    last_status.is_some_and(|status| !(200..300).contains(&status))
        && ran.last().is_some_and(|last| last.error.is_none() && !last.skipped)
}

/// The error of a step whose fallback did not run, or failed too.
fn unhandled_error(route: &Route, ran: &[StepRecord]) -> Option<Arc<CallError>> {
    let is_recovered = |failed: usize| {
        route.steps.iter().zip(ran).any(|(step, record)| {
            step.after_failure_of == Some(failed) && !record.skipped && record.error.is_none()
        })
    };
    let errors = ran.iter().enumerate().filter_map(|(index, record)| Some((index, record.error.as_ref()?)));
    errors.filter(|(index, _)| !is_recovered(*index)).map(|(_, error)| Arc::clone(error)).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{load, process_environment};
    use crate::upstream::TransportError;

    /// A route with a step, two that run concurrently, and a fallback for the second of them.
    fn route() -> Arc<Route> {
        let step = |name: &str, more: &str| {
            format!("[[routes.f.steps]]\nname = \"{name}\"\nrequest.path = \"/{name}\"\n{more}\n")
        };
        let steps = [
            step("first", ""),
            step("left", "group = \"both\""),
            step("right", "group = \"both\""),
            step("instead", "when.failed = \"right\""),
        ];
        let table = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[platforms.http]\n[upstreams.a]\nbase_url = \"http://127.0.0.1:1\"\n\
            [routes.f]\nupstream = \"a\"\n{}",
            steps.concat()
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.toml");
        std::fs::write(&path, table).unwrap();
        let loaded = load(&path, &process_environment()).unwrap();
        let plan = loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        Arc::clone(plan.route("f", "http").unwrap())
    }

    /// Step records by letter: `.` succeeded, `s` skipped, `x` failed, `u` unconfirmed write.
    fn ran(steps: &str) -> Vec<StepRecord> {
        let timeout = || TransportError::Timeout { after_ms: 1, phase: "connecting" };
        let error = |error| StepRecord { error: Some(Arc::new(error)), ..StepRecord::default() };
        let ended = |step| match step {
            's' => StepRecord { skipped: true, ..StepRecord::default() },
            'x' => error(CallError::UnknownFunction),
            'u' => error(CallError::Unconfirmed(timeout())),
            _ => StepRecord::default(),
        };
        steps.chars().map(ended).collect()
    }

    fn describe(next: &Next) -> String {
        match next {
            Next::Run(steps) => format!("{steps:?}"),
            Next::Fail(error) if matches!(**error, CallError::Unconfirmed(_)) => "unconfirmed".to_owned(),
            Next::Fail(_) => "fail".to_owned(),
            Next::Done => "done".to_owned(),
        }
    }

    #[test]
    fn the_next_steps_follow_from_those_that_ran() {
        let route = route();
        for (steps, last_status, expected) in [
            ("", None, "0..1"),
            (".", Some(200), "1..3"),
            ("...", Some(200), "3..4"),
            ("...s", Some(200), "done"),
            // A failed step without a fallback ends the call, also beside a successful one.
            ("x", None, "fail"),
            (".x.", Some(200), "fail"),
            // A failed step with a fallback ends the call only if the fallback fails or does not run.
            ("..x", Some(200), "3..4"),
            ("..x.", Some(200), "done"),
            ("..xx", Some(200), "fail"),
            ("..xs", Some(200), "fail"),
            // An unconfirmed write is reported before other failures.
            (".xu", None, "unconfirmed"),
            ("..uu", None, "unconfirmed"),
            // A status that a reply case names ends the steps, unless its step failed or was skipped.
            (".", Some(404), "done"),
            ("..x", Some(404), "3..4"),
            ("s", Some(404), "1..3"),
        ] {
            assert_eq!(
                describe(&next(&route, &ran(steps), last_status)),
                expected,
                "{steps} {last_status:?}"
            );
        }
    }
}
