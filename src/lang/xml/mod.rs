//! Converts XML to a JSON tree, so that JSONPath and templates can read it like any other response.
//!
//! The document is an object with one key: the name of the root element. An element is
//!
//! - its text, a string without surrounding white space, if it has neither attributes nor child elements;
//! - otherwise an object: `@name` for each attribute, the name for each child element, and `#text` if there is text
//!   too;
//! - null, if it has `xsi:nil="true"` and no content.
//!
//! Elements with the same name become a list, in their order. Names have no namespace prefix. Namespace declarations,
//! comments, processing instructions and the document type are left out. Text is never converted to a number. Only the
//! entities that XML itself defines are known, so nothing is ever fetched or expanded.

mod encoding;

use std::borrow::Cow;
use std::collections::HashSet;

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use serde_json::{Map, Value};
use thiserror::Error;

pub(crate) use encoding::{declared_encoding, decode};

/// The deepest nesting of elements.
const MAX_DEPTH: usize = 128;

/// White space in XML.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// The problem with text before or after the root element.
const OUTSIDE: &str = "there is text outside the root element";

/// Why a text is not well-formed XML. The error does not quote the text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem} (line {line}, column {column})")]
pub(crate) struct XmlError {
    problem: &'static str,
    line: usize,
    column: usize,
}

/// An element that is still open.
struct Element {
    name: String,
    /// Its attributes and child elements.
    parts: Map<String, Value>,
    text: String,
    /// Whether it has `xsi:nil="true"`.
    nil: bool,
}

/// Parses a document into a tree.
///
/// # Errors
/// The text is not well-formed, or nested too deeply.
pub(crate) fn parse(text: &str) -> Result<Value, XmlError> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    reader.config_mut().check_comments = true;
    let mut builder = TreeBuilder::default();
    loop {
        let start = reader.buffer_position();
        let taken = match reader.read_event() {
            Ok(Event::Eof) => break,
            Ok(event) => builder.take(&event, start == 0),
            Err(error) => {
                return Err(error_at(text, reader.error_position(), problem_of(&error)));
            }
        };
        taken.map_err(|problem| error_at(text, start, problem))?;
    }
    builder.end().map_err(|problem| error_at(text, reader.buffer_position(), problem))
}

/// Whether XML 1.0 allows a character.
pub(crate) fn is_char(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn error_at(text: &str, at: u64, problem: &'static str) -> XmlError {
    let at = usize::try_from(at).unwrap_or(usize::MAX).min(text.len());
    let before = &text[..text.floor_char_boundary(at)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    XmlError {
        problem,
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

fn problem_of(error: &quick_xml::Error) -> &'static str {
    use quick_xml::errors::IllFormedError;
    match error {
        quick_xml::Error::IllFormed(IllFormedError::MissingEndTag(_)) => "an element is not closed",
        quick_xml::Error::IllFormed(IllFormedError::UnmatchedEndTag(_)) => "an end tag closes no element",
        quick_xml::Error::IllFormed(IllFormedError::MismatchedEndTag { .. }) => {
            "an end tag has a different name than the open element"
        }
        quick_xml::Error::IllFormed(IllFormedError::DoubleHyphenInComment) => "a comment contains `--`",
        quick_xml::Error::IllFormed(IllFormedError::UnclosedReference) => "a `&` does not start an entity",
        _ => "a piece of markup cannot be read",
    }
}

#[derive(Default)]
struct TreeBuilder {
    open: Vec<Element>,
    /// The root element, once it is closed.
    document: Option<(String, Value)>,
    has_type: bool,
}

impl TreeBuilder {
    fn take(&mut self, event: &Event<'_>, is_first: bool) -> Result<(), &'static str> {
        match event {
            Event::Start(start) => self.start(start),
            Event::End(_) | Event::Empty(_) => self.close(),
            Event::Text(text) if text.contains("]]>") => Err("text contains `]]>`"),
            Event::Text(text) => self.text(&text.xml10_content()),
            Event::CData(_) | Event::GeneralRef(_) if self.open.is_empty() => Err(OUTSIDE),
            Event::CData(text) => self.text(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref();
                match character.map_err(|_| "a character reference is invalid")? {
                    Some(character) => self.text(character.encode_utf8(&mut [0; 4])),
                    None => {
                        let entity = resolve_predefined_entity(reference);
                        self.text(entity.ok_or("an entity is not predefined in XML")?)
                    }
                }
            }
            Event::Decl(_) if is_first => Ok(()),
            Event::Decl(_) => Err("an XML declaration is not at the beginning"),
            Event::DocType(_) if self.has_type || self.document.is_some() || !self.open.is_empty() => {
                Err("a document type is not before the root element")
            }
            Event::DocType(_) => {
                self.has_type = true;
                Ok(())
            }
            Event::Comment(_) | Event::PI(_) | Event::Eof => Ok(()),
        }
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), &'static str> {
        if self.open.len() >= MAX_DEPTH {
            return Err("elements are nested more than 128 deep");
        }
        if self.open.is_empty() && self.document.is_some() {
            return Err("there is a second root element");
        }
        let name = local_name(start.name().0).ok_or("an element has an invalid name")?;
        let mut element =
            Element { name: name.to_owned(), parts: Map::new(), text: String::new(), nil: false };
        let mut seen = HashSet::new();
        // The library's check compares each attribute with all previous ones, which is quadratic.
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|_| "an attribute cannot be read")?;
            let whole = attribute.key.0;
            if !seen.insert(whole) {
                return Err("an attribute is given twice");
            }
            if attribute.value.contains('<') {
                return Err("an attribute contains `<`");
            }
            let name = local_name(whole).ok_or("an attribute has an invalid name")?;
            let value = attribute
                .normalized_value(XmlVersion::Explicit1_0)
                .map_err(|_| "an attribute contains an entity that is not predefined in XML")?;
            if !value.chars().all(is_char) {
                return Err("an attribute contains a character that XML does not allow");
            }
            match whole.split_once(':') {
                None if whole == "xmlns" => continue,
                Some(("xmlns", _)) => continue,
                Some((_, "nil")) => element.nil = matches!(&*value, "true" | "1"),
                _ => {}
            }
            add(&mut element.parts, format!("@{name}"), Value::from(value));
        }
        self.open.push(element);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), &'static str> {
        if !text.chars().all(is_char) {
            return Err("text contains a character that XML does not allow");
        }
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.chars().all(|character| SPACE.contains(&character)) => {}
            None => return Err(OUTSIDE),
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), &'static str> {
        let Some(element) = self.open.pop() else { return Err("an end tag closes no element") };
        let Element { name, mut parts, text, nil } = element;
        let text = text.trim_matches(SPACE);
        let value = if nil && text.is_empty() && parts.keys().all(|key| key.starts_with('@')) {
            Value::Null
        } else if parts.is_empty() {
            Value::from(text)
        } else {
            if !text.is_empty() {
                parts.insert("#text".to_owned(), Value::from(text));
            }
            Value::Object(parts)
        };
        match self.open.last_mut() {
            Some(around) => add(&mut around.parts, name, value),
            None => self.document = Some((name, value)),
        }
        Ok(())
    }

    fn end(self) -> Result<Value, &'static str> {
        match self.document {
            _ if !self.open.is_empty() => Err("an element is not closed"),
            Some((name, value)) => Ok(Value::Object(Map::from_iter([(name, value)]))),
            None => Err("there is no root element"),
        }
    }
}

