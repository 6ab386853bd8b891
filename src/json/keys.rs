//! Repeated keys of an object. They are detected while the index is built, at almost no cost for objects without any.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::index::{Builder, Entry, Tag, text_of};
use super::scan::word_at;

/// The number of keys of an object that may share a bit with an earlier one and are compared immediately. With more, all
/// keys are compared once, when the object ends.
const FEW_SHARED: u32 = 8;

impl Builder<'_> {
    /// Records the key that was just read, whose text is between `start` and `end`, in its object.
    #[inline]
    pub(super) fn note_key(&mut self, start: usize, end: usize, tag: Tag) {
        let bit = 1 << key_bit(self.bytes(), start, end);
        let is_shared = self.current.keys & bit != 0;
        self.current.keys |= bit;
        if is_shared || tag == Tag::Escaped {
            self.compare_key(tag);
        }
    }

    /// Compares the last key, which may equal an earlier one, with all earlier keys. In an object with many such keys,
    /// the comparison is deferred until the object ends.
    #[cold]
    fn compare_key(&mut self, tag: Tag) {
        let Some(&key) = self.index.last() else { return };
        self.current.shared += 1;
        // The bit comes from the raw text. A key with escapes may equal a later key with another bit, so only the
        // comparison at the end of the object finds every repeat.
        let is_deferred = tag == Tag::Escaped || self.current.shared > FEW_SHARED;
        // `keys` does not return the last key, because it has no value yet.
        let repeats = is_deferred
            || self
                .keys(self.current.entry as usize)
                .any(|known| is_same_text(self.bytes(), self.index[known], key));
        self.current.may_repeat |= repeats;
    }

    /// Drops repeated keys. As in `serde_json`, the last value wins and takes the position of the first.
    pub(super) fn drop_repeated_keys(&mut self, object: usize) {
        let keys: Vec<usize> = self.keys(object).collect();
        if !self.has_repeated(&keys) {
            return;
        }
        let mut kept: Vec<usize> = Vec::new();
        let mut places: HashMap<Cow<'_, [u8]>, usize> = HashMap::new();
        for &key in &keys {
            let place = *places.entry(self.key_text(key)).or_insert(kept.len());
            match kept.get_mut(place) {
                Some(earlier) => *earlier = key,
                None => kept.push(key),
            }
        }
        let mut entries = Vec::new();
        for key in kept {
            entries.extend_from_slice(&self.index[key..=key + self.index[key + 1].size as usize]);
        }
        self.index.truncate(object + 1);
        self.index.append(&mut entries);
    }

    /// The positions of an object's keys in the index, in order.
    fn keys(&self, object: usize) -> impl Iterator<Item = usize> {
        let mut next = object + 1;
        std::iter::from_fn(move || {
            let (key, value) = (next, self.index.get(next + 1)?);
            next += 1 + value.size as usize;
            Some(key)
        })
    }

    fn key_text(&self, key: usize) -> Cow<'_, [u8]> {
        text_of(self.bytes(), self.index[key])
    }

    fn has_repeated(&self, keys: &[usize]) -> bool {
        let mut seen = HashSet::with_capacity(keys.len());
        !keys.iter().all(|key| seen.insert(self.key_text(*key)))
    }
}

fn is_same_text(bytes: &[u8], one: Entry, other: Entry) -> bool {
    let length = |entry: Entry| entry.end - entry.start;
    let may_match = one.tag == Tag::Escaped || other.tag == Tag::Escaped || length(one) == length(other);
    may_match && text_of(bytes, one) == text_of(bytes, other)
}

/// A hash below 64 of a key's text: of its last eight bytes and its length.
#[inline]
fn key_bit(bytes: &[u8], start: usize, end: usize) -> u64 {
    let length = end - start;
    let last = match end.checked_sub(8).and_then(|last| word_at(bytes, last)) {
        // Shift out the bytes before a short key.
        Some(word) if length > 0 => word >> (64 - 8 * length.min(8)),
        _ => first_word(bytes.get(start..end).unwrap_or_default()),
    };
    (last ^ length as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58
}

/// [`key_bit`]'s word for an empty key, or a key that ends before the eighth byte of the text: its bytes, the first one
/// lowest.
#[cold]
fn first_word(text: &[u8]) -> u64 {
    text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}
