//! The places that templates render into. Each takes literal text and values separately, and escapes the values.

mod xml;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

pub(crate) use xml::XmlSink;

use crate::guard::ExpansionFilter;
use crate::json::{JsonText, Kind, ValueRef, push_escaped};

use crate::percent;

use super::{RenderError, Sink};

/// The characters to escape in the literal text of a path. `%` is not one of them, so that a table can contain escapes.
const LITERAL_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Percent-encodes the name or value of a query parameter.
pub(crate) fn encode_query(text: &str) -> impl Iterator<Item = &str> {
    percent::encode(text)
}

fn place_error(problem: impl Into<String>) -> RenderError {
    RenderError::Place { problem: problem.into() }
}

/// Plain text. In values, sequences that the platform would expand are broken up.
pub(crate) struct TextSink {
    guard: ExpansionFilter,
    text: String,
}

impl TextSink {
    pub(crate) fn new(guard: ExpansionFilter) -> Self {
        // Enough for a sentence or two.
        Self { guard, text: String::with_capacity(128) }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

impl Sink for TextSink {
    fn literal(&mut self, text: &str) -> Result<(), RenderError> {
        self.guard.push_literal(&mut self.text, text);
        Ok(())
    }

    fn value(&mut self, value: ValueRef<'_>) -> Result<(), RenderError> {
        self.guard.push_value(&mut self.text, &value.to_text());
        Ok(())
    }

    fn len(&self) -> usize {
        self.text.len()
    }
}

/// A URL path. Each value is percent-encoded and stays within one segment.
#[derive(Default)]
pub(crate) struct PathSink {
    path: String,
    /// Where the current segment begins.
    segment: usize,
    /// Whether the current segment depends on the call.
    dynamic: bool,
}

impl PathSink {
    pub(crate) fn new() -> Self {
        Self { path: String::with_capacity(64), ..Self::default() }
    }

    /// The finished path, without a leading slash.
    pub(crate) fn into_path(mut self) -> Result<String, RenderError> {
        self.end_segment()?;
        Ok(self.path)
    }

    fn end_segment(&mut self) -> Result<(), RenderError> {
        let segment = &self.path[self.segment..];
        if self.dynamic && segment.is_empty() {
            return Err(place_error("a segment of the path is empty"));
        }
        let is = |dots: &[u8]| percent_encoding::percent_decode_str(segment).eq(dots.iter().copied());
        if self.dynamic && (is(b".") || is(b"..")) {
            return Err(place_error("a segment of the path is `.` or `..`"));
        }
        Ok(())
    }
}

impl Sink for PathSink {
    fn literal(&mut self, text: &str) -> Result<(), RenderError> {
        for (index, part) in text.split('/').enumerate() {
            if index > 0 {
                self.end_segment()?;
                self.path.push('/');
                self.segment = self.path.len();
                self.dynamic = false;
            }
            self.path.extend(utf8_percent_encode(part, LITERAL_PATH));
        }
        Ok(())
    }

    fn value(&mut self, value: ValueRef<'_>) -> Result<(), RenderError> {
        if matches!(value.kind(), Kind::Array | Kind::Object) {
            return Err(place_error("a value in a path cannot be a list or an object"));
        }
        let text = value.to_text();
        if text.is_empty() {
            return Err(place_error("a value in a path cannot be empty"));
        }
        self.dynamic = true;
        self.path.extend(percent::encode(&text));
        Ok(())
    }

    fn block(&mut self) {
        self.dynamic = true;
    }

    fn len(&self) -> usize {
        self.path.len()
    }
}

/// A header value. Line breaks and other control characters are rejected.
#[derive(Default)]
pub(crate) struct HeaderSink {
    text: String,
}

impl HeaderSink {
    pub(crate) fn into_value(self) -> Result<http::HeaderValue, RenderError> {
        http::HeaderValue::from_maybe_shared(bytes::Bytes::from(self.text))
            .map_err(|_| place_error("a header value contains a line break or another control character"))
    }
}

impl Sink for HeaderSink {
    fn literal(&mut self, text: &str) -> Result<(), RenderError> {
        self.text.push_str(text);
        Ok(())
    }

    fn value(&mut self, value: ValueRef<'_>) -> Result<(), RenderError> {
        self.text.push_str(&value.to_text());
        Ok(())
    }

    fn len(&self) -> usize {
        self.text.len()
    }
}

/// The content of a JSON string, written directly into a JSON document.
pub(super) struct QuotedSink<'o> {
    out: &'o mut String,
    guard: ExpansionFilter,
    /// The length of the text without escapes, in bytes.
    rendered: usize,
}

impl<'o> QuotedSink<'o> {
    pub(super) fn new(out: &'o mut String, guard: ExpansionFilter) -> Self {
        Self { out, guard, rendered: 0 }
    }
}

impl Sink for QuotedSink<'_> {
    fn literal(&mut self, text: &str) -> Result<(), RenderError> {
        // No escape begins or ends with a character of a pair, so pairs can be found in the escaped text.
        self.guard.split_before(self.out, text);
        push_escaped(self.out, text);
        self.rendered += text.len();
        Ok(())
    }

