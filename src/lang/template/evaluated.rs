//! The value of an expression, before it reaches its place.

use serde_json::Value;

use crate::json::{Kind, ValueRef};
use crate::lang::value::child;

/// The value of an expression.
#[derive(Debug, Clone)]
pub(crate) enum Evaluated<'f> {
    /// A value that is there already.
    Ref(ValueRef<'f>),
    /// A value that a helper made.
    Made(Value),
}

impl Evaluated<'_> {
    /// The value.
    pub(crate) fn get(&self) -> ValueRef<'_> {
        match self {
            Self::Ref(value) => *value,
            Self::Made(value) => value.into(),
        }
    }

    /// The value as a tree of its own.
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Ref(value) => value.to_value(),
            Self::Made(value) => value,
        }
    }

    /// The part under a name or an index; `None` when there is none.
    pub(super) fn part(self, name: &str) -> Option<Self> {
        match self {
            Self::Ref(value) => child(value, name).map(Self::Ref),
            Self::Made(value) => child((&value).into(), name).map(ValueRef::to_value).map(Self::Made),
        }
    }
}

/// What `{{#if}}` takes for true: everything but null, false, 0, and what is empty.
pub(super) fn is_truthy(value: ValueRef<'_>) -> bool {
    match value.kind() {
        Kind::Null => false,
        Kind::Bool => value.as_bool() == Some(true),
        Kind::Number => value.as_f64() != Some(0.0),
        Kind::String => !value.is_empty_text(),
        Kind::Array | Kind::Object => !value.is_empty(),
    }
}
