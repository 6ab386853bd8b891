//! XML as a place of templates.

use super::place_error;
use crate::json::ValueRef;
use crate::lang::template::{RenderError, Sink};
use crate::lang::xml;

/// XML as text. Values are escaped, and allowed only in text and in quoted attribute values. So no value can start or
/// end an element, an attribute, a comment, a CDATA section or a processing instruction.
#[derive(Default)]
pub(crate) struct XmlSink {
    text: String,
    state: XmlState,
    /// The position at which the current state begins.
    state_start: usize,
    /// Whether literal text has started an entity reference that is not complete.
    in_entity: bool,
}

/// The state of the XML at the end of the text. Only literal text changes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum XmlState {
    #[default]
    Text,
    /// After a `<`, while its kind is not known.
    Open,
    Tag,
    /// Between the quotes of an attribute.
    Quoted(char),
    Comment,
    Cdata,
    Instruction,
    /// A `<!` that starts neither a comment nor a CDATA section.
    Declaration,
    /// The internal subset of a document type. Its end is not detected, so no value is allowed after it.
    Subset,
}

impl XmlSink {
    /// Checks and returns the rendered document.
    pub(crate) fn into_xml(self) -> Result<String, RenderError> {
        let declared = xml::declared_encoding(self.text.as_bytes());
        if declared.is_some_and(|name| !name.eq_ignore_ascii_case("utf-8")) {
            return Err(place_error(
                "the template file declares an encoding other than UTF-8, but is sent as UTF-8",
            ));
        }
        match xml::parse(&self.text) {
            Ok(_) => Ok(self.text),
            Err(error) => {
                Err(place_error(format!("the template file does not make well-formed XML: {error}")))
            }
        }
    }

    /// Appends one character of literal text.
    fn advance(&mut self, character: char) {
        self.text.push(character);
        let inside = &self.text[self.state_start..];
        let next = match (self.state, character) {
            (XmlState::Text, '<') => XmlState::Open,
            (XmlState::Open, '>') => XmlState::Text,
            (XmlState::Open, _) => match inside {
                "!" | "!-" => XmlState::Open,
                "!--" => XmlState::Comment,
                "?" => XmlState::Instruction,
                "![CDATA[" => XmlState::Cdata,
                other if "![CDATA[".starts_with(other) => XmlState::Open,
                other if other.starts_with('!') => XmlState::Declaration,
                _ => XmlState::Tag,
            },
            (XmlState::Tag, '"' | '\'') => XmlState::Quoted(character),
            (XmlState::Tag | XmlState::Declaration, '>') => XmlState::Text,
            (XmlState::Declaration, '[') => XmlState::Subset,
            (XmlState::Quoted(quote), _) if character == quote => XmlState::Tag,
            (XmlState::Comment, '>') if inside.ends_with("-->") => XmlState::Text,
            (XmlState::Cdata, '>') if inside.ends_with("]]>") => XmlState::Text,
            (XmlState::Instruction, '>') if inside.ends_with("?>") => XmlState::Text,
            (state, _) => state,
        };
        if next != self.state {
            (self.state, self.state_start) = (next, self.text.len());
        }
        self.in_entity = match (self.state, character) {
            (XmlState::Text | XmlState::Quoted(_), '&') => true,
            (XmlState::Text | XmlState::Quoted(_), ';') => false,
            (XmlState::Text | XmlState::Quoted(_), _) => self.in_entity,
            _ => false,
        };
    }
}

impl Sink for XmlSink {
    fn literal(&mut self, text: &str) -> Result<(), RenderError> {
        text.chars().for_each(|character| self.advance(character));
        Ok(())
    }

    fn value(&mut self, value: ValueRef<'_>) -> Result<(), RenderError> {
        let place = match self.state {
            XmlState::Text | XmlState::Quoted(_) if self.in_entity => {
                "after a `&` that does not start an entity"
            }
            XmlState::Text | XmlState::Quoted(_) => {
                let text = value.to_text();
                let escaped = xml::escape(&text).map_err(|character| {
                    let code = u32::from(character);
                    place_error(format!(
                        "a value contains a character that XML does not allow (U+{code:04X})"
                    ))
                })?;
                self.text.push_str(&escaped);
                return Ok(());
            }
            XmlState::Open | XmlState::Tag => "inside a tag",
            XmlState::Comment => "inside a comment",
            XmlState::Cdata => "inside a CDATA section",
            XmlState::Instruction => "inside a processing instruction",
            XmlState::Declaration | XmlState::Subset => "inside a declaration, or after an internal subset",
        };
        Err(place_error(format!(
            "an expression is {place}; in XML it must be in text or in a quoted attribute value"
        )))
    }

    fn len(&self) -> usize {
        self.text.len()
    }
}
