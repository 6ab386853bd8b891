//! Masks: the texts to hide in everything that shows a call.
//!
//! The sensitive values of a call are chosen by its caller, so the cost of hiding is in proportion to them and to the
//! text, however many and however alike they are.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::HIDDEN;
use super::stars::{Stars, push_shown};
use crate::percent;

/// A text shorter than this is hidden only as a whole word. Inside other words it is a coincidence.
const LONG: usize = 4;

/// Up to this many spellings are searched one by one, and more of them with an automaton.
const FEW: usize = 16;

/// The most spellings that are searched for, and their most bytes together. With more than that, everything is hidden.
const MAX_SPELLINGS: usize = 50_000;
const MAX_BYTES: usize = 1024 * 1024;

/// How many places are found in a text at most for each of its bytes. In a text with more, everything is hidden.
const MAX_FOUND: usize = 16;

/// Texts to hide in everything that shows a record: secrets of the table and sensitive arguments. Cheap to clone.
#[derive(Clone, Default)]
pub struct Masks {
    own: Arc<Spellings>,
    /// Those of other masks, which are shared with them.
    others: Vec<Arc<Spellings>>,
}

/// The spellings of texts to hide, and how they are searched for.
#[derive(Default)]
struct Spellings {
    /// Each spelling, and whether its text was shorter than [`LONG`] before it was encoded.
    is_short: HashMap<String, bool>,
    bytes: usize,
    /// Whether there are too many, so that everything is hidden.
    are_too_many: bool,
    search: OnceLock<Search>,
}

/// How spellings are searched for.
enum Search {
    OneByOne,
    Together {
        automaton: AhoCorasick,
        are_short: Vec<bool>,
    },
    /// They are too many, so that every text is hidden.
    Everything,
}

impl Masks {
    /// Adds a text to hide: as it is, and as it is encoded in URLs, JSON strings and XML.
    pub fn add(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if Arc::get_mut(&mut self.own).is_none() {
            self.others.push(std::mem::take(&mut self.own));
        }
        if let Some(own) = Arc::get_mut(&mut self.own) {
            own.add(text);
        }
    }

    /// Adds all texts of `other`.
    pub fn extend(&mut self, other: &Self) {
        let more = other.all().filter(|spellings| !spellings.is_empty()).cloned();
        self.others.extend(more);
    }

    /// `text` as it is shown to people: every text to hide is replaced by [`HIDDEN`], and stars that are part of the text
    /// are escaped, so that no text can look hidden. [`unescape_stars`](super::unescape_stars) is the reverse. The text
    /// must not have been shown before.
    pub fn show(&self, text: &str) -> String {
        self.hide_by(text, |_| true, Stars::Escaped)
    }

    /// `value` as it is shown to people, like [`Self::show`]. Numbers and other scalars that equal a text to hide are
    /// hidden, too.
    pub fn show_value(&self, value: &Value) -> Value {
        self.value(value, Stars::Escaped)
    }

    /// `text` with every text to hide replaced by [`HIDDEN`] and all else as it is: for data that goes on, and for
    /// comparisons.
    pub fn hide(&self, text: &str) -> String {
        self.hide_by(text, |_| true, Stars::Kept)
    }

    /// Like [`Self::hide`] for all texts, numbers and other scalars of a value.
    pub fn hide_value(&self, value: &Value) -> Value {
        if self.all().all(|spellings| spellings.is_empty()) {
            value.clone()
        } else {
            self.value(value, Stars::Kept)
        }
    }

    fn value(&self, value: &Value, stars: Stars) -> Value {
        match value {
            Value::String(text) => Value::String(self.hide_by(text, |_| true, stars)),
            Value::Array(items) => items.iter().map(|item| self.value(item, stars)).collect(),
            Value::Object(entries) => {
                let entries = entries.iter();
                Value::Object(
                    entries.map(|(key, value)| (self.key(key, stars), self.value(value, stars))).collect(),
                )
            }
            scalar if self.is_hidden_whole(&scalar.to_string()) => Value::from(HIDDEN),
            scalar => scalar.clone(),
        }
    }

