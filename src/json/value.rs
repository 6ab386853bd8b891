//! A borrowed JSON value: part of a document, part of a tree, or a scalar.

use std::borrow::Cow;

use serde_json::{Map, Number, Value, map};

use super::Document;
use super::node::{self, Kind, Node};
use super::write::{push_string, push_value};

/// A JSON value borrowed from a document, a tree or a string.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'v> {
    /// A value of a tree.
    Tree(&'v Value),
    /// A value of a document.
    Node(Node<'v>),
    /// An array of the values at these index positions of a document.
    Nodes(&'v Document, &'v [u32]),
    /// A string.
    Text(&'v str),
    /// An integer.
    Count(usize),
    /// A boolean.
    Bool(bool),
}

impl ValueRef<'static> {
    /// `null`.
    pub const NULL: Self = Self::Tree(&Value::Null);
}

impl<'v> ValueRef<'v> {
    /// The type of the value.
    pub fn kind(self) -> Kind {
        match self {
            Self::Node(node) => node.kind(),
            Self::Tree(Value::Null) => Kind::Null,
            Self::Tree(Value::Bool(_)) | Self::Bool(_) => Kind::Bool,
            Self::Tree(Value::Number(_)) | Self::Count(_) => Kind::Number,
            Self::Tree(Value::String(_)) | Self::Text(_) => Kind::String,
            Self::Tree(Value::Array(_)) | Self::Nodes(..) => Kind::Array,
            Self::Tree(Value::Object(_)) => Kind::Object,
        }
    }

    /// Whether the value is `null`.
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// The value of a string; `None` for anything else.
    pub fn as_str(self) -> Option<Cow<'v, str>> {
        match self {
            Self::Node(node) => node.as_str(),
            Self::Tree(Value::String(text)) => Some(Cow::Borrowed(text)),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    /// Whether the value is the empty string. Takes constant time.
    pub fn is_empty_text(self) -> bool {
        match self {
            Self::Node(node) => node.is_empty_text(),
            Self::Tree(Value::String(text)) => text.is_empty(),
            Self::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    /// The value of a boolean; `None` for anything else.
    pub fn as_bool(self) -> Option<bool> {
        match self {
            Self::Node(node) => node.as_bool(),
            Self::Tree(value) => value.as_bool(),
            Self::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    /// The number as `serde_json` parses it; `None` for anything else.
    pub fn as_number(self) -> Option<Number> {
        match self {
            Self::Node(node) => node.as_number(),
            Self::Tree(Value::Number(number)) => Some(number.clone()),
            Self::Count(count) => Some(count.into()),
            _ => None,
        }
    }

    /// The text of a number; `None` for anything else.
    pub fn number_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Node(node) if node.kind() == Kind::Number => Some(Cow::Borrowed(node.raw())),
            Self::Tree(Value::Number(number)) => Some(Cow::Borrowed(number.as_str())),
            Self::Count(count) => Some(Cow::Owned(count.to_string())),
            _ => None,
        }
    }

    /// The double nearest to a number.
    pub fn as_f64(self) -> Option<f64> {
        self.as_number()?.as_f64()
    }

    /// The value of a key of an object.
    pub fn get(self, name: &str) -> Option<Self> {
        match self {
            Self::Node(node) => node.get(name).map(Self::Node),
            Self::Tree(Value::Object(entries)) => entries.get(name).map(Self::Tree),
            _ => None,
        }
    }

    /// The value at the end of a path of keys.
    pub fn at(self, path: &[&str]) -> Option<Self> {
        path.iter().try_fold(self, |value, key| value.get(key))
    }

    /// The item of an array at an index.
    pub fn index(self, index: usize) -> Option<Self> {
        match self {
            Self::Node(node) => node.index(index).map(Self::Node),
            Self::Tree(Value::Array(items)) => items.get(index).map(Self::Tree),
            Self::Nodes(document, places) => Node::at_place(document, *places.get(index)?).map(Self::Node),
            _ => None,
        }
    }

    /// The number of items of an array or entries of an object; 0 for anything else.
    pub fn len(self) -> usize {
        match self {
            Self::Node(node) => node.len(),
            Self::Tree(Value::Array(items)) => items.len(),
            Self::Nodes(_, places) => places.len(),
            Self::Tree(Value::Object(entries)) => entries.len(),
            _ => 0,
        }
    }

    /// Whether no other value is nested in the value: true for empty arrays and objects, and for all scalars.
    pub fn is_empty(self) -> bool {
        match self {
            Self::Node(node) => node.is_empty(),
            _ => self.len() == 0,
        }
    }

    /// The items of an array; none for anything else.
    pub fn items(self) -> Items<'v> {
        match self {
            Self::Node(node) => Items::Nodes(node.items()),
            Self::Tree(Value::Array(items)) => Items::Tree(items.iter()),
            Self::Nodes(document, places) => Items::Places(document, places.iter()),
            _ => Items::Tree([].iter()),
        }
    }

    /// The entries of an object; none for anything else.
    pub fn entries(self) -> Entries<'v> {
        match self {
            Self::Node(node) => Entries::Nodes(node.entries()),
            Self::Tree(Value::Object(entries)) => Entries::Tree(entries.iter()),
            _ => Entries::None,
        }
    }

    /// The items of an array or the values of an object.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        self.items().chain(self.entries().map(|(_, value)| value))
    }

    /// Copies the value into a tree.
    pub fn to_value(self) -> Value {
        match self {
            Self::Node(node) => node.to_value(),
            Self::Tree(value) => value.clone(),
            Self::Nodes(..) => self.items().map(Self::to_value).collect(),
            Self::Text(text) => text.into(),
            Self::Count(count) => count.into(),
            Self::Bool(truth) => truth.into(),
        }
    }

    /// Writes the value as compact JSON. Numbers of a document keep their text.
    pub fn write_json(self, out: &mut String) {
        match self {
            Self::Node(node) => node.write_json(out),
            Self::Tree(value) => push_value(out, value),
            Self::Nodes(..) => {
                out.push('[');
                for (at, item) in self.items().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Text(text) => push_string(out, text),
            Self::Count(count) => push_value(out, &count.into()),
            Self::Bool(truth) => out.push_str(if truth { "true" } else { "false" }),
        }
    }

    /// The value as plain text: `null` becomes empty, arrays and objects become compact JSON.
    pub fn to_text(self) -> Cow<'v, str> {
        match self {
            Self::Bool(truth) => Cow::Borrowed(if truth { "true" } else { "false" }),
            Self::Node(node) if matches!(node.kind(), Kind::Number | Kind::Bool) => Cow::Borrowed(node.raw()),
            _ if self.is_null() => Cow::Borrowed(""),
            _ => self.as_str().unwrap_or_else(|| {
                let mut text = String::new();
                self.write_json(&mut text);
                Cow::Owned(text)
            }),
        }
    }
}

impl<'v> From<&'v Value> for ValueRef<'v> {
    fn from(value: &'v Value) -> Self {
        Self::Tree(value)
    }
}

