//! How requests are sent: `retry`, `hedge_after`, `breaker` and `limit`.

use std::ops::RangeInclusive;
use std::time::Duration;

use url::Url;

use crate::call::FailureKind;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, suggest};
use crate::table::document::{Kind, Located, Node};
use crate::table::raw::{RawBreaker, RawLimit, RawRetry, RawUpstream};
use crate::table::reader::{Key, missing_key};
use crate::upstream::delivery::Hedge;
use crate::upstream::delivery::breaker::BreakerPolicy;
use crate::upstream::delivery::limit::{LimitPolicy, Rate};
use crate::upstream::delivery::retry::Retry;
use crate::upstream::delivery::state::StatePolicy;

use crate::compile::replies::when::status;
use crate::compile::values;

/// The value of `hedge_after` that is not a time.
pub(in crate::compile) const HEDGE_P95: &str = "p95";
/// The kinds of failure that can be retried.
pub(in crate::compile) const RETRIED: [FailureKind; 2] = [FailureKind::Unreachable, FailureKind::Timeout];
/// The maximum number of attempts. No call has time for more.
const MAX_ATTEMPTS: u32 = 10;
/// The largest concurrency, burst or count.
const MAX_COUNT: u32 = 100_000;
/// The default wait for a permit.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// `retry`; `None` after errors.
pub(in crate::compile) fn retry(raw: &Key<RawRetry>, diagnostics: &mut Diagnostics) -> Option<Retry> {
    let default = Retry::default();
    let Some(raw) = raw.get() else { return Some(default) };
    let before = diagnostics.len();
    let attempts = raw.value.attempts.get();
    let attempts = attempts.and_then(|number| values::count(number, 1..=MAX_ATTEMPTS, diagnostics));
    let backoff = raw.value.backoff.get().and_then(|text| values::duration(text, diagnostics));
    let mut retry = Retry {
        attempts: attempts.unwrap_or(default.attempts),
        backoff: backoff.unwrap_or(default.backoff),
        ..default
    };
    if let Some(on) = raw.value.on.get() {
        (retry.unreachable, retry.timeout, retry.statuses) = (false, false, Vec::new());
        for item in &on.value {
            match &item.value {
                Kind::String(text) if text == FailureKind::Unreachable.slug() => retry.unreachable = true,
                Kind::String(text) if text == FailureKind::Timeout.slug() => retry.timeout = true,
                _ => retry.statuses.extend(retried_status(item, diagnostics)),
            }
        }
    }
    (diagnostics.len() == before).then_some(retry)
}

/// The policy that the live state of an upstream depends on; `None` after errors.
pub(in crate::compile) fn state_policy(
    raw: &RawUpstream,
    base_url: Option<&Url>,
    diagnostics: &mut Diagnostics,
) -> Option<StatePolicy> {
    let before = diagnostics.len();
    let breaker = raw.breaker.get().map(|raw| breaker(&raw.value, diagnostics));
    let limit = raw.limit.get().and_then(|raw| limit(&raw.value, raw.span, diagnostics));
    let policy = StatePolicy { base_url: base_url.cloned(), breaker, limit };
    (diagnostics.len() == before).then_some(policy)
}

/// A status or a class of statuses to retry.
fn retried_status(item: &Located<Kind>, diagnostics: &mut Diagnostics) -> Option<RangeInclusive<u16>> {
    match &item.value {
        Kind::String(text) if !text.starts_with(|first: char| first.is_ascii_digit()) => {
            diagnostics.push(
                Diagnostic::new(
                    Code::UnknownFailure,
                    item.span,
                    format!("`{text}` is not a kind of failure that can be retried"),
                )
                .maybe_help(suggest(text, RETRIED.map(FailureKind::slug))),
            );
            None
        }
        value => {
            let range = status(&Node { value: value.clone(), span: item.span }, diagnostics)?;
            Some(range.first..=range.last)
        }
    }
}

/// `hedge_after`.
pub(in crate::compile) fn hedge(text: &Key<String>, diagnostics: &mut Diagnostics) -> Option<Hedge> {
    let text = text.get()?;
    if text.value == HEDGE_P95 {
        return Some(Hedge::P95);
    }
    if text.value.starts_with('p') {
        diagnostics.push(
            Diagnostic::new(
                Code::UnknownValue,
                text.span,
                format!("`hedge_after` cannot be `{}`", text.value),
            )
            .help("write \"p95\", or a time such as \"300ms\""),
        );
        return None;
    }
    values::duration(text, diagnostics).map(Hedge::After)
}

