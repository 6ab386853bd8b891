//! Values of extension keys as far as they are known at load, and the faults in them.

use crate::diagnostic::Code;
use serde_json::Value;
use std::borrow::Cow;

/// A value as far as it is known before a call.
#[derive(Debug, Clone, PartialEq)]
pub enum StaticValue<'v> {
    /// A single expression, which may evaluate to any value.
    Any,
    /// A text with expressions.
    Text,
    /// A constant, but not a list or an object.
    Known(Cow<'v, Value>),
    /// A list.
    List(Vec<Self>),
    /// An object.
    Object(Vec<(Cow<'v, str>, Self)>),
}

impl<'v> From<&'v Value> for StaticValue<'v> {
    fn from(value: &'v Value) -> Self {
        match value {
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(entries) => {
                Self::Object(entries.iter().map(|(key, value)| (Cow::from(key), Self::from(value))).collect())
            }
            other => Self::Known(Cow::Borrowed(other)),
        }
    }
}

impl StaticValue<'_> {
    /// A constant that is not a list or an object; `None` for anything else.
    pub fn known(&self) -> Option<&Value> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }
}

/// An error or note about the value of an extension key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionFault {
    /// The code. If its severity is an error, the platform would reject the value.
    pub code: Code,
    /// The path in the value.
    pub path: Vec<PathStep>,
    /// What is wrong, in lower case, without a full stop.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
}

/// One step of a path in a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathStep {
    /// A key of an object.
    Key(String),
    /// An index of a list.
    Index(usize),
}
