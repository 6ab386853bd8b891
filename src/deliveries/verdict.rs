//! The outcome of an attempt: delivered, retried, or given up.

use std::time::Duration;

use jiff::Timestamp;

use crate::flow::{CallError, FailureReason, Record, StepRecord};
use crate::lang::template::StepOutput;
use crate::plan::route::ResponseError;
use crate::state::{Job, JobOutcome};
use crate::upstream::delivery::retry::requested_pause;

/// The pause after the first attempt. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, unless the upstream asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// The longest pause before a call is leased again after an instance that could not run it.
const LONGEST_RETURN: Duration = Duration::from_secs(300);

/// How far the delivery of a call has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// The number of the attempt; 1 is the first.
    attempt: u32,
    /// The time since the call was accepted.
    age: Duration,
    /// How much longer it may be retried.
    retry_left: Duration,
    /// Between 0 and 1.
    random: f64,
}

impl Progress {
    pub(super) fn of(job: &Job) -> Self {
        let age = Timestamp::now().duration_since(job.accepted_at).try_into().unwrap_or_default();
        Self { attempt: job.attempt, age, retry_left: job.retry_left, random: fastrand::f64() }
    }

    /// Another attempt, or none if the time for retries is over. Jitter of up to half of each pause keeps the calls of an
    /// outage from all being retried at once. `asked` is the pause that the upstream asks for.
    pub(super) fn retry(self, reason: String, asked: Option<Duration>) -> JobOutcome {
        if self.retry_left.is_zero() {
            return JobOutcome::Dead { reason };
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.attempt.saturating_sub(1).min(16));
        let pause = self.jitter(doubled.min(LONGEST_PAUSE));
        let delay = asked.map_or(pause, |asked| asked.max(pause)).min(self.retry_left);
        JobOutcome::RetryIn { delay, reason }
    }

    /// Hands the call back without an attempt, because this instance cannot run it now. Another one may: while a new
    /// version of the table is rolled out, some instances do not know its routes yet. The pauses grow with the age of the
    /// call, because the attempts do not count.
    pub(super) fn hand_back(self, reason: String) -> JobOutcome {
        if self.retry_left.is_zero() {
            return JobOutcome::Dead { reason };
        }
        let pause = self.jitter((self.age / 2).clamp(FIRST_PAUSE, LONGEST_RETURN));
        JobOutcome::Returned { delay: pause.min(self.retry_left), reason }
    }

    fn jitter(self, pause: Duration) -> Duration {
        pause.mul_f64(1.0 - self.random / 2.0)
    }
}

/// The outcome of an attempt. `accepted_by` is the revision of the table that accepted the call, if another one ran it.
pub(super) fn of_record(record: &Record, progress: Progress, accepted_by: Option<&str>) -> JobOutcome {
    let Some(error) = &record.error else { return JobOutcome::Delivered };
    let reason = format!("{}: {}", error.kind(), without_case(error));
    if record.steps.iter().zip(&record.outputs).any(|(step, output)| has_unusable_confirmation(step, output))
    {
        let reason = format!("{reason}; it is not sent again, because the upstream confirmed the change");
        return JobOutcome::Dead { reason };
    }
    let is_sent = record.steps.iter().any(|step| !step.attempts.is_empty());
    let response = record.outputs.iter().rev().find_map(|output| output.response.as_ref());
    let asked =
        response.and_then(|response| requested_pause(&response.header("retry-after")?, Timestamp::now()));
    match class(error) {
        Class::Rejected => {
            JobOutcome::Dead { reason: format!("{reason}, which is final for an `async` route") }
        }
        class if !is_sent => unsent(class, reason, progress, accepted_by),
        Class::Unsendable => JobOutcome::Dead { reason },
        Class::Refused | Class::Transient => progress.retry(reason, asked),
    }
}

/// The outcome of an attempt that sent nothing.
fn unsent(class: Class, reason: String, progress: Progress, accepted_by: Option<&str>) -> JobOutcome {
    match (class, accepted_by) {
        (Class::Refused, _) => progress.hand_back(reason),
        // The table that accepted the call may be able to send it, and other instances may still run that table.
        (Class::Unsendable, Some(revision)) => {
            progress.hand_back(format!("{reason}; revision {revision} of the table accepted the call"))
        }
        (Class::Unsendable, None) => JobOutcome::Dead { reason },
        (Class::Transient | Class::Rejected, _) => progress.retry(reason, None),
    }
}

/// The error without what does not apply: the reply was sent before, so no reply case can name the status.
fn without_case(error: &CallError) -> String {
    match error {
        CallError::Response(ResponseError::Status(status)) => {
            format!("the upstream answered with status {status}")
        }
        error => error.to_string(),
    }
}

