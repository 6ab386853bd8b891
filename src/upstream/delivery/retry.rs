//! Retries: when a failed attempt is retried, how long to wait before it, and the retry budget of an upstream.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use parking_lot::{Mutex, MutexGuard};

use super::DeliveryError;
use crate::upstream::{Response, TransportError};

/// The upper bound of the exponential backoff, unless `backoff` itself is longer.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// `upstreams.x.retry`: which failures are retried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The most attempts per request, including the first.
    pub attempts: u32,
    /// The pause before the second attempt. It doubles with each further attempt, less a random jitter of up to a half.
    pub backoff: Duration,
    /// Whether to retry if the connection fails or is lost.
    pub unreachable: bool,
    /// Whether to retry after a timeout.
    pub timeout: bool,
    /// The response statuses to retry.
    pub statuses: Vec<RangeInclusive<u16>>,
}

impl Default for Retry {
    /// One retry after the failures that are most likely to be transient: a failed connection, a timeout, a busy
    /// server.
    fn default() -> Self {
        Self {
            attempts: 2,
            backoff: Duration::from_millis(100),
            unreachable: true,
            timeout: true,
            statuses: vec![429..=429, 502..=504],
        }
    }
}

impl Retry {
    /// Whether a response with this status is retried.
    pub(super) fn covers(&self, status: u16) -> bool {
        self.statuses.iter().any(|range| range.contains(&status))
    }

    /// Whether to retry after this result. `repeatable`: the request may arrive twice.
    pub(super) fn applies(&self, ended: &Result<Response, DeliveryError>, repeatable: bool) -> bool {
        match ended {
            Ok(response) => repeatable && self.covers(response.status.as_u16()),
            Err(DeliveryError::Transport(error)) => {
                let kind = match error.cause() {
                    TransportError::Timeout { .. } => self.timeout,
                    TransportError::Connect { .. } | TransportError::Lost { .. } => self.unreachable,
                    _ => false,
                };
                kind && (repeatable || !error.may_have_arrived())
            }
            Err(_) => false,
        }
    }

    /// The pause after `made` attempts. `random` is between 0 and 1.
    pub(super) fn pause(&self, made: u32, ended: &Result<Response, DeliveryError>, random: f64) -> Duration {
        let doubled = self.backoff.saturating_mul(1 << made.saturating_sub(1).min(16));
        let backoff = doubled.min(MAX_BACKOFF.max(self.backoff)).mul_f64(1.0 - random / 2.0);
        let requested = ended.as_ref().ok().and_then(|response| retry_after(response, Timestamp::now()));
        requested.map_or(backoff, |requested| requested.max(backoff))
    }
}

fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    requested_pause(response.headers.ascii(RETRY_AFTER.as_str())?, now)
}

/// The pause that the text of a `Retry-After` requests, in seconds or until a date (RFC 9110, section 10.2.3).
pub fn requested_pause(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that overflows is longer than any deadline.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    // A calendar date, because some servers send dates beyond the range of timestamps.
    let date = DateTime::strptime("%a, %d %b %Y %H:%M:%S GMT", text).ok()?;
    Some(Duration::try_from(date.duration_since(Offset::UTC.to_datetime(now))).unwrap_or_default())
}

/// The retry budget of an upstream: a share of its requests, so that retries do not overload a failing upstream.
#[derive(Debug)]
pub(super) struct Budget(Mutex<Balance>);

#[derive(Debug)]
struct Balance {
    /// In millionths of a retry.
    saved: u64,
    at: Instant,
}

