//! Lossless conversion of what sloppy models write: `"3"` for 3, `5.0` for 5, `"yes"` for true.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use serde_json::{Number, Value};

use crate::json::ValueRef;

/// The single type of a value, apart from null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetType {
    Text,
    /// A string with `format = "date-time"`.
    DateTime,
    Integer,
    Number,
    Boolean,
    List,
    Object,
}

/// A text or a number as the target type, where that loses nothing.
pub(super) fn converted(target: TargetType, value: ValueRef<'_>) -> Option<Value> {
    match (target, value.as_str(), value.as_number()) {
        (TargetType::Integer, Some(text), _) => integer(&text),
        (TargetType::Integer, _, Some(number)) => whole(&number),
        (TargetType::Number, Some(text), _) => decimal(&text),
        (TargetType::Boolean, Some(text), _) => truth_of(&text.to_ascii_lowercase()).map(Value::Bool),
        (TargetType::Text, _, Some(number)) => written(&number).map(Value::from),
        _ => None,
    }
}

/// The boolean that a lower-case word means.
pub(super) fn truth_of(lower_case: &str) -> Option<bool> {
    match lower_case {
        "true" | "yes" => Some(true),
        "false" | "no" => Some(false),
        _ => None,
    }
}

/// A date and time without an offset, with the offset of its zone; `None` if it has one.
pub(super) fn with_offset(text: &str, zone: &dyn Fn() -> Option<TimeZone>) -> Option<Value> {
    let has_time = text.get(10..).is_some_and(|rest| rest.starts_with(['T', 't', ' ']));
    if !has_time || text.contains('[') || text.parse::<Timestamp>().is_ok() {
        return None;
    }
    let time = text.parse::<civil::DateTime>().ok()?.to_zoned(zone()?).ok()?;
    let utc = time.offset().is_zero() && time.time_zone() == &TimeZone::UTC;
    Some(time.strftime(if utc { "%FT%T%.fZ" } else { "%FT%T%.f%:z" }).to_string().into())
}

/// A time of day, with seconds and an offset or without them.
pub(super) fn is_time(text: &str) -> bool {
    let (time, offset) = text.find(['Z', 'z', '+', '-']).map_or((text, "Z"), |at| text.split_at(at));
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let parts: Vec<&str> = time.split(':').collect();
    let is_below = |part: &str, limit: u8| {
        part.len() == 2
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && part.parse::<u8>().is_ok_and(|number| number < limit)
    };
    let is_clock = match parts[..] {
        [hour, minute] => is_below(hour, 24) && is_below(minute, 60),
        [hour, minute, second] => is_below(hour, 24) && is_below(minute, 60) && is_below(second, 61),
        _ => false,
    };
    let is_offset = match offset.strip_prefix(['+', '-']).map(|offset| offset.split_once(':')) {
        None => offset.eq_ignore_ascii_case("z"),
        Some(None) => false,
        Some(Some((hour, minute))) => is_below(hour, 24) && is_below(minute, 60),
    };
    is_clock && is_offset && !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

/// A text that is a whole number written in the one way in which JSON would write it, or with zeros behind a point.
fn integer(text: &str) -> Option<Value> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    if !is_plain_number(whole) {
        return None;
    }
    whole.parse::<i64>().map(Value::from).or_else(|_| whole.parse::<u64>().map(Value::from)).ok()
}

/// A text that is a number, when no digit of it would be lost.
fn decimal(text: &str) -> Option<Value> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !is_plain_number(whole) || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if !text.contains('.') {
        return integer(text);
    }
    let digits = whole.trim_start_matches('-').len() + fraction.trim_end_matches('0').len();
    let number = text.parse::<f64>().ok().filter(|_| digits <= 15)?;
    Number::from_f64(number).map(Value::Number)
}

/// Digits without leading zeros, perhaps with a minus sign: `007` is a code, not a number.
fn is_plain_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" && text == digits || !digits.starts_with('0'))
}

/// A number as text, when it can be what was written: one with more digits was rounded as it was read.
fn written(number: &Number) -> Option<String> {
    let text = number.to_string();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let exact = number.is_i64() || number.is_u64() || digits <= 16 && whole_part_is_exact(number.as_f64()?);
    exact.then_some(text)
}

/// Whether a float still counts whole numbers exactly.
fn whole_part_is_exact(float: f64) -> bool {
    float.abs() < 9_007_199_254_740_992.0
}

/// `5.0` as 5, as far as a float still counts whole numbers exactly.
fn whole(number: &Number) -> Option<Value> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    #[expect(clippy::cast_possible_truncation, reason = "the bound is checked in the same condition")]
    (float.fract() == 0.0 && whole_part_is_exact(float)).then(|| Value::from(float as i64))
}
