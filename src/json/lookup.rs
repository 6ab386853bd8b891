//! Finds an item of a large array or an entry of a large object without scanning the ones before it.

use std::collections::HashMap;

use super::index::{Entry, Tag, text_of};

/// Up to this many items or entries are scanned one by one.
pub(super) const FEW: usize = 32;

/// The index positions of the items or keys of each array or object in a document that has more than [`FEW`]. Keys are
/// sorted by their text.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup(HashMap<usize, Vec<u32>>);

impl Lookup {
    pub(super) fn of(bytes: &[u8], index: &[Entry]) -> Self {
        let mut large = HashMap::new();
        // A value with few nested entries has few items or keys.
        for (at, entry) in index.iter().enumerate().filter(|(_, entry)| entry.size as usize > FEW) {
            let parts = match entry.tag {
                Tag::Array => places(index, at, 0),
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

    /// The number of items or entries of a large array or object.
    pub(super) fn len(&self, at: usize) -> Option<usize> {
        self.0.get(&at).map(Vec::len)
    }

    /// The index position of an item of a large array.
    pub(super) fn item(&self, at: usize, item: usize) -> Option<usize> {
        self.0.get(&at)?.get(item).map(|place| *place as usize)
    }

    /// The index position of a key of a large object.
    pub(super) fn key(&self, bytes: &[u8], index: &[Entry], at: usize, name: &str) -> Option<usize> {
        let keys = self.0.get(&at)?;
        let found = keys.binary_search_by(|place| key(bytes, index, *place).as_ref().cmp(name.as_bytes()));
        keys.get(found.ok()?).map(|place| *place as usize)
    }
}

fn key<'b>(bytes: &'b [u8], index: &[Entry], place: u32) -> std::borrow::Cow<'b, [u8]> {
    text_of(bytes, index[place as usize])
}

/// The index positions of an array's items (`keys` is 0), or of an object's keys (`keys` is 1: each key is one entry
/// before its value).
fn places(index: &[Entry], at: usize, keys: usize) -> Vec<u32> {
    let end = at + index[at].size as usize;
    let mut places = Vec::new();
    let mut next = at + 1;
    while next < end {
        // Cannot overflow: an index has no more entries than its text has bytes, and that number fits into 32 bits.
        places.push(u32::try_from(next).unwrap_or(u32::MAX));
        next += keys;
        next += index[next].size as usize;
    }
    places
}
