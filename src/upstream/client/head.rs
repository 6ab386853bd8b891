//! Reads the head of a response: its status, its headers, and how its body is delimited.

use std::mem::MaybeUninit;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use httparse::{Header, ParserConfig, Status};
use memchr::memchr;

use super::error::invalid;
use crate::http1::MAX_HEADERS;
use crate::http1::fields::{elements_of, has_element};
use crate::http1::response_headers::ResponseHeaders;
use crate::upstream::TransportError;

/// The error of a response that is something else.
pub(super) const NOT_HTTP: &str = "it is not an HTTP/1 response";

/// Up to this size in bytes, the lines of headers are kept as they are. Larger ones may be mostly spaces, or have a name
/// that is too long.
const FEW_BYTES: usize = 2 * 1024;

/// The longest name of a header that `http` allows, in bytes.
const MAX_NAME: usize = (1 << 16) - 1;

/// The head of a response.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: ResponseHeaders,
    pub(super) framing: Framing,
    /// Whether the connection can carry another request after the body.
    pub(super) keeps_alive: bool,
}

/// How a body is delimited (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length in bytes.
    Length(u64),
    /// By the chunked transfer coding.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// Whether `bytes` may be the start of a response.
pub(super) fn may_be(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected)
}

/// Parses a head, which ends in an empty line. `method` is that of the request.
///
/// # Errors
/// The text is not the head of an HTTP/1 response, or does not say clearly where the body ends.
pub(super) fn parse(text: &[u8], method: &Method) -> Result<Head, TransportError> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    match ParserConfig::default().parse_response_with_uninit_headers(&mut response, text, &mut headers) {
        Ok(Status::Complete(length)) if length == text.len() => {
            let status_line = status_line(&response)?;
            let fields = response.headers.iter().map(|header| (header.name, header.value));
            let lines = lines(text);
            let headers = match lines.len() {
                ..=FEW_BYTES => ResponseHeaders::of_lines(lines),
                _ => fields.clone().filter(|(name, _)| name.len() <= MAX_NAME).collect(),
            };
            head(method, status_line, Facts::of(fields), headers)
        }
        _ => parse_leniently(text, method),
    }
}

/// Like curl and browsers, tolerates the malformed headers of some devices and security services: skips a header that
/// cannot be parsed. An invalid length or transfer coding is still an error.
#[cold]
fn parse_leniently(text: &[u8], method: &Method) -> Result<Head, TransportError> {
    let mut parser = ParserConfig::default();
    parser
        .ignore_invalid_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    match parser.parse_response_with_uninit_headers(&mut response, text, &mut headers) {
        Ok(Status::Complete(length)) if length == text.len() => {}
        Ok(Status::Complete(_) | Status::Partial) => return Err(invalid("its headers are malformed")),
        Err(error) => return Err(malformed(error)),
    }
    let status_line = status_line(&response)?;
    check_unread(text, response.headers)?;
    let headers = valid_headers(response.headers)?;
    head(method, status_line, Facts::of(headers.iter()), headers)
}

/// The status and the minor version.
fn status_line(response: &httparse::Response<'_, '_>) -> Result<(StatusCode, u8), TransportError> {
    let (Some(code), Some(version)) = (response.code, response.version) else {
        return Err(invalid(NOT_HTTP));
    };
    let status = StatusCode::from_u16(code).map_err(|_| invalid("the status is not a number from 100 on"))?;
    Ok((status, version))
}

/// The lines of the headers of a head.
fn lines(text: &[u8]) -> &[u8] {
    let status_line = memchr(b'\n', text).map_or(text.len(), |end| end + 1);
    let lines = text.get(status_line..).unwrap_or_default();
    lines.strip_suffix(b"\r\n").or_else(|| lines.strip_suffix(b"\n")).unwrap_or(lines)
}