/// The items of an array.
#[derive(Debug, Clone)]
pub enum Items<'v> {
    /// Those of a document.
    Nodes(node::Items<'v>),
    /// Those at given index positions of a document.
    Places(&'v Document, std::slice::Iter<'v, u32>),
    /// Those of a tree.
    Tree(std::slice::Iter<'v, Value>),
}

impl<'v> Iterator for Items<'v> {
    type Item = ValueRef<'v>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Nodes(items) => items.next().map(ValueRef::Node),
            Self::Places(document, places) => Node::at_place(document, *places.next()?).map(ValueRef::Node),
            Self::Tree(items) => items.next().map(ValueRef::Tree),
        }
    }
}

/// The keys of an object and their values.
#[derive(Debug, Clone)]
pub enum Entries<'v> {
    /// Those of a document.
    Nodes(node::Entries<'v>),
    /// Those of a tree.
    Tree(map::Iter<'v>),
    /// None: the value is not an object.
    None,
}

impl<'v> Iterator for Entries<'v> {
    type Item = (Cow<'v, str>, ValueRef<'v>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Nodes(entries) => {
                let (key, value) = entries.next()?;
                Some((key.as_str().unwrap_or_default(), ValueRef::Node(value)))
            }
            Self::Tree(entries) => {
                let (key, value) = entries.next()?;
                Some((Cow::Borrowed(key), ValueRef::Tree(value)))
            }
            Self::None => None,
        }
    }
}

/// The entries of an object as a tree; empty for anything else.
pub fn to_map(value: ValueRef<'_>) -> Map<String, Value> {
    value.entries().map(|(key, value)| (key.into_owned(), value.to_value())).collect()
}

/// Whether lists and objects are nested deeper than `levels`.
pub fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else { return value.is_array() || value.is_object() };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, below)),
        Value::Object(entries) => entries.values().any(|value| is_deeper(value, below)),
        _ => false,
    }
}
