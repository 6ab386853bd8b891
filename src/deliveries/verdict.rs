//! The outcome of an attempt: delivered, retried, or given up.

use std::time::Duration;

use jiff::Timestamp;

use crate::flow::{CallError, FailureReason, Record, StepRecord};
use crate::lang::template::StepOutput;
use crate::plan::route::ResponseError;
use crate::state::JobOutcome;
use crate::upstream::delivery::retry::requested_pause;

/// The pause after the first attempt. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, unless the upstream asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The outcome of an attempt. `retry_left` is how much longer it may be retried; `random` is between 0 and 1.
pub(super) fn of_record(record: &Record, attempt: u32, retry_left: Duration, random: f64) -> JobOutcome {
    let Some(error) = &record.error else { return JobOutcome::Delivered };
    let reason = format!("{}: {error}", error.kind());
    if record.steps.iter().zip(&record.outputs).any(|(step, output)| has_unusable_confirmation(step, output))
    {
        let reason = format!("{reason}; it is not sent again, because the upstream confirmed the change");
        return JobOutcome::Dead { reason };
    }
    if !is_transient(error) {
        return JobOutcome::Dead { reason: final_status(error).unwrap_or(reason) };
    }
    let response = record.outputs.iter().rev().find_map(|output| output.response.as_ref());
    let asked =
        response.and_then(|response| requested_pause(&response.header("retry-after")?, Timestamp::now()));
    retry(reason, attempt, retry_left, asked, random)
}

/// Another attempt, or none if the time for retries is over. Jitter of up to half of each pause keeps the calls of an
/// outage from all being retried at once.
pub(super) fn retry(
    reason: String,
    attempt: u32,
    retry_left: Duration,
    asked: Option<Duration>,
    random: f64,
) -> JobOutcome {
    if retry_left.is_zero() {
        return JobOutcome::Dead { reason };
    }
    let doubled = FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let pause = doubled.min(LONGEST_PAUSE).mul_f64(1.0 - random / 2.0);
    let delay = asked.map_or(pause, |asked| asked.max(pause)).min(retry_left);
    JobOutcome::RetryIn { delay, reason }
}

/// Why a status ends a delivery. The reply was sent before, so a case for the status would not help.
fn final_status(error: &CallError) -> Option<String> {
    let CallError::Response(ResponseError::Status(status)) = error else { return None };
    let kind = error.kind();
    Some(format!("{kind}: the upstream answered with status {status}, which is final for an `async` route"))
}

/// Whether another attempt may succeed. A request that the upstream rejects, or that cannot be rendered, stays the same.
fn is_transient(error: &CallError) -> bool {
    match error {
        CallError::Response(ResponseError::Status(status)) => {
            matches!(status, 408 | 421 | 425 | 429 | 500..=599)
        }
        _ => !matches!(
            error.reason(),
            FailureReason::Arguments
                | FailureReason::NotAllowed
                | FailureReason::Request
                | FailureReason::Network
                | FailureReason::UnknownFunction
        ),
    }
}

/// Whether the upstream confirmed a change with a status 200-299, but its response cannot be used. Another attempt would
/// make the change again.
fn has_unusable_confirmation(step: &StepRecord, output: &StepOutput) -> bool {
    let is_confirmed = match step.error.as_deref() {
        Some(CallError::Unread(_)) => true,
        Some(CallError::Response(ResponseError::Body { .. } | ResponseError::Missing(_))) => {
            output.response.as_ref().is_some_and(|response| (200..300).contains(&response.status()))
        }
        _ => false,
    };
    is_confirmed && step.may_have_written
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn delay(outcome: JobOutcome) -> Option<Duration> {
        match outcome {
            JobOutcome::RetryIn { delay, .. } => Some(delay),
            _ => None,
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_last_as_long_as_the_upstream_asks() {
        let pause = |attempt, asked: Option<u64>, random| {
            delay(retry(String::new(), attempt, DAY, asked.map(Duration::from_secs), random))
        };
        for (attempt, asked, random, seconds) in [
            (1, None, 0.0, 1.0),
            (1, None, 1.0, 0.5),
            (4, None, 0.0, 8.0),
            (40, None, 0.0, 600.0),
            (1, Some(90), 0.5, 90.0),
            (1, Some(0), 0.0, 1.0),
            (1, Some(u64::MAX), 0.0, 86_400.0),
        ] {
            assert_eq!(pause(attempt, asked, random), Some(Duration::from_secs_f64(seconds)), "{attempt}");
        }
    }

    #[test]
    fn the_last_attempt_is_at_the_end_of_the_time_for_retries() {
        let left = Duration::from_secs(3);
        assert_eq!(delay(retry(String::new(), 10, left, None, 0.0)), Some(left));
        let over = retry("timeout: too late".to_owned(), 10, Duration::ZERO, None, 0.0);
        assert_eq!(over, JobOutcome::Dead { reason: "timeout: too late".to_owned() });
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, transient) in [
            (400, false),
            (404, false),
            (409, false),
            (422, false),
            (429, true),
            (408, true),
            (500, true),
            (503, true),
        ] {
            assert_eq!(
                is_transient(&CallError::Response(ResponseError::Status(status))),
                transient,
                "{status}"
            );
        }
        assert!(!is_transient(&CallError::UnknownFunction));
        let credential = ResponseError::Credential { status: 401, check: "auth".into() };
        assert!(is_transient(&CallError::Response(credential)), "an operator can fix a login");
    }
}