fn head(
    method: &Method,
    (status, version): (StatusCode, u8),
    facts: Facts,
    headers: ResponseHeaders,
) -> Result<Head, TransportError> {
    let framing = framing((status, version), method, &headers, facts.has_coding)?;
    let is_persistent = !facts.closes && (version > 0 || facts.keeps_alive);
    // After 101 the connection speaks another protocol.
    let is_over = framing == Framing::Close || status == StatusCode::SWITCHING_PROTOCOLS;
    let keeps_alive = is_persistent && !is_over && !is_ambiguous(status, &headers, facts.has_coding);
    Ok(Head { status, headers, framing, keeps_alive })
}

fn malformed(error: httparse::Error) -> TransportError {
    invalid(match error {
        httparse::Error::Version => NOT_HTTP,
        httparse::Error::TooManyHeaders => "it has more than 100 headers",
        httparse::Error::Status | httparse::Error::Token => "its status line is malformed",
        _ => "its headers are malformed",
    })
}

/// Checks that none of the lines that were skipped or joined is about the length of the body.
fn check_unread(text: &[u8], parsed: &[Header<'_>]) -> Result<(), TransportError> {
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        let is_name = |text: &[u8]| text.eq_ignore_ascii_case(name.as_str().as_bytes());
        let begins = |line: &[u8]| line.trim_ascii_start().get(..name.as_str().len()).is_some_and(is_name);
        let written = text.split(|byte| *byte == b'\n').filter(|line| begins(line)).count();
        let read = parsed.iter().filter(|header| begins(header.name.as_bytes())).count();
        if written != read {
            return Err(invalid(&format!("its header `{name}` is malformed")));
        }
    }
    Ok(())
}

/// What the headers say about the connection and the body. It is collected while they are parsed, because looking up each
/// header afterwards costs more.
#[derive(Clone, Copy, Default)]
struct Facts {
    has_coding: bool,
    closes: bool,
    keeps_alive: bool,
}

impl Facts {
    fn of<'h>(fields: impl Iterator<Item = (&'h str, &'h [u8])>) -> Self {
        let mut facts = Self::default();
        for (name, value) in fields {
            if name.eq_ignore_ascii_case(TRANSFER_ENCODING.as_str()) {
                facts.has_coding = true;
            } else if name.eq_ignore_ascii_case(CONNECTION.as_str()) {
                facts.closes |= has_element(value, "close");
                facts.keeps_alive |= has_element(value, "keep-alive");
            }
        }
        facts
    }
}

/// The headers that are valid, each on one line.
fn valid_headers(parsed: &[Header<'_>]) -> Result<ResponseHeaders, TransportError> {
    let mut valid = Vec::new();
    for header in parsed {
        let Ok(name) = HeaderName::from_bytes(header.name.as_bytes()) else { continue };
        let value = unfolded(header.value);
        if HeaderValue::from_bytes(&value).is_ok() {
            valid.push((header.name, value));
        } else if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            return Err(invalid(&format!("its header `{name}` is malformed")));
        }
    }
    Ok(valid.iter().map(|(name, value)| (*name, &**value)).collect())
}

/// The value of a header that is folded over several lines, on one line.
fn unfolded(value: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
    lines.join(&b' ')
}

fn framing(
    (status, version): (StatusCode, u8),
    method: &Method,
    headers: &ResponseHeaders,
    has_coding: bool,
) -> Result<Framing, TransportError> {
    if has_coding {
        check_codings(version, headers)?;
    }
    let has_no_body = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_no_body {
        return Ok(Framing::Length(0));
    }
    if has_coding {
        return Ok(Framing::Chunked);
    }
    Ok(content_length(headers)?.map_or(Framing::Close, Framing::Length))
}

fn check_codings(version: u8, headers: &ResponseHeaders) -> Result<(), TransportError> {
    let codings = headers.get_all(TRANSFER_ENCODING.as_str()).flat_map(elements_of);
    let (mut is_last, mut chunked) = (false, 0);
    for coding in codings {
        is_last = coding.eq_ignore_ascii_case(b"chunked");
        chunked += usize::from(is_last);
    }
    // A body in another coding ends only with the connection, so its length is unknown.
    if !is_last {
        return Err(invalid("the last transfer coding of the response is not `chunked`"));
    }
    if chunked > 1 {
        return Err(invalid("the response has the transfer coding `chunked` twice"));
    }
    if version == 0 {
        return Err(invalid("an HTTP/1.0 response cannot have a transfer coding"));
    }
    Ok(())
}

