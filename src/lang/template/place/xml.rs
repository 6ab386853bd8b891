//! XML as a place of templates.

use super::misplaced;
use crate::json::ValueRef;
use crate::lang::template::{RenderError, Sink};
use crate::lang::xml;

/// XML written as text: a value is escaped, and stands in text or between the quotes of an attribute, nowhere else.
/// So no value can make or end an element, an attribute, a comment, a CDATA section or an instruction.
#[derive(Default)]
pub(crate) struct XmlSink {
    text: String,
    spot: Spot,
    /// Where what began the current spot ends.
    since: usize,
    /// Whether literal text has begun an entity that is not ended.
    in_entity: bool,
}

/// Where in XML the next piece stands. Literal text alone decides it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Spot {
    #[default]
    Text,
    /// After a `<`, as long as that may become anything.
    Open,
    Tag,
    /// Between the quotes of an attribute.
    Quoted(char),
    Comment,
    Cdata,
    Instruction,
    /// A `<!` that is neither of the above.
    Declaration,
    /// The declarations inside a document type. Where they end is not looked for: nothing that stands behind them
    /// takes a value.
    Subset,
}

impl XmlSink {
    /// The document, if that is what was rendered.
    pub(crate) fn into_xml(self) -> Result<String, RenderError> {
        let declared = xml::declared_encoding(self.text.as_bytes());
        if declared.is_some_and(|name| !name.eq_ignore_ascii_case("utf-8")) {
            return Err(misplaced(
                "the template file declares another encoding than UTF-8, in which it is sent",
            ));
        }
        match xml::parse(&self.text) {
            Ok(_) => Ok(self.text),
            Err(error) => Err(misplaced(format!("the template file does not make well-formed XML: {error}"))),
        }
    }

    /// Takes one character of literal text.
    fn advance(&mut self, character: char) {
        self.text.push(character);
        let inside = &self.text[self.since..];
        let next = match (self.spot, character) {
            (Spot::Text, '<') => Spot::Open,
            (Spot::Open, '>') => Spot::Text,
            (Spot::Open, _) => match inside {
                "!" | "!-" => Spot::Open,
                "!--" => Spot::Comment,
                "?" => Spot::Instruction,
                "![CDATA[" => Spot::Cdata,
                other if "![CDATA[".starts_with(other) => Spot::Open,
                other if other.starts_with('!') => Spot::Declaration,
                _ => Spot::Tag,
            },
            (Spot::Tag, '"' | '\'') => Spot::Quoted(character),
            (Spot::Tag | Spot::Declaration, '>') => Spot::Text,
            (Spot::Declaration, '[') => Spot::Subset,
            (Spot::Quoted(quote), _) if character == quote => Spot::Tag,
            (Spot::Comment, '>') if inside.ends_with("-->") => Spot::Text,
            (Spot::Cdata, '>') if inside.ends_with("]]>") => Spot::Text,
            (Spot::Instruction, '>') if inside.ends_with("?>") => Spot::Text,
            (spot, _) => spot,
        };
        if next != self.spot {
            (self.spot, self.since) = (next, self.text.len());
        }
        self.in_entity = match (self.spot, character) {
            (Spot::Text | Spot::Quoted(_), '&') => true,
            (Spot::Text | Spot::Quoted(_), ';') => false,
            (Spot::Text | Spot::Quoted(_), _) => self.in_entity,
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
        let elsewhere = match self.spot {
            Spot::Text | Spot::Quoted(_) if self.in_entity => "after a `&` that begins no entity",
            Spot::Text | Spot::Quoted(_) => {
                let text = value.to_text();
                let escaped = xml::escape(&text).map_err(|character| {
                    let code = u32::from(character);
                    misplaced(format!("a value holds a character that XML does not allow (U+{code:04X})"))
                })?;
                self.text.push_str(&escaped);
                return Ok(());
            }
            Spot::Open | Spot::Tag => "inside a tag",
            Spot::Comment => "inside a comment",
            Spot::Cdata => "inside a CDATA section",
            Spot::Instruction => "inside a processing instruction",
            Spot::Declaration | Spot::Subset => "inside a declaration, or behind declarations of its own",
        };
        Err(misplaced(format!(
            "an expression stands {elsewhere}; in XML it stands in text or between the quotes of an attribute"
        )))
    }

    fn len(&self) -> usize {
        self.text.len()
    }
}
