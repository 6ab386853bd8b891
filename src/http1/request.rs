//! Reads the head of a request: its request line, its headers, and how its body is delimited.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, Uri, Version};
use httparse::{Header, Status};

use super::fields::elements_of;
use super::{MAX_HEADERS, head_length};

/// The largest head of a request in bytes, including its URL.
pub const MAX_HEAD: usize = 64 * 1024;

/// What a client of HTTP/2 sends first.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The head of a request.
#[derive(Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the client would send another request on the connection.
    pub keeps_alive: bool,
    /// Whether the client waits for 100 before it sends the body.
    pub expects_continue: bool,
}

/// How the body of a request is delimited (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By its length in bytes. A request without a body has 0.
    Length(u64),
    /// By the chunked transfer coding.
    Chunked,
}

/// A head that breaks the rules of HTTP. `Display` is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// It exceeds a limit.
    #[error("the head of the request has more than 64 KiB or 100 headers")]
    TooLarge,
    /// It is not valid.
    #[error("the head of the request is malformed: {0}")]
    Malformed(&'static str),
    /// It is the start of HTTP/2, in which there is no response that the client could read.
    #[error(
        "the head of the request is malformed: it is the start of HTTP/2, and only HTTP/1.1 is supported"
    )]
    Http2,
}

const BAD_METHOD: BadHead = BadHead::Malformed("the request line does not begin with a method and a space");
const BAD_TARGET: BadHead =
    BadHead::Malformed("the request line has no valid URL between its method and its version");
const BAD_NAME: BadHead = BadHead::Malformed("a header does not begin with a valid name and a colon");
const BAD_VALUE: BadHead = BadHead::Malformed("the value of a header has a forbidden character");
const BAD_LINE: BadHead = BadHead::Malformed("a line has a CR without an LF");

/// Reads one head as it arrives.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// How many of the received bytes do not contain the end of the head.
    searched: usize,
    /// How many bytes of line breaks preceded the head.
    skipped: usize,
}

impl HeadReader {
    /// Takes the head from the front of `received`; `None` if it is incomplete.
    ///
    /// # Errors
    /// The head breaks the rules of HTTP. An incomplete head may be found to do so later.
    pub fn read(&mut self, received: &mut Bytes) -> Result<Option<RequestHead>, BadHead> {
        self.skip_line_breaks(received);
        if received.is_empty() {
            return self.incomplete(0);
        }
        // The first part of a head is parsed, so that another protocol is noticed at once. After that, the end must be
        // there: parsing all of it again for each part would cost too much.
        if self.searched > 0 && head_length(received, self.searched).is_none() {
            return self.incomplete(received.len());
        }
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(received, &mut headers);
        match parsed {
            Ok(Status::Complete(length)) if length + self.skipped > MAX_HEAD => Err(BadHead::TooLarge),
            Ok(Status::Complete(length)) => {
                let head = head(received, &request)?;
                received.advance(length);
                *self = Self::default();
                Ok(Some(head))
            }
            Ok(Status::Partial) => self.incomplete(received.len()),
            Err(_) if received.starts_with(HTTP2_PREFACE) => Err(BadHead::Http2),
            Err(error) => Err(malformed(error, &request)),
        }
    }

    /// A single LF ends a line, too (RFC 9112, section 2.2).
    fn skip_line_breaks(&mut self, received: &mut Bytes) {
        if self.searched > 0 {
            return;
        }
        loop {
            let length = match received.as_ref() {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                _ => return,
            };
            received.advance(length);
            self.skipped += length;
        }
    }

    fn incomplete<T>(&mut self, length: usize) -> Result<Option<T>, BadHead> {
        self.searched = length;
        if length + self.skipped >= MAX_HEAD { Err(BadHead::TooLarge) } else { Ok(None) }
    }
}

fn malformed(error: httparse::Error, request: &httparse::Request<'_, '_>) -> BadHead {
    match error {
        httparse::Error::TooManyHeaders => BadHead::TooLarge,
        httparse::Error::Version => {
            BadHead::Malformed("the request line does not end with HTTP/1.1 or HTTP/1.0")
        }
        httparse::Error::Token if request.method.is_none() => BAD_METHOD,
        httparse::Error::Token => BAD_TARGET,
        httparse::Error::HeaderName => BAD_NAME,
        httparse::Error::HeaderValue => BAD_VALUE,
        _ => BAD_LINE,
    }
}

fn head(text: &Bytes, parsed: &httparse::Request<'_, '_>) -> Result<RequestHead, BadHead> {
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(BadHead::Malformed("the request line is incomplete"));
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| BAD_METHOD)?;
    let uri = Uri::from_maybe_shared(text.slice_ref(target.as_bytes())).map_err(|_| BAD_TARGET)?;
    let version = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut head = RequestHead {
        method,
        uri,
        version,
        headers: HeaderMap::with_capacity(parsed.headers.len()),
        framing: Framing::Length(0),
        keeps_alive: version == Version::HTTP_11,
        expects_continue: false,
    };
    let mut facts = Facts::default();
    for Header { name, value } in parsed.headers.iter() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| BAD_NAME)?;
        if facts.note(&name, value)? {
            let value = HeaderValue::from_maybe_shared(text.slice_ref(value)).map_err(|_| BAD_VALUE)?;
            head.headers.append(name, value);
        }
    }
    head.framing = facts.framing(version)?;
    head.keeps_alive = !facts.closes && (head.keeps_alive || facts.keeps_alive);
    head.expects_continue =
        facts.expects_continue && version == Version::HTTP_11 && head.framing != Framing::Length(0);
    Ok(head)
}

/// What the headers say about the connection and the body.
#[derive(Default)]
struct Facts {
    length: Option<u64>,
    has_coding: bool,
    /// Whether the last transfer coding is `chunked`.
    is_chunked: bool,
    closes: bool,
    keeps_alive: bool,
    expects_continue: bool,
}

impl Facts {
    /// Notes a header. Returns whether to keep it: the length is kept once.
    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, BadHead> {
        match *name {
            CONTENT_LENGTH => {
                let length =
                    length(value).ok_or(BadHead::Malformed("`content-length` is not a valid number"))?;
                let before = self.length.replace(length);
                if before.is_some_and(|before| before != length) {
                    return Err(BadHead::Malformed("it has `content-length` twice, with different values"));
                }
                return Ok(before.is_none());
            }
            TRANSFER_ENCODING => {
                self.has_coding = true;
                let last = elements_of(value).next_back();
                self.is_chunked = last.is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
            }
            CONNECTION => {
                for option in elements_of(value) {
                    self.closes |= option.eq_ignore_ascii_case(b"close");
                    self.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            EXPECT => self.expects_continue = value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        Ok(true)
    }

    /// A request must say clearly where its body ends: a proxy in front may have read an ambiguous one differently.
    fn framing(&self, version: Version) -> Result<Framing, BadHead> {
        match (self.has_coding, self.length) {
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
            (true, _) if version == Version::HTTP_10 => {
                Err(BadHead::Malformed("it has `transfer-encoding`, which HTTP/1.0 does not allow"))
            }
            (true, Some(_)) => {
                Err(BadHead::Malformed("it has both `content-length` and `transfer-encoding`"))
            }
            (true, None) if self.is_chunked => Ok(Framing::Chunked),
            (true, None) => Err(BadHead::Malformed("the last `transfer-encoding` is not `chunked`")),
        }
    }
}

/// A length in decimal digits.
fn length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}