/// Whether the peer may disagree with us about where the body ends. Bytes after that must not become the response
/// to another request (RFC 9112, section 11.2).
fn is_ambiguous(status: StatusCode, headers: &ResponseHeaders, has_coding: bool) -> bool {
    let has_length = || headers.get(CONTENT_LENGTH.as_str()).is_some_and(|length| length != b"0");
    match status {
        StatusCode::NO_CONTENT => has_coding || has_length(),
        _ => has_coding && has_length(),
    }
}

/// The declared length of a body. It may be declared several times, but not differently.
fn content_length(headers: &ResponseHeaders) -> Result<Option<u64>, TransportError> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH.as_str()) {
        for text in value.split(|byte| *byte == b',') {
            let text = text.trim_ascii();
            let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
            let number =
                std::str::from_utf8(text).ok().filter(|_| is_number).and_then(|text| text.parse().ok());
            let number: u64 = number.ok_or_else(|| invalid("its `content-length` is not a number"))?;
            if length.is_some_and(|length| length != number) {
                return Err(invalid("its `content-length` headers contradict each other"));
            }
            length = Some(number);
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, TransportError> {
        parse((text.replace('|', "\r\n") + "\r\n\r\n").as_bytes(), &Method::POST)
    }

    #[test]
    fn the_end_of_a_body_is_known_or_the_response_is_invalid() {
        use Framing::{Chunked, Close, Length};
        for (text, expected) in [
            ("HTTP/1.1 200 OK|content-length: 7", Some((Length(7), true))),
            ("HTTP/1.1 200|content-length: 007, 7|content-length: 7", Some((Length(7), true))),
            ("HTTP/1.1 200 OK", Some((Close, false))),
            ("HTTP/1.1 204 No Content", Some((Length(0), true))),
            ("HTTP/1.1 304 Not Modified|content-length: 7", Some((Length(0), true))),
            ("HTTP/1.1 101 Switching Protocols|upgrade: x", Some((Length(0), false))),
            ("HTTP/1.1 200 OK|transfer-encoding: Chunked", Some((Chunked, true))),
            ("HTTP/1.1 200 OK|transfer-encoding: Chunked|content-length: 7", Some((Chunked, false))),
            ("HTTP/1.1 204 No Content|content-length: 0", Some((Length(0), true))),
            ("HTTP/1.1 204 No Content|content-length: 7", Some((Length(0), false))),
            ("HTTP/1.1 204 No Content|transfer-encoding: chunked", Some((Length(0), false))),
            ("HTTP/1.1 304 Not Modified|transfer-encoding: chunked", Some((Length(0), true))),
            (
                "HTTP/1.1 200 OK|content-length: 7|connection: keep-alive|connection: CLOSE",
                Some((Length(7), false)),
            ),
            ("HTTP/1.0 200 OK|content-length: 7|connection: keep-alive, close", Some((Length(7), false))),
            ("HTTP/1.1 200 OK|transfer-encoding: chunked, chunked", None),
            ("HTTP/1.1 200 OK|transfer-encoding: chunked|transfer-encoding: gzip, Chunked", None),
            ("HTTP/1.1 200 OK|transfer-encoding: chunked,", None),
            ("HTTP/1.1 200 OK|transfer-encoding:", None),
            ("HTTP/1.1 200 OK|content-length:", None),
            ("HTTP/1.1 200 OK|content-length: 7\u{1}", None),
            ("HTTP/1.1 200 OK|content-length\u{1}: 7", None),
            ("HTTP/1.1 200 OK|content-length 7", None),
            ("HTTP/1.1 200 OK|content-length: 7|transfer-encoding : chunked", Some((Chunked, false))),
            ("HTTP/1.1 200 OK|content-length: 7|transfer-encoding: chunk\u{1}ed", None),
            ("HTTP/1.1 200 OK|content-length: 7|transfer-encoding\u{b}: chunked", None),
            ("HTTP/1.1 200 OK|content-length: 7| transfer-encoding: chunked", None),
            ("HTTP/1.1 200 OK| content-length: 7", None),
            ("HTTP/1.1 200 OK|x: y\rcontent-length: 7", None),
            ("HTTP/1.1 200 OK|transfer-encoding: gzip, chunked", Some((Chunked, true))),
            ("HTTP/1.1 200 OK|content-length: 7|connection: x, Close", Some((Length(7), false))),
            ("HTTP/1.0 200 OK|content-length: 7", Some((Length(7), false))),
            ("HTTP/1.0 200 OK|content-length: 7|connection: Keep-Alive", Some((Length(7), true))),
            ("HTTP/1.0 200 OK|transfer-encoding: chunked", None),
            ("HTTP/1.1 200 OK|transfer-encoding: chunked|transfer-encoding: identity", None),
            ("HTTP/1.1 204 No Content|transfer-encoding: gzip", None),
            ("HTTP/1.1 200 OK|content-length: 7|content-length: 8", None),
            ("HTTP/1.1 200 OK|content-length: 7,", None),
            ("HTTP/1.1 200 OK|content-length: +7", None),
            ("HTTP/1.1 200 OK|content-length: 99999999999999999999", None),
            ("HTTP/1.1 200 OK|content-length: 7|| 8", None),
            ("HTTP/2 200", None),
            ("HTTP/1.1 20x OK", None),
            ("HTTP/1.1 099 OK", None),
        ] {
            let found = head(text).ok().map(|head| (head.framing, head.keeps_alive));
            assert_eq!(found, expected, "{text}");
        }
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n";
        assert_eq!(parse(text, &Method::HEAD).unwrap().framing, Length(0));
    }

    #[test]
    fn malformed_headers_are_skipped_and_folded_ones_are_joined() {
        let text =
            "HTTP/1.1 200 OK|content-length: 7|no colon here|bad name: x|x-folded: a|   b|\tc|x-spaced : y";
        let head = head(text).unwrap();
        let found: Vec<_> = head.headers.iter().collect();
        assert_eq!(
            found,
            [("content-length", &b"7"[..]), ("x-folded", &b"a b c"[..]), ("x-spaced", &b"y"[..])]
        );
    }

    #[test]
    fn every_header_is_valid_and_found_by_its_name() {
        for byte in 0..=u8::MAX {
            for line in [&[b'x', byte, b'y', b':', b'1'][..], &[b'x', b'y', b':', b'1', byte, b'1']] {
                let text = [b"HTTP/1.1 200 OK\ncontent-length: 7\r\n", line, b"\r\nz: 2\n\r\n"].concat();
                let Ok(head) = parse(&text, &Method::POST) else { continue };
                let map = head.headers.to_map();
                assert_eq!(map.len(), head.headers.iter().count(), "{line:?}");
                for (name, value) in &map {
                    assert_eq!(head.headers.get(name.as_str()), Some(value.as_bytes()), "{line:?}");
                }
                assert_eq!(
                    (&map["content-length"], &map["z"]),
                    (&"7".parse().unwrap(), &"2".parse().unwrap())
                );
            }
        }
    }

    #[test]
    fn spaces_and_overlong_names_are_not_kept() {
        let (spaces, name) = (" ".repeat(5000), "n".repeat(1 << 16));
        let head = head(&format!("HTTP/1.1 200 OK|x-a:{spaces}1{spaces}|{name}: 2|x-b: 3")).unwrap();
        assert_eq!(head.headers.lines(), b"x-a: 1\r\nx-b: 3\r\n");
    }

    #[test]
    fn another_protocol_is_not_the_start_of_a_response() {
        assert!(may_be(b"") && may_be(b"HTT") && may_be(b"HTTP/1.1 200"));
        assert!(!may_be(b"HTTP/2 200") && !may_be(b"SSH-2.0"));
    }
}
