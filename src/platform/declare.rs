//! What a platform is told of the functions that it may call.

use serde_json::{Map, Value};
use std::borrow::Cow;

/// The functions that routes answer for the asking platform.
pub trait Functions {
    /// The names of a function's declared arguments; `None` when there is no such function.
    fn arguments(&self, function: &str) -> Option<Vec<&str>>;

    /// Whether the function's route asks for its answer as a stream.
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
    /// What it does, for the model; empty when the table does not say.
    pub description: &'a str,
    /// The JSON Schema of its arguments, the same that validation uses.
    pub parameters: &'a Value,
    /// Whether its answer is a stream.
    pub streaming: bool,
    /// Whether the platform shows it as a form of one field and calls nobody; only where it `Platform::shows_forms` holds.
    pub form: bool,
    /// Whether the route asks to be declared, by `[routes.x.declare.<platform>]`.
    pub declared: bool,
    /// What the table says for this platform alone; an object.
    pub extra: &'a Map<String, Value>,
}

/// How a platform reaches this proxy.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// The address of the platform's endpoint, without a slash at its end: `https://tools.example.com/swaig`.
    pub url: &'a str,
    /// The webhooks that are no function calls and that the table answers, by their names there.
    pub events: &'a [&'static str],
}

/// A key of `[routes.x.declare.<platform>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclareKey {
    /// The key.
    pub key: &'static str,
    /// What it may hold.
    pub holds: Holds,
}

/// What a key of `[routes.x.declare.<platform>]` may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// A string.
    Text,
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

impl Holds {
    /// Whether `value` is that.
    pub fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Number => value.is_u64() || value.is_i64(),
            Self::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
            Self::Object => value.is_object(),
        }
    }

    /// The words for it.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Text => "a string".into(),
            Self::Flag => "true or false".into(),
            Self::Number => "a whole number".into(),
            Self::Word(words) => format!("\"{}\"", words.join("\" or \"")).into(),
            Self::Texts => "a list of strings".into(),
            Self::Object => "a table".into(),
        }
    }
}
