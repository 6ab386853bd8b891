//! Lossless conversion of what sloppy models write: `"3"` for 3, `5.0` for 5.

use serde_json::{Number, Value};

use crate::json::ValueRef;

/// A text or a number as the type that is wanted, where that loses nothing.
pub(super) fn converted(wanted: &str, value: ValueRef<'_>) -> Option<Value> {
    match (wanted, value.as_str(), value.as_number()) {
        ("integer", Some(text), _) => integer(&text),
        ("integer", _, Some(number)) => whole(&number),
        ("number", Some(text), _) => decimal(&text),
        ("boolean", Some(text), _) if text.eq_ignore_ascii_case("true") => Some(Value::Bool(true)),
        ("boolean", Some(text), _) if text.eq_ignore_ascii_case("false") => Some(Value::Bool(false)),
        ("string", _, Some(number)) => written(&number).map(Value::from),
        _ => None,
    }
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