/// Adds a part. Parts with the same name become a list, which is unambiguous because no single part is a list.
fn add(parts: &mut Map<String, Value>, name: String, value: Value) {
    match parts.get_mut(&name) {
        None => {
            parts.insert(name, value);
        }
        Some(Value::Array(list)) => list.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
    }
}

/// A name without its prefix; `None` if it is not a valid name.
fn local_name(whole: &str) -> Option<&str> {
    let (prefix, local) = match whole.split_once(':') {
        Some((prefix, local)) => (Some(prefix), local),
        None => (None, whole),
    };
    (prefix.is_none_or(is_name) && is_name(local)).then_some(local)
}

/// Whether `text` is a name without a colon.
fn is_name(text: &str) -> bool {
    let is_start = |character| {
        matches!(character,
            'A'..='Z' | '_' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
            | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}'
            | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
            | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
    };
    let may_follow = |character| {
        is_start(character)
            || matches!(character,
                '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
    };
    text.starts_with(is_start) && text.chars().all(may_follow)
}

/// Escapes a value for text and for quoted attribute values. The error is a character that XML does not allow.
pub(crate) fn escape(text: &str) -> Result<Cow<'_, str>, char> {
    if let Some(character) = text.chars().find(|character| !is_char(*character)) {
        return Err(character);
    }
    let escaped = |character| match character {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        '\'' => Some("&apos;"),
        // A parser normalises line breaks and tabs in attributes to spaces, and CR in text to LF.
        '\r' => Some("&#13;"),
        '\n' => Some("&#10;"),
        '\t' => Some("&#9;"),
        _ => None,
    };
    if !text.contains(|character| escaped(character).is_some()) {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match escaped(character) {
            Some(entity) => out.push_str(entity),
            None => out.push(character),
        }
    }
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use crate::lang::xml::*;
    use serde_json::json;

    #[test]
    fn documents_become_trees() {
        for (text, expected) in [
            ("<a/>", json!({"a": ""})),
            ("<?xml version='1.0'?>\n<a>x</a>\n", json!({"a": "x"})),
            ("<a>\n  x y\n</a>", json!({"a": "x y"})),
            ("<a>007</a>", json!({"a": "007"})),
            ("<a id='1'/>", json!({"a": {"@id": "1"}})),
            ("<a id='1' unit=\"c\">21</a>", json!({"a": {"@id": "1", "@unit": "c", "#text": "21"}})),
            ("<a><b>1</b><c>2</c></a>", json!({"a": {"b": "1", "c": "2"}})),
            ("<a><b>1</b><c/><b>2</b><b/></a>", json!({"a": {"b": ["1", "2", ""], "c": ""}})),
            ("<a>x<b>1</b>y</a>", json!({"a": {"b": "1", "#text": "xy"}})),
            ("<a>&lt;&#65;&#x42;&amp;&gt;&quot;&apos;</a>", json!({"a": "<AB&>\"'"})),
            ("<a b='&lt;&#65;&amp;&quot; x\ny'/>", json!({"a": {"@b": "<A&\" x y"}})),
            ("<a>1<![CDATA[<b>&amp;]]>2</a>", json!({"a": "1<b>&amp;2"})),
            ("<a><!-- <b/> --><?php x ?>1</a>", json!({"a": "1"})),
            ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>1</a>", json!({"a": "1"})),
            ("<a x:nil='true' xmlns:x='i'/>", json!({"a": null})),
            ("<a><b i:nil='1'/><b>2</b></a>", json!({"a": {"b": [null, "2"]}})),
            ("<a nil='true'/>", json!({"a": {"@nil": "true"}})),
            ("<å-1.ø>Ø</å-1.ø >", json!({"å-1.ø": "Ø"})),
            (
                "<s:Envelope xmlns:s='soap' xmlns='u:o'><s:Body><Get><Id>7</Id></Get></s:Body></s:Envelope>",
                json!({"Envelope": {"Body": {"Get": {"Id": "7"}}}}),
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_documents_are_rejected() {
        for (text, problem) in [
            ("", "there is no root element (line 1, column 1)"),
            ("<!-- only -->", "there is no root element (line 1, column 14)"),
            ("hello", "there is text outside the root element (line 1, column 1)"),
            ("<a/>x", "there is text outside"),
            ("<a/><![CDATA[ ]]>", "there is text outside"),
            ("<a/>&#32;", "there is text outside"),
            ("<a/><b/>", "there is a second root element (line 1, column 5)"),
            ("<a>", "an element is not closed"),
            ("<a><b></a>", "an end tag has a different name than the open element (line 1, column 7)"),
            ("</a>", "an end tag closes no element"),
            ("<a>\n <b x=1/></a>", "an attribute cannot be read (line 2, column 2)"),
            ("<a x/>", "an attribute cannot be read"),
            ("<a x='1' x='2'/>", "an attribute is given twice"),
            ("<a x='<'/>", "an attribute contains `<`"),
            ("<a x='&b;'/>", "an attribute contains an entity"),
            ("<1a/>", "an element has an invalid name"),
            ("< a/>", "an element has an invalid name"),
            ("<a:b:c/>", "an element has an invalid name"),
            ("<a 1='x'/>", "an attribute has an invalid name"),
            ("<a>&</a>", "a `&` does not start an entity"),
            ("<a>& b</a>", "a `&` does not start an entity"),
            ("<a>&nbsp;</a>", "an entity is not predefined"),
            ("<a>&#0;</a>", "a character reference is invalid"),
            ("<a>&#1;</a>", "text contains a character that XML does not allow"),
            ("<a>\u{0}</a>", "text contains a character"),
            ("<a x='&#2;'/>", "an attribute contains a character"),
            ("<a>]]></a>", "text contains `]]>`"),
            ("<a><!-- a -- b --></a>", "a comment contains `--`"),
            (" <?xml version='1.0'?><a/>", "an XML declaration is not at the beginning"),
            ("<a/><!DOCTYPE a>", "a document type is not before"),
            // A hostile upstream must not make Jackfield fetch or expand anything.
            (
                "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
                "an entity is not predefined",
            ),
            ("<!DOCTYPE a [<!ENTITY x 'yy'><!ENTITY y '&x;&x;'>]><a>&y;</a>", "an entity is not predefined"),
            ("<!DOCTYPE a [<!ENTITY x 'y'>]><a b='&x;'/>", "an attribute contains an entity"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(problem), "{text}: {error}");
        }
    }

    #[test]
    fn depth_is_limited_and_many_attributes_are_cheap() {
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(
            parse(&nested(MAX_DEPTH + 1)).unwrap_err().to_string().starts_with("elements are nested more")
        );
        assert!(parse(&"<a>".repeat(1_000_000)).is_err());
        // With a quadratic check this would take hours.
        let many: String = (0..200_000).map(|number| format!(" a{number}=''")).collect();
        assert_eq!(parse(&format!("<a{many}/>")).unwrap()["a"].as_object().unwrap().len(), 200_000);
    }

    #[test]
    fn escaped_text_is_parsed_back() {
        for text in
            ["", "plain", "a & b < c > d \" e ' f", "\t\n\r", "]]>", "<!--", "&amp;", "Ørsta \u{1f600}"]
        {
            let escaped = escape(text).unwrap();
            let tree = parse(&format!("<a b=\"{escaped}\"><c>.{escaped}.</c></a>")).unwrap();
            assert_eq!(tree, json!({"a": {"@b": text, "c": format!(".{text}.")}}));
        }
        for character in ['\0', '\u{1}', '\u{b}', '\u{1f}', '\u{fffe}', '\u{ffff}'] {
            assert_eq!(escape(&format!("a{character}b")), Err(character));
        }
    }
}
