//! Breaks up character pairs that a platform would expand in values.

use serde_json::Value;

use crate::json::{Kind, ValueRef, push_value};

/// The character pairs that a platform expands in the text that it receives. A value must never contain one.
///
/// Each pair is a first character followed by `{`. A pair is kept only if both of its characters are in the same
/// literal text of the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpansionFilter {
    /// The first characters of the pairs. If there are none, nothing is broken up.
    pub sigils: &'static [char],
}

impl ExpansionFilter {
    /// Whether `first` followed by `second` is such a pair.
    pub fn is_pair(self, first: char, second: char) -> bool {
        second == '{' && self.sigils.contains(&first)
    }

    /// Appends `text` to `out` with every pair broken up by a space, including a pair that begins with the end of
    /// `out`.
    pub fn push_value(self, out: &mut String, text: &str) {
        if self.sigils.is_empty() || !text.contains('{') {
            out.push_str(text);
            return;
        }
        let mut previous = out.chars().next_back();
        for character in text.chars() {
            if previous.is_some_and(|first| self.is_pair(first, character)) {
                out.push(' ');
            }
            out.push(character);
            previous = Some(character);
        }
    }

    /// Appends literal text of the table. Only a pair that begins with the end of `out` is broken up.
    pub fn push_literal(self, out: &mut String, text: &str) {
        self.split_before(out, text);
        out.push_str(text);
    }

    /// Appends a space if the end of `out` and the beginning of `text` are a pair.
    pub fn split_before(self, out: &mut String, text: &str) {
        if let (Some(first), Some(second)) = (out.chars().next_back(), text.chars().next())
            && self.is_pair(first, second)
        {
            out.push(' ');
        }
    }

    /// `text` with every pair broken up.
    pub fn text(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        self.push_value(&mut out, text);
        out
    }

    /// Appends a value as JSON, with every pair in its strings and keys broken up.
    pub fn push_json(self, out: &mut String, value: ValueRef<'_>) {
        if self.sigils.is_empty() || !may_contain_pair(value) {
            value.write_json(out);
        } else {
            push_value(out, &self.value(value.to_value()));
        }
    }

    /// `value` with every pair in its strings and keys broken up.
    pub fn value(self, value: Value) -> Value {
        if self.sigils.is_empty() || !may_contain_pair((&value).into()) {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(entries) => Value::Object(
                entries.into_iter().map(|(key, value)| (self.text(&key), self.value(value))).collect(),
            ),
            other => other,
        }
    }
}

/// Whether a string or a key in the value contains the second character of a pair.
fn may_contain_pair(value: ValueRef<'_>) -> bool {
    match value.kind() {
        Kind::String => value.to_text().contains('{'),
        Kind::Array => value.items().any(may_contain_pair),
        Kind::Object => value.entries().any(|(key, value)| key.contains('{') || may_contain_pair(value)),
        Kind::Null | Kind::Bool | Kind::Number => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SWAIG: ExpansionFilter = ExpansionFilter { sigils: &['$', '%', '@'] };

    #[test]
    fn pairs_in_values_and_across_pieces_are_broken_up() {
        for (pieces, expected) in [
            (&["${x}"][..], "$ {x}"),
            (&["$", "{x}"], "$ {x}"),
            (&["$${", "%{", "@{"], "$$ {% {@ {"),
            (&["a$b{c"], "a$b{c"),
        ] {
            let mut out = String::new();
            for piece in pieces {
                SWAIG.push_value(&mut out, piece);
            }
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn only_a_pair_inside_one_literal_survives() {
        let mut out = String::new();
        SWAIG.push_literal(&mut out, "${keep} $");
        SWAIG.push_literal(&mut out, "{x}");
        assert_eq!(out, "${keep} $ {x}");
        out.push('%');
        SWAIG.push_value(&mut out, "{y}");
        assert_eq!(out, "${keep} $ {x}% {y}");
    }

    #[test]
    fn strings_and_keys_of_values_are_broken_up() {
        assert_eq!(SWAIG.value(json!({"${k}": ["@{v}", 1]})), json!({"$ {k}": ["@ {v}", 1]}));
    }
}
