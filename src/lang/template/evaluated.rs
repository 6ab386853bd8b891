//! The value of an expression, before it is written to its place.

use serde_json::Value;

use crate::json::{Kind, ValueRef};
use crate::lang::decimal::Decimal;
use crate::lang::value::child;

/// The value of an expression.
#[derive(Debug, Clone)]
pub(crate) enum Evaluated<'f> {
    /// An existing value.
    Ref(ValueRef<'f>),
    /// A value created by a helper.
    Owned(Value),
}

impl Evaluated<'_> {
    /// The value.
    pub(crate) fn get(&self) -> ValueRef<'_> {
        match self {
            Self::Ref(value) => *value,
            Self::Owned(value) => value.into(),
        }
    }

    /// The value as a tree.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Ref(value) => value.to_value(),
            Self::Owned(value) => value,
        }
    }

    /// The member or item called `name`; `None` if there is none.
    pub(super) fn part(self, name: &str) -> Option<Self> {
        match self {
            Self::Ref(value) => child(value, name).map(Self::Ref),
            Self::Owned(value) => child((&value).into(), name).map(ValueRef::to_value).map(Self::Owned),
        }
    }
}

/// Whether `{{#if}}` treats a value as true: everything except 0 and what is empty, as with handlebars.js.
pub(crate) fn is_truthy(value: ValueRef<'_>) -> bool {
    !is_empty(value) && !is_zero(value)
}

fn is_zero(value: ValueRef<'_>) -> bool {
    value.number_text().is_some_and(|text| Decimal::parse(&text).is_some_and(|number| number.is_zero()))
}

/// Whether `{{#with}}` treats a value as none: null, false, and empty strings and lists. An object is never empty.
pub(super) fn is_empty(value: ValueRef<'_>) -> bool {
    match value.kind() {
        Kind::Null => true,
        Kind::Bool => value.as_bool() == Some(false),
        Kind::String => value.is_empty_text(),
        Kind::Array => value.is_empty(),
        Kind::Number | Kind::Object => false,
    }
}

/// The `length` of a list, or of a text in UTF-16 units, as in JavaScript; `None` for any other value.
pub(super) fn length(value: ValueRef<'_>) -> Option<usize> {
    match value.kind() {
        Kind::Array => Some(value.len()),
        Kind::String => Some(value.to_text().encode_utf16().count()),
        _ => None,
    }
}
