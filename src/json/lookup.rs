//! Finding a part of a large list or object without passing all that is before it.

use std::collections::HashMap;

use super::index::{Entry, Tag, text_of};

/// Up to so many parts of a list or an object are passed one by one.
pub(super) const FEW: usize = 32;

/// The parts of the lists and objects of a document that have more than [`FEW`].
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup(HashMap<usize, Vec<u32>>);

impl Lookup {
    pub(super) fn of(bytes: &[u8], index: &[Entry]) -> Self {
        let mut large = HashMap::new();
        // What has few entries in it has few parts.
        for (at, entry) in index.iter().enumerate().filter(|(_, entry)| entry.size as usize > FEW) {
            let parts = match entry.tag {
                Tag::List => places(index, at, 0),
                Tag::Object => places(index, at, 1),
                _ => continue,
            };
            if parts.len() > FEW {
                large.insert(at, parts);
            }
        }
        for (at, keys) in &mut large {
            if index[*at].tag == Tag::Object {
                keys.sort_by(|one, other| key(bytes, index, *one).cmp(&key(bytes, index, *other)));
            }
        }
        Self(large)
    }

    /// How many parts a large list or object has.
    pub(super) fn len(&self, at: usize) -> Option<usize> {
        self.0.get(&at).map(Vec::len)
    }

    /// The place of an item of a large list.
    pub(super) fn item(&self, at: usize, item: usize) -> Option<usize> {
        self.0.get(&at)?.get(item).map(|place| *place as usize)
    }

    /// The place of a key of a large object.
    pub(super) fn key(&self, bytes: &[u8], index: &[Entry], at: usize, name: &str) -> Option<usize> {
        let keys = self.0.get(&at)?;
        let found = keys.binary_search_by(|place| key(bytes, index, *place).as_ref().cmp(name.as_bytes()));
        keys.get(found.ok()?).map(|place| *place as usize)
    }
}

fn key<'b>(bytes: &'b [u8], index: &[Entry], place: u32) -> std::borrow::Cow<'b, [u8]> {
    text_of(bytes, index[place as usize])
}

/// The places of the items of a list, or of the keys of an object, each of which takes one entry before its value.
fn places(index: &[Entry], at: usize, keys: usize) -> Vec<u32> {
    let end = at + index[at].size as usize;
    let mut places = Vec::new();
    let mut next = at + 1;
    while next < end {
        // An index has fewer entries than its text has bytes, and those are counted in 32 bits.
        places.push(u32::try_from(next).unwrap_or(u32::MAX));
        next += keys;
        next += index[next].size as usize;
    }
    places
}