fn breaker(raw: &RawBreaker, diagnostics: &mut Diagnostics) -> BreakerPolicy {
    let default = BreakerPolicy::default();
    let failure_rate = raw.failure_rate.get().and_then(|rate| failure_rate(rate, diagnostics));
    let window = raw.window.get().and_then(|text| values::duration(text, diagnostics));
    let min_calls = raw.min_calls.get().and_then(|number| values::count(number, 1..=MAX_COUNT, diagnostics));
    let open_for = raw.open_for.get().and_then(|text| values::duration(text, diagnostics));
    let probes = raw.probes.get().and_then(|number| values::count(number, 1..=MAX_COUNT, diagnostics));
    BreakerPolicy {
        failure_rate: failure_rate.unwrap_or(default.failure_rate),
        window: window.unwrap_or(default.window),
        min_calls: min_calls.unwrap_or(default.min_calls),
        open_for: open_for.unwrap_or(default.open_for),
        probes: probes.unwrap_or(default.probes),
    }
}

/// The failure rate: a fraction above 0 and at most 1.
fn failure_rate(rate: &Located<Kind>, diagnostics: &mut Diagnostics) -> Option<f64> {
    let number = values::number(rate, diagnostics)?;
    if number > 0.0 && number <= 1.0 {
        return Some(number);
    }
    diagnostics.push(
        Diagnostic::new(Code::UnknownValue, rate.span, "`failure_rate` must be above 0 and at most 1")
            .help("set 0.5 for half of the requests"),
    );
    None
}

/// A `limit`; `None` after errors.
pub(in crate::compile) fn limit(
    raw: &RawLimit,
    span: Span,
    diagnostics: &mut Diagnostics,
) -> Option<LimitPolicy> {
    let before = diagnostics.len();
    let concurrency = raw.concurrency.get();
    let concurrency = concurrency.and_then(|number| values::count(number, 1..=MAX_COUNT, diagnostics));
    let interval = raw.rate.get().and_then(|text| interval(text, diagnostics));
    let burst = raw.burst.get().and_then(|number| values::count(number, 1..=MAX_COUNT, diagnostics));
    let wait = match raw.wait.get() {
        Some(text) if humantime::parse_duration(&text.value).is_ok_and(|wait| wait.is_zero()) => {
            Some(Duration::ZERO)
        }
        Some(text) => values::duration(text, diagnostics),
        None => Some(DEFAULT_WAIT),
    };
    if raw.concurrency.is_absent() && raw.rate.is_absent() {
        diagnostics.push(missing_key(
            span,
            "a limit needs `concurrency` or `rate`",
            "add `concurrency = 20`, `rate = \"10/s\"` or both",
        ));
    }
    if let (Some(span), true) = (raw.burst.span(), raw.rate.is_absent()) {
        diagnostics.push(missing_key(span, "`burst` needs a `rate`", "add `rate = \"10/s\"`"));
    }
    if diagnostics.len() > before {
        return None;
    }
    let rate = interval.map(|interval| {
        let each_second = Duration::from_secs(1).as_nanos() / interval.as_nanos().max(1);
        let burst = burst.unwrap_or(u32::try_from(each_second).unwrap_or(MAX_COUNT).max(1));
        Rate { interval, burst }
    });
    Some(LimitPolicy { concurrency, rate, wait: wait? })
}

/// The interval of a rate such as `"10/s"`.
fn interval(text: &Located<String>, diagnostics: &mut Diagnostics) -> Option<Duration> {
    let parsed = text.value.split_once('/').and_then(|(count, unit)| {
        let count: u32 = count.trim().parse().ok()?;
        let unit = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        (1..=MAX_COUNT).contains(&count).then(|| Duration::from_secs(unit) / count)
    });
    if parsed.is_none() {
        diagnostics.push(
            Diagnostic::new(Code::UnknownValue, text.span, format!("invalid rate `{}`", text.value))
                .help("write a number and a unit of time: \"10/s\", \"100/m\" or \"1000/h\""),
        );
    }
    parsed
}
