//! A string that never prints itself, and the masking of what must not be shown.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What stands in place of a secret or sensitive value wherever one would be shown.
pub const HIDDEN: &str = "***";

/// What is escaped in a value of a URL: everything but what RFC 3986 leaves unreserved.
const URL_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A resolved secret. `Debug` and `Display` show [`HIDDEN`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the place that sends or checks it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is this secret, in a time that depends on neither.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        // Digests have one length, so that not even the secret's length shows in the time taken.
        let ours = Sha256::digest(self.0.as_bytes());
        let theirs = Sha256::digest(candidate);
        ours.as_slice().ct_eq(theirs.as_slice()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Texts to hide wherever a record is shown: secrets of the table and sensitive arguments. A copy costs nothing.
#[derive(Clone, Default)]
pub struct Masks(Arc<Vec<String>>);

impl Masks {
    /// Adds a text to hide, as it is and as it looks in a URL, inside a JSON string and in XML.
    pub fn add(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let url = utf8_percent_encode(text, URL_VALUE).to_string();
        let strict = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let json = serde_json::Value::from(text).to_string();
        let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let mut xml = text.replace('&', "&amp;");
        for (character, entity) in [
            ('<', "&lt;"),
            ('>', "&gt;"),
            ('"', "&quot;"),
            ('\'', "&apos;"),
            ('\r', "&#13;"),
            ('\n', "&#10;"),
            ('\t', "&#9;"),
        ] {
            xml = xml.replace(character, entity);
        }
        let masks = Arc::make_mut(&mut self.0);
        for form in [text, &url, &strict, &json[1..json.len() - 1], &form, &xml] {
            if !masks.iter().any(|known| known == form) {
                masks.push(form.to_owned());
            }
        }
        // Longer texts first, so that a mask never leaves the rest of a longer one standing.
        masks.sort_by_key(|text| std::cmp::Reverse(text.len()));
    }

    /// All texts of `other` too.
    pub fn extend(&mut self, other: &Self) {
        for text in &*other.0 {
            self.add(text);
        }
    }

    /// `text` with everything that must not be shown replaced by [`HIDDEN`].
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |shown, mask| {
            if shown.contains(mask.as_str()) { shown.replace(mask.as_str(), HIDDEN) } else { shown }
        })
    }

    /// `value` with everything that must not be shown replaced, numbers and booleans included.
    pub fn hide_value(&self, value: &serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            _ if self.0.is_empty() => value.clone(),
            Value::String(text) => Value::String(self.hide(text)),
            Value::Array(items) => items.iter().map(|item| self.hide_value(item)).collect(),
            Value::Object(entries) => Value::Object(
                entries.iter().map(|(key, value)| (self.hide(key), self.hide_value(value))).collect(),
            ),
            scalar if self.0.contains(&scalar.to_string()) => Value::from(HIDDEN),
            scalar => scalar.clone(),
        }
    }
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} masks", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_never_prints_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert!(secret.matches(b"hunter2"));
        assert!(!secret.matches(b"hunter"));
        assert!(!secret.matches(b""));
    }

    #[test]
    fn masks_hide_a_text_in_each_of_its_spellings() {
        let mut masks = Masks::default();
        masks.add("a b\"c");
        assert_eq!(masks.hide("a b\"c a%20b%22c a+b%22c a b\\\"c"), "*** *** *** ***");
        masks.add("<p>'&amp;'");
        assert_eq!(masks.hide("=\"&lt;p&gt;&apos;&amp;amp;&apos;\""), "=\"***\"");
        masks.add("x-1 y");
        assert_eq!(masks.hide("x-1%20y x%2D1%20y"), "*** ***");
        masks.add("4711");
        assert_eq!(
            masks.hide_value(&json!({"pin": 4711, "x": [1, "is 4711"]})),
            json!({"pin": "***", "x": [1, "is ***"]})
        );
    }
}
