//! Requests on a connection, read by the server's codec: heads, lengths, chunks.
//!
//! An input is what a client sends on one connection.

use bytes::{Buf as _, Bytes};
use http::Version;
use jackfield::http1::chunked::{Chunked, Found};
use jackfield::http1::request::{BadHead, Framing, HeadReader, MAX_HEAD};

/// What was read of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    Request {
        line: String,
        headers: usize,
        body: Vec<u8>,
    },
    BadHead(BadHead),
    BadBody,
    /// The rest is incomplete.
    Incomplete,
}

/// Reads what a client sends in pieces of `piece` bytes.
fn read(input: &[u8], piece: usize) -> Vec<Read> {
    let mut pieces = input.chunks(piece);
    let mut received = Bytes::new();
    let mut all = Vec::new();
    loop {
        match next(&mut received, &mut pieces) {
            request @ Read::Request { .. } => all.push(request),
            end => {
                all.push(end);
                return all;
            }
        }
    }
}

fn next<'a>(received: &mut Bytes, pieces: &mut impl Iterator<Item = &'a [u8]>) -> Read {
    let mut fill = |received: &mut Bytes| {
        let Some(piece) = pieces.next() else { return false };
        *received = [received.as_ref(), piece].concat().into();
        true
    };
    let mut reader = HeadReader::default();
    let head = loop {
        match reader.read(received) {
            Ok(Some(head)) => break head,
            Ok(None) if fill(received) => {}
            Ok(None) => return Read::Incomplete,
            Err(bad) => return Read::BadHead(bad),
        }
    };
    // Two ways to read the end of a body are one too many.
    let codings = head.headers.get_all("transfer-encoding").iter().count();
    let lengths = head.headers.get_all("content-length").iter().count();
    assert!(lengths <= 1 && (codings == 0 || lengths == 0), "{head:?}");
    assert_eq!(head.framing == Framing::Chunked, codings > 0, "{head:?}");
    assert!(codings == 0 || head.version == Version::HTTP_11, "{head:?}");
    for (name, value) in &head.headers {
        assert!(!name.as_str().contains(|c: char| c.is_control() || c.is_whitespace() || c == ':'), "{name}");
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{value:?}");
    }
    let line = format!("{} {} {:?}", head.method, head.uri, head.version);
    let mut body = Vec::new();
    match head.framing {
        Framing::Length(length) => loop {
            let left = usize::try_from(length).unwrap_or(usize::MAX) - body.len();
            body.extend_from_slice(&received.split_to(left.min(received.len())));
            if body.len() as u64 == length {
                break;
            }
            if !fill(received) {
                return Read::Incomplete;
            }
        },
        Framing::Chunked => {
            let mut chunked = Chunked::of_request();
            loop {
                let Ok(step) = chunked.advance(received) else { return Read::BadBody };
                received.advance(step.passed);
                match step.found {
                    Found::Data(length) => body.extend_from_slice(&received.split_to(length)),
                    Found::End => break,
                    Found::Incomplete if fill(received) => {}
                    Found::Incomplete => return Read::Incomplete,
                }
            }
        }
    }
    Read::Request { line, headers: head.headers.len(), body }
}

/// Reads an input at once and in pieces.
pub(crate) fn run(input: &[u8]) {
    // No more than what a test can read byte by byte.
    let input = &input[..input.len().min(MAX_HEAD / 8)];
    let at_once = read(input, input.len().max(1));
    for piece in [1, 3, 64] {
        let in_pieces = read(input, piece);
        assert_eq!(at_once.len(), in_pieces.len(), "{at_once:?}\n{in_pieces:?}");
        for (one, other) in at_once.iter().zip(&in_pieces) {
            // What is malformed may be noticed only at its end.
            let is_late = matches!(one, Read::BadHead(_) | Read::BadBody) && *other == Read::Incomplete;
            let is_same_kind = matches!((one, other), (Read::BadHead(_), Read::BadHead(_)));
            assert!(one == other || is_late || is_same_kind, "{at_once:?}\n{in_pieces:?}");
        }
    }
}
