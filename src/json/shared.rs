//! A value that a call keeps: part of a shared document, or a shared tree.

use std::sync::Arc;

use serde_json::Value;

use super::{Document, Node, ValueRef};

/// A value that is shared, never copied: cloning it counts a reference.
#[derive(Debug, Clone, Default)]
pub struct SharedValue(Source);

#[derive(Debug, Clone, Default)]
enum Source {
    #[default]
    Null,
    Tree(Arc<Value>),
    /// The value at a place of a document.
    Part(Arc<Document>, u32),
    /// A list of the values at these places of a document.
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

    /// A text; what of it is no UTF-8 becomes U+FFFD.
    pub fn text(bytes: &[u8]) -> Self {
        Self(Source::Text(String::from_utf8_lossy(bytes).into()))
    }

    /// The value, to be read.
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

    /// The value as a tree of its own.
    pub fn to_value(&self) -> Value {
        self.get().to_value()
    }

    /// A part of the value, which is in the value.
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

    /// A list of parts of the value.
    pub fn keep_all(&self, parts: &[ValueRef<'_>]) -> Self {
        let place = |part: &ValueRef<'_>| match part {
            ValueRef::Node(node) => Some(node.place()),
            _ => None,
        };
        match (&self.0, parts.iter().map(place).collect::<Option<Arc<[u32]>>>()) {
            (Source::Part(document, _), Some(places)) => Self(Source::Parts(Arc::clone(document), places)),
            _ => Value::Array(parts.iter().map(|part| part.to_value()).collect()).into(),
        }
    }

    /// The value without what is around it: a part of a document, which would keep all of it in memory, becomes a tree
    /// of its own.
    #[must_use]
    pub fn detached(self) -> Self {
        match &self.0 {
            Source::Part(..) | Source::Parts(..) => self.to_value().into(),
            Source::Null | Source::Tree(_) | Source::Text(_) => self,
        }
    }

    /// Whether both are parts of the same document, which is then in memory once.
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

    /// About what it keeps in memory, in bytes: of a part, the whole document.
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

    /// Whether both are the same value of the same document or tree, and not only equal.
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

/// About what a value takes in memory, in bytes.
pub fn bytes_of(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes_of).sum(),
        Value::Object(entries) => entries.iter().map(|(key, value)| key.len() + 32 + bytes_of(value)).sum(),
        _ => 0,
    };
    size_of::<Value>() + inside
}
