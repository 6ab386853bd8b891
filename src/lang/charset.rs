//! Decodes text by its declared encoding, UTF-8 by default.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// The declared encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// UTF-8, which includes ASCII; also if nothing is declared.
    Utf8,
    /// Another known encoding.
    Known(&'static Encoding),
    /// An unknown encoding.
    Unknown,
}

impl Charset {
    /// The `charset` of a content type.
    pub(crate) fn of_content_type(content_type: &str) -> Option<Self> {
        let (_, parameters) = content_type.split_once(';')?;
        parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let is_charset = name.trim().eq_ignore_ascii_case("charset");
            is_charset.then(|| Self::named(value.trim().trim_matches(['"', '\''])))
        })
    }

    /// The encoding called `name`.
    pub(crate) fn named(name: &str) -> Self {
        if name.eq_ignore_ascii_case("utf-8") || name.eq_ignore_ascii_case("us-ascii") {
            return Self::Utf8;
        }
        match Encoding::for_label(name.as_bytes()) {
            Some(encoding) if encoding == UTF_8 => Self::Utf8,
            Some(encoding) => Self::Known(encoding),
            None => Self::Unknown,
        }
    }

    /// Whether bytes that are valid UTF-8 are decoded as UTF-8 despite the declaration. A server's default charset
    /// often contradicts what the application sends, and real text in a single-byte encoding is hardly ever valid
    /// UTF-8.
    pub(crate) fn yields_to_utf8(self) -> bool {
        match self {
            Self::Utf8 | Self::Unknown => true,
            Self::Known(encoding) => encoding.is_single_byte(),
        }
    }
}

/// Decodes bytes by their byte order mark, or else by the declared encoding.
///
/// # Errors
/// The encoding is unknown, or the bytes are not valid in it.
pub(crate) fn decode(bytes: &[u8], declared: Charset) -> Result<Cow<'_, str>, String> {
    let bad = || "contains bytes that are not valid in its charset".to_owned();
    let (encoding, bytes) = match (Encoding::for_bom(bytes), declared) {
        (Some((encoding, mark)), _) => (encoding, &bytes[mark..]),
        (None, Charset::Utf8) => (UTF_8, bytes),
        (None, _) if declared.yields_to_utf8() && std::str::from_utf8(bytes).is_ok() => (UTF_8, bytes),
        // Without a mark, UTF-16 is big-endian (RFC 2781), unless the bytes look like little-endian.
        (None, Charset::Known(encoding)) if encoding == UTF_16LE => match bytes {
            [_, 0, ..] => (UTF_16LE, bytes),
            _ => (UTF_16BE, bytes),
        },
        (None, Charset::Known(encoding)) => (encoding, bytes),
        (None, Charset::Unknown) => return Err("has an unknown charset".to_owned()),
    };
    encoding.decode_without_bom_handling_and_without_replacement(bytes).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charset_is_found_in_a_content_type() {
        for (content_type, expected) in [
            ("text/html", None),
            ("text/html; charset=utf-8", Some(Charset::Utf8)),
            ("text/html;boundary=x; Charset=\"UTF8\"", Some(Charset::Utf8)),
            ("text/html; charset=latin1", Some(Charset::Known(encoding_rs::WINDOWS_1252))),
            ("text/html; charset=ebcdic", Some(Charset::Unknown)),
        ] {
            assert_eq!(Charset::of_content_type(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn bytes_are_read_in_their_encoding() {
        let utf_16: Vec<u8> = "Malmö".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, name, expected) in [
            ("Malmö".as_bytes(), "utf-8", Some("Malmö")),
            (b"\xef\xbb\xbfx", "iso-8859-1", Some("x")),
            (b"Malm\xf6", "iso-8859-1", Some("Malmö")),
            (b"\x80 5", "windows-1252", Some("€ 5")),
            (b"\xa4 5", "iso-8859-15", Some("€ 5")),
            (b"\xcf\xf0\xe8", "windows-1251", Some("При")),
            (b"\x93\x8c", "shift_jis", Some("東")),
            (&utf_16, "utf-16le", Some("Malmö")),
            (&utf_16, "utf-16", Some("Malmö")),
            // The server declares its default charset, but the application sends UTF-8.
            ("Malmö".as_bytes(), "iso-8859-1", Some("Malmö")),
            (b"x", "ebcdic", Some("x")),
            (b"\xf6", "ebcdic", None),
            (b"\xf6", "utf-8", None),
        ] {
            assert_eq!(decode(bytes, Charset::named(name)).ok().as_deref(), expected, "{name} {bytes:?}");
        }
    }
}
