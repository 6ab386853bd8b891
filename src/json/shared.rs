//! An owned value: part of a shared document, or a shared tree.

use std::sync::Arc;

use serde_json::Value;
use smallvec::SmallVec;

use super::{Document, Node, ValueRef};

/// A reference-counted value. Cloning does not copy it.
#[derive(Debug, Clone, Default)]
pub struct SharedValue(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    Null,
    Tree(Arc<Value>),
    /// The value at an index position of a document.
    Part(Arc<Document>, u32),
    /// An array of the values at these index positions of a document.
    Parts(Arc<Document>, Arc<[u32]>),
    Text(Arc<str>),
}

impl SharedValue {
    /// A whole document.
    pub fn whole(document: Arc<Document>) -> Self {
        Self(Source::Part(document, 0))
    }

    /// A value of a document.
    pub fn part(document: &Arc<Document>, node: Node<'_>) -> Self {
        Self(Source::Part(Arc::clone(document), node.place()))
    }

    /// A string. Invalid UTF-8 is replaced with U+FFFD.
    pub fn text(bytes: &[u8]) -> Self {
        Self(Source::Text(String::from_utf8_lossy(bytes).into()))
    }

    /// Borrows the value.
    pub fn get(&self) -> ValueRef<'_> {
        match &self.0 {
            Source::Null => ValueRef::NULL,
            Source::Tree(value) => ValueRef::Tree(value),
            Source::Parts(document, places) => ValueRef::Nodes(document, places),
            Source::Text(text) => ValueRef::Text(text),
            Source::Part(document, place) => {
                Node::at_place(document, *place).map_or(ValueRef::NULL, ValueRef::Node)
            }
        }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.get().is_null()
    }

    /// Copies the value into a tree.
    pub fn to_value(&self) -> Value {
        self.get().to_value()
    }

    /// Keeps `part`, which must be part of this value. Shares the document if possible, otherwise copies.
    pub fn keep(&self, part: ValueRef<'_>) -> Self {
        match (&self.0, part) {
            (Source::Part(document, _), ValueRef::Node(node))
                if std::ptr::eq(node.document(), &**document) =>
            {
                Self::part(document, node)
            }
            (_, part) => part.to_value().into(),
        }
    }

    /// Keeps several parts of this value as an array.
    pub fn keep_all(&self, parts: &[ValueRef<'_>]) -> Self {
        let place = |part: &ValueRef<'_>| match part {
            ValueRef::Node(node) => Some(node.place()),
            _ => None,
        };
        match (&self.0, parts.iter().map(place).collect::<Option<SmallVec<[u32; 16]>>>()) {
            (Source::Part(document, _), Some(places)) => {
                Self(Source::Parts(Arc::clone(document), Arc::from(&*places)))
            }
            _ => Value::Array(parts.iter().map(|part| part.to_value()).collect()).into(),
        }
    }

    /// Detaches the value from its document, which it would otherwise keep in memory: a part of a document becomes a
    /// tree.
    #[must_use]
    pub fn detached(self) -> Self {
        match &self.0 {
            Source::Part(..) | Source::Parts(..) => self.to_value().into(),
            Source::Null | Source::Tree(_) | Source::Text(_) => self,
        }
    }

    /// Lets the documents of these values give up their indexes. Values that share a document still share it.
    pub(crate) fn give_up_indexes<'v>(values: impl Iterator<Item = &'v mut Self>) {
        let mut last: Option<(Arc<Document>, Arc<Document>)> = None;
        for value in values {
            let (Source::Part(document, _) | Source::Parts(document, _)) = &mut value.0 else { continue };
            let known = last.as_ref().filter(|(full, _)| Arc::ptr_eq(full, document));
            let bare = known.map(|(_, bare)| Arc::clone(bare));
            let bare = bare.unwrap_or_else(|| Arc::new(document.without_index()));
            let full = std::mem::replace(document, Arc::clone(&bare));
            last = Some((full, bare));
        }
    }

    /// Whether both values share one document.
    pub fn shares_document(&self, other: &Self) -> bool {
        match (self.document(), other.document()) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    fn document(&self) -> Option<&Arc<Document>> {
        match &self.0 {
            Source::Part(document, _) | Source::Parts(document, _) => Some(document),
            Source::Null | Source::Tree(_) | Source::Text(_) => None,
        }
    }

    /// The approximate memory that the value keeps in use, in bytes. A part of a document counts the whole document.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Source::Null => 0,
            Source::Tree(value) => bytes_of(value),
            Source::Text(text) => text.len(),
            Source::Part(document, _) => document.bytes().len() + document.index_bytes(),
            Source::Parts(document, places) => {
                document.bytes().len() + document.index_bytes() + size_of_val(&**places)
            }
        }
    }

    /// Whether both are the same value of the same document or tree, rather than merely equal.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Source::Null, Source::Null) => true,
            (Source::Tree(one), Source::Tree(other)) => Arc::ptr_eq(one, other),
            (Source::Part(one, at), Source::Part(other, there)) => Arc::ptr_eq(one, other) && at == there,
            (Source::Parts(one, at), Source::Parts(other, there)) => Arc::ptr_eq(one, other) && at == there,
            _ => false,
        }
    }
}

impl From<Value> for SharedValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::default(),
            value => Self(Source::Tree(Arc::new(value))),
        }
    }
}

impl PartialEq for SharedValue {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.to_value() == other.to_value()
    }
}

/// The approximate memory that a value uses, in bytes.
pub fn bytes_of(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes_of).sum(),
        Value::Object(entries) => entries.iter().map(|(key, value)| key.len() + 32 + bytes_of(value)).sum(),
        _ => 0,
    };
    size_of::<Value>() + inside
}
