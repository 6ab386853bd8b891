//! The functions that a platform may call, as they are declared to it.

use serde_json::{Map, Value};
use std::borrow::Cow;

use crate::secret::Secret;

/// The functions that the routes serve to one platform.
pub trait Functions {
    /// The names of a function's declared arguments; `None` for an unknown function.
    fn arguments(&self, function: &str) -> Option<Vec<&str>>;

    /// Whether the function's route answers with a stream.
    fn streams(&self, function: &str) -> bool;

    /// All functions that the platform may call, sorted by name.
    fn tools(&self) -> Vec<ToolSpec<'_>>;

    /// How the platform reaches this proxy.
    fn endpoint(&self) -> Endpoint<'_>;
}

/// A function as it is declared to a platform.
#[derive(Debug, Clone, Copy)]
pub struct ToolSpec<'a> {
    /// The function's name.
    pub name: &'a str,
    /// Its description for the model; empty without one in the table.
    pub description: &'a str,
    /// The JSON Schema of its arguments, as used for validation.
    pub parameters: &'a Value,
    /// Whether it answers with a stream.
    pub streaming: bool,
    /// Whether the platform shows it as a form with one field and sends no call, see `Platform::shows_forms`.
    pub form: bool,
    /// Whether the route has `[routes.x.declare.<platform>]`.
    pub declared: bool,
    /// The keys of that section; an object. Secrets are as written, such as `${PASSWORD}`.
    pub extra: &'a Map<String, Value>,
    /// The secrets of that section by their keys.
    pub secrets: &'a [(&'static str, Secret)],
}

/// How a platform reaches this proxy.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// The URL of the platform's endpoint, without a trailing slash: `https://tools.example.com/swaig`.
    pub url: &'a str,
    /// The names of the events that the table answers.
    pub events: &'a [&'static str],
    /// The requested form of the declaration, one of `Platform::declare_forms`; `None` for the usual one.
    pub form: Option<&'static str>,
}

/// A key of `[routes.x.declare.<platform>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclareKey {
    /// The key.
    pub key: &'static str,
    /// Its type.
    pub value_type: DeclareType,
}

/// The type of a key of `[routes.x.declare.<platform>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeclareType {
    /// A string.
    Text,
    /// A string that may be a secret.
    Secret,
    /// True or false.
    Flag,
    /// A whole number.
    Number,
    /// One of these strings.
    Word(&'static [&'static str]),
    /// A list of strings.
    Texts,
    /// Any table.
    Object,
}

impl DeclareType {
    /// Whether `value` has this type.
    pub fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text | Self::Secret => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Number => value.is_u64() || value.is_i64(),
            Self::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
            Self::Object => value.is_object(),
        }
    }

    /// The name of the type, for messages.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Text | Self::Secret => "a string".into(),
            Self::Flag => "true or false".into(),
            Self::Number => "a whole number".into(),
            Self::Word(words) => format!("\"{}\"", words.join("\" or \"")).into(),
            Self::Texts => "a list of strings".into(),
            Self::Object => "a table".into(),
        }
    }
}
