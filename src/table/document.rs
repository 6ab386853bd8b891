//! Parses TOML into a tree with the place of each key and value.

use std::num::IntErrorKind;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, FileId, Span};

use super::extent::{Extent, measure};
use super::syntax::{self, ParserError};

const BYTE_ORDER_MARK: char = '\u{feff}';

/// A value with its place in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// A TOML value with its place.
pub(crate) type Node = Located<Kind>;

/// The type and content of a TOML value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    String(String),
    Integer(i64),
    /// A number with the digits as written.
    Float(Number),
    Boolean(bool),
    Datetime(String),
    List(Vec<Node>),
    Table(Entries),
}

/// The entries of a table, in the order of the file.
pub(crate) type Entries = Vec<(Located<String>, Node)>;

impl Located<Kind> {
    /// The name of its type in a message.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.value {
            Kind::String(_) => "a string",
            Kind::Integer(_) => "an integer",
            Kind::Float(_) => "a number",
            Kind::Boolean(_) => "a boolean",
            Kind::Datetime(_) => "a date",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }

    /// The value as JSON; dates become strings.
    pub(crate) fn to_json(&self) -> Value {
        match &self.value {
            Kind::String(text) | Kind::Datetime(text) => Value::from(text.as_str()),
            Kind::Integer(number) => Value::from(*number),
            Kind::Float(number) => Value::Number(number.clone()),
            Kind::Boolean(truth) => Value::Bool(*truth),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Table(entries) => Value::Object(
                entries.iter().map(|(key, node)| (key.value.clone(), node.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// The string, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Parses a file. Returns everything that could be read, even if there are syntax errors, and the parts of the file
/// that those errors make meaningless.
pub(crate) fn parse(text: &str, file: FileId, diagnostics: &mut Diagnostics) -> (Entries, Vec<Span>) {
    let end = match measure(text) {
        Extent::Whole => text.len(),
        Extent::Until(end) => end,
        Extent::TooLarge { at, reason } => {
            diagnostics.push(too_large(Span { file, start: at, end: at + 1 }, &reason));
            diagnostics.end();
            return (Entries::new(), vec![Span { file, start: 0, end: text.len() }]);
        }
    };
    let (table, errors) = DeTable::parse_recoverable(&text[..end]);
    let mut lost = syntax::report(first(&errors), text, file, diagnostics);
    if end < text.len() {
        diagnostics.end();
        lost.push(Span { file, start: end, end: text.len() });
    }
    diagnostics.count_more(errors.len().saturating_sub(MAX_ERRORS));
    drop(errors);
    // The first one was removed when the file was read; the parser ignores one more.
    if text.starts_with(BYTE_ORDER_MARK) {
        let span = Span { file, start: 0, end: BYTE_ORDER_MARK.len_utf8() };
        diagnostics.push(
            Diagnostic::new(Code::TomlSyntax, span, "invalid TOML: a second byte order mark")
                .help("save the file as UTF-8 without a byte order mark"),
        );
    }
    (entries(table.get_ref(), file, diagnostics), lost)
}

/// The error about a table that exceeds a limit at `span`.
pub(in crate::table) fn too_large(span: Span, reason: &str) -> Diagnostic {
    Diagnostic::new(Code::TableTooLarge, span, format!("the table is too large: {reason}"))
        .label("the limit is exceeded here")
        .help("split it into several tables, or remove what was written into it by mistake")
}

/// The maximum number of syntax errors of a file that are looked at.
const MAX_ERRORS: usize = 10_000;

/// The first errors, in the order of their places.
fn first(errors: &[toml::de::Error]) -> Vec<ParserError> {
    let mut places: Vec<(usize, usize)> = errors
        .iter()
        .enumerate()
        .map(|(index, error)| (error.span().map_or(0, |span| span.start), index))
        .collect();
    places.sort_unstable();
    let first = places.iter().take(MAX_ERRORS).filter_map(|(_, index)| errors.get(*index));
    first
        .map(|error| ParserError { message: error.message().to_owned(), range: error.span().unwrap_or(0..0) })
        .collect()
}

fn entries(table: &DeTable<'_>, file: FileId, diagnostics: &mut Diagnostics) -> Entries {
    table
        .iter()
        .map(|(key, value)| {
            let range = key.span();
            let key = Located {
                value: key.get_ref().to_string(),
                span: Span { file, start: range.start, end: range.end },
            };
            (key, node(value, file, diagnostics))
        })
        .collect()
}

fn node(value: &Spanned<DeValue<'_>>, file: FileId, diagnostics: &mut Diagnostics) -> Node {
    let range = value.span();
    let span = Span { file, start: range.start, end: range.end };
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::String(text.to_string()),
        DeValue::Boolean(truth) => Kind::Boolean(*truth),
        DeValue::Datetime(date) => Kind::Datetime(date.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            match i64::from_str_radix(&digits, number.radix()) {
                Ok(number) => Kind::Integer(number),
                // The parser leaves digits to its user.
                Err(error) if matches!(error.kind(), IntErrorKind::Empty | IntErrorKind::InvalidDigit) => {
                    // It reports some of them itself.
                    let known = |known: &Diagnostic| {
                        known.code == Code::TomlSyntax && (span.start..=span.end).contains(&known.span.start)
                    };
                    if !diagnostics.iter().any(known) {
                        diagnostics.push(
                            Diagnostic::new(
                                Code::TomlSyntax,
                                span,
                                "invalid TOML: this integer has no valid digits",
                            )
                            .help("write an integer such as `10`, `1_000` or `0xff`"),
                        );
                    }
                    Kind::Integer(0)
                }
                Err(_) => {
                    diagnostics.push(
                        Diagnostic::new(Code::WrongType, span, "integer out of range")
                            .help("use an integer between -9223372036854775808 and 9223372036854775807"),
                    );
                    Kind::Integer(0)
                }
            }
        }
        DeValue::Float(number) => match number_of(number.as_str()) {
            Some(number) => Kind::Float(number),
            None => {
                diagnostics.push(
                    Diagnostic::new(Code::WrongType, span, "unsupported number")
                        .help("use a finite number: JSON has neither inf nor nan"),
                );
                Kind::Integer(0)
            }
        },
        DeValue::Array(items) => Kind::List(items.iter().map(|item| node(item, file, diagnostics)).collect()),
        DeValue::Table(table) => Kind::Table(entries(table, file, diagnostics)),
    };
    Located { value: kind, span }
}

/// The number that a TOML float is, with its digits; `None` if it is not finite.
fn number_of(float: &str) -> Option<Number> {
    let digits = float.replace('_', "");
    let digits = digits.strip_prefix('+').unwrap_or(&digits);
    let is_finite = digits.parse::<f64>().is_ok_and(f64::is_finite);
    serde_json::from_str(digits).ok().filter(|_| is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Sources, place_in_string};
    use std::path::Path;

    fn parsed(text: &str) -> (Entries, Vec<Diagnostic>) {
        let mut diagnostics = Diagnostics::default();
        let file = Sources::default().add(Path::new("t.toml"), text.to_owned());
        let (entries, _) = parse(text, file, &mut diagnostics);
        (entries, diagnostics.into_sorted())
    }

    #[test]
    fn numbers_keep_their_digits() {
        for (text, expected) in [
            ("19.10", "19.10"),
            ("+1_000.50", "1000.50"),
            ("0.1234567890123456789012345", "0.1234567890123456789012345"),
            ("1e05", "1e+05"),
            ("-6.02E+23", "-6.02e+23"),
            ("-0.0", "-0.0"),
            ("1e-400", "1e-400"),
        ] {
            let (entries, errors) = parsed(&format!("a = {text}"));
            assert_eq!((entries[0].1.to_json().to_string().as_str(), errors), (expected, Vec::new()));
        }
        for text in ["inf", "-nan", "1e400"] {
            assert_eq!(parsed(&format!("a = {text}")).1.len(), 1, "{text}");
        }
    }

    #[test]
    fn places_inside_strings_survive_escapes() {
        for (text, content, expected) in [
            (r#"a = "x {{y}}""#, "{{y}}", "{{y}}"),
            (r#"a = "\"\u00e9\n {{y}} \t""#, "{{y}}", "{{y}}"),
            ("a = '''\nfirst\n{{y}}'''", "{{y}}", "{{y}}"),
            ("a = \"\"\"one \\\n   two {{y}}\"\"\"", "{{y}}", "{{y}}"),
            ("a = 'c:\\{{y}}'", "{{y}}", "{{y}}"),
        ] {
            let (entries, errors) = parsed(text);
            assert_eq!(errors, [], "{text}");
            let node = &entries[0].1;
            let start = node.as_str().unwrap().find(content).unwrap();
            let token = &text[node.span.start..node.span.end];
            let place = place_in_string(token, node.span, start..start + content.len());
            assert_eq!(&text[place.start..place.end], expected, "{text}");
        }
    }

    #[test]
    fn numbers_without_digits_are_syntax_errors() {
        for (text, code, place) in [
            ("a = 0x", Code::TomlSyntax, "0x"),
            ("a = 0b", Code::TomlSyntax, "0b"),
            ("b = [0o]", Code::TomlSyntax, "0o"),
            ("a = 1_0\u{660}", Code::TomlSyntax, "1_0\u{660}"),
            ("a = 0b2", Code::TomlSyntax, ""),
            ("a = 99999999999999999999", Code::WrongType, "99999999999999999999"),
            ("a = -0x1", Code::TomlSyntax, "-"),
            ("\u{feff}a = 1", Code::TomlSyntax, "\u{feff}"),
        ] {
            let (_, errors) = parsed(text);
            let [error] = &errors[..] else { panic!("{text}: {errors:?}") };
            assert_eq!((error.code, &text[error.span.start..error.span.end]), (code, place), "{text}");
        }
    }

    #[test]
    fn every_syntax_error_is_collected_and_never_quotes_a_value() {
        let (_, errors) = parsed("password = \"hunter2\nlisten = = 3\n[a]\nb = 1\nb = 2\n");
        assert!(errors.len() >= 3, "{errors:?}");
        assert!(errors.iter().any(|error| error.code == Code::DuplicateName), "{errors:?}");
        for error in errors {
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
