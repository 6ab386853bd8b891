//! What upstreams of the tables say, written as it goes over the wire.

use std::time::Duration;

use crate::support::faulty_upstream::Act;

/// The header of a good answer.
pub(super) const JSON: &str = "content-type: application/json\r\n";
pub(super) const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

pub(super) fn say(bytes: impl Into<Vec<u8>>) -> Act {
    Act::Say(bytes.into())
}

/// A whole answer.
pub(super) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A good answer, as it is said.
pub(super) fn good(id: u32) -> Vec<u8> {
    answer("200 OK", JSON, format!("{{\"id\":{id}}}"))
}

/// A turn that is a good answer.
pub(super) fn ok(id: u32) -> [Act; 1] {
    [say(good(id))]
}

/// A turn that is an answer with this status, these headers and an empty JSON object.
pub(super) fn status(status: &str, headers: &str) -> [Act; 1] {
    [say(answer(status, &format!("{JSON}{headers}"), "{}"))]
}

/// A turn that says this and closes the connection.
pub(super) fn last(bytes: impl Into<Vec<u8>>) -> [Act; 2] {
    [say(bytes), Act::Close]
}

/// Says this and then nothing more.
pub(super) fn hang_after(bytes: impl Into<Vec<u8>>) -> [Act; 2] {
    [say(bytes), Act::Hang]
}

pub(super) fn drip(bytes: impl Into<Vec<u8>>, pause_ms: u64) -> Act {
    Act::Drip(bytes.into(), Duration::from_millis(pause_ms))
}

/// Says this again and again as fast as it is taken.
pub(super) fn flood(bytes: impl Into<Vec<u8>>) -> Act {
    Act::Repeat(bytes.into(), Duration::ZERO)
}

/// Says this again and again with pauses.
pub(super) fn trickle(bytes: impl Into<Vec<u8>>, pause_ms: u64) -> Act {
    Act::Repeat(bytes.into(), Duration::from_millis(pause_ms))
}
