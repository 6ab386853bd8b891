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

    /// The value as an owned tree.
    pub(crate) fn into_value(self) -> Value {
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

/// Whether `{{#if}}` treats a value as true: everything except null, false, 0, and empty strings, lists and objects.
pub(crate) fn is_truthy(value: ValueRef<'_>) -> bool {
    match value.kind() {
        Kind::Null => false,
        Kind::Bool => value.as_bool() == Some(true),
        Kind::Number => {
            value.number_text().and_then(|text| Some(!Decimal::parse(&text)?.is_zero())).unwrap_or(true)
        }
        Kind::String => !value.is_empty_text(),
        Kind::Array | Kind::Object => !value.is_empty(),
    }
}
