//! Replaces personal data in a test with invented data: names, e-mail addresses and phone numbers. Equal values become
//! equal values, so the test still finds what it compares.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::plan::testing::CallChanges;

use super::personal::{Found, KeyMeaning, find, is_word_part, meaning_of};

/// Invented names, in the order of their use. None of them is a word of a sentence.
const NAMES: [&str; 16] = [
    "Robin",
    "Bergdal",
    "Kim",
    "Fieldby",
    "Alex",
    "Hillmore",
    "Noa",
    "Lakeham",
    "Sam",
    "Stonewick",
    "Mika",
    "Woodvale",
    "Jo",
    "Brookes",
    "Toni",
    "Marshford",
];

/// How many of the last digits of a phone number are invented. Those before them are the country and the area.
const INVENTED_DIGITS: usize = 7;

/// The smallest number whose last digits are compared with those of known phone numbers.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// The personal data of a call, and what it becomes.
#[derive(Debug, Default)]
pub(super) struct Invented {
    /// The words of names in lower case.
    names: BTreeMap<String, Name>,
    /// The addresses in lower case.
    emails: HashMap<String, String>,
    /// The last digits of phone numbers.
    phones: HashMap<String, String>,
}

#[derive(Debug)]
struct Name {
    invented: String,
    /// Whether it was written in lower case, so that it is replaced in lower case too.
    is_lower: bool,
}

impl Invented {
    /// Learns the personal data in a value, by the keys that it is under.
    pub(super) fn learn(&mut self, key: Option<&str>, value: &Value) {
        match value {
            Value::Object(entries) => entries.iter().for_each(|(key, value)| self.learn(Some(key), value)),
            Value::Array(items) => items.iter().for_each(|item| self.learn(key, item)),
            Value::Number(number) => {
                if key.map(meaning_of) == Some(KeyMeaning::Phone) {
                    self.learn_phone(number.as_str());
                }
            }
            Value::String(text) => {
                match key.map(meaning_of) {
                    Some(KeyMeaning::Phone) => self.learn_phone(text),
                    Some(KeyMeaning::Name) => self.learn_name(text, false),
                    Some(KeyMeaning::PersonalName) => self.learn_name(text, true),
                    _ => {}
                }
                self.learn_text(text);
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Learns the addresses and phone numbers in a text.
    pub(super) fn learn_text(&mut self, text: &str) {
        for found in find(text) {
            match found {
                (range, Found::Email) => {
                    let number = self.emails.len() + 1;
                    let invented = || format!("person{number}@example.com");
                    self.emails.entry(text[range].to_lowercase()).or_insert_with(invented);
                }
                (range, Found::Phone) => self.learn_phone(&text[range]),
                (_, Found::Digits) => {}
            }
        }
    }

    /// Learns a phone number, if the text is one.
    pub(super) fn learn_phone(&mut self, text: &str) {
        let digits = digits_of(text);
        let others = text.chars().filter(|c| !c.is_ascii_digit() && !"+-./() ".contains(*c)).count();
        if others == 0 && (5..=15).contains(&digits.len()) {
            let last = last_digits(&digits).to_owned();
            let number = self.phones.len() + 1;
            let invented = format!("{:07}", 5_550_000 + number);
            let invented = invented[INVENTED_DIGITS - last.len()..].to_owned();
            self.phones.entry(last).or_insert(invented);
        }
    }

    /// Learns the words of a name. A text under a key that may also name a thing is one if it looks like one.
    fn learn_name(&mut self, text: &str, is_personal: bool) {
        let words: Vec<&str> = text.split(|c| !is_word_part(c)).filter(|word| !word.is_empty()).collect();
        let is_capital = |word: &&str| word.starts_with(char::is_uppercase);
        let is_name = words.len() <= 5
            && !text.contains(|c: char| !is_word_part(c) && !" .'’,-".contains(c) || c.is_ascii_digit())
            && (is_personal || words.iter().all(is_capital));
        for word in words.into_iter().filter(|word| is_name && word.chars().nth(1).is_some()) {
            let number = self.names.len();
            let invented =
                || NAMES.get(number).map_or_else(|| format!("Name{number}"), |name| (*name).to_owned());
            let name = self
                .names
                .entry(word.to_lowercase())
                .or_insert_with(|| Name { invented: invented(), is_lower: false });
            name.is_lower |= word.starts_with(char::is_lowercase);
        }
    }

    /// What was learned, for people; `None` if it was nothing.
    pub(super) fn summary(&self) -> Option<String> {
        let counts = [
            (self.names.len(), "word of a name", "words of names"),
            (self.emails.len(), "e-mail address", "e-mail addresses"),
            (self.phones.len(), "phone number", "phone numbers"),
        ];
        let said = counts.iter().filter(|(count, ..)| *count > 0);
        let said: Vec<_> = said
            .map(|(count, one, more)| format!("{count} {}", if *count == 1 { one } else { more }))
            .collect();
        (!said.is_empty()).then(|| said.join(", "))
    }

    /// The value with invented data.
    pub(super) fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(entries) => {
                Value::Object(entries.iter().map(|(key, value)| (key.clone(), self.value(value))).collect())
            }
            Value::Number(number) => {
                let phone =
                    Some(number.as_str()).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                let invented = phone.and_then(|text| self.phone(text));
                invented.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(|| value.clone())
            }
            other => other.clone(),
        }
    }

    /// The text with invented data.
    pub(super) fn text(&self, text: &str) -> String {
        let (mut out, mut end) = (String::with_capacity(text.len()), 0);
        for (range, found) in find(text) {
            let original = &text[range.clone()];
            let replaced = match found {
                Found::Email => self.emails.get(&original.to_lowercase()).cloned(),
                Found::Phone => self.phone(original),
                Found::Digits => self.phone(original).or_else(|| Some(self.groups(original))),
            };
            out.push_str(&self.names_in(&text[end..range.start]));
            out.push_str(replaced.as_deref().unwrap_or(original));
            end = range.end;
        }
        out + &self.names_in(&text[end..])
    }

    /// A known phone number with invented digits, in the same form.
    fn phone(&self, text: &str) -> Option<String> {
        let digits = digits_of(text);
        let is_number = PHONE_DIGITS.contains(&digits.len()) || self.phones.contains_key(&digits);
        let invented = self.phones.get(last_digits(&digits)).filter(|_| is_number)?;
        let mut kept = digits.len() - invented.len();
        let mut invented = invented.chars();
        let replace = |c: char| match c.is_ascii_digit() {
            true if kept == 0 => invented.next().unwrap_or(c),
            true => {
                kept -= 1;
                c
            }
            false => c,
        };
        Some(text.chars().map(replace).collect())
    }

    /// Groups of digits that together are no known phone number, each replaced if it is one.
    fn groups(&self, text: &str) -> String {
        let groups = text.split_inclusive(|c: char| !c.is_ascii_digit());
        groups.map(|group| self.phone(group).unwrap_or_else(|| group.to_owned())).collect()
    }

    fn names_in(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let word = &rest[..rest.find(|c| !is_word_part(c)).unwrap_or(rest.len())];
            let after = rest[word.len()..].chars().next().map_or(0, char::len_utf8);
            match self.names.get(&word.to_lowercase()) {
                Some(name) if word.starts_with(char::is_uppercase) && is_upper(word) => {
                    out.push_str(&name.invented.to_uppercase());
                }
                Some(name) if word.starts_with(char::is_uppercase) => out.push_str(&name.invented),
                Some(name) if name.is_lower => out.push_str(&name.invented.to_lowercase()),
                _ => out.push_str(word),
            }
            out.push_str(&rest[word.len()..word.len() + after]);
            rest = &rest[word.len() + after..];
        }
        out
    }

