//! Parses the body of a response. How it is parsed depends on what the route uses of it, and otherwise on its content
//! type.

use std::sync::Arc;

use bytes::Bytes;

use super::charset::{self, Charset};
use super::xml;
use crate::json::{Document, SharedValue, syntax_problem};

/// The most characters of a content type in a message.
const MAX_SHOWN: usize = 80;

/// The prefix of JSON that keeps browsers from running it as a script.
const GUARD: &str = ")]}'";

/// How a body is parsed, regardless of its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    /// As JSON.
    Json,
    /// As text.
    Text,
    /// As XML, which becomes a JSON tree.
    Xml,
}

/// What a route uses of a body.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BodyNeed {
    /// Nothing: the body is not parsed.
    #[default]
    Nothing,
    /// The whole body: JSON or text.
    Whole,
    /// Parts of it, so it must be JSON or XML.
    Parts,
}

/// How a step parses the body of a response.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyUse {
    /// The format set in the table.
    pub(crate) format: Option<BodyFormat>,
    /// What the route uses of it.
    pub(crate) need: BodyNeed,
}

/// The format and charset that the content type declares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared {
    media: Media,
    charset: Charset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    /// There is no content type.
    None,
    Json,
    /// XML, except XHTML, which is for people.
    Xml,
    Other,
}

