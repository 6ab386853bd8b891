//! A JSON document over its bytes: checked once, indexed once, decoded only where somebody asks.
//!
//! [`Document::parse`] accepts and refuses exactly what `serde_json` does, but builds no tree: one flat list of
//! 16-byte entries says where each value is. Numbers keep their text. It knows no route, template or path.

mod index;
mod node;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use self::node::{Entries, Items, Kind, Node};

use self::index::Entry;

/// A JSON text and where its values are. Cloning copies the index: share a document by reference count.
#[derive(Debug, Clone)]
pub struct Document {
    bytes: Bytes,
    /// The values in the order of the text, each followed by what is in it. Never empty, and at most one entry
    /// of 16 bytes for two bytes of text, and one more.
    index: Vec<Entry>,
}

impl Document {
    /// Checks and indexes a JSON text.
    ///
    /// # Errors
    /// The error of `serde_json`, when the text is not JSON, nests deeper than 127 levels, or has a number beyond
    /// the range of a double.
    pub fn parse(bytes: Bytes) -> Result<Self, serde_json::Error> {
        match index::build(&bytes) {
            Some(index) => Ok(Self { bytes, index }),
            None => Err(explain(&bytes)),
        }
    }

    /// The outermost value.
    pub fn root(&self) -> Node<'_> {
        Node::new(self, 0)
    }

    /// The text that was parsed.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
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
