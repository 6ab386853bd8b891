//! A value as its JSON text.

use std::borrow::Cow;

use serde_json::Value;

use super::{Kind, ValueRef, push_string};

/// A JSON value as compact JSON text. Unlike a tree it is written once, and sent on without being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// The JSON text of `value`.
    pub fn of(value: ValueRef<'_>) -> Self {
        let mut text = String::new();
        value.write_json(&mut text);
        Self(text)
    }

    /// `null`.
    pub fn null() -> Self {
        Self("null".to_owned())
    }

    /// Takes text that was written as one compact JSON value.
    pub(crate) fn written(text: String) -> Self {
        Self(text)
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes the JSON text out.
    pub fn into_string(self) -> String {
        self.0
    }

    /// The kind of the value.
    pub fn kind(&self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The content of a string; the JSON text of any other value.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self.kind() {
            Kind::String => serde_json::from_str::<String>(&self.0).unwrap_or_default().into(),
            _ => Cow::Borrowed(&self.0),
        }
    }

    /// The value as a tree. A value nested deeper than 127 levels, which cannot be read, becomes a string with its JSON
    /// text.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_else(|_| Value::String(self.0.clone()))
    }
}

impl From<&Value> for JsonText {
    fn from(value: &Value) -> Self {
        Self::of(value.into())
    }
}

impl From<Value> for JsonText {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl From<&str> for JsonText {
    /// A string.
    fn from(text: &str) -> Self {
        let mut json = String::with_capacity(text.len() + 2);
        push_string(&mut json, text);
        Self(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_read_as_the_value_it_was_written_from() {
        for (value, kind, text) in [
            (json!(null), Kind::Null, "null"),
            (json!(true), Kind::Bool, "true"),
            (json!(false), Kind::Bool, "false"),
            (json!(-1.50), Kind::Number, "-1.5"),
            (json!(7), Kind::Number, "7"),
            (json!("caf\u{e9} \"x\"\n"), Kind::String, "caf\u{e9} \"x\"\n"),
            (json!([1, "a"]), Kind::Array, "[1,\"a\"]"),
            (json!({"a": {}}), Kind::Object, "{\"a\":{}}"),
        ] {
            let json = JsonText::from(&value);
            assert_eq!((json.kind(), &*json.to_text(), json.to_value()), (kind, text, value));
        }
        assert_eq!(JsonText::from("a\"b"), JsonText::from(json!("a\"b")));
        assert_eq!(JsonText::null(), JsonText::from(Value::Null));
    }

    #[test]
    fn a_value_that_is_nested_too_deep_is_kept_as_text() {
        let text = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(JsonText::written(text.clone()).to_value(), Value::String(text));
    }
}
