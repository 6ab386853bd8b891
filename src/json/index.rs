//! Builds the index of a document: one pass without recursion, which is also the check of the syntax.

use std::borrow::Cow;

/// How deep lists and objects may nest, as in `serde_json`.
const MAX_DEPTH: usize = 127;

/// A number no longer than this, without an exponent, is in the range of a double.
const SAFE_DIGITS: usize = 300;

/// What an entry of the index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Null,
    False,
    True,
    Number,
    /// Text without a backslash: its bytes are its value.
    Plain,
    /// Text with escapes.
    Escaped,
    List,
    /// Its keys are entries too, each followed by its value. Every key is there once.
    Object,
}

/// One value or key: where it is in the text, and how many entries it takes with all that is in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) size: u32,
    pub(super) tag: Tag,
}

/// The index of a JSON text; `None` when it is not one.
pub(super) fn build(bytes: &[u8]) -> Option<Vec<Entry>> {
    u32::try_from(bytes.len()).ok()?;
    // All text at once is checked faster than each string alone.
    std::str::from_utf8(bytes).ok()?;
    let index = Vec::with_capacity(bytes.len() / 12 + 8);
    let mut builder = Builder { bytes, at: 0, index, open: Vec::new() };
    builder.document()?;
    Some(builder.index)
}

pub(super) struct Builder<'b> {
    pub(super) bytes: &'b [u8],
    at: usize,
    pub(super) index: Vec<Entry>,
    /// The lists and objects that have not ended yet, outermost first.
    pub(super) open: Vec<Open>,
}

/// A list or an object that has not ended yet.
pub(super) struct Open {
    /// Its entry.
    pub(super) entry: usize,
    is_object: bool,
    /// What keys there have been: a bit for each, which different keys may share.
    pub(super) keys: u128,
    /// How many there have been.
    pub(super) count: usize,
    /// Whether one of them may be there twice.
    pub(super) may_repeat: bool,
}

