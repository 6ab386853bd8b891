//! Header fields: lists of elements, and how a field is written.

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName};

/// Whether a `connection` header has this option.
pub(crate) fn connection_has(headers: &HeaderMap, option: &str) -> bool {
    elements(headers, &CONNECTION).any(|value| value.eq_ignore_ascii_case(option.as_bytes()))
}

/// The elements of a header that is a list.
pub(crate) fn elements<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl DoubleEndedIterator<Item = &'h [u8]> {
    headers.get_all(name).iter().flat_map(|value| elements_of(value.as_bytes()))
}

/// The elements of one line of a header that is a list.
pub(crate) fn elements_of(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Writes a header.
pub(crate) fn write_header(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
