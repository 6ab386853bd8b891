//! Maps a range in the content of a string back to its place in the file.

use std::ops::Range;

use super::Span;

/// The place in the file of a range inside the decoded content of the TOML string at `token`.
///
/// `source` is the token as written, quotes and escapes included.
pub(crate) fn place_in_string(source: &str, token: Span, range: Range<usize>) -> Span {
    let quote = if source.starts_with("\"\"\"") || source.starts_with("'''") { 3 } else { 1 };
    let basic = source.starts_with('"');
    // A newline right after the opening of a multi-line string is not part of its content.
    let opening = quote
        + match source.get(quote..) {
            Some(rest) if quote == 3 && rest.starts_with("\r\n") => 2,
            Some(rest) if quote == 3 && rest.starts_with('\n') => 1,
            _ => 0,
        };
    if quote == 1 && !basic && !source.starts_with('\'') {
        return token;
    }
    let offset = |target: usize| -> usize {
        let (mut written, mut decoded) = (opening, 0);
        while decoded < target {
            let Some(rest) = source.get(written..).filter(|rest| !rest.is_empty()) else { break };
            let mut chars = rest.chars();
            let first = chars.next().unwrap_or_default();
            if !basic || first != '\\' {
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
        written.min(source.len())
    };
    token.part(offset(range.start), offset(range.end))
}
