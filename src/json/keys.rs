//! Keys that an object has more than once: noticed while its index is built, at next to no cost for one that has none.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::index::{Builder, Tag, text_of};

/// Up to so many keys are compared with a new one that may be a repeat; of more, all are looked at when the object ends.
const FEW_KEYS: usize = 32;

impl Builder<'_> {
    /// Notes the key that was just read among those of its object.
    pub(super) fn note_key(&mut self) {
        let (Some(open), Some(&key)) = (self.open.last_mut(), self.index.last()) else { return };
        let quoted = self.bytes.get(key.start as usize..key.end as usize).unwrap_or_default();
        let bit = 1 << (mixed(quoted) % 128);
        let is_shared = open.keys & bit != 0;
        // How it is written says little of a key with escapes.
        open.may_repeat |= key.tag == Tag::Escaped || is_shared && open.count > FEW_KEYS;
        open.keys |= bit;
        open.count += 1;
        // Different keys may share a bit: of a few, those before it tell.
        if is_shared && !open.may_repeat {
            let entry = open.entry;
            // The key itself has no value yet, and is not among them.
            let repeats = self.keys(entry).any(|known| self.key_text(known) == text_of(self.bytes, key));
            if let Some(open) = self.open.last_mut() {
                open.may_repeat = repeats;
            }
        }
    }

    /// Of a key that is there more than once, the last value counts, in the place of the first.
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

    /// The entries of an object's keys, in their order.
    fn keys(&self, object: usize) -> impl Iterator<Item = usize> {
        let mut next = object + 1;
        std::iter::from_fn(move || {
            let (key, value) = (next, self.index.get(next + 1)?);
            next += 1 + value.size as usize;
            Some(key)
        })
    }

    fn key_text(&self, key: usize) -> Cow<'_, [u8]> {
        text_of(self.bytes, self.index[key])
    }

    fn has_repeated(&self, keys: &[usize]) -> bool {
        let mut seen = HashSet::with_capacity(keys.len());
        !keys.iter().all(|key| seen.insert(self.key_text(*key)))
    }
}

/// A number that differs for most keys, which are given with their quotes.
fn mixed(quoted: &[u8]) -> usize {
    let at = |place: usize| usize::from(quoted.get(place).copied().unwrap_or_default());
    let length = quoted.len();
    length * 37 + at(1) * 101 + at(length / 2) * 11 + at(length.saturating_sub(2)) * 3
}
