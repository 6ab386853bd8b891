//! The encoding of an XML document, which may say it itself.

use std::borrow::Cow;

use crate::lang::charset::{self, Charset};

/// The text of a document: by its byte order mark, else by the charset of its content type, else by what it declares,
/// else UTF-8.
///
/// # Errors
/// The encoding is not known, or the bytes are not of it.
pub(crate) fn decode(bytes: &[u8], content_type: Option<Charset>) -> Result<Cow<'_, str>, String> {
    let declared = || declared_encoding(bytes).map(Charset::named);
    charset::decode(bytes, content_type.or_else(declared).unwrap_or(Charset::Utf8))
}

/// The encoding that a document declares about itself.
pub(crate) fn declared_encoding(bytes: &[u8]) -> Option<&str> {
    let start = bytes.strip_prefix(b"<?xml")?;
    let start = &start[..start.len().min(200)];
    let end = start.windows(2).position(|pair| pair == b"?>")?;
    let declaration = std::str::from_utf8(&start[..end]).ok()?;
    let (_, after) = declaration.split_once("encoding")?;
    let after = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = after.chars().next().filter(|character| matches!(character, '"' | '\''))?;
    after[1..].split(quote).next()
}

#[cfg(test)]
mod tests {
    use crate::lang::xml::encoding::*;

    #[test]
    fn bytes_are_read_in_their_encoding() {
        let utf_16 = |mark: [u8; 2], unit: fn(u16) -> [u8; 2]| {
            mark.into_iter().chain("<a>Ørsta</a>".encode_utf16().flat_map(unit)).collect::<Vec<u8>>()
        };
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xd8rsta</a>";
        for (bytes, content_type, expected) in [
            ("<a>Ørsta</a>".as_bytes(), None, Some("Ørsta")),
            ("\u{feff}<a>Ørsta</a>".as_bytes(), Some("text/xml; charset=iso-8859-1"), Some("Ørsta")),
            (latin, None, Some("Ørsta")),
            (latin, Some("application/xml"), Some("Ørsta")),
            (b"<a>\xd8rsta</a>", Some("text/xml; Charset=\"ISO-8859-1\""), Some("Ørsta")),
            (b"<a>\x80 5</a>", Some("text/xml; charset=windows-1252"), Some("€ 5")),
            (&utf_16([0xff, 0xfe], u16::to_le_bytes), None, Some("Ørsta")),
            (&utf_16([0xfe, 0xff], u16::to_be_bytes), Some("text/xml"), Some("Ørsta")),
            // The content type goes before what the document says.
            (latin, Some("text/xml; charset=utf-8"), None),
            (b"<a>\xd8rsta</a>", None, None),
            (b"<a>\xd8rsta</a>", Some("text/xml; charset=ebcdic"), None),
            (b"\xff\xfe<", None, None),
        ] {
            let text = decode(bytes, content_type.and_then(Charset::of_content_type)).ok();
            assert_eq!(text.is_some(), expected.is_some(), "{content_type:?} {bytes:?}");
            if let (Some(text), Some(expected)) = (text, expected) {
                assert!(text.ends_with(&format!("<a>{expected}</a>")), "{text}");
            }
        }
    }
}