    fn value(&mut self, value: ValueRef<'_>) -> Result<(), RenderError> {
        let text = value.to_text();
        if self.guard.sigils.is_empty() || !text.contains('{') {
            push_escaped(self.out, &text);
        } else {
            let mut escaped = String::with_capacity(text.len());
            push_escaped(&mut escaped, &text);
            self.guard.push_value(self.out, &escaped);
        }
        self.rendered += text.len();
        Ok(())
    }

    fn len(&self) -> usize {
        self.rendered
    }
}

/// JSON as text. An expression inside quotes becomes escaped string content; outside quotes, a JSON value.
pub(crate) struct JsonSink {
    guard: ExpansionFilter,
    text: String,
    in_string: bool,
    escaped: bool,
}

impl JsonSink {
    pub(crate) fn new(guard: ExpansionFilter) -> Self {
        Self { guard, text: String::new(), in_string: false, escaped: false }
    }

    /// Inserts a space if the last character and the first of `next` form a pair that the platform would expand, even
    /// if they are written as escapes.
    fn split_pair_before(&mut self, next: &str) {
        if let (true, Some(first), Some(second)) = (self.in_string, last_char(&self.text), first_char(next))
            && self.guard.is_pair(first, second)
        {
            self.text.push(' ');
        }
    }

    /// The rendered JSON, in its compact form.
    pub(crate) fn into_json(self) -> Result<JsonText, RenderError> {
        let parsed: Result<Value, _> = serde_json::from_str(&self.text);
        parsed.map(JsonText::from).map_err(|error| {
            place_error(format!(
                "the template file does not make valid JSON (line {}, column {})",
                error.line(),
                error.column()
            ))
        })
    }
}

impl Sink for JsonSink {
    fn literal(&mut self, text: &str) -> Result<(), RenderError> {
        self.split_pair_before(text);
        for character in text.chars() {
            match character {
                _ if self.escaped => self.escaped = false,
                '\\' if self.in_string => self.escaped = true,
                '"' => self.in_string = !self.in_string,
                _ => {}
            }
        }
        self.guard.push_literal(&mut self.text, text);
        Ok(())
    }

    fn value(&mut self, value: ValueRef<'_>) -> Result<(), RenderError> {
        if self.escaped {
            return Err(place_error("an expression follows a backslash inside a JSON string"));
        }
        if self.in_string {
            let text = value.to_text();
            let mut escaped = String::with_capacity(text.len());
            push_escaped(&mut escaped, &text);
            self.split_pair_before(&text);
            self.guard.push_value(&mut self.text, &escaped);
        } else {
            // Filtered as a value, not as text: a brace of JSON syntax is not part of a string.
            self.guard.push_json(&mut self.text, value);
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.text.len()
    }
}

/// The first character of the content of a JSON string, also if it is written as `\u0024`.
fn first_char(text: &str) -> Option<char> {
    match text.strip_prefix("\\u") {
        Some(code) => escaped(code.get(..4)?),
        None => text.chars().next(),
    }
}

/// The last character of the content of a JSON string, also if it is written as `\u0024`.
fn last_char(text: &str) -> Option<char> {
    let parts = text.len().checked_sub(6).and_then(|at| text.split_at_checked(at));
    if let Some((before, code)) = parts
        && let Some(code) = code.strip_prefix("\\u")
        // An even number of backslashes before it are escaped backslashes.
        && (before.len() - before.trim_end_matches('\\').len()).is_multiple_of(2)
    {
        return escaped(code);
    }
    text.chars().next_back()
}

fn escaped(code: &str) -> Option<char> {
    u32::from_str_radix(code, 16).ok().and_then(char::from_u32)
}

#[cfg(test)]
mod tests {
    use crate::lang::template::place::*;
    use serde_json::json;