impl Builder<'_> {
    fn document(&mut self) -> Option<()> {
        loop {
            if self.value()? && !self.after_value()? {
                return (self.at == self.bytes.len()).then_some(());
            }
        }
    }

    /// Reads a value, or the start of a list or object up to its first value. Says whether the value is complete.
    fn value(&mut self) -> Option<bool> {
        match self.next()? {
            b'"' => self.string()?,
            b'{' => {
                self.begin(Tag::Object)?;
                if self.next()? != b'}' {
                    self.key()?;
                    return Some(false);
                }
                self.end()?;
            }
            b'[' => {
                self.begin(Tag::List)?;
                if self.next()? != b']' {
                    return Some(false);
                }
                self.end()?;
            }
            b't' => self.word(b"true", Tag::True)?,
            b'f' => self.word(b"false", Tag::False)?,
            b'n' => self.word(b"null", Tag::Null)?,
            _ => self.number()?,
        }
        Some(true)
    }

    /// Reads what follows a complete value. Says whether another value is expected.
    fn after_value(&mut self) -> Option<bool> {
        while let Some(open) = self.open.last() {
            match (open.is_object, self.next()?) {
                (false, b',') => {
                    self.at += 1;
                    return Some(true);
                }
                (true, b',') => {
                    self.at += 1;
                    self.next()?;
                    self.key()?;
                    return Some(true);
                }
                (false, b']') | (true, b'}') => self.end()?,
                _ => return None,
            }
        }
        self.next();
        Some(false)
    }

    /// The next byte that is no white space, which is not taken yet.
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        if byte > b' ' { Some(byte) } else { self.after_space() }
    }

    fn after_space(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn begin(&mut self, tag: Tag) -> Option<()> {
        if self.open.len() == MAX_DEPTH {
            return None;
        }
        let is_object = tag == Tag::Object;
        self.open.push(Open { entry: self.index.len(), is_object, keys: 0, count: 0, may_repeat: false });
        let start = self.at;
        self.at += 1;
        self.push(start, tag);
        Some(())
    }

    fn end(&mut self) -> Option<()> {
        let Open { entry: open, may_repeat, .. } = self.open.pop()?;
        self.at += 1;
        if may_repeat {
            self.drop_repeated_keys(open);
        }
        let (end, size) = (place(self.at), place(self.index.len() - open));
        let entry = self.index.get_mut(open)?;
        entry.end = end;
        entry.size = size;
        Some(())
    }

    /// Adds an entry for what was read since `start`.
    fn push(&mut self, start: usize, tag: Tag) {
        self.index.push(Entry { start: place(start), end: place(self.at), size: 1, tag });
    }

    fn key(&mut self) -> Option<()> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        self.string()?;
        self.note_key();
        if self.next()? != b':' {
            return None;
        }
        self.at += 1;
        Some(())
    }

    fn word(&mut self, word: &[u8], tag: Tag) -> Option<()> {
        let start = self.at;
        self.at += word.len();
        (self.bytes.get(start..self.at)? == word).then(|| self.push(start, tag))
    }

    fn string(&mut self) -> Option<()> {
        let start = self.at;
        self.at += 1 + plain_length(self.bytes.get(start + 1..)?);
        if self.bytes.get(self.at) == Some(&b'"') {
            self.at += 1;
            self.push(start, Tag::Plain);
            return Some(());
        }
        self.escaped(start)
    }

    /// Reads the rest of a string that began at `start` and has an escape here, or something that no string has.
    fn escaped(&mut self, start: usize) -> Option<()> {
        loop {
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    self.push(start, Tag::Escaped);
                    return Some(());
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
            self.at += plain_length(self.bytes.get(self.at..)?);
        }
    }

    /// Reads one escape; the two halves of a surrogate pair are one.
    fn escape(&mut self) -> Option<()> {
        let kind = *self.bytes.get(self.at + 1)?;
        self.at += 2;
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.four_digits()? {
                0xDC00..=0xDFFF => None,
                0xD800..=0xDBFF => {
                    (self.bytes.get(self.at..self.at + 2)? == b"\\u").then_some(())?;
                    self.at += 2;
                    matches!(self.four_digits()?, 0xDC00..=0xDFFF).then_some(())
                }
                _ => Some(()),
            },
            _ => None,
        }
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        let mut has_exponent = false;
        self.take_if(b"-");
        if !self.take_if(b"0") {
            self.digits()?;
        }
        if self.take_if(b".") {
            self.digits()?;
        }
        if self.take_if(b"eE") {
            has_exponent = true;
            self.take_if(b"+-");
            self.digits()?;
        }
        if has_exponent || self.at - start > SAFE_DIGITS {
            let text = std::str::from_utf8(self.bytes.get(start..self.at)?).ok()?;
            text.parse::<f64>().ok().filter(|number| number.is_finite())?;
        }
        self.push(start, Tag::Number);
        Some(())
    }

    fn take_if(&mut self, any: &[u8]) -> bool {
        let is_there = self.bytes.get(self.at).is_some_and(|byte| any.contains(byte));
        self.at += usize::from(is_there);
        is_there
    }

    /// Reads at least one digit.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

/// A place in a text that is short enough to be indexed.
#[expect(clippy::cast_possible_truncation, reason = "a text of more than 4 GiB is not indexed")]
fn place(at: usize) -> u32 {
    at as u32
}

/// How many bytes there are before the next quote, backslash or control character; all if there is none.
fn plain_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = special_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    at + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// The high bit of each of eight bytes that is a quote, a backslash or a control character. Above the first of them a
/// carry may set others: only the first one counts.
fn special_bytes(word: u64) -> u64 {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let below = |word: u64, limit: u64| word.wrapping_sub(EACH * limit) & !word;
    let equal = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    (below(word, 0x20) | equal(b'"') | equal(b'\\')) & (EACH << 7)
}

/// The value of a text, as bytes of UTF-8.
pub(super) fn text_of(bytes: &[u8], entry: Entry) -> Cow<'_, [u8]> {
    let quoted = bytes.get(entry.start as usize..entry.end as usize).unwrap_or_default();
    match entry.tag {
        Tag::Escaped => Cow::Owned(decode(quoted).into_bytes()),
        _ => Cow::Borrowed(quoted.get(1..quoted.len() - 1).unwrap_or_default()),
    }
}

/// Whether a text is this one.
pub(super) fn is_text(bytes: &[u8], entry: Entry, text: &str) -> bool {
    match entry.tag {
        Tag::Plain => {
            (entry.end - entry.start) as usize == text.len() + 2
                && bytes.get(entry.start as usize + 1..entry.end as usize - 1) == Some(text.as_bytes())
        }
        _ => *text_of(bytes, entry) == *text.as_bytes(),
    }
}

/// Decodes a text with escapes, with its quotes. Its escapes were checked when the index was built.
pub(super) fn decode(quoted: &[u8]) -> String {
    serde_json::from_slice(quoted).unwrap_or_default()
}
