//! The places that rendered text can stand in. Each takes literal text and values apart and escapes the values.

mod xml;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

pub(crate) use xml::XmlSink;

use crate::guard::ExpansionFilter;
use crate::json::{Kind, ValueRef, push_escaped};

use crate::percent;

use super::{RenderError, Sink};

/// What a path written in the table may not hold as it is; `%` stays, so that escapes can be written there.
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

/// A query name or value, percent-encoded.
pub(crate) fn encode_query(text: &str) -> impl Iterator<Item = &str> {
    percent::encode(text)
}

fn misplaced(problem: impl Into<String>) -> RenderError {
    RenderError::Place { problem: problem.into() }
}

/// Plain text, with what the platform would expand broken up in values.
pub(crate) struct TextSink {
    guard: ExpansionFilter,
    text: String,
}

impl TextSink {
    pub(crate) fn new(guard: ExpansionFilter) -> Self {
        // Most texts are a sentence or two.
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

/// A URL path: values are percent-encoded into one segment each and can never make or leave one.
#[derive(Default)]
pub(crate) struct PathSink {
    path: String,
    /// Where the current segment begins.
    segment: usize,
    /// Whether something in the current segment is decided by the call.
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
            return Err(misplaced("a segment of the path is empty"));
        }
        let is = |dots: &[u8]| percent_encoding::percent_decode_str(segment).eq(dots.iter().copied());
        if self.dynamic && (is(b".") || is(b"..")) {
            return Err(misplaced("a segment of the path is `.` or `..`"));
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
            return Err(misplaced("a list or an object cannot stand in a path"));
        }
        let text = value.to_text();
        if text.is_empty() {
            return Err(misplaced("an empty value cannot stand in a path"));
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

/// A header value: what would end the line, or is no text at all, is refused.
#[derive(Default)]
pub(crate) struct HeaderSink {
    text: String,
}

impl HeaderSink {
    pub(crate) fn into_value(self) -> Result<http::HeaderValue, RenderError> {
        http::HeaderValue::from_maybe_shared(bytes::Bytes::from(self.text))
            .map_err(|_| misplaced("a header value holds a line break or another control character"))
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

/// The content of a JSON string, written where it is to stand.
pub(super) struct QuotedSink<'o> {
    out: &'o mut String,
    /// How many bytes the text has without its escapes.
    rendered: usize,
}

impl<'o> QuotedSink<'o> {
    pub(super) fn new(out: &'o mut String) -> Self {
        Self { out, rendered: 0 }
    }

    fn push(&mut self, text: &str) {
        push_escaped(self.out, text);
        self.rendered += text.len();
    }
}

impl Sink for QuotedSink<'_> {
    fn literal(&mut self, text: &str) -> Result<(), RenderError> {
        self.push(text);
        Ok(())
    }

    fn value(&mut self, value: ValueRef<'_>) -> Result<(), RenderError> {
        self.push(&value.to_text());
        Ok(())
    }

    fn len(&self) -> usize {
        self.rendered
    }
}

/// JSON written as text: an expression inside quotes becomes escaped string content, outside quotes the value.
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

    /// Breaks up a pair that would arise where `next` follows, however the JSON spells its characters.
    fn part_from(&mut self, next: &str) {
        if let (true, Some(first), Some(second)) = (self.in_string, last(&self.text), first(next))
            && self.guard.is_pair(first, second)
        {
            self.text.push(' ');
        }
    }

    /// The JSON, if that is what was rendered.
    pub(crate) fn into_json(self) -> Result<Value, RenderError> {
        serde_json::from_str(&self.text).map_err(|error| {
            misplaced(format!(
                "the template file does not make valid JSON (line {}, column {})",
                error.line(),
                error.column()
            ))
        })
    }
}

impl Sink for JsonSink {
    fn literal(&mut self, text: &str) -> Result<(), RenderError> {
        self.part_from(text);
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
            return Err(misplaced("an expression follows a backslash inside a JSON string"));
        }
        if self.in_string {
            let text = value.to_text();
            let mut escaped = String::with_capacity(text.len());
            push_escaped(&mut escaped, &text);
            self.part_from(&text);
            self.guard.push_value(&mut self.text, &escaped);
        } else {
            // Guarded as a value and not as text, for a brace of JSON itself is no brace of a string.
            self.guard.push_json(&mut self.text, value);
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.text.len()
    }
}

/// The character that the content of a JSON string begins with, also one that is written as `\u0024`.
fn first(text: &str) -> Option<char> {
    match text.strip_prefix("\\u") {
        Some(code) => escaped(code.get(..4)?),
        None => text.chars().next(),
    }
}

/// The character that the content of a JSON string ends with, also one that is written as `\u0024`.
fn last(text: &str) -> Option<char> {
    let parts = text.len().checked_sub(6).and_then(|at| text.split_at_checked(at));
    if let Some((before, code)) = parts
        && let Some(code) = code.strip_prefix("\\u")
        // An even number of backslashes before it are pairs that stand for themselves.
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

    /// Renders pieces: literals as they are, values from JSON.
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
    fn a_segment_that_is_empty_or_dots_is_refused() {
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
        assert_eq!(sink.into_json(), Ok(json!({"a": format!("q\" {}", evil.as_str().unwrap()), "b": evil})));
    }

    fn xml(pieces: &[Result<&str, Value>]) -> Result<String, RenderError> {
        let mut sink = XmlSink::default();
        fill(&mut sink, pieces)?;
        sink.into_xml()
    }

    #[test]
    fn xml_values_stand_in_text_and_in_attributes_only() {
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
        for (pieces, told) in [
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
                "a value holds a character that XML does not allow (U+0000)",
            ),
        ] {
            let error = xml(pieces).unwrap_err().to_string();
            assert!(error.contains(told), "{pieces:?}: {error}");
        }
    }

    #[test]
    fn xml_values_are_text_whatever_they_are() {
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
    fn pairs_at_joints_of_json_text_are_broken_up_however_they_are_spelled() {
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
            assert_eq!(sink.into_json(), Ok(json!(expected)), "{before} {value} {after}");
        }
    }

    #[test]
    fn header_values_refuse_line_breaks() {
        for (text, good) in
            [("a b", true), ("é", true), ("a\r\nx: y", false), ("a\nb", false), ("a\0b", false)]
        {
            let mut sink = HeaderSink::default();
            sink.value((&json!(text)).into()).unwrap();
            assert_eq!(sink.into_value().is_ok(), good, "{text:?}");
        }
    }
}