    /// Renders pieces: `Ok` is literal text, `Err` a value.
    fn fill(sink: &mut dyn Sink, pieces: &[Result<&str, Value>]) -> Result<(), RenderError> {
        pieces.iter().try_for_each(|piece| match piece {
            Ok(text) => sink.literal(text),
            Err(value) => sink.value(value.into()),
        })
    }

    fn path(pieces: &[Result<&str, Value>]) -> Result<String, RenderError> {
        let mut sink = PathSink::default();
        fill(&mut sink, pieces)?;
        sink.into_path()
    }

    #[test]
    fn a_value_in_a_path_stays_one_segment() {
        for (value, expected) in [
            (json!("a/b"), "x/a%2Fb/y"),
            (json!("a%2fb"), "x/a%252fb/y"),
            (json!("a?b#c"), "x/a%3Fb%23c/y"),
            (json!("..\\.."), "x/..%5C../y"),
            (json!("Ålesund"), "x/%C3%85lesund/y"),
            (json!(1.50), "x/1.5/y"),
            (json!(true), "x/true/y"),
        ] {
            assert_eq!(path(&[Ok("x/"), Err(value), Ok("/y")]).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn an_empty_or_dot_segment_is_rejected() {
        for value in [json!(""), json!(null), json!([1]), json!({}), json!("."), json!("..")] {
            assert!(path(&[Ok("x/"), Err(value.clone())]).is_err(), "{value}");
        }
        assert!(path(&[Ok("x/%2e"), Err(json!("."))]).is_err());
        assert!(path(&[Ok("x/."), Err(json!(".")), Ok("/y")]).is_err());
        assert_eq!(path(&[Ok("x/"), Err(json!("...")), Ok("/y")]).as_deref(), Ok("x/.../y"));
    }

    #[test]
    fn json_text_escapes_by_quotes() {
        let mut sink = JsonSink::new(ExpansionFilter::default());
        let evil = json!("a\"}],\"x\":[{\"\n");
        fill(
            &mut sink,
            &[Ok(r#"{"a": "q\" "#), Err(evil.clone()), Ok(r#"", "b": "#), Err(evil.clone()), Ok("}")],
        )
        .unwrap();
        let expected = json!({"a": format!("q\" {}", evil.as_str().unwrap()), "b": evil});
        assert_eq!(sink.into_json(), Ok(expected.into()));
    }

    fn xml(pieces: &[Result<&str, Value>]) -> Result<String, RenderError> {
        let mut sink = XmlSink::default();
        fill(&mut sink, pieces)?;
        sink.into_xml()
    }

    #[test]
    fn xml_values_are_allowed_only_in_text_and_attributes() {
        let value = || Err(json!("x"));
        for pieces in [
            &[Ok("<a>"), value(), Ok("</a>")][..],
            &[Ok("<a b='"), value(), Ok("'/>")],
            &[Ok("<a b=\"it's "), value(), Ok("\"/>")],
            &[Ok("<a b='>'>"), value(), Ok("</a>")],
            &[Ok("<a><!-- a > b -->"), value(), Ok("</a>")],
            &[Ok("<a><"), Ok("!--"), Ok(" -"), Ok("->"), value(), Ok("</a>")],
            &[Ok("<a><![CDATA[ > ]>]]>"), value(), Ok("</a>")],
            &[Ok("<?xml version='1.0'?><a><?b > ?>"), value(), Ok("</a>")],
            &[Ok("<!DOCTYPE a><a>"), value(), Ok("</a>")],
            &[Ok("<a>&amp; &#38;"), value(), Ok("</a>")],
        ] {
            assert_eq!(xml(pieces).map(|text| text.matches('x').count() > 0), Ok(true), "{pieces:?}");
        }
        for (pieces, expected) in [
            (&[Ok("<"), value(), Ok("/>")][..], "inside a tag"),
            (&[Ok("<a "), value(), Ok("/>")], "inside a tag"),
            (&[Ok("<a "), value(), Ok("='1'/>")], "inside a tag"),
            (&[Ok("<a b="), value(), Ok("/>")], "inside a tag"),
            (&[Ok("<a>1</"), value(), Ok(">")], "inside a tag"),
            (&[Ok("<a><!"), value(), Ok("></a>")], "inside a tag"),
            (&[Ok("<a><!--"), value(), Ok("--></a>")], "inside a comment"),
            (&[Ok("<a><!-->"), value(), Ok("--></a>")], "inside a comment"),
            (&[Ok("<a><![CDATA["), value(), Ok("]]></a>")], "inside a CDATA section"),
            (&[Ok("<a><?b "), value(), Ok("?></a>")], "inside a processing instruction"),
            (&[Ok("<a><?>"), value(), Ok("?></a>")], "inside a processing instruction"),
            (&[Ok("<!DOCTYPE a SYSTEM '"), value(), Ok("'><a/>")], "inside a declaration"),
            (&[Ok("<!DOCTYPE a [<!ENTITY b 'c'> "), value(), Ok("]><a/>")], "inside a declaration"),
            (&[Ok("<a>&"), value(), Ok(";</a>")], "after a `&`"),
            (&[Ok("<a>&#"), value(), Ok(";</a>")], "after a `&`"),
            (&[Ok("<a b='&"), value(), Ok(";'/>")], "after a `&`"),
            (&[value(), Ok("<a/>")], "the template file does not make well-formed XML"),
            (&[Ok("<a>"), value()], "the template file does not make well-formed XML"),
            (
                &[Ok("<?xml version='1.0' encoding='latin1'?><a>"), value(), Ok("</a>")],
                "the template file declares",
            ),
            (
                &[Ok("<a>"), Err(json!("a\u{0}b")), Ok("</a>")],
                "a value contains a character that XML does not allow (U+0000)",
            ),
        ] {
            let error = xml(pieces).unwrap_err().to_string();
            assert!(error.contains(expected), "{pieces:?}: {error}");
        }
    }

    #[test]
    fn xml_values_are_rendered_as_text() {
        for (value, expected) in [
            (json!(null), ""),
            (json!(1.5), "1.5"),
            (json!("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&apos;"),
            (json!(["<", 1]), "[&quot;&lt;&quot;,1]"),
        ] {
            assert_eq!(xml(&[Ok("<a>"), Err(value), Ok("</a>")]), Ok(format!("<a>{expected}</a>")));
        }
    }

    #[test]
    fn pairs_across_pieces_of_json_text_are_broken_up_even_if_escaped() {
        let guard = ExpansionFilter { sigils: &['$', '%'] };
        for (before, value, after, expected) in [
            ("$", "{x}", "", "$ {x}"),
            (r"\u0024", "{x}", "", "$ {x}"),
            (r"a\u0025", "{x}", "", "a% {x}"),
            (r"\\u0024", "{x}", "", r"\u0024{x}"),
            (r"\\\u0024", "{x}", "", r"\$ {x}"),
            ("", "$", r"\u007bx", "$ {x"),
            ("", "$", r"\u007Bx", "$ {x"),
            (r"\u0024{own} ", "x", r"\u0024\u007bown}", "${own} x${own}"),
            (r"\u00e5", "{", "", "å{"),
        ] {
            let mut sink = JsonSink::new(guard);
            let text = format!("\"{before}");
            fill(&mut sink, &[Ok(&text), Err(json!(value)), Ok(&format!("{after}\""))]).unwrap();
            assert_eq!(sink.into_json(), Ok(json!(expected).into()), "{before} {value} {after}");
        }
    }

    #[test]
    fn line_breaks_in_header_values_are_rejected() {
        for (text, good) in
            [("a b", true), ("é", true), ("a\r\nx: y", false), ("a\nb", false), ("a\0b", false)]
        {
            let mut sink = HeaderSink::default();
            sink.value((&json!(text)).into()).unwrap();
            assert_eq!(sink.into_value().is_ok(), good, "{text:?}");
        }
    }
}
