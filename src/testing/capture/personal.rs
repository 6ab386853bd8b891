//! Finds personal data: by the keys of values, and by its form in texts.

use std::ops::Range;

/// What a key says about its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyMeaning {
    Phone,
    /// The name of a person, or of something else.
    Name,
    /// The name of a person.
    PersonalName,
    Other,
}

/// Something in a text that may be personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Email,
    /// A number in the form of a phone number.
    Phone,
    /// Groups of digits, which are a phone number if it is known from elsewhere.
    Digits,
}

const PHONES: [&str; 10] =
    ["phone", "phones", "telephone", "tel", "mobile", "cell", "msisdn", "fax", "whatsapp", "sms"];

const PERSONS: [&str; 20] = [
    "customer",
    "client",
    "contact",
    "owner",
    "patient",
    "guest",
    "attendee",
    "assignee",
    "driver",
    "agent",
    "doctor",
    "person",
    "author",
    "recipient",
    "sender",
    "employee",
    "resident",
    "member",
    "caller",
    "user",
];

const PERSONAL_NAMES: [&str; 9] = [
    "firstname",
    "lastname",
    "fullname",
    "surname",
    "givenname",
    "familyname",
    "middlename",
    "nickname",
    "username",
];

/// Words before `name` that say that it is a person's.
const OF_A_PERSON: [&str; 8] = ["first", "last", "full", "given", "family", "middle", "nick", "maiden"];

/// Words before `name` that say that it is not a person's.
const OF_A_THING: [&str; 16] = [
    "product", "file", "host", "domain", "company", "event", "type", "city", "street", "country", "service",
    "brand", "model", "field", "function", "item",
];

/// What a key such as `firstName` or `customer_phone` says about its value.
pub(super) fn meaning_of(key: &str) -> KeyMeaning {
    let words = words_of(key);
    let Some((last, before)) = words.split_last() else { return KeyMeaning::Other };
    let has = |list: &[&str]| before.iter().any(|word| list.contains(&word.as_str()));
    let last = last.as_str();
    if PHONES.contains(&last) || has(&PHONES) && matches!(last, "number" | "no" | "nr") {
        return KeyMeaning::Phone;
    }
    match last {
        "name" | "names" if has(&OF_A_PERSON) || has(&PERSONS) => KeyMeaning::PersonalName,
        "name" | "names" if has(&OF_A_THING) => KeyMeaning::Other,
        "name" | "names" => KeyMeaning::Name,
        last if PERSONAL_NAMES.contains(&last) => KeyMeaning::PersonalName,
        last if PERSONS.contains(&last) => KeyMeaning::Name,
        _ => KeyMeaning::Other,
    }
}

/// The words of a key, in lower case.
fn words_of(key: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = None;
    for character in key.chars() {
        let begins = before.is_none_or(|before: char| !before.is_alphanumeric())
            || character.is_uppercase() && before.is_some_and(char::is_lowercase);
        if character.is_alphanumeric() {
            if begins {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(character.to_lowercase());
            }
        }
        before = Some(character);
    }
    words
}

/// Whether a character is a part of a word of a name.
pub(super) fn is_word_part(character: char) -> bool {
    character.is_alphanumeric()
}

/// The e-mail addresses and numbers of a text, in their order.
pub(super) fn find(text: &str) -> Vec<(Range<usize>, Found)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        if let Some(end) = email_end(text, at) {
            found.push((at..end, Found::Email));
            at = end;
        } else if let Some((end, kind)) = number_end(text, at) {
            found.push((at..end, kind));
            at = end;
        } else if is_address_part(character) {
            // The rest of this word is no address, and no number begins inside of it.
            let rest = &text[at..];
            at += rest.find(|c| !is_address_part(c)).unwrap_or(rest.len());
        } else {
            at += character.len_utf8();
        }
    }
    found
}

fn is_address_part(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '.' | '_' | '%' | '-' | '@')
}

/// The end of the e-mail address that begins at `start`.
fn email_end(text: &str, start: usize) -> Option<usize> {
    let rest = &text[start..];
    let is_part = |c: char| is_address_part(c) || c == '+';
    let word = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
    let word = word.trim_end_matches(['.', '-', '_', '%', '+']);
    let (local, domain) = word.split_once('@')?;
    let is_domain = domain.contains('.') && !domain.contains(['@', '%', '+']) && !domain.starts_with('.');
    (is_domain && !local.is_empty()).then_some(start + word.len())
}

/// The end of the number that begins at `start`, and what it may be.
fn number_end(text: &str, start: usize) -> Option<(usize, Found)> {
    let rest = &text[start..];
    let is_part = |c: char| c.is_ascii_digit() || "+-./() ".contains(c);
    if !rest.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '(') {
        return None;
    }
    let plain = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
    let whole = rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())]
        .trim_end_matches(|c: char| !c.is_ascii_digit());
    let digits = whole.chars().filter(char::is_ascii_digit).count();
    let ends_in_word = |end: usize| rest[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let groups: Vec<usize> =
        whole.split(|c: char| !c.is_ascii_digit()).map(str::len).filter(|length| *length > 0).collect();
    let is_phone = match whole.as_bytes() {
        [b'+', ..] => (8..=15).contains(&digits) && whole.matches('+').count() == 1,
        // As in `(212) 555-0199`.
        _ => groups == [3, 3, 4] && whole.contains(['-', ')', '.']),
    };
    if is_phone && !ends_in_word(whole.len()) {
        return Some((start + whole.len(), Found::Phone));
    }
    let end = if ends_in_word(whole.len()) { plain.len() } else { whole.len() };
    (!plain.is_empty() && !ends_in_word(end)).then_some((start + end, Found::Digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_say_what_their_values_are() {
        for (key, expected) in [
            ("phone", KeyMeaning::Phone),
            ("customerPhone", KeyMeaning::Phone),
            ("phone_number", KeyMeaning::Phone),
            ("Tel", KeyMeaning::Phone),
            ("hotel", KeyMeaning::Other),
            ("order_number", KeyMeaning::Other),
            ("name", KeyMeaning::Name),
            ("contact", KeyMeaning::Name),
            ("lastName", KeyMeaning::PersonalName),
            ("customer_name", KeyMeaning::PersonalName),
            ("surname", KeyMeaning::PersonalName),
            ("product-name", KeyMeaning::Other),
            ("fileName", KeyMeaning::Other),
            ("", KeyMeaning::Other),
        ] {
            assert_eq!(meaning_of(key), expected, "{key}");
        }
    }

    #[test]
    fn addresses_and_numbers_are_found_in_texts() {
        for (text, expected) in [
            ("a.b+c@example.co.uk, x", vec![("a.b+c@example.co.uk", Found::Email)]),
            ("<ø@b.no>.", vec![("ø@b.no", Found::Email)]),
            ("a@b @c.d a@@b.c", vec![]),
            ("+47 912 34 567.", vec![("+47 912 34 567", Found::Phone)]),
            (
                "(212) 555-0199 or 212-555-0199",
                vec![("(212) 555-0199", Found::Phone), ("212-555-0199", Found::Phone)],
            ),
            ("tel:91234567!", vec![("91234567", Found::Digits)]),
            ("on 912 34 567 or 8 times", vec![("912 34 567", Found::Digits), ("8", Found::Digits)]),
            ("2026-09-21T10", vec![("2026", Found::Digits)]),
            ("id91234567 7a", vec![]),
            ("+12", vec![("12", Found::Digits)]),
        ] {
            let found: Vec<_> = find(text).into_iter().map(|(range, kind)| (&text[range], kind)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
