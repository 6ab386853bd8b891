//! Lossless conversion of what sloppy models write: `"3"` for 3, `5.0` for 5, `"yes"` for true.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use serde_json::{Number, Value};

use crate::json::{Kind, ValueRef};
use crate::lang::decimal::Decimal;

/// The most digits behind the point, and the longest text, of a number whose notation changes.
const MAX_DIGITS: u32 = 15;
const MAX_LENGTH: usize = 17;

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
    match (target, value.kind()) {
        (TargetType::Integer, Kind::String) => integer(&value.as_str()?),
        (TargetType::Integer, Kind::Number) => whole(&value.number_text()?),
        (TargetType::Number, Kind::String) => decimal(&value.as_str()?),
        (TargetType::Boolean, Kind::String) => {
            truth_of(&value.as_str()?.to_ascii_lowercase()).map(Value::Bool)
        }
        (TargetType::Text, Kind::Number) => written(&value.number_text()?).map(Value::from),
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
    exact(whole)
}

/// A text that is a number, written in a way in which JSON could write it.
fn decimal(text: &str) -> Option<Value> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !is_plain_number(whole) || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    exact(text)
}

/// The number with this text. It keeps all digits.
fn exact(text: &str) -> Option<Value> {
    serde_json::from_str::<Number>(text).ok().map(Value::Number)
}

/// Digits without leading zeros, perhaps with a minus sign: `007` is a code, not a number.
fn is_plain_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" && text == digits || !digits.starts_with('0'))
}

/// A number as text, without an exponent.
fn written(number: &str) -> Option<String> {
    if !number.contains(['e', 'E']) {
        return Some(number.to_owned());
    }
    let number = Decimal::parse(number)?;
    let text = number.rounded(MAX_DIGITS)?;
    is_same(number, &text).then_some(text)
}

/// `5.0` as 5.
fn whole(number: &str) -> Option<Value> {
    if !number.contains(['.', 'e', 'E']) {
        return None;
    }
    let number = Decimal::parse(number)?;
    let text = number.rounded(0)?;
    is_same(number, &text).then(|| exact(&text)).flatten()
}

/// Whether a short text is this number.
fn is_same(number: Decimal<'_>, text: &str) -> bool {
    text.len() <= MAX_LENGTH && Decimal::parse(text).is_some_and(|same| same.order(number).is_eq())
}
