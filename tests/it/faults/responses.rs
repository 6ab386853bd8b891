//! Responses of the faulty upstreams, as bytes on the wire.

use std::time::Duration;

use crate::support::faulty_upstream::Action;

/// The header of a valid response.
pub(super) const JSON: &str = "content-type: application/json\r\n";
pub(super) const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

pub(super) fn say(bytes: impl Into<Vec<u8>>) -> Action {
    Action::Write(bytes.into())
}

/// A whole response.
pub(super) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A valid response.
pub(super) fn good(id: u32) -> Vec<u8> {
    answer("200 OK", JSON, format!("{{\"id\":{id}}}"))
}

/// A turn that sends a valid response.
pub(super) fn ok(id: u32) -> [Action; 1] {
    [say(good(id))]
}

/// A turn that sends a response with this status, these headers and an empty JSON object.
pub(super) fn status(status: &str, headers: &str) -> [Action; 1] {
    [say(answer(status, &format!("{JSON}{headers}"), "{}"))]
}

/// A turn that writes this and closes the connection.
pub(super) fn last(bytes: impl Into<Vec<u8>>) -> [Action; 2] {
    [say(bytes), Action::Close]
}

/// A turn that writes this and then hangs.
pub(super) fn hang_after(bytes: impl Into<Vec<u8>>) -> [Action; 2] {
    [say(bytes), Action::Hang]
}

pub(super) fn drip(bytes: impl Into<Vec<u8>>, pause_ms: u64) -> Action {
    Action::Drip(bytes.into(), Duration::from_millis(pause_ms))
}

/// Writes this repeatedly, as fast as it is read.
pub(super) fn flood(bytes: impl Into<Vec<u8>>) -> Action {
    Action::Repeat(bytes.into(), Duration::ZERO)
}

/// Writes this repeatedly with pauses.
pub(super) fn trickle(bytes: impl Into<Vec<u8>>, pause_ms: u64) -> Action {
    Action::Repeat(bytes.into(), Duration::from_millis(pause_ms))
}
