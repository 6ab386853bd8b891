//! Operations on JSON values for templates, conditions and extraction: equality, access to parts, and weight.

use std::cmp::Ordering;

use serde_json::Value;

use super::decimal::Decimal;
use crate::json::{Kind, ValueRef, to_map};

/// Objects with more entries than this are searched by the hash of a key. Comparing the keys of few entries takes less
/// time.
const FEW_ENTRIES: usize = 32;

/// Loose equality: 5 and 5.0 are equal, but a string never equals a number.
pub(crate) fn equal<'v>(a: impl Into<ValueRef<'v>>, b: impl Into<ValueRef<'v>>) -> bool {
    are_equal(a.into(), b.into())
}

fn are_equal(a: ValueRef<'_>, b: ValueRef<'_>) -> bool {
    match (a.kind(), b.kind()) {
        (Kind::Number, Kind::Number) => order(a, b) == Some(Ordering::Equal),
        (Kind::Array, Kind::Array) => {
            a.len() == b.len() && a.items().zip(b.items()).all(|(a, b)| are_equal(a, b))
        }
        (Kind::Object, Kind::Object) if a.len() != b.len() => false,
        (Kind::Object, Kind::Object) if b.len() > FEW_ENTRIES => {
            let b = to_map(b);
            a.entries().all(|(key, a)| b.get(&*key).is_some_and(|b| are_equal(a, b.into())))
        }
        (Kind::Object, Kind::Object) => {
            a.entries().all(|(key, a)| b.get(&key).is_some_and(|b| are_equal(a, b)))
        }
        (Kind::String, Kind::String) => a.as_str() == b.as_str(),
        (Kind::Bool, Kind::Bool) => a.as_bool() == b.as_bool(),
        (a, b) => a == b,
    }
}

/// The order of two numbers by their exact values; `None` if one of them is not a number.
pub(crate) fn order(a: ValueRef<'_>, b: ValueRef<'_>) -> Option<Ordering> {
    let (a, b) = (a.number_text()?, b.number_text()?);
    if a == b {
        return Some(Ordering::Equal);
    }
    Some(Decimal::parse(&a)?.order(Decimal::parse(&b)?))
}

/// The member of an object or the item of an array; `None` if there is none.
pub(crate) fn child<'v>(value: ValueRef<'v>, name: &str) -> Option<ValueRef<'v>> {
    if let ValueRef::Tree(Value::Object(entries)) = value
        && entries.len() <= FEW_ENTRIES
    {
        return entries.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
    }
    match value.kind() {
        Kind::Object => value.get(name),
        Kind::Array => value.index(name.parse::<usize>().ok()?),
        _ => None,
    }
}

/// How the weight of a value is computed, for limits on work and memory. Each value counts 1, plus a share for its
/// text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// The number of bytes of text that count as one value.
    pub(crate) bytes_per_value: usize,
}

impl Scale {
    /// For work: every byte counts, because it is read.
    pub(crate) const WORK: Self = Self { bytes_per_value: 1 };
    /// For memory: 32 bytes of text take about as much room as one value.
    pub(crate) const MEMORY: Self = Self { bytes_per_value: 32 };

    /// Subtracts the weight of a value from `left`; `None` if `left` is too small.
    pub(crate) fn take<'v>(self, value: impl Into<ValueRef<'v>>, left: &mut usize) -> Option<()> {
        self.take_value(value.into(), left)
    }

    fn take_value(self, value: ValueRef<'_>, left: &mut usize) -> Option<()> {
        let text = |bytes: usize| bytes / self.bytes_per_value;
        match value.kind() {
            Kind::String => {
                *left = left.checked_sub(1 + text(value.as_str().map_or(0, |text| text.len())))?
            }
            Kind::Array => {
                *left = left.checked_sub(1)?;
                value.items().try_for_each(|item| self.take_value(item, left))?;
            }
            Kind::Object => {
                let keys: usize = value.entries().map(|(key, _)| text(key.len())).sum();
                *left = left.checked_sub(1 + keys)?;
                value.entries().try_for_each(|(_, value)| self.take_value(value, left))?;
            }
            _ => *left = left.checked_sub(1)?,
        }
        Some(())
    }
}
