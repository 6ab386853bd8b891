//! Finds where the strings of a JSON text end, and checks their escapes.

use super::index::Tag;
use super::scan::EACH;

/// The number of bytes that are examined at once.
const BLOCK: usize = 64;

/// Finds the ends of strings, which must be asked for in text order.
pub(super) struct Strings<'b> {
    /// The text.
    pub(super) bytes: &'b [u8],
    /// Where the block that was examined last starts; `usize::MAX` at first.
    block: usize,
    /// A bit for each byte of that block that is a quote, a backslash or a control character, the first byte lowest.
    special: u64,
}

impl<'b> Strings<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, block: usize::MAX, special: 0 }
    }

    /// The end of the string whose opening quote is at `start`, and the tag of its entry.
    #[inline(always)] // A call costs as much as a short string.
    pub(super) fn end(&mut self, start: usize) -> Option<(usize, Tag)> {
        let end = self.next_special(start + 1);
        match self.bytes.get(end)? {
            b'"' => Some((end + 1, Tag::Plain)),
            _ => Some((self.escaped(end)?, Tag::Escaped)),
        }
    }

    /// The end of a string that is not plain at `at`: from the first backslash on. `None` at a control character.
    #[cold]
    fn escaped(&mut self, mut at: usize) -> Option<usize> {
        loop {
            match self.bytes.get(at)? {
                b'"' => return Some(at + 1),
                b'\\' => at = self.next_special(escape(self.bytes, at)?),
                _ => return None,
            }
        }
    }

    /// The position of the next quote, backslash or control character; the end of the text if there is none.
    #[inline(always)]
    fn next_special(&mut self, at: usize) -> usize {
        let block = at - at % BLOCK;
        if block != self.block {
            self.examine(block);
        }
        match self.special >> (at % BLOCK) {
            0 => self.next_special_after(block + BLOCK),
            rest => at + rest.trailing_zeros() as usize,
        }
    }

    fn next_special_after(&mut self, mut block: usize) -> usize {
        while block < self.bytes.len() {
            self.examine(block);
            if self.special != 0 {
                return block + self.special.trailing_zeros() as usize;
            }
            block += BLOCK;
        }
        self.bytes.len()
    }

    #[inline]
    fn examine(&mut self, block: usize) {
        let rest = self.bytes.get(block..).unwrap_or_default();
        self.block = block;
        self.special = rest.first_chunk().map_or_else(|| last_special_bytes(rest), special_bytes);
    }
}

/// [`special_bytes`] of the last block of a text.
fn last_special_bytes(rest: &[u8]) -> u64 {
    let mut block = [b' '; BLOCK];
    if let Some(start) = block.get_mut(..rest.len()) {
        start.copy_from_slice(rest);
    }
    special_bytes(&block)
}

/// A bit for each byte that is a quote, a backslash or a control character. The compiler turns these loops into vector
/// instructions, as long as it sees them on their own.
#[inline(never)]
fn special_bytes(block: &[u8; BLOCK]) -> u64 {
    let mut flags = [0; BLOCK];
    for (flag, &byte) in flags.iter_mut().zip(block) {
        *flag = u8::from((byte == b'"') | (byte == b'\\') | (byte < b' '));
    }
    let mut bits = 0;
    for (at, word) in flags.as_chunks().0.iter().enumerate() {
        bits |= bits_of(u64::from_le_bytes(*word)) << (8 * at);
    }
    bits
}

/// The lowest bits of the eight bytes of a word, the first byte lowest. The factor moves the bit of byte `n`, which is
/// bit `8 * n` of the word, to bit `56 + n`.
#[inline]
fn bits_of(word: u64) -> u64 {
    (word & EACH).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The end of one escape. A surrogate pair counts as one escape.
fn escape(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' => match four_digits(bytes, at + 2)? {
            0xDC00..=0xDFFF => None,
            0xD800..=0xDBFF => {
                (bytes.get(at + 6..at + 8)? == b"\\u").then_some(())?;
                matches!(four_digits(bytes, at + 8)?, 0xDC00..=0xDFFF).then_some(at + 12)
            }
            _ => Some(at + 6),
        },
        _ => None,
    }
}

fn four_digits(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))
}