    /// Learns what the platform sent about the call.
    pub(super) fn learn_call(&mut self, call: &CallChanges) {
        for number in [&call.caller, &call.called].into_iter().flatten() {
            self.learn_phone(number);
            self.learn_text(number);
        }
        for value in [&call.metadata, &call.global].into_iter().flatten() {
            self.learn(None, value);
        }
        for (name, value) in call.headers.iter().flatten() {
            self.learn(Some(name), value);
        }
    }

    /// What the platform sent about the call, with invented data.
    pub(super) fn call(&self, call: CallChanges) -> CallChanges {
        let text = |text: Option<String>| text.map(|text| self.text(&text));
        let value = |value: Option<Value>| value.map(|value| self.value(&value));
        let CallChanges { id, conversation, caller, called, metadata, global, headers } = call;
        let headers = headers
            .map(|headers| headers.into_iter().map(|(name, header)| (name, self.value(&header))).collect());
        CallChanges {
            id: text(id),
            conversation: text(conversation),
            caller: text(caller),
            called: text(called),
            metadata: value(metadata),
            global: value(global),
            headers,
        }
    }
}

fn digits_of(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn last_digits(digits: &str) -> &str {
    &digits[digits.len().saturating_sub(INVENTED_DIGITS)..]
}

fn is_upper(word: &str) -> bool {
    word.chars().nth(1).is_some() && !word.contains(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_data_becomes_equal_invented_data() {
        let real = json!({
            "customer": {"firstName": "Kari", "last_name": "Nordmann", "e-mail": "Kari.Nordmann@firma.no"},
            "contact": "Ola Nordmann",
            "phone": "+47 912 34 567",
            "mobile": 91234567,
            "note": "KARI (91234567, kari.nordmann@firma.no) called from +47-912-34-567; Ola will, kari won't.",
            "us": "(212) 868-4321", "more": "912 34 567, 7 912-34-567, 12 91234567",
            "order": "91230000", "at": "2026-09-21T14:30:00+02:00", "price": 12345678.5,
            "product_name": "Coffee Maker", "name": "the lamp",
        });
        let mut invented = Invented::default();
        invented.learn(None, &real);
        assert_eq!(
            invented.value(&real),
            json!({
                "customer": {"firstName": "Robin", "last_name": "Bergdal", "e-mail": "person1@example.com"},
                "contact": "Kim Bergdal",
                "phone": "+47 955 50 001",
                "mobile": 95550001,
                "note": "ROBIN (95550001, person1@example.com) called from +47-955-50-001; Kim will, kari won't.",
                "us": "(212) 555-0002", "more": "955 50 001, 7 955-50-001, 12 95550001",
                "order": "91230000", "at": "2026-09-21T14:30:00+02:00", "price": 12345678.5,
                "product_name": "Coffee Maker", "name": "the lamp",
            })
        );
        assert_eq!(invented.summary().unwrap(), "3 words of names, 1 e-mail address, 2 phone numbers");
        assert_eq!(Invented::default().summary(), None);
        assert_eq!(Invented::default().text("Kari, +47 912 34 567"), "Kari, +47 912 34 567");
    }

    #[test]
    fn names_in_lower_case_and_many_names_are_replaced() {
        let mut invented = Invented::default();
        let names: Vec<String> = (0..20).map(|n| format!("N{}", char::from(b'a' + n))).collect();
        invented.learn(Some("surname"), &json!("åse"));
        invented.learn(Some("names"), &json!(names));
        assert_eq!(invented.text("åse Åse ÅSE Nt Åsen"), "robin Robin ROBIN Name20 Åsen");
    }
}
