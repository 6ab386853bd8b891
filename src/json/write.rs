//! Writes compact JSON into a string, byte for byte as `serde_json` does.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::scan::plain_end;

/// Appends `value` as compact JSON.
pub fn push_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => out.push_str(number.as_str()),
        Value::String(text) => push_string(out, text),
        Value::Array(items) => push_values(out, items),
        Value::Object(entries) => push_object(out, entries),
    }
}

/// Appends `values` as a compact JSON array.
fn push_values(out: &mut String, values: &[Value]) {
    out.push('[');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_value(out, value);
    }
    out.push(']');
}

/// Appends `entries` as a compact JSON object.
fn push_object(out: &mut String, entries: &Map<String, Value>) {
    out.push('{');
    for (at, (key, value)) in entries.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(out, key);
        out.push(':');
        push_value(out, value);
    }
    out.push('}');
}

/// Writes one object into a string, entry by entry.
#[derive(Debug)]
pub struct ObjectWriter {
    out: String,
}

impl ObjectWriter {
    /// An object without entries, in a string with room for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = String::with_capacity(bytes);
        out.push('{');
        Self { out }
    }

    /// Begins the next entry. The caller appends its value to the returned string.
    pub fn entry(&mut self, key: &str) -> &mut String {
        if self.out.len() > 1 {
            self.out.push(',');
        }
        push_string(&mut self.out, key);
        self.out.push(':');
        &mut self.out
    }

    /// The complete object.
    pub fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

/// Appends `text` as a JSON string, with its quotes.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// Appends `text` as the content of a JSON string, without the quotes.
pub fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    loop {
        // All escaped characters are ASCII, so this never splits a character.
        let (before, from) = rest.split_at(plain_end(rest.as_bytes(), 0));
        out.push_str(before);
        let Some(special) = from.bytes().next() else { return };
        match special {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x08 => out.push_str("\\b"),
            0x0C => out.push_str("\\f"),
            control => {
                let _ = write!(out, "\\u{control:04x}");
            }
        }
        rest = &from[1..];
    }
}

/// Escapes the text from `begin` on, as the content of a JSON string.
pub fn escape_from(out: &mut String, begin: usize) {
    if plain_end(out.as_bytes(), begin) < out.len() {
        let text = out.split_off(begin);
        push_escaped(out, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn output_matches_serde_json() {
        let controls: String = (0..0x30).filter_map(char::from_u32).collect();
        for value in [
            json!(null),
            json!([true, false, [], {}]),
            json!({"a": 1, "b\"": -2.5, "c": 1e300, "å😀": u64::MAX, "": 0.1}),
            json!(controls),
            json!("plain"),
            json!("\\\"\u{7f}é"),
        ] {
            let mut out = String::from("x");
            push_value(&mut out, &value);
            assert_eq!(out[1..], value.to_string());
        }
    }
}