/// One retry.
const ATTEMPT: u64 = 1_000_000;
/// The most that can accumulate.
const BUDGET_MAX: u64 = 10 * ATTEMPT;
/// What each request adds: two retries per ten requests.
const PER_CALL: u64 = ATTEMPT / 5;
/// What each microsecond adds: one retry per second, so that an upstream with few requests gets retries too.
const PER_MICROSECOND: u64 = 1;

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Balance { saved: BUDGET_MAX, at: now }))
    }

    /// Adds the share of one request.
    pub(super) fn earn(&self, now: Instant) {
        let mut balance = self.balance(now);
        balance.saved = (balance.saved + PER_CALL).min(BUDGET_MAX);
    }

    /// Takes one retry; `false` if the budget is exhausted.
    pub(super) fn spend(&self, now: Instant) -> bool {
        let mut balance = self.balance(now);
        let rest = balance.saved.checked_sub(ATTEMPT);
        balance.saved = rest.unwrap_or(balance.saved);
        rest.is_some()
    }

    fn balance(&self, now: Instant) -> MutexGuard<'_, Balance> {
        let mut balance = self.0.lock();
        let passed = now.saturating_duration_since(balance.at).as_micros();
        let added = u64::try_from(passed).unwrap_or(BUDGET_MAX).saturating_mul(PER_MICROSECOND);
        balance.saved = balance.saved.saturating_add(added).min(BUDGET_MAX);
        balance.at = balance.at.max(now);
        balance
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::EgressPolicy;
    use bytes::Bytes;
    use http::StatusCode;

    fn response(status: u16, retry_after: Option<&str>) -> Response {
        let headers = retry_after.map(|value| ("retry-after", value.as_bytes())).into_iter().collect();
        Response { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::new() }
    }

    fn failed(error: TransportError) -> Result<Response, DeliveryError> {
        Err(DeliveryError::Transport(error))
    }

    #[test]
    fn requests_that_may_have_arrived_are_retried_only_if_repeatable() {
        let detail = String::new;
        let url = "http://10.0.0.1/".parse().unwrap();
        let forbidden = || TransportError::from(EgressPolicy::Public.admit(&url).unwrap_err());
        let timeout = |phase| failed(TransportError::Timeout { after_ms: 1, phase });
        for (ended, if_not_repeatable, if_repeatable) in [
            (failed(TransportError::Connect { detail: detail() }), true, true),
            (timeout("connecting"), true, true),
            (timeout("waiting for the response"), false, true),
            (timeout("reading the body"), false, true),
            (failed(TransportError::Lost { detail: detail() }), false, true),
            (failed(TransportError::Invalid { detail: detail() }), false, false),
            (failed(TransportError::TooLarge { limit: 1 }), false, false),
            (failed(TransportError::Unsendable { detail: detail() }), false, false),
            (failed(forbidden()), false, false),
            (Ok(response(503, None)), false, true),
            (Ok(response(429, None)), false, true),
            (Ok(response(500, None)), false, false),
            (Ok(response(200, None)), false, false),
        ] {
            let retry = Retry::default();
            assert_eq!(retry.applies(&ended, false), if_not_repeatable, "{ended:?}");
            assert_eq!(retry.applies(&ended, true), if_repeatable, "{ended:?}");
            let none = Retry { unreachable: false, timeout: false, statuses: Vec::new(), ..Retry::default() };
            assert!(!none.applies(&ended, true), "{ended:?}");
        }
    }

    #[test]
    fn backoff_doubles_with_jitter_and_respects_retry_after() {
        let retry = Retry::default();
        let lost = || failed(TransportError::Lost { detail: String::new() });
        let pause = |made, random| retry.pause(made, &lost(), random).as_millis();
        assert_eq!([pause(1, 0.0), pause(2, 0.0), pause(3, 0.0)], [100, 200, 400]);
        assert_eq!([pause(1, 1.0), pause(2, 0.5)], [50, 150]);
        assert_eq!([pause(9, 0.0), pause(u32::MAX, 0.0)], [5000, 5000]);

        for (header, pause) in [("2", 2000), ("0", 100), ("soon", 100), ("-1", 100), ("", 100)] {
            let ended = Ok(response(503, Some(header)));
            assert_eq!(retry.pause(1, &ended, 0.0).as_millis(), pause, "{header}");
        }
    }

    #[test]
    fn retry_after_can_be_a_date() {
        let now = "2026-06-15T10:20:30Z".parse().unwrap();
        for (date, seconds) in [
            ("Mon, 15 Jun 2026 10:20:37 GMT", Some(7)),
            ("Mon, 15 Jun 2026 10:20:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(251_620_781_969)),
            ("Mon, 15 Jun", None),
        ] {
            let pause = retry_after(&response(503, Some(date)), now);
            assert_eq!(pause, seconds.map(Duration::from_secs), "{date}");
        }
    }

    #[test]
    fn the_budget_refills_with_requests_and_time() {
        let start = Instant::now();
        let budget = Budget::new(start);
        let spent = |now| (0..100).take_while(|_| budget.spend(now)).count();
        assert_eq!(spent(start), 10);
        (0..10).for_each(|_| budget.earn(start));
        assert_eq!(spent(start), 2);
        assert_eq!(spent(start + Duration::from_secs(3)), 3);
        assert_eq!(spent(start + Duration::from_secs(3600)), 10);
        // An earlier time, read by another thread, changes nothing.
        assert_eq!(spent(start), 0);
    }
}
