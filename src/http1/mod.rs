//! HTTP/1.1 on the wire, for the server and the client. Nothing here reads or writes a connection.

pub mod chunked;
pub(crate) mod fields;
pub mod request;
pub mod response_headers;

use memchr::memchr;

/// The most headers of a message.
pub(crate) const MAX_HEADERS: usize = 100;

/// The length of the head at the start of `bytes`, including the empty line at its end; `None` if that line has not
/// arrived. It is not within the first `searched` bytes.
pub(crate) fn head_length(bytes: &[u8], searched: usize) -> Option<usize> {
    // The line breaks of the empty line may be divided.
    let mut from = searched.saturating_sub(2);
    while let Some(found) = memchr(b'\n', bytes.get(from..)?) {
        let next = from + found + 1;
        match bytes.get(next..)? {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => from = next,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_head_is_found_however_it_arrives() {
        for text in
            ["HTTP/1.1 200 OK\r\na: b\r\n\r\n", "HTTP/1.1 200 OK\na: b\n\n", "HTTP/1.1 200 OK\r\n\r\n"]
        {
            let more = format!("{text}body\r\n\r\n");
            for searched in 0..text.len() {
                assert_eq!(head_length(&more.as_bytes()[..searched], 0), None, "{text} {searched}");
                assert_eq!(head_length(more.as_bytes(), searched), Some(text.len()), "{text} {searched}");
            }
        }
    }
}