/// What an error means for further attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Another attempt may succeed.
    Transient,
    /// A circuit breaker or a limit of this instance did not let the request pass.
    Refused,
    /// The request cannot be rendered or may not be sent. That stays the same under the same table.
    Unsendable,
    /// The upstream rejects the request, and will reject the same request again.
    Rejected,
}

fn class(error: &CallError) -> Class {
    match error {
        CallError::Response(ResponseError::Status(status)) if !is_transient(*status) => Class::Rejected,
        _ => match error.reason() {
            FailureReason::Breaker | FailureReason::Limit => Class::Refused,
            FailureReason::Arguments
            | FailureReason::NotAllowed
            | FailureReason::Request
            | FailureReason::Network
            | FailureReason::UnknownFunction => Class::Unsendable,
            _ => Class::Transient,
        },
    }
}

/// Whether the same request may get another status later: the server is at fault, an operator can fix the account (401,
/// 402, 403, 407), or another request is in the way (409, 423: an earlier attempt may still be running).
fn is_transient(status: u16) -> bool {
    matches!(status, 401 | 402 | 403 | 407 | 408 | 409 | 421 | 423 | 425 | 429 | 500..=599)
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

    fn progress(attempt: u32, age: Duration, retry_left: Duration, random: f64) -> Progress {
        Progress { attempt, age, retry_left, random }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_last_as_long_as_the_upstream_asks() {
        let pause = |attempt, asked: Option<u64>, random| {
            let progress = progress(attempt, DAY, DAY, random);
            delay(progress.retry(String::new(), asked.map(Duration::from_secs)))
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
    fn a_call_that_this_instance_cannot_run_comes_back_later_the_older_it_is() {
        for (age, random, seconds) in
            [(0, 0.0, 1.0), (0, 1.0, 0.5), (60, 0.0, 30.0), (86_400, 0.0, 300.0), (86_400, 1.0, 150.0)]
        {
            let outcome = progress(1, Duration::from_secs(age), DAY, random).hand_back("no route".to_owned());
            let delay = Duration::from_secs_f64(seconds);
            assert_eq!(outcome, JobOutcome::Returned { delay, reason: "no route".to_owned() }, "{age}");
        }
        let left = Duration::from_millis(10);
        let outcome = progress(1, DAY, left, 0.0).hand_back(String::new());
        assert_eq!(outcome, JobOutcome::Returned { delay: left, reason: String::new() });
        let over = progress(1, DAY, Duration::ZERO, 0.0).hand_back("no route".to_owned());
        assert_eq!(over, JobOutcome::Dead { reason: "no route".to_owned() });
    }

    #[test]
    fn the_last_attempt_is_at_the_end_of_the_time_for_retries() {
        let left = Duration::from_secs(3);
        assert_eq!(delay(progress(10, DAY, left, 0.0).retry(String::new(), None)), Some(left));
        let over = progress(10, DAY, Duration::ZERO, 0.0).retry("timeout: too late".to_owned(), None);
        assert_eq!(over, JobOutcome::Dead { reason: "timeout: too late".to_owned() });
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (class_, statuses) in [
            (Class::Rejected, &[301, 400, 404, 405, 410, 413, 415, 422, 451][..]),
            (Class::Transient, &[401, 402, 403, 407, 408, 409, 421, 423, 425, 429, 500, 501, 503, 599]),
        ] {
            for status in statuses {
                let error = CallError::Response(ResponseError::Status(*status));
                assert_eq!(class(&error), class_, "{status}");
            }
        }
        assert_eq!(class(&CallError::UnknownFunction), Class::Unsendable);
        let credential = ResponseError::Credential { status: 401, check: "auth".into() };
        assert_eq!(class(&CallError::Response(credential)), Class::Transient, "an operator can fix a login");
    }

    #[test]
    fn what_was_not_sent_is_handed_back_if_another_instance_or_moment_may_do_better() {
        let outcome = |class, accepted_by| {
            unsent(class, "refused: no".to_owned(), progress(3, DAY, DAY, 0.0), accepted_by)
        };
        assert!(matches!(outcome(Class::Refused, None), JobOutcome::Returned { .. }));
        assert!(matches!(outcome(Class::Unsendable, None), JobOutcome::Dead { .. }));
        assert!(matches!(outcome(Class::Transient, Some("22482c64")), JobOutcome::RetryIn { .. }));
        let by_other = outcome(Class::Unsendable, Some("22482c64"));
        let JobOutcome::Returned { reason, .. } = by_other else { panic!("{by_other:?}") };
        assert_eq!(reason, "refused: no; revision 22482c64 of the table accepted the call");
    }

    #[test]
    fn the_reason_of_a_status_says_nothing_of_reply_cases() {
        let error = CallError::Response(ResponseError::Status(503));
        assert_eq!(without_case(&error), "the upstream answered with status 503");
    }
}
