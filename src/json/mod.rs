//! JSON that is read where it is: documents over their bytes, and values that may be part of one.
//!
//! [`Document::parse`] accepts and refuses exactly what `serde_json` does, but builds no tree: one flat list of
//! 16-byte entries says where each value is. Numbers keep their text. A [`ValueRef`] reads a value of a document and
//! a value of a tree alike; a [`SharedValue`] keeps one.

mod index;
mod keys;
mod lookup;
mod node;
mod scan;
mod shared;
#[cfg(test)]
mod tests;
mod value;
mod write;

use std::sync::OnceLock;

use bytes::Bytes;
use bytestring::ByteString;

pub use self::node::{Kind, Node};
pub use self::shared::{SharedValue, bytes_of};
pub use self::value::{Entries, Items, ValueRef, to_map};
pub use self::write::{ObjectWriter, push_escaped, push_string, push_value};

use self::index::Entry;
use self::lookup::Lookup;

/// A JSON text and where its values are. Cloning copies the index: share a document by reference count.
#[derive(Debug, Clone)]
pub struct Document {
    text: ByteString,
    /// The values in the order of the text, each followed by what is in it. Never empty, and at most one entry
    /// of 16 bytes for two bytes of text, and one more.
    index: Vec<Entry>,
    /// Made when a part of a large list or object is looked up for the first time.
    lookup: OnceLock<Lookup>,
}

impl Document {
    /// Checks and indexes a JSON text.
    ///
    /// # Errors
    /// The error of `serde_json`, when the text is not JSON, nests deeper than 127 levels, or has a number beyond
    /// the range of a double.
    pub fn parse(bytes: Bytes) -> Result<Self, serde_json::Error> {
        // All text at once is checked faster than each string alone.
        let Ok(text) = ByteString::try_from(bytes.clone()) else { return Err(explain(&bytes)) };
        match index::build(&text) {
            Some(index) => Ok(Self { text, index, lookup: OnceLock::new() }),
            None => Err(explain(&bytes)),
        }
    }

    /// The outermost value.
    pub fn root(&self) -> Node<'_> {
        Node::new(self, 0)
    }

    /// The text that was parsed.
    pub fn bytes(&self) -> &Bytes {
        self.text.as_bytes()
    }

    fn lookup(&self) -> &Lookup {
        self.lookup.get_or_init(|| Lookup::of(self.text.as_ref(), &self.index))
    }

    /// How many bytes of memory the index takes, beside the text.
    pub fn index_bytes(&self) -> usize {
        self.index.capacity() * size_of::<Entry>()
    }
}

/// Says what is wrong with a text that was refused. Only this slow path reads the text again.
fn explain(bytes: &[u8]) -> serde_json::Error {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Err(error) => error,
        Ok(_) => serde::de::Error::custom("the text is too large to be indexed"),
    }
}
