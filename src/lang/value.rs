//! JSON values as templates, conditions and extractions use them: equality, text, parts and weight.

use std::borrow::Cow;

use serde_json::Value;

/// Equality as people mean it: 5 and 5.0 are one number; a text is never a number.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || a.as_f64() == b.as_f64() && !(a.is_u64() && b.is_u64())
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// A value as plain text: null is empty, lists and objects are compact JSON.
pub(crate) fn as_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// The part of a value under a name or an index; `None` when there is none.
pub(crate) fn child<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(entries) => entries.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

/// How much a value weighs, for limits on work and memory: each value counts 1, and a byte of text a share of that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How many bytes of text weigh as much as one value.
    pub(crate) bytes_per_value: usize,
}

impl Scale {
    /// For work: every byte is read.
    pub(crate) const WORK: Self = Self { bytes_per_value: 1 };
    /// For memory: 32 bytes of text take as much room as one value.
    pub(crate) const MEMORY: Self = Self { bytes_per_value: 32 };

    /// Takes the weight of `value` off what is `left`; `None` when that is not enough.
    pub(crate) fn take(self, value: &Value, left: &mut usize) -> Option<()> {
        let own = match value {
            Value::String(text) => text.len() / self.bytes_per_value,
            Value::Object(entries) => entries.keys().map(|key| key.len() / self.bytes_per_value).sum(),
            _ => 0,
        };
        *left = left.checked_sub(1 + own)?;
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.take(item, left)),
            Value::Object(entries) => entries.values().try_for_each(|value| self.take(value, left)),
            _ => Some(()),
        }
    }
}
