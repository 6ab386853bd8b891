//! The bytes of an XML document as text: what is left of the time before everything was UTF-8.

use std::borrow::Cow;

/// What Windows-1252 has in place of the control characters 0x80 to 0x9f.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// The text of a document: by its byte order mark, else by the charset of its content type, else by what it declares,
/// else UTF-8.
///
/// # Errors
/// The encoding is not known, or the bytes are not of it.
pub(crate) fn decode<'b>(bytes: &'b [u8], content_type: Option<&str>) -> Result<Cow<'b, str>, String> {
    let (bytes, name) = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => (rest, "utf-8".to_owned()),
        [0xfe, 0xff, rest @ ..] => (rest, "utf-16be".to_owned()),
        [0xff, 0xfe, rest @ ..] => (rest, "utf-16le".to_owned()),
        _ => {
            let name = content_type.and_then(charset).or_else(|| declared_encoding(bytes));
            (bytes, name.unwrap_or("utf-8").to_ascii_lowercase())
        }
    };
    let wide = |unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        String::from_utf16(&units).ok().filter(|_| rest.is_empty()).map(Cow::Owned)
    };
    let text = match name.as_str() {
        "utf-8" | "utf8" | "us-ascii" | "ascii" => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        // What says ISO-8859-1 and has characters of Windows-1252 means those.
        "iso-8859-1" | "latin1" | "windows-1252" | "cp1252" => Some(bytes.iter().map(western).collect()),
        "utf-16" | "utf-16be" => wide(u16::from_be_bytes),
        "utf-16le" => wide(u16::from_le_bytes),
        _ => {
            return Err(
                "is in an encoding that is not known; known: UTF-8, UTF-16, ISO-8859-1, Windows-1252"
                    .to_owned(),
            );
        }
    };
    text.ok_or_else(|| "holds bytes that are not of its encoding".to_owned())
}

fn western(byte: &u8) -> char {
    match byte {
        0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
        byte => char::from(*byte),
    }
}

/// The `charset` of a content type.
fn charset(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    })
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
            (b"<a>x</a>", Some("text/xml; charset=ebcdic"), None),
            (b"\xff\xfe<", None, None),
        ] {
            let text = decode(bytes, content_type).ok();
            assert_eq!(text.is_some(), expected.is_some(), "{content_type:?} {bytes:?}");
            if let (Some(text), Some(expected)) = (text, expected) {
                assert!(text.ends_with(&format!("<a>{expected}</a>")), "{text}");
            }
        }
    }
}
