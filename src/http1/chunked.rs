//! Decodes the chunked transfer coding (RFC 9112, section 7.1).

use super::MAX_HEADERS;

/// The most digits of a chunk's size.
const MAX_DIGITS: usize = 15;
/// The most bytes that all extensions and trailers of a body may have.
const MAX_IGNORED: usize = 16 * 1024;

/// What is wrong with a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadChunks(pub &'static str);

const TOO_LONG: BadChunks = BadChunks("the extensions or trailers of the chunked body are too long");
const NO_SIZE: BadChunks = BadChunks("the size of a chunk of the body is not a hexadecimal number");
const LINE_BREAK: BadChunks = BadChunks("a line of the chunked body does not end in CR and LF");

/// A chunked body as far as it has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunked {
    next: Next,
    /// The number of bytes in extensions and trailers.
    ignored: usize,
    /// The number of trailers.
    trailers: usize,
    /// Whether what is ignored must be valid, too. A proxy in front may read it differently.
    is_strict: bool,
}

/// What comes next in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The line with the size of a chunk.
    Size,
    /// This many bytes of data.
    Data(u64),
    /// The line break after the data of a chunk.
    LineBreak,
    /// A trailer, or the empty line at the end.
    Trailer,
    End,
}

/// What [`Chunked::advance`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The length of the parts before what was found. The caller consumes them.
    pub passed: usize,
    /// What follows.
    pub found: Found,
}

/// What follows in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// This many bytes of data. The caller consumes them.
    Data(usize),
    /// More bytes must be received.
    Incomplete,
    /// The end of the body.
    End,
}

impl Chunked {
    /// The body of a response at its beginning. Its trailers may be anything.
    pub const fn of_response() -> Self {
        Self { next: Next::Size, ignored: 0, trailers: 0, is_strict: false }
    }

    /// The body of a request at its beginning.
    pub const fn of_request() -> Self {
        Self { next: Next::Size, ignored: 0, trailers: 0, is_strict: true }
    }

    /// Whether the end of the body has been read.
    pub fn has_ended(self) -> bool {
        self.next == Next::End
    }

    /// Reads up to the next data in `unread`.
    ///
    /// # Errors
    /// The coding is invalid.
    pub fn advance(&mut self, unread: &[u8]) -> Result<Step, BadChunks> {
        let mut passed = 0;
        loop {
            let rest = unread.get(passed..).unwrap_or_default();
            let found = match self.next {
                Next::Data(left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let left = left - length as u64;
                    self.next = if left == 0 { Next::LineBreak } else { Next::Data(left) };
                    if length == 0 { Found::Incomplete } else { Found::Data(length) }
                }
                Next::End => Found::End,
                Next::LineBreak => match rest {
                    [] | [b'\r'] => Found::Incomplete,
                    [b'\r', b'\n', ..] => {
                        (self.next, passed) = (Next::Size, passed + 2);
                        continue;
                    }
                    _ => return Err(BadChunks("a chunk of the body is longer than its size")),
                },
                Next::Size | Next::Trailer => match self.line(rest)? {
                    Some(length) => {
                        passed += length;
                        continue;
                    }
                    None => Found::Incomplete,
                },
            };
            return Ok(Step { passed, found });
        }
    }

    /// Reads the line at the start of `rest`. Returns its length; `None` if it is incomplete.
    fn line(&mut self, rest: &[u8]) -> Result<Option<usize>, BadChunks> {
        if self.next == Next::Size && rest.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Err(NO_SIZE);
        }
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return if rest.len() > MAX_IGNORED { Err(TOO_LONG) } else { Ok(None) };
        };
        let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(LINE_BREAK)?;
        // Another reader may take it for the end of the line.
        if line.contains(&b'\r') {
            return Err(LINE_BREAK);
        }
        if self.next == Next::Size {
            let (size, extensions) = size(line)?;
            self.ignore(extensions)?;
            self.next = if size == 0 { Next::Trailer } else { Next::Data(size) };
        } else if line.is_empty() {
            self.next = Next::End;
        } else {
            self.trailers += 1;
            if self.is_strict && (self.trailers > MAX_HEADERS || !is_field(line)) {
                return Err(BadChunks(
                    "a trailer of the chunked body is malformed, or there are more than 100",
                ));
            }
            self.ignore(line)?;
        }
        Ok(Some(end + 1))
    }

    fn ignore(&mut self, text: &[u8]) -> Result<(), BadChunks> {
        if self.is_strict && !text.iter().all(|byte| is_text(*byte)) {
            return Err(BadChunks("an extension of a chunk has control characters"));
        }
        self.ignored += text.len();
        if self.ignored <= MAX_IGNORED { Ok(()) } else { Err(TOO_LONG) }
    }
}

