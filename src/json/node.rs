//! One value of a document: a reference to the document and a position in its index.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::Document;
use super::index::{Entry, Tag, decode, is_text};
use super::lookup::FEW;
use super::write::push_string;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number of any size and precision.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A value of a document.
#[derive(Debug, Clone, Copy)]
pub struct Node<'d> {
    document: &'d Document,
    at: usize,
}

impl<'d> Node<'d> {
    pub(super) fn new(document: &'d Document, at: usize) -> Self {
        Self { document, at }
    }

    /// The value at a position that [`Node::place`] returned.
    pub fn at_place(document: &'d Document, place: u32) -> Option<Self> {
        let at = usize::try_from(place).ok()?;
        document.index().get(at).map(|_| Self { document, at })
    }

    /// The position of the value in the index. Store it next to a shared document to keep the value.
    pub fn place(self) -> u32 {
        // Cannot overflow: an index has no more entries than its text has bytes, and that number fits into 32 bits.
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }

    /// The document that the value is in.
    pub fn document(self) -> &'d Document {
        self.document
    }

    /// The type of the value.
    pub fn kind(self) -> Kind {
        match self.entry().tag {
            Tag::Null => Kind::Null,
            Tag::False | Tag::True => Kind::Bool,
            Tag::Number => Kind::Number,
            Tag::Plain | Tag::Escaped => Kind::String,
            Tag::Array => Kind::Array,
            Tag::Object => Kind::Object,
        }
    }

    /// The source text of the value, including white space, escapes and repeated keys.
    pub fn raw(self) -> &'d str {
        let entry = self.entry();
        self.document.text.get(entry.start as usize..entry.end as usize).unwrap_or_default()
    }

    /// The value of a string, borrowed unless it has escapes; `None` for anything else.
    pub fn as_str(self) -> Option<Cow<'d, str>> {
        let entry = self.entry();
        match entry.tag {
            Tag::Plain => {
                let text = self.document.text.get(entry.start as usize + 1..entry.end as usize - 1);
                Some(Cow::Borrowed(text.unwrap_or_default()))
            }
            Tag::Escaped => Some(Cow::Owned(decode(self.source()))),
            _ => None,
        }
    }

    /// Whether the value is the empty string. Takes constant time.
    pub fn is_empty_text(self) -> bool {
        let entry = self.entry();
        entry.tag == Tag::Plain && entry.end - entry.start == 2
    }

    /// The value of a boolean; `None` for anything else.
    pub fn as_bool(self) -> Option<bool> {
        match self.entry().tag {
            Tag::True => Some(true),
            Tag::False => Some(false),
            _ => None,
        }
    }

    /// The number as `serde_json` parses it; `None` for anything else. [`Node::raw`] has all its digits.
    pub fn as_number(self) -> Option<Number> {
        if self.entry().tag != Tag::Number {
            return None;
        }
        let source = self.source();
        // Most numbers are short and have only digits. They need no parser.
        let digits = source.iter().try_fold(0_u64, |number, byte| match byte {
            b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
            _ => None,
        });
        digits.map(Number::from).or_else(|| serde_json::from_slice(source).ok())
    }

    /// The value of a key of an object.
    pub fn get(self, name: &str) -> Option<Self> {
        let (bytes, index) = (self.document.text.as_ref(), self.document.index());
        for (visited, (key, value)) in self.entries().enumerate() {
            if visited == FEW {
                let key = self.document.lookup().key(bytes, index, self.at, name)?;
                return Some(Self { at: key + 1, ..self });
            }
            if is_text(bytes, key.entry(), name) {
                return Some(value);
            }
        }
        None
    }

    /// The item of an array at an index.
    pub fn index(self, index: usize) -> Option<Self> {
        if index < FEW {
            return self.items().nth(index);
        }
        let at = (self.entry().tag == Tag::Array).then(|| self.document.lookup().item(self.at, index))??;
        Some(Self { at, ..self })
    }

    /// The number of items of an array or entries of an object; 0 for anything else.
    pub fn len(self) -> usize {
        let counted = match self.entry().tag {
            Tag::Array => self.items().take(FEW + 1).count(),
            Tag::Object => self.entries().take(FEW + 1).count(),
            _ => return 0,
        };
        if counted <= FEW { counted } else { self.document.lookup().len(self.at).unwrap_or(counted) }
    }

    /// Whether no other value is nested in the value: true for empty arrays and objects, and for all scalars.
    pub fn is_empty(self) -> bool {
        self.entry().size == 1
    }

    /// The items of an array; none for anything else.
    pub fn items(self) -> Items<'d> {
        Items(self.children(Tag::Array))
    }

    /// The keys of an object and their values; none for anything else.
    pub fn entries(self) -> Entries<'d> {
        Entries(self.children(Tag::Object))
    }

    /// The value as a tree, as `serde_json` would have parsed it.
    pub fn to_value(self) -> Value {
        match self.kind() {
            Kind::Null => Value::Null,
            Kind::Bool => Value::Bool(self.as_bool() == Some(true)),
            Kind::Number => self.as_number().map_or(Value::Null, Value::Number),
            Kind::String => Value::String(self.as_str().unwrap_or_default().into_owned()),
            Kind::Array => Value::Array(self.items().map(Self::to_value).collect()),
            Kind::Object => {
                let entry = |(key, value): (Self, Self)| {
                    (key.as_str().unwrap_or_default().into_owned(), value.to_value())
                };
                Value::Object(self.entries().map(entry).collect::<Map<_, _>>())
            }
        }
    }

    /// Writes the value as compact JSON, as `serde_json` would, except that numbers keep their text.
    pub fn write_json(self, out: &mut String) {
        match self.entry().tag {
            Tag::Escaped => push_string(out, &decode(self.source())),
            Tag::Array => {
                out.push('[');
                for (at, item) in self.items().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Tag::Object => {
                out.push('{');
                for (at, (key, value)) in self.entries().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    key.write_json(out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
            _ => out.push_str(self.raw()),
        }
    }

    fn entry(self) -> Entry {
        self.document.index()[self.at]
    }

    fn source(self) -> &'d [u8] {
        self.raw().as_bytes()
    }

    fn children(self, tag: Tag) -> Children<'d> {
        let entry = self.entry();
        let size = if entry.tag == tag { entry.size as usize } else { 1 };
        Children { document: self.document, at: self.at + 1, end: self.at + size }
    }
}

/// Iterates over the direct children of a value: items, or keys and values in turn.
#[derive(Debug, Clone)]
struct Children<'d> {
    document: &'d Document,
    at: usize,
    end: usize,
}

impl<'d> Iterator for Children<'d> {
    type Item = Node<'d>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.end).then(|| {
            let node = Node::new(self.document, self.at);
            self.at += node.entry().size as usize;
            node
        })
    }
}

/// The items of an array.
#[derive(Debug, Clone)]
pub struct Items<'d>(Children<'d>);

impl<'d> Iterator for Items<'d> {
    type Item = Node<'d>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// The keys of an object and their values.
#[derive(Debug, Clone)]
pub struct Entries<'d>(Children<'d>);

impl<'d> Iterator for Entries<'d> {
    type Item = (Node<'d>, Node<'d>);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}
