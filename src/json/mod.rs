//! Reads JSON in place: documents over their bytes, and values that may be part of a document.
//!
//! [`Document::parse`] accepts and rejects exactly what `serde_json` does, but builds no tree: a flat index of 16-byte
//! entries holds the position of each value. Numbers keep their text. A [`ValueRef`] borrows a value of a document or
//! of a tree; a [`SharedValue`] owns one.

mod index;
mod keys;
mod lookup;
mod members;
mod node;
mod scan;
mod shared;
mod strings;
#[cfg(test)]
mod tests;
mod text;
mod value;
mod write;

use std::sync::OnceLock;

use bytes::Bytes;
use bytestring::ByteString;

pub(crate) use self::index::MAX_DEPTH;
pub use self::members::Members;
pub use self::node::{Kind, Node};
pub use self::shared::{SharedValue, bytes_of};
pub use self::text::JsonText;
pub use self::value::{Entries, Items, ValueRef, is_deeper, to_map};
pub use self::write::{ObjectWriter, escape_from, push_escaped, push_string, push_value};

use self::index::Entry;
use self::lookup::Lookup;

/// A JSON text and the index of its values. Cloning copies the index: share a document in an `Arc`.
#[derive(Debug, Clone)]
pub struct Document {
    text: ByteString,
    /// The values in text order, each followed by its nested values. Never empty. Has at most one entry per two bytes
    /// of text, plus one.
    ///
    /// Built by [`Document::parse`], and again at the first use of a document that gave its index up.
    index: OnceLock<Vec<Entry>>,
    /// Built at the first lookup in a large array or object.
    lookup: OnceLock<Lookup>,
}

impl Document {
    /// Checks and indexes a JSON text.
    ///
    /// # Errors
    /// The error of `serde_json` if the text is not JSON, nests deeper than 127 levels, or has a number outside the
    /// range of a double.
    pub fn parse(bytes: Bytes) -> Result<Self, serde_json::Error> {
        // Checking UTF-8 for the whole text is faster than for each string.
        let Ok(text) = ByteString::try_from(bytes.clone()) else { return Err(explain(&bytes)) };
        match index::build(&text) {
            Some(index) => Ok(Self { text, index: index.into(), lookup: OnceLock::new() }),
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

    /// The same document without its index, which is larger than the text. For keeping a document that may never be
    /// looked at again.
    pub(crate) fn without_index(&self) -> Self {
        Self { text: self.text.clone(), index: OnceLock::new(), lookup: OnceLock::new() }
    }

    fn index(&self) -> &[Entry] {
        self.index.get_or_init(|| self.index_again())
    }

    #[cold]
    fn index_again(&self) -> Vec<Entry> {
        // The text has been indexed before, so this cannot fail.
        index::build(&self.text).unwrap_or_default()
    }

    fn lookup(&self) -> &Lookup {
        self.lookup.get_or_init(|| Lookup::of(self.text.as_ref(), self.index()))
    }

    /// The memory that the index uses, in bytes, without the text.
    pub fn index_bytes(&self) -> usize {
        self.index.get().map_or(0, |index| index.capacity() * size_of::<Entry>())
    }
}

/// What is wrong with a body that [`Document::parse`] rejected, and where. Quotes nothing of the body.
pub fn syntax_problem(error: &serde_json::Error) -> String {
    // Only the errors of `explain` have no place.
    match error.line() {
        0 => format!("the body is not valid JSON ({error})"),
        line => format!("the body is not valid JSON (line {line}, column {})", error.column()),
    }
}

/// The reason why a text was rejected. Only this slow path parses the text a second time.
fn explain(bytes: &[u8]) -> serde_json::Error {
    match serde_json::from_slice::<serde_json::Value>(bytes) {
        Err(error) => error,
        Ok(_) if u32::try_from(bytes.len()).is_err() => {
            serde::de::Error::custom("the text is too large to be indexed")
        }
        Ok(_) => serde::de::Error::custom("number out of range"),
    }
}
