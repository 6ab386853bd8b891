//! Builds the index of a document and checks its syntax, in one pass without recursion.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::scan;
use super::strings::Strings;

/// How deep arrays and objects may nest, as in `serde_json`.
pub(crate) const MAX_DEPTH: usize = 127;

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
    let mut builder = Builder::new(bytes);
    let mut at = 0;
    loop {
        if builder.current.close == b'}' {
            at = builder.key(at)?;
        }
        at = match builder.value(at)? {
            Read::Value(end) => match builder.after_value(end)? {
                Some(next) => next,
                None => return Some(builder.index),
            },
            Read::Opened(next) => next,
        };
    }
}

/// What was read, and the position after it.
enum Read {
    /// A complete value.
    Value(usize),
    /// The bracket of an array or object that is not empty.
    Opened(usize),
}

pub(super) struct Builder<'b> {
    strings: Strings<'b>,
    pub(super) index: Vec<Entry>,
    /// The innermost array or object that is still open. At the top level, it stands for the whole text.
    pub(super) current: Open,
    /// Those around it, outermost first; the first one stands for the text.
    outer: SmallVec<[Open; 8]>,
}

/// An array or object that has not ended yet, or the text itself.
#[derive(Clone, Copy)]
pub(super) struct Open {
    /// A bit set of the keys so far. Different keys may share a bit.
    pub(super) keys: u64,
    /// The index of its entry.
    pub(super) entry: u32,
    /// The number of keys so far that share a bit with an earlier one.
    pub(super) shared: u32,
    /// The bracket that ends it; 0 for the text.
    close: u8,
    /// Whether a key may be repeated.
    pub(super) may_repeat: bool,
}

impl Open {
    fn new(entry: u32, close: u8) -> Self {
        Self { keys: 0, entry, shared: 0, close, may_repeat: false }
    }
}

impl<'b> Builder<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self {
            strings: Strings::new(bytes),
            index: Vec::with_capacity(bytes.len() / BYTES_PER_ENTRY + 8),
            current: Open::new(0, 0),
            outer: SmallVec::new(),
        }
    }

    /// The text.
    #[inline]
    pub(super) fn bytes(&self) -> &'b [u8] {
        self.strings.bytes
    }

    /// Reads a value. Of an array or object that is not empty, reads only the opening bracket.
    #[inline]
    fn value(&mut self, at: usize) -> Option<Read> {
        let (start, first) = scan::next(self.bytes(), at)?;
        let (end, tag) = match first {
            b'"' => self.strings.end(start)?,
            b'{' => return self.open(start, b'}', Tag::Object),
            b'[' => return self.open(start, b']', Tag::Array),
            b't' => (self.word(start, b"true")?, Tag::True),
            b'f' => (self.word(start, b"false")?, Tag::False),
            b'n' => (self.word(start, b"null")?, Tag::Null),
            _ => (scan::number(self.bytes(), start)?, Tag::Number),
        };
        self.push(start, end, tag);
        Some(Read::Value(end))
    }

    /// Reads what follows a complete value: the ends of arrays and objects, and a comma. Returns the position of the
    /// next value or key; `None` at the end of the text.
    #[inline]
    fn after_value(&mut self, mut at: usize) -> Option<Option<usize>> {
        loop {
            let is_text = self.current.close == 0;
            match scan::next(self.bytes(), at) {
                Some((comma, b',')) if !is_text => return Some(Some(comma + 1)),
                Some((last, byte)) if byte == self.current.close => at = self.close(last + 1)?,
                None if is_text => return Some(None),
                _ => return None,
            }
        }
    }

    /// Begins an array or object, and ends it if it is empty.
    #[inline]
    fn open(&mut self, start: usize, close: u8, tag: Tag) -> Option<Read> {
        if self.outer.len() == MAX_DEPTH {
            return None;
        }
        self.outer.push(self.current);
        self.current = Open::new(position(self.index.len()), close);
        self.push(start, start, tag);
        match scan::next(self.bytes(), start + 1)? {
            (last, byte) if byte == close => self.close(last + 1).map(Read::Value),
            (next, _) => Some(Read::Opened(next)),
        }
    }

    /// Ends the innermost array or object at `at`, and returns `at`.
    #[inline]
    fn close(&mut self, at: usize) -> Option<usize> {
        let Open { entry, may_repeat, .. } = std::mem::replace(&mut self.current, self.outer.pop()?);
        let open = entry as usize;
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

    /// Reads a key and the colon after it. Returns the position after the colon.
    #[inline]
    fn key(&mut self, at: usize) -> Option<usize> {
        let (start, b'"') = scan::next(self.bytes(), at)? else { return None };
        let (end, tag) = self.strings.end(start)?;
        self.push(start, end, tag);
        self.note_key(start + 1, end - 1, tag);
        match scan::next(self.bytes(), end)? {
            (colon, b':') => Some(colon + 1),
            _ => None,
        }
    }

    /// The end of a word, which must be there.
    fn word(&self, start: usize, word: &[u8]) -> Option<usize> {
        let end = start + word.len();
        (self.bytes().get(start..end)? == word).then_some(end)
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