    /// Hides texts in the key of an object. A short text is hidden only if it is the whole key.
    fn key(&self, key: &str, stars: Stars) -> String {
        if self.is_hidden_whole(key) {
            HIDDEN.to_owned()
        } else {
            self.hide_by(key, |is_short| !is_short, stars)
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Spellings>> {
        std::iter::once(&self.own).chain(&self.others)
    }

    fn is_hidden_whole(&self, text: &str) -> bool {
        self.all().any(|spellings| spellings.are_too_many || spellings.is_short.contains_key(text))
    }

    /// Hides the texts that `is_meant` selects by whether they are short.
    fn hide_by(&self, text: &str, is_meant: impl Fn(bool) -> bool, stars: Stars) -> String {
        let mut places = Vec::new();
        for spellings in self.all().filter(|spellings| !spellings.is_empty()) {
            if !spellings.find(text, &is_meant, &mut places) {
                return HIDDEN.to_owned();
            }
        }
        replaced(text, places, stars)
    }
}

impl Spellings {
    fn is_empty(&self) -> bool {
        self.is_short.is_empty() && !self.are_too_many
    }

    fn add(&mut self, text: &str) {
        if self.are_too_many {
            return;
        }
        self.search.take();
        let is_short = text.chars().nth(LONG - 1).is_none();
        self.put(text.to_owned(), is_short);
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            // Every encoding leaves it as it is.
            return;
        }
        let json = Value::from(text).to_string();
        let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        for encoded in [
            percent::encode(text).to_string(),
            utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
            json[1..json.len() - 1].to_owned(),
            form,
            in_xml(text),
        ] {
            self.put(encoded, is_short);
        }
    }

    fn put(&mut self, spelling: String, is_short: bool) {
        let length = spelling.len();
        match self.is_short.entry(spelling) {
            std::collections::hash_map::Entry::Occupied(mut known) => *known.get_mut() &= is_short,
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(is_short);
                self.bytes += length;
            }
        }
        let count = self.is_short.len();
        if count > MAX_SPELLINGS || count > FEW && self.bytes > MAX_BYTES {
            *self = Self { are_too_many: true, ..Self::default() };
        }
    }

    fn search(&self) -> &Search {
        self.search.get_or_init(|| {
            if self.are_too_many {
                return Search::Everything;
            }
            if self.is_short.len() <= FEW {
                return Search::OneByOne;
            }
            let (spellings, are_short): (Vec<&String>, Vec<bool>) = self.is_short.iter().unzip();
            let kind = Some(AhoCorasickKind::NoncontiguousNFA);
            match AhoCorasick::builder().kind(kind).build(spellings) {
                Ok(automaton) => Search::Together { automaton, are_short },
                Err(_) => Search::Everything,
            }
        })
    }

    /// Adds the places in `text` of the spellings that `is_meant` selects. Returns false if they are too many.
    fn find(&self, text: &str, is_meant: &impl Fn(bool) -> bool, places: &mut Vec<Range<usize>>) -> bool {
        let most = text.len() * MAX_FOUND;
        let mut add = |place: Range<usize>, is_short: bool| {
            let is_known =
                places.last().is_some_and(|last| last.start <= place.start && place.end <= last.end);
            if !is_known && is_meant(is_short) && !(is_short && is_in_word(text, &place)) {
                places.push(with_stars(text, place));
            }
            places.len() <= most
        };
        match self.search() {
            Search::Everything => false,
            Search::OneByOne => self
                .is_short
                .iter()
                .all(|(spelling, is_short)| occurrences(text, spelling).all(|place| add(place, *is_short))),
            Search::Together { automaton, are_short } => {
                let mut steps = 0;
                automaton.find_overlapping_iter(text).all(|found| {
                    steps += 1;
                    let is_short =
                        are_short.get(found.pattern().as_usize()).is_some_and(|is_short| *is_short);
                    add(found.range(), is_short) && steps <= most
                })
            }
        }
    }
}