impl Declared {
    /// Reads a content type.
    pub(crate) fn of(content_type: Option<&str>) -> Self {
        let content_type = content_type.unwrap_or_default();
        let media = kind(content_type);
        let ends = |suffix: &str| {
            let start = media.len().checked_sub(suffix.len());
            start.and_then(|start| media.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        let media = if media.is_empty() {
            Media::None
        } else if ends("/json") || ends("+json") {
            Media::Json
        } else if (ends("/xml") || ends("+xml")) && !media.eq_ignore_ascii_case("application/xhtml+xml") {
            Media::Xml
        } else {
            Media::Other
        };
        Self { media, charset: Charset::of_content_type(content_type).unwrap_or(Charset::Utf8) }
    }

    /// Parses the body as far as possible, for a reader other than the route.
    pub(crate) fn read_leniently(self, body: &Bytes) -> SharedValue {
        let value = match self.media {
            Media::Json | Media::None => self.json(body),
            Media::Xml => self.xml(body, None),
            Media::Other => Ok(self.text(body)),
        };
        value.unwrap_or_else(|_| self.text(body))
    }

    /// The body as text. Bytes that are not valid in its encoding become U+FFFD.
    pub(crate) fn text(self, body: &[u8]) -> SharedValue {
        match charset::decode(body, self.charset) {
            Ok(text) => SharedValue::text(text.as_bytes()),
            Err(_) => SharedValue::text(body),
        }
    }

    fn json(self, body: &Bytes) -> Result<SharedValue, String> {
        // The usual case: the body itself is the document.
        let plain = self.charset.yields_to_utf8().then(|| Document::parse(body.clone()));
        let error = match plain {
            Some(Ok(document)) => return Ok(SharedValue::whole(Arc::new(document))),
            Some(Err(error)) => Some(error),
            None => None,
        };
        let charset = match (&**body, self.charset) {
            // In JSON, a zero byte occurs only in UTF-16.
            ([0, _, ..], Charset::Utf8) => Charset::named("utf-16be"),
            ([_, 0, ..], Charset::Utf8) => Charset::named("utf-16le"),
            (_, charset) => charset,
        };
        let text = match (charset::decode(body, charset), error) {
            (Ok(text), _) => text,
            (Err(_), Some(error)) => return Err(syntax_problem(&error)),
            (Err(problem), None) => return Err(format!("the body {problem}")),
        };
        let text = unguarded(&text);
        if is_blank(text.as_bytes()) {
            return Ok(SharedValue::default());
        }
        let document = Document::parse(Bytes::copy_from_slice(text.as_bytes()));
        document
            .map(|document| SharedValue::whole(Arc::new(document)))
            .map_err(|error| syntax_problem(&error))
    }

    fn xml(self, body: &Bytes, content_type: Option<&str>) -> Result<SharedValue, String> {
        if is_blank(body) {
            return Ok(SharedValue::default());
        }
        let declared = content_type.and_then(Charset::of_content_type);
        let decoded = xml::decode(body, declared).map_err(|problem| format!("the body {problem}"))?;
        let tree = xml::parse(&decoded);
        tree.map(SharedValue::from).map_err(|error| format!("the body is not well-formed XML: {error}"))
    }
}

impl BodyUse {
    /// Whether the route uses the body of a successful response.
    pub(crate) fn is_read(self) -> bool {
        self.need != BodyNeed::Nothing || matches!(self.format, Some(BodyFormat::Json | BodyFormat::Xml))
    }

    /// Parses the body. Many APIs respond with 201 or 204 and an empty body or a line break; that is null.
    ///
    /// # Errors
    /// The body does not have the format that the route needs.
    pub(crate) fn read(self, body: &Bytes, content_type: Option<&str>) -> Result<SharedValue, String> {
        let declared = Declared::of(content_type);
        let is_json = || declared.media == Media::Xml && body.trim_ascii_start().starts_with(b"{");
        match (self.format, declared.media, self.need) {
            (Some(BodyFormat::Text), ..) => Ok(declared.text(body)),
            _ if body.is_empty() => Ok(SharedValue::default()),
            (Some(BodyFormat::Json), ..) | (None, Media::Json, _) => declared.json(body),
            (Some(BodyFormat::Xml), ..) => declared.xml(body, content_type),
            (None, _, BodyNeed::Parts) if is_json() => declared.json(body),
            (None, Media::Xml, _) => declared.xml(body, content_type),
            (None, _, BodyNeed::Parts) => {
                declared.json(body).map_err(|problem| match kind(content_type.unwrap_or_default()) {
                    "" => problem,
                    kind => {
                        format!("the body is {}, not JSON", kind.chars().take(MAX_SHOWN).collect::<String>())
                    }
                })
            }
            // Without a content type, a body that is valid JSON is JSON.
            (None, Media::None, _) => Ok(declared.read_leniently(body)),
            _ if is_blank(body) => Ok(SharedValue::default()),
            (None, Media::Other, _) => Ok(declared.text(body)),
        }
    }
}

/// The media type of a content type, without its parameters.
fn kind(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn is_blank(body: &[u8]) -> bool {
    body.trim_ascii().is_empty()
}

/// JSON without the guard prefix. Some servers end the prefix with a comma.
fn unguarded(text: &str) -> &str {
    match text.trim_start().strip_prefix(GUARD) {
        Some(rest) => rest.strip_prefix(',').unwrap_or(rest),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(
        body: &[u8],
        content_type: Option<&str>,
        format: Option<BodyFormat>,
        need: BodyNeed,
    ) -> Result<Value, String> {
        let read = BodyUse { format, need }.read(&Bytes::copy_from_slice(body), content_type);
        read.map(|value| value.to_value())
    }

    #[test]
    fn a_whole_body_is_parsed_by_its_content_type_unless_the_table_sets_a_format() {
        for (body, content_type, format, expected) in [
            ("{\"a\":1}", Some("application/json; charset=utf-8"), None, Ok(json!({"a": 1}))),
            ("{\"a\":1}", Some("application/problem+json"), None, Ok(json!({"a": 1}))),
            ("{\"a\":1}", Some("text/plain"), None, Ok(json!("{\"a\":1}"))),
            ("{\"a\":1}", Some("text/plain"), Some(BodyFormat::Json), Ok(json!({"a": 1}))),
            ("{\"a\":1}", None, None, Ok(json!({"a": 1}))),
            ("\u{feff}{\"a\":1}", Some("application/json"), None, Ok(json!({"a": 1}))),
            ("hello", None, None, Ok(json!("hello"))),
            ("1", Some("application/json"), Some(BodyFormat::Text), Ok(json!("1"))),
            ("", Some("application/json"), None, Ok(json!(null))),
            ("", None, None, Ok(json!(null))),
            ("<a>1</a>", Some("text/xml; charset=utf-8"), None, Ok(json!({"a": "1"}))),
            ("<a>1</a>", Some("application/soap+xml"), None, Ok(json!({"a": "1"}))),
            ("<a>1</a>", Some("text/html"), Some(BodyFormat::Xml), Ok(json!({"a": "1"}))),
            ("<a>1</a>", Some("text/xml"), Some(BodyFormat::Text), Ok(json!("<a>1</a>"))),
            ("<a>1</a>", None, None, Ok(json!("<a>1</a>"))),
            ("", Some("text/xml"), None, Ok(json!(null))),
            (
                "<a>",
                Some("text/xml"),
                None,
                Err("the body is not well-formed XML: an element is not closed (line 1, column 4)".to_owned()),
            ),
            (
                "<html>",
                Some("application/json"),
                None,
                Err("the body is not valid JSON (line 1, column 1)".to_owned()),
            ),
            ("<p>", Some("text/html"), None, Ok(json!("<p>"))),
            (" \r\n", Some("application/json"), None, Ok(json!(null))),
            (" \r\n", Some("text/xml"), None, Ok(json!(null))),
            (" \r\n", Some("text/plain"), None, Ok(json!(null))),
            (" \r\n", None, None, Ok(json!(null))),
            (" ", Some("text/plain"), Some(BodyFormat::Text), Ok(json!(" "))),
        ] {
            let read = read(body.as_bytes(), content_type, format, BodyNeed::Whole);
            assert_eq!(read, expected, "{body} {content_type:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(deep.as_bytes(), Some("application/json"), None, BodyNeed::Whole).is_err());
    }

    #[test]
    fn a_body_whose_parts_are_needed_must_be_json_or_xml() {
        let utf_16 =
            |unit: fn(u16) -> [u8; 2]| "{\"a\":\"ö\"}".encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let (big, little) = (utf_16(u16::to_be_bytes), utf_16(u16::to_le_bytes));
        let marked = [b"\xff\xfe", &*little].concat();
        let o = || Ok(json!({"a": "ö"}));
        let not_json = |kind: &str| Err(format!("the body is {kind}, not JSON"));
        for (body, content_type, expected) in [
            ("{\"a\":\"ö\"}".as_bytes(), Some("text/html; charset=UTF-8"), o()),
            ("{\"a\":\"ö\"}".as_bytes(), Some("text/javascript"), o()),
            ("{\"a\":\"ö\"}".as_bytes(), Some("application/xml"), o()),
            ("{\"a\":\"ö\"}".as_bytes(), None, o()),
            (b"{\"a\":\"\xf6\"}", Some("application/json; charset=iso-8859-1"), o()),
            (b"{\"a\":\"\xf6\"}", Some("text/plain; charset=\"windows-1252\""), o()),
            (&big, Some("application/json"), o()),
            (&little, Some("application/json"), o()),
            (&little, Some("application/json; charset=utf-16"), o()),
            (&marked, Some("text/plain"), o()),
            (b")]}'\n{\"a\":1}", Some("application/json"), Ok(json!({"a": 1}))),
            (b"\xef\xbb\xbf)]}',\n{\"a\":1}", Some("text/plain"), Ok(json!({"a": 1}))),
            (b")]}'\n", Some("application/json"), Ok(json!(null))),
            (b" \n", Some("text/html"), Ok(json!(null))),
            (b"<a>1</a>", Some("text/xml"), Ok(json!({"a": "1"}))),
            (b"<html/>", Some("application/xhtml+xml"), not_json("application/xhtml+xml")),
            (b"<html/>", Some("text/html; charset=utf-8"), not_json("text/html")),
            (b"<a>1</a>", Some("text/plain"), not_json("text/plain")),
            (b"OK", Some("text/plain"), not_json("text/plain")),
            (b"OK", None, Err("the body is not valid JSON (line 1, column 1)".to_owned())),
            (b"[1e400]", None, Err("the body is not valid JSON (number out of range)".to_owned())),
            (
                b"{\"a\":\"\xf6\"}",
                Some("application/json"),
                Err("the body is not valid JSON (line 1, column 7)".to_owned()),
            ),
        ] {
            assert_eq!(
                read(body, content_type, None, BodyNeed::Parts),
                expected,
                "{body:?} {content_type:?}"
            );
        }
    }

    #[test]
    fn text_is_decoded_by_its_declared_charset() {
        for (body, content_type, expected) in [
            ("Malmö".as_bytes(), "text/plain", "Malmö"),
            (b"Malm\xf6", "text/plain; charset=iso-8859-1", "Malmö"),
            (b"\xfe\xff\0M", "text/plain", "M"),
            (b"Malm\xf6", "text/plain", "Malm\u{fffd}"),
            (b"Malm\xf6", "text/plain; charset=ebcdic", "Malm\u{fffd}"),
        ] {
            for format in [None, Some(BodyFormat::Text)] {
                let read = read(body, Some(content_type), format, BodyNeed::Whole);
                assert_eq!(read, Ok(json!(expected)), "{content_type}");
            }
        }
    }
}
