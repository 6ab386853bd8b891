//! Builds the index of a document and checks its syntax, in one pass without recursion.

use std::borrow::Cow;

use super::scan;

/// How deep arrays and objects may nest, as in `serde_json`.
const MAX_DEPTH: usize = 127;

/// Compact JSON has about one entry per this many bytes.
const BYTES_PER_ENTRY: usize = 6;

/// The type of an entry of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Null,
    False,
    True,
    Number,
    /// A string without escapes: its bytes are its value.
    Plain,
    /// A string with escapes.
    Escaped,
    Array,
    /// Its keys are entries too, each followed by its value. Keys are unique.
    Object,
}

/// One value or key: its position in the text, and its number of entries, including those nested in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) size: u32,
    pub(super) tag: Tag,
}

/// The index of a JSON text; `None` if the syntax is invalid.
pub(super) fn build(text: &str) -> Option<Vec<Entry>> {
    let bytes = text.as_bytes();
    u32::try_from(bytes.len()).ok()?;
    let index = Vec::with_capacity(bytes.len() / BYTES_PER_ENTRY + 8);
    let mut builder = Builder { bytes, index, open: Vec::with_capacity(8) };
    let mut at = 0;
    loop {
        let (end, is_complete) = builder.value(at)?;
        at = end;
        if is_complete {
            match builder.after_value(at)? {
                Next::Value(start) => at = start,
                Next::End => return Some(builder.index),
            }
        }
    }
}

/// What follows a complete value.
enum Next {
    /// Another value, at this position or after white space.
    Value(usize),
    /// The end of the text.
    End,
}

pub(super) struct Builder<'b> {
    pub(super) bytes: &'b [u8],
    pub(super) index: Vec<Entry>,
    /// The arrays and objects that have not ended yet, outermost first.
    pub(super) open: Vec<Open>,
}

/// An array or object that has not ended yet.
pub(super) struct Open {
    /// The index of its entry.
    pub(super) entry: usize,
    is_object: bool,
    /// A bit set of the keys so far. Different keys may share a bit.
    pub(super) keys: u64,
    /// The number of keys so far.
    pub(super) count: usize,
    /// Whether a key may be repeated.
    pub(super) may_repeat: bool,
}

impl Builder<'_> {
    /// Reads a value, or the start of an array or object up to its first value. Returns the end position, and whether
    /// the value is complete.
    #[inline]
    fn value(&mut self, at: usize) -> Option<(usize, bool)> {
        let (start, first) = scan::next(self.bytes, at)?;
        let end = match first {
            b'"' => {
                let (end, has_escapes) = scan::string(self.bytes, start)?;
                self.push(start, end, if has_escapes { Tag::Escaped } else { Tag::Plain });
                end
            }
            b'{' => {
                self.begin(start, Tag::Object)?;
                match scan::next(self.bytes, start + 1)? {
                    (at, b'}') => self.end(at + 1)?,
                    (at, b'"') => return Some((self.key(at)?, false)),
                    _ => return None,
                }
            }
            b'[' => {
                self.begin(start, Tag::Array)?;
                match scan::next(self.bytes, start + 1)? {
                    (at, b']') => self.end(at + 1)?,
                    (at, _) => return Some((at, false)),
                }
            }
            b't' => self.word(start, b"true", Tag::True)?,
            b'f' => self.word(start, b"false", Tag::False)?,
            b'n' => self.word(start, b"null", Tag::Null)?,
            _ => {
                let end = scan::number(self.bytes, start)?;
                self.push(start, end, Tag::Number);
                end
            }
        };
        Some((end, true))
    }

    /// Reads what follows a complete value: a comma (in an object also the next key), or the ends of arrays and
    /// objects.
    #[inline]
    fn after_value(&mut self, mut at: usize) -> Option<Next> {
        while let Some(open) = self.open.last() {
            match (open.is_object, scan::next(self.bytes, at)?) {
                (false, (comma, b',')) => return Some(Next::Value(comma + 1)),
                (true, (comma, b',')) => match scan::next(self.bytes, comma + 1)? {
                    (quote, b'"') => return self.key(quote).map(Next::Value),
                    _ => return None,
                },
                (false, (last, b']')) | (true, (last, b'}')) => at = self.end(last + 1)?,
                _ => return None,
            }
        }
        scan::next(self.bytes, at).is_none().then_some(Next::End)
    }

    fn begin(&mut self, start: usize, tag: Tag) -> Option<()> {
        if self.open.len() == MAX_DEPTH {
            return None;
        }
        let is_object = tag == Tag::Object;
        self.open.push(Open { entry: self.index.len(), is_object, keys: 0, count: 0, may_repeat: false });
        self.push(start, start, tag);
        Some(())
    }

    /// Ends the innermost array or object at `at`, and returns `at`.
    fn end(&mut self, at: usize) -> Option<usize> {
        let Open { entry: open, may_repeat, .. } = self.open.pop()?;
        if may_repeat {
            self.drop_repeated_keys(open);
        }
        let size = position(self.index.len() - open);
        let entry = self.index.get_mut(open)?;
        entry.end = position(at);
        entry.size = size;
        Some(at)
    }

    /// Adds an entry without nested entries.
    #[inline]
    fn push(&mut self, start: usize, end: usize, tag: Tag) {
        self.index.push(Entry { start: position(start), end: position(end), size: 1, tag });
    }

    /// Reads the key whose opening quote is at `start`, and the colon after it. Returns the position after the colon.
    #[inline]
    fn key(&mut self, start: usize) -> Option<usize> {
        let (end, has_escapes) = scan::string(self.bytes, start)?;
        self.push(start, end, if has_escapes { Tag::Escaped } else { Tag::Plain });
        self.note_key(start + 1, end - 1, has_escapes);
        match scan::next(self.bytes, end)? {
            (colon, b':') => Some(colon + 1),
            _ => None,
        }
    }

    fn word(&mut self, start: usize, word: &[u8], tag: Tag) -> Option<usize> {
        let end = start + word.len();
        (self.bytes.get(start..end)? == word).then(|| self.push(start, end, tag))?;
        Some(end)
    }
}

/// A position as stored in the index. [`build`] rejects texts that are too long for it.
#[expect(clippy::cast_possible_truncation, reason = "a text of more than 4 GiB is not indexed")]
fn position(at: usize) -> u32 {
    at as u32
}

/// The decoded value of a string, in UTF-8.
pub(super) fn text_of(bytes: &[u8], entry: Entry) -> Cow<'_, [u8]> {
    let quoted = bytes.get(entry.start as usize..entry.end as usize).unwrap_or_default();
    match entry.tag {
        Tag::Escaped => Cow::Owned(decode(quoted).into_bytes()),
        _ => Cow::Borrowed(quoted.get(1..quoted.len() - 1).unwrap_or_default()),
    }
}

/// Whether the value of a string is `text`.
#[inline]
pub(super) fn is_text(bytes: &[u8], entry: Entry, text: &str) -> bool {
    match entry.tag {
        Tag::Plain => {
            (entry.end - entry.start) as usize == text.len() + 2
                && bytes.get(entry.start as usize + 1..entry.end as usize - 1) == Some(text.as_bytes())
        }
        _ => *text_of(bytes, entry) == *text.as_bytes(),
    }
}

/// Decodes a quoted string with escapes. The escapes were checked when the index was built.
pub(super) fn decode(quoted: &[u8]) -> String {
    serde_json::from_slice(quoted).unwrap_or_default()
}
