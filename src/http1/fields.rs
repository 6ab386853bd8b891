//! Header fields: lists of elements, and how a field is written.

use http::header::{CONTENT_LENGTH, HeaderName};

/// Whether this value of a list header, such as `connection`, contains the element. Case is ignored.
pub(crate) fn has_element(value: &[u8], element: &str) -> bool {
    elements_of(value).any(|found| found.eq_ignore_ascii_case(element.as_bytes()))
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

/// Writes the header with the length of a body.
pub(crate) fn write_content_length(out: &mut Vec<u8>, length: u64) {
    write_header(out, &CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes());
}
