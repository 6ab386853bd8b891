//! Writes the head of a response.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Version};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::http1::fields::{has_element, write_content_length, write_header};

/// What the head of a response depends on, beside its own headers.
pub(super) struct Facts<'a> {
    /// The method of the request.
    pub(super) method: &'a Method,
    /// The version of the request.
    pub(super) version: Version,
    /// The length of the body, if it is known.
    pub(super) length: Option<u64>,
    /// Whether the connection could carry another request.
    pub(super) keeps_alive: bool,
}

/// How a response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sending {
    pub(super) body: SentBody,
    /// Whether the connection carries another request after it.
    pub(super) keeps_alive: bool,
}

/// How the body of a response is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SentBody {
    /// There is none, whatever the response says.
    Nothing,
    /// By its length in bytes.
    Length(u64),
    /// By the chunked transfer coding.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// Writes the status line and the headers.
pub(super) fn write_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    facts: &Facts<'_>,
) -> Sending {
    write_status(out, status, facts.version);
    let (mut closes, mut has_date) = (false, false);
    for (name, value) in headers {
        match *name {
            CONTENT_LENGTH | TRANSFER_ENCODING => continue,
            CONNECTION => closes |= has_element(value.as_bytes(), "close"),
            DATE => has_date = true,
            _ => {}
        }
        write_header(out, name, value.as_bytes());
    }
    let sending = sending(status, closes, facts);
    // What the version of the client does not imply.
    match (sending.keeps_alive, facts.version) {
        (true, Version::HTTP_10) => write_header(out, &CONNECTION, b"keep-alive"),
        (false, Version::HTTP_11) if !closes => {
            write_header(out, &CONNECTION, b"close");
        }
        _ => {}
    }
    if has_length(status, facts)
        && let Some(length) = facts.length
    {
        write_content_length(out, length);
    } else if sending.body == SentBody::Chunked {
        write_header(out, &TRANSFER_ENCODING, b"chunked");
    }
    if !has_date {
        write_date(out);
    }
    out.extend_from_slice(b"\r\n");
    sending
}

/// How a response is sent. `closes` says whether its own headers end the connection.
fn sending(status: StatusCode, closes: bool, facts: &Facts<'_>) -> Sending {
    let is_tunnel = facts.method == Method::CONNECT && status.is_success();
    let has_none = facts.method == Method::HEAD
        || is_tunnel
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let body = match facts.length {
        _ if has_none => SentBody::Nothing,
        Some(length) => SentBody::Length(length),
        None if facts.version == Version::HTTP_10 => SentBody::Close,
        None => SentBody::Chunked,
    };
    let is_last = is_tunnel || body == SentBody::Close || closes;
    Sending { body, keeps_alive: facts.keeps_alive && !is_last }
}

/// Whether a response may declare its length. One to HEAD declares that of the response to GET, unless it is 0 or not
/// known.
fn has_length(status: StatusCode, facts: &Facts<'_>) -> bool {
    let is_tunnel = facts.method == Method::CONNECT && status.is_success();
    let is_empty_head = facts.method == Method::HEAD && facts.length == Some(0);
    !is_tunnel && !is_empty_head && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn write_status(out: &mut Vec<u8>, status: StatusCode, version: Version) {
    if status == StatusCode::OK && version == Version::HTTP_11 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("<none>").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes the response to a head that breaks the rules of HTTP.
pub(super) fn write_rejection(out: &mut Vec<u8>, status: StatusCode) {
    let facts =
        Facts { method: &Method::GET, version: Version::HTTP_11, length: Some(0), keeps_alive: false };
    write_head(out, status, &HeaderMap::new(), &facts);
}

thread_local! {
    /// The second of the last `date` header, and its line. Writing it anew costs more than the rest of a head.
    static LAST_DATE: RefCell<(u64, Vec<u8>)> = const { RefCell::new((u64::MAX, Vec::new())) };
}

fn write_date(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST_DATE.with_borrow_mut(|(second, line)| {
        if *second != now {
            line.clear();
            *second = now;
            let at = i64::try_from(now).ok().and_then(|now| Timestamp::from_second(now).ok());
            let text = at.and_then(|at| DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok());
            if let Some(text) = text {
                write_header(line, &DATE, text.as_bytes());
            }
        }
        out.extend_from_slice(line);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_head_says_how_the_body_ends_and_whether_the_connection_stays_open() {
        const CLOSE: &str = "connection: close\r\n";
        const KEEP: &str = "connection: keep-alive\r\n";
        const FIVE: &str = "content-length: 5\r\n";
        const CHUNKS: &str = "transfer-encoding: chunked\r\n";
        let (get, head, connect) = (Method::GET, Method::HEAD, Method::CONNECT);
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        for (method, version, length, keeps_alive, status, expected, body) in [
            (&get, new, Some(5), true, 200, FIVE.to_owned(), SentBody::Length(5)),
            (&get, new, Some(5), false, 200, format!("{CLOSE}{FIVE}"), SentBody::Length(5)),
            (&get, new, Some(0), true, 200, "content-length: 0\r\n".to_owned(), SentBody::Length(0)),
            (&get, new, None, true, 200, CHUNKS.to_owned(), SentBody::Chunked),
            (&get, old, Some(5), true, 200, format!("{KEEP}{FIVE}"), SentBody::Length(5)),
            (&get, old, Some(5), false, 404, FIVE.to_owned(), SentBody::Length(5)),
            (&get, old, None, true, 200, String::new(), SentBody::Close),
            (&head, new, Some(5), true, 200, FIVE.to_owned(), SentBody::Nothing),
            (&head, new, Some(0), true, 200, String::new(), SentBody::Nothing),
            (&head, new, None, true, 200, String::new(), SentBody::Nothing),
            (&get, new, Some(5), true, 204, String::new(), SentBody::Nothing),
            (&get, new, None, true, 304, String::new(), SentBody::Nothing),
            (&connect, new, Some(5), true, 200, CLOSE.to_owned(), SentBody::Nothing),
            (&connect, new, Some(5), true, 404, FIVE.to_owned(), SentBody::Length(5)),
        ] {
            let mut out = Vec::new();
            let facts = Facts { method, version, length, keeps_alive };
            let status = StatusCode::from_u16(status).unwrap();
            let sending = write_head(&mut out, status, &HeaderMap::new(), &facts);
            let text = String::from_utf8(out).unwrap();
            let (line, headers) = text.split_once("\r\n").unwrap();
            assert_eq!(line, format!("{version:?} {status}"));
            let (headers, date) = headers.split_once("date: ").unwrap();
            assert!(date.ends_with(" GMT\r\n\r\n") && date.len() == 33, "{date}");
            assert_eq!(headers, expected, "{method} {version:?} {length:?} {keeps_alive} {status}");
            assert_eq!(sending.body, body, "{text}");
            let stays_open = keeps_alive && !text.contains(CLOSE) && body != SentBody::Close;
            assert_eq!(sending.keeps_alive, stays_open, "{text}");
        }
    }

    #[test]
    fn a_response_may_close_the_connection_and_never_delimits_its_body_itself() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("7"));
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(DATE, HeaderValue::from_static("today"));
        let facts =
            Facts { method: &Method::GET, version: Version::HTTP_11, length: Some(5), keeps_alive: true };
        let mut out = Vec::new();
        let sending = write_head(&mut out, StatusCode::OK, &headers, &facts);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\nconnection: close\r\ndate: today\r\ncontent-length: 5\r\n\r\n"
        );
        assert_eq!(sending, Sending { body: SentBody::Length(5), keeps_alive: false });
    }
}
