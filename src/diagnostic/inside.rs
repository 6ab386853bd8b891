//! Maps a range in the content of a string back to its place in the file.

use std::ops::Range;

use super::Span;

/// The place in the file of a range inside the decoded content of the TOML string at `token`.
///
/// `source` is the token as written, quotes and escapes included.
pub(crate) fn place_in_string(source: &str, token: Span, range: Range<usize>) -> Span {
    PlacesInString::new(source, token).place(range)
}

/// Finds the places of several ranges in one string, in their order, in one pass over it.
pub(crate) struct PlacesInString<'s> {
    source: &'s str,
    token: Span,
    is_basic: bool,
    /// Whether the token is a string at all.
    is_quoted: bool,
    /// Where the content begins.
    opening: usize,
    /// How much of the token and of its content has been read.
    read: (usize, usize),
}

impl<'s> PlacesInString<'s> {
    /// Places in the string at `token`, which is written as `source`.
    pub(crate) fn new(source: &'s str, token: Span) -> Self {
        let quote = if source.starts_with("\"\"\"") || source.starts_with("'''") { 3 } else { 1 };
        let is_basic = source.starts_with('"');
        // A newline right after the opening of a multi-line string is not part of its content.
        let opening = quote
            + match source.get(quote..) {
                Some(rest) if quote == 3 && rest.starts_with("\r\n") => 2,
                Some(rest) if quote == 3 && rest.starts_with('\n') => 1,
                _ => 0,
            };
        let is_quoted = quote == 3 || is_basic || source.starts_with('\'');
        Self { source, token, is_basic, is_quoted, opening, read: (opening, 0) }
    }

    /// The place of a range of the content. It is found fastest if it begins behind the start of the one before.
    pub(crate) fn place(&mut self, range: Range<usize>) -> Span {
        if !self.is_quoted {
            return self.token;
        }
        if range.start < self.read.1 {
            self.read = (self.opening, 0);
        }
        self.read = self.read_to(range.start);
        let end = self.read_to(range.end).0;
        self.token.part(self.read.0.min(self.source.len()), end.min(self.source.len()))
    }

    /// How much of the token is read when `target` bytes of its content are.
    fn read_to(&self, target: usize) -> (usize, usize) {
        let (mut written, mut decoded) = self.read;
        while decoded < target {
            let Some(rest) = self.source.get(written..).filter(|rest| !rest.is_empty()) else { break };
            let mut chars = rest.chars();
            let first = chars.next().unwrap_or_default();
            if !self.is_basic || first != '\\' {
                written += first.len_utf8();
                decoded += first.len_utf8();
                continue;
            }
            match chars.next() {
                Some(digits @ ('u' | 'U' | 'x')) => {
                    let count = match digits {
                        'u' => 4,
                        'U' => 8,
                        _ => 2,
                    };
                    let code = rest.get(2..2 + count).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                    decoded += code.and_then(char::from_u32).map_or(1, char::len_utf8);
                    written += 2 + count;
                }
                Some(space) if space.is_ascii_whitespace() => {
                    written +=
                        rest[1..].find(|c: char| !c.is_ascii_whitespace()).map_or(rest.len(), |n| n + 1);
                }
                _ => {
                    decoded += 1;
                    written += 2;
                }
            }
        }
        (written, decoded)
    }
}