/// The size in the first line of a chunk, and the rest of that line.
fn size(line: &[u8]) -> Result<(u64, &[u8]), BadChunks> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let is_extension = rest.iter().find(|byte| !is_space(byte)).is_none_or(|byte| *byte == b';');
    let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match size {
        Some(size) if digits.len() <= MAX_DIGITS && is_extension => Ok((size, rest)),
        _ => Err(NO_SIZE),
    }
}

/// Whether a line is a header field.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let (name, value) = line.split_at(colon);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_token) && value.iter().all(|byte| is_text(*byte))
}

/// Whether a byte may be part of a header's value.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a body that arrives in pieces of `length` bytes. Returns its data, and the bytes after its end; `None`
    /// for an incomplete body.
    fn decode(
        mut chunked: Chunked,
        body: &[u8],
        length: usize,
    ) -> Result<Option<(String, usize)>, BadChunks> {
        let (mut unread, mut data) = (Vec::new(), Vec::new());
        for piece in body.chunks(length) {
            unread.extend_from_slice(piece);
            loop {
                let Step { passed, found } = chunked.advance(&unread)?;
                unread.drain(..passed);
                let Found::Data(length) = found else { break };
                data.extend(unread.drain(..length));
            }
        }
        let data = String::from_utf8(data).unwrap();
        Ok(chunked.has_ended().then_some((data, unread.len())))
    }

    const BOTH: [Chunked; 2] = [Chunked::of_response(), Chunked::of_request()];

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        for (body, data) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5\r\nhello\r\n00001\r\n \r\nA\r\nworldworld\r\n0\r\n\r\n", "hello worldworld"),
            ("2;name=value;x=\"y\"\r\nok\r\n0 ;end\r\nx-trailer: 1\r\ny: 2\r\n\r\n", "ok"),
            ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ] {
            let bytes = body.as_bytes();
            for chunked in BOTH {
                for length in 1..=body.len() {
                    assert_eq!(decode(chunked, bytes, length).unwrap(), Some((data.to_owned(), 0)), "{body}");
                    assert_eq!(decode(chunked, &bytes[..body.len() - 1], length).unwrap(), None, "{body}");
                }
                let more = [bytes, b"HTTP"].concat();
                assert_eq!(decode(chunked, &more, more.len()).unwrap(), Some((data.to_owned(), 4)), "{body}");
            }
        }
    }

    #[test]
    fn an_invalid_coding_is_an_error() {
        let long = "x".repeat(MAX_IGNORED + 1);
        for body in [
            "\r\n".to_owned(),
            "g\r\n".to_owned(),
            "-1\r\n".to_owned(),
            "+1\r\nx\r\n".to_owned(),
            "0x1\r\nx\r\n".to_owned(),
            "1 1\r\nx\r\n".to_owned(),
            "1\nx\r\n0\r\n\r\n".to_owned(),
            "1\r \r\nx\r\n0\r\n\r\n".to_owned(),
            "1;a\rb\r\nx\r\n0\r\n\r\n".to_owned(),
            "1\u{b}\r\nx\r\n0\r\n\r\n".to_owned(),
            "0\r\na: b\rc: d\r\n\r\n".to_owned(),
            "1000000000000000\r\n".to_owned(),
            "1\r\nxy\r\n0\r\n\r\n".to_owned(),
            "1\r\nx\n0\r\n\r\n".to_owned(),
            "0\r\na: b\n\r\n".to_owned(),
            format!("0;{long}\r\n\r\n"),
            format!("0\r\n{long}\r\n\r\n"),
            format!("0;{long}"),
            format!("{}0\r\n\r\n", "1;xxxxxxx\r\nx\r\n".repeat(MAX_IGNORED / 8 + 1)),
        ] {
            let shown = &body[..body.len().min(40)];
            for length in [1, 7, body.len()] {
                for chunked in BOTH {
                    assert!(decode(chunked, body.as_bytes(), length).is_err(), "{shown}");
                }
            }
        }
    }

    #[test]
    fn what_a_request_has_beside_its_data_must_be_valid() {
        for body in [
            "1;a\0\r\nx\r\n0\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\na : b\r\n\r\n",
            "0\r\n a: b\r\n\r\n",
            "0\r\na: b\r\n c\r\n\r\n",
            "0\r\na: \0\r\n\r\n",
            "0\r\n: b\r\n\r\n",
            &format!("0\r\n{}\r\n", "a: b\r\n".repeat(101)),
        ] {
            assert!(decode(Chunked::of_request(), body.as_bytes(), body.len()).is_err(), "{body}");
            assert!(decode(Chunked::of_response(), body.as_bytes(), body.len()).is_ok(), "{body}");
        }
    }
}
