//! Values of the keys that only one platform understands, as far as the table fixes them, and what is wrong with them.

use crate::diagnostic::Code;
use serde_json::Value;

/// A value as far as the table fixes it before any call.
#[derive(Debug, Clone, PartialEq)]
pub enum StaticValue {
    /// One expression: any value at all.
    Any,
    /// A text with expressions in it.
    Text,
    /// A value written out, but not a list or an object.
    Known(Value),
    /// A list.
    List(Vec<Self>),
    /// An object.
    Object(Vec<(String, Self)>),
}

impl From<&Value> for StaticValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(entries) => {
                Self::Object(entries.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect())
            }
            other => Self::Known(other.clone()),
        }
    }
}

/// What a platform would refuse, or what is good to know, in a value of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionFault {
    /// The kind of fault; its severity says whether the platform would refuse the value.
    pub code: Code,
    /// Where in the value: keys and indexes from its top.
    pub path: Vec<PathStep>,
    /// What is wrong, in lower case, without a full stop.
    pub message: String,
    /// What to write.
    pub help: Option<String>,
}

/// One step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathStep {
    /// Into an object.
    Key(String),
    /// Into a list.
    Index(usize),
}
