//! Decodes the chunked transfer coding (RFC 9112, section 7.1).

use super::buffer::Buffer;
use super::error::invalid;
use crate::upstream::TransportError;

/// The most digits of a chunk's size.
const MAX_DIGITS: usize = 15;
/// The most bytes that all extensions and trailers of a body may have.
const MAX_IGNORED: usize = 16 * 1024;

/// A chunked body as far as it has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunked {
    next: Next,
    /// The number of bytes in extensions and trailers.
    ignored: usize,
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

/// What [`Chunked::advance`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This many bytes of data at the front of the buffer. The caller consumes them.
    Data(usize),
    /// More bytes must be received.
    Incomplete,
    End,
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self { next: Next::Size, ignored: 0 }
    }

    pub(super) fn has_ended(self) -> bool {
        self.next == Next::End
    }

    /// Reads up to the next data in the buffer.
    ///
    /// # Errors
    /// The coding is invalid.
    pub(super) fn advance(&mut self, buffer: &mut Buffer) -> Result<Found, TransportError> {
        loop {
            if let Next::Data(left) = self.next {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.unread().len());
                if length == 0 {
                    return Ok(Found::Incomplete);
                }
                let left = left - length as u64;
                self.next = if left == 0 { Next::LineBreak } else { Next::Data(left) };
                return Ok(Found::Data(length));
            }
            if self.next == Next::End {
                return Ok(Found::End);
            }
            let Some(length) = buffer.unread().iter().position(|byte| *byte == b'\n') else {
                return if buffer.unread().len() > MAX_IGNORED {
                    Err(invalid("the extensions or trailers of the chunked body are too long"))
                } else {
                    Ok(Found::Incomplete)
                };
            };
            let line = buffer.consume(length + 1);
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Err(invalid("a line of the chunked body does not end in CR and LF"));
            };
            self.line(line)?;
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), TransportError> {
        self.next = match self.next {
            Next::Size => {
                let (size, rest) = size(line)?;
                self.ignore(rest)?;
                if size == 0 { Next::Trailer } else { Next::Data(size) }
            }
            Next::LineBreak if line.is_empty() => Next::Size,
            Next::LineBreak => return Err(invalid("a chunk of the body is longer than its size")),
            Next::Trailer if line.is_empty() => Next::End,
            Next::Trailer => {
                self.ignore(line.len())?;
                Next::Trailer
            }
            next @ (Next::Data(_) | Next::End) => next,
        };
        Ok(())
    }

    fn ignore(&mut self, length: usize) -> Result<(), TransportError> {
        self.ignored += length;
        if self.ignored <= MAX_IGNORED {
            return Ok(());
        }
        Err(invalid("the extensions or trailers of the chunked body are too long"))
    }
}

/// The size in the first line of a chunk, and the length of the rest of that line.
fn size(line: &[u8]) -> Result<(u64, usize), TransportError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let is_extension = matches!(rest.trim_ascii_start(), [] | [b';', ..]);
    let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match size {
        Some(size) if digits.len() <= MAX_DIGITS && is_extension => Ok((size, rest.len())),
        _ => Err(invalid("the size of a chunk of the body is not a hexadecimal number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a body that arrives in pieces of `length` bytes. Returns its data, and the bytes after its end; `None`
    /// for an incomplete body.
    fn decode(body: &[u8], length: usize) -> Result<Option<(String, usize)>, TransportError> {
        let (mut buffer, mut chunked, mut data) = (Buffer::default(), Chunked::new(), Vec::new());
        for piece in body.chunks(length) {
            buffer.receive(piece);
            while let Found::Data(length) = chunked.advance(&mut buffer)? {
                data.extend_from_slice(buffer.consume(length));
            }
        }
        let data = String::from_utf8(data).unwrap();
        Ok(chunked.has_ended().then_some((data, buffer.unread().len())))
    }

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        for (body, data) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5\r\nhello\r\n00001\r\n \r\nA\r\nworldworld\r\n0\r\n\r\n", "hello worldworld"),
            ("2;name=value;x=\"y\"\r\nok\r\n0 ;end\r\nx-trailer: 1\r\ny: 2\r\n\r\n", "ok"),
            ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ] {
            for length in 1..=body.len() {
                assert_eq!(decode(body.as_bytes(), length).unwrap(), Some((data.to_owned(), 0)), "{body}");
                assert_eq!(decode(&body.as_bytes()[..body.len() - 1], length).unwrap(), None, "{body}");
            }
            let more = [body.as_bytes(), b"HTTP"].concat();
            assert_eq!(decode(&more, more.len()).unwrap(), Some((data.to_owned(), 4)), "{body}");
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
                let error = decode(body.as_bytes(), length).unwrap_err();
                assert!(matches!(error, TransportError::Invalid { .. }), "{shown}: {error}");
            }
        }
    }
}
