//! Secrets that never print, and masks that hide them in text.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::percent;

/// Shown in place of a secret or sensitive value.
pub const HIDDEN: &str = "***";

/// A text shorter than this is hidden only as a whole word. Inside other words it is a coincidence.
const LONG: usize = 4;

/// A resolved secret. `Debug` and `Display` show [`HIDDEN`], and its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself, for sending or checking it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        // Digests have equal lengths, so the comparison does not leak the length of the secret.
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

/// Texts to hide in everything that shows a record: secrets of the table and sensitive arguments. Cheap to clone.
#[derive(Clone, Default)]
pub struct Masks(Arc<Vec<Mask>>);

/// One spelling of a text to hide.
#[derive(Clone)]
struct Mask {
    text: String,
    /// Whether the text was shorter than [`LONG`] before it was encoded.
    is_short: bool,
}

impl Masks {
    /// Adds a text to hide: as it is, and as it is encoded in URLs, JSON strings and XML.
    pub fn add(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let url = percent::encode(text).to_string();
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
        let is_short = text.chars().nth(LONG - 1).is_none();
        let forms = [text, &url, &strict, &json[1..json.len() - 1], &form, &xml];
        self.put(forms.map(|form| Mask { text: form.to_owned(), is_short }));
    }

    /// Adds all texts of `other`.
    pub fn extend(&mut self, other: &Self) {
        self.put(other.0.iter().cloned());
    }

    fn put(&mut self, more: impl IntoIterator<Item = Mask>) {
        let masks = Arc::make_mut(&mut self.0);
        for mask in more {
            match masks.iter_mut().find(|known| known.text == mask.text) {
                Some(known) => known.is_short &= mask.is_short,
                None => masks.push(mask),
            }
        }
        // Hide longer texts first. Otherwise a mask could replace a part of a longer text and leave the rest visible.
        masks.sort_by_key(|mask| std::cmp::Reverse(mask.text.len()));
    }

    /// `text` with every text to hide replaced by [`HIDDEN`].
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |shown, mask| mask.hide(shown))
    }

    /// Hides texts in the key of an object. A short text is hidden only if it is the whole key.
    fn hide_key(&self, key: &str) -> String {
        self.0.iter().fold(key.to_owned(), |shown, mask| match mask.is_short {
            true if mask.text == shown => HIDDEN.to_owned(),
            true => shown,
            false => mask.hide(shown),
        })
    }

    /// `value` with every text to hide replaced, including numbers and other scalars that equal one.
    pub fn hide_value(&self, value: &serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            _ if self.0.is_empty() => value.clone(),
            Value::String(text) => Value::String(self.hide(text)),
            Value::Array(items) => items.iter().map(|item| self.hide_value(item)).collect(),
            Value::Object(entries) => Value::Object(
                entries.iter().map(|(key, value)| (self.hide_key(key), self.hide_value(value))).collect(),
            ),
            scalar => {
                let text = scalar.to_string();
                let is_hidden = self.0.iter().any(|mask| mask.text == text);
                if is_hidden { Value::from(HIDDEN) } else { scalar.clone() }
            }
        }
    }
}

impl Mask {
    fn hide(&self, shown: String) -> String {
        if !shown.contains(&self.text) {
            return shown;
        }
        if !self.is_short {
            return shown.replace(&self.text, HIDDEN);
        }
        let (mut hidden, mut done, mut from) = (String::new(), 0, 0);
        while let Some(found) = shown[from..].find(&self.text) {
            let (at, end) = (from + found, from + found + self.text.len());
            if ends_in_word(&shown[..at]) || shown[end..].starts_with(is_word_character) {
                // The next match may overlap this one.
                from = at + shown[at..].chars().next().map_or(1, char::len_utf8);
            } else {
                hidden.push_str(&shown[done..at]);
                hidden.push_str(HIDDEN);
                (done, from) = (end, end);
            }
        }
        hidden + &shown[done..]
    }
}

fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether `before` ends inside a word. The letters of a URL or JSON escape are not part of a word.
fn ends_in_word(before: &str) -> bool {
    match before.as_bytes() {
        [.., b'%', one, other] if one.is_ascii_hexdigit() && other.is_ascii_hexdigit() => false,
        [.., b'\\', b'b' | b'f' | b'n' | b'r' | b't'] => false,
        _ => before.ends_with(is_word_character),
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
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert!(secret.matches(b"hunter2"));
        assert!(!secret.matches(b"hunter"));
        assert!(!secret.matches(b""));
    }

    #[test]
    fn masks_hide_every_spelling_of_a_text() {
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

    #[test]
    fn a_short_text_is_hidden_only_as_a_whole_word() {
        let mut masks = Masks::default();
        masks.add("t");
        masks.add("2");
        for (text, expected) in [
            ("call at bad_response after t", "call at bad_response after ***"),
            ("http://127.0.0.1:82/t?q=a%20t&n=2", "http://127.0.0.1:82/***?q=a%20***&n=***"),
            ("status 200, t_2 2t", "status 200, t_2 2t"),
            ("Bearer t,\\nt", "Bearer ***,\\n***"),
            ("ét tö", "ét tö"),
        ] {
            assert_eq!(masks.hide(text), expected);
        }
        assert_eq!(
            masks.hide_value(&json!({"text": "t", "t": 2, "a t": 20, "2": [2, 2.5, "2.5"]})),
            json!({"text": "***", "***": ["***", 2.5, "***.5"], "a t": 20})
        );
        masks.add("a-a");
        assert_eq!(masks.hide("xa-a-a a-a"), "xa-*** ***");
        // All spellings of a short text count as short, even one that has become long. The same spelling may also be a
        // long text of its own.
        masks.add("é");
        assert_eq!(masks.hide("caf%C3%A9 %C3%A9"), "caf%C3%A9 ***");
        let mut longer = Masks::default();
        longer.add("%C3%A9");
        longer.extend(&masks);
        assert_eq!(longer.hide("caf%C3%A9 t"), "caf*** ***");
        // A longer text is hidden everywhere, including in keys.
        longer.add("abcd");
        assert_eq!(longer.hide_value(&json!({"xabcdx": "1abcd"})), json!({"x***x": "1***"}));
    }
}