/// The places of `spelling` in `text`. They may overlap only if an earlier one turns out to be inside a word.
fn occurrences<'t>(text: &'t str, spelling: &'t str) -> impl Iterator<Item = Range<usize>> + 't {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + text.get(from..)?.find(spelling)?;
        let end = at + spelling.len();
        // A place inside a word may overlap the next one.
        let next = text[at..].chars().next().map_or(1, char::len_utf8);
        from = if is_in_word(text, &(at..end)) { at + next } else { end };
        Some(at..end)
    })
}

/// The text with these places replaced by [`HIDDEN`]. Places that overlap are one.
fn replaced(text: &str, mut places: Vec<Range<usize>>, stars: Stars) -> String {
    places.sort_unstable_by_key(|place| place.start);
    let mut hidden = String::with_capacity(text.len());
    let mut end = 0;
    for place in places {
        if place.start < end {
            end = end.max(place.end);
            continue;
        }
        push_shown(&mut hidden, text, end..place.start, stars);
        hidden.push_str(HIDDEN);
        end = place.end;
    }
    push_shown(&mut hidden, text, end..text.len(), stars);
    hidden
}

/// The place, with all stars around it if it holds nothing else. What is hidden already is hidden once, so that it does
/// not tell that a secret consists of stars.
fn with_stars(text: &str, place: Range<usize>) -> Range<usize> {
    if !text[place.clone()].bytes().all(|byte| byte == b'*') {
        return place;
    }
    let before = text[..place.start].trim_end_matches('*').len();
    before..text.len() - text[place.end..].trim_start_matches('*').len()
}

fn in_xml(text: &str) -> String {
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
    xml
}

/// Whether a place is only a part of a word.
fn is_in_word(text: &str, place: &Range<usize>) -> bool {
    ends_in_word(&text[..place.start]) || text[place.end..].starts_with(is_word_character)
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

impl std::fmt::Debug for Masks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} masks", self.all().map(|spellings| spellings.is_short.len()).sum::<usize>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

    #[test]
    fn overlapping_texts_leave_nothing_visible() {
        let mut masks = Masks::default();
        masks.add("abcde");
        masks.add("defgh");
        assert_eq!(masks.hide("xabcdefghx abcde defgh abcdedefgh"), "x***x *** *** ******");
    }

    #[test]
    fn a_secret_of_stars_does_not_show_itself() {
        let mut masks = Masks::default();
        masks.add("*");
        masks.add("secret");
        assert_eq!(masks.hide("***"), "***");
        assert_eq!(masks.hide("a secret * and **"), "a *** *** and ***");
        assert_eq!(masks.hide_value(&json!(["*", "***", "secret"])), json!(["***", "***", "***"]));
    }

    #[test]
    fn many_texts_are_hidden_as_few_are() {
        let mut masks = Masks::default();
        (0..20_000).for_each(|number| masks.add(&format!("value-{number:06}")));
        masks.add("t");
        assert_eq!(masks.hide("value-000000 value-019999,value-020000 t at"), "*** ***,value-020000 *** at");
        let mut more = masks.clone();
        more.add("another one");
        assert_eq!(more.hide("value-000007 another%20one"), "*** ***");
        assert_eq!(masks.hide("value-000007 another%20one"), "*** another%20one");
    }

    #[test]
    fn too_many_texts_hide_everything() {
        let mut masks = Masks::default();
        (0..=MAX_SPELLINGS).for_each(|number| masks.add(&format!("v{number}")));
        assert_eq!(masks.hide("harmless"), HIDDEN);
        assert_eq!(masks.hide_value(&json!({"a": 1})), json!({"***": "***"}));
        // Texts that are found at every byte many times over.
        let mut masks = Masks::default();
        (1..100).for_each(|length| masks.add(&"a".repeat(LONG + length)));
        assert_eq!(masks.hide(&"a".repeat(100_000)), HIDDEN);
        assert_eq!(masks.hide("baaaaaac"), "b***c");
    }
}
