//! Template expressions in a JSONPath. Before the path is parsed, each is replaced by a string literal that stands for
//! its value, so a value never becomes syntax.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;

use crate::diagnostic::Code;

use super::BadPath;

/// The maximum number of expressions in one path: the number of bits in `taken`.
const MAX_VALUES: usize = 16;

const PLACES: &str = "write it as a value in a filter's comparison: `$.orders[?@.id == {{args.id}}]`; a key or index that \
                      is itself a value is looked up in the reply: `{{lookup prices args.currency}}`";

/// The value of a template that a path is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placeholder {
    /// The place of the template in the path as written.
    pub(crate) range: Range<usize>,
    /// Whether it is written in quotes, and so always a string.
    pub(crate) is_quoted: bool,
}

/// The placeholders of one path, and which of them have been found where a value may stand.
#[derive(Debug)]
pub(super) struct Placeholders {
    list: Vec<Placeholder>,
    /// The character that begins a placeholder. The path as written does not contain it, nor an escape for it.
    mark: char,
    taken: Cell<u16>,
}

impl Placeholders {
    /// Finds the expressions of a path, and replaces them.
    pub(super) fn replace(written: &str) -> Result<(Cow<'_, str>, Self), BadPath> {
        let escapes = written.to_ascii_lowercase();
        let is_written =
            |mark: &char| written.contains(*mark) || escapes.contains(&format!("\\u{:x}", u32::from(*mark)));
        let mark = ('\u{e000}'..='\u{f8ff}').find(|mark| !is_written(mark)).unwrap_or('\u{e000}');
        let none = Self { list: Vec::new(), mark, taken: Cell::new(0) };
        if !written.contains("{{") || !written.contains("}}") {
            return Ok((Cow::Borrowed(written), none));
        }
        let mut scan =
            Scan { written, placeholders: none, out: String::new(), copied: 0, brackets: Vec::new() };
        scan.run()?;
        scan.out.push_str(&written[scan.copied..]);
        Ok((Cow::Owned(scan.out), scan.placeholders))
    }

    /// The index of the value that a string literal stands for, which is then in its place.
    pub(super) fn take(&self, literal: &str) -> Option<usize> {
        let index: usize = literal.strip_prefix(self.mark)?.parse().ok()?;
        self.taken.set(self.taken.get() | 1_u16.checked_shl(u32::try_from(index).ok()?)?);
        Some(index)
    }

    /// All placeholders, if each has been taken.
    pub(super) fn finish(self) -> Result<Vec<Placeholder>, BadPath> {
        let lost = (0..self.list.len()).find(|index| self.taken.get() & 1 << index == 0);
        match lost.and_then(|index| self.list.get(index)) {
            Some(lost) => Err(misplaced(lost.range.clone())),
            None => Ok(self.list),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// One pass over a path.
struct Scan<'t> {
    written: &'t str,
    placeholders: Placeholders,
    out: String,
    /// How much of the path is in `out`.
    copied: usize,
    /// The open brackets; whether each opens a filter.
    brackets: Vec<bool>,
}

impl Scan<'_> {
    fn run(&mut self) -> Result<(), BadPath> {
        let mut at = 0;
        while let Some(character) = self.written[at..].chars().next() {
            at = match character {
                '\'' | '"' => self.literal(at, character)?,
                '{' if self.written[at..].starts_with("{{") => self.expression(at)?,
                '[' => {
                    self.brackets.push(self.written[at + 1..].trim_start().starts_with('?'));
                    at + 1
                }
                ']' => {
                    self.brackets.pop();
                    at + 1
                }
                other => at + other.len_utf8(),
            };
        }
        Ok(())
    }

    /// Reads a string literal that opens at `start`, and returns its end. With expressions in it, all of it is one value.
    fn literal(&mut self, start: usize, quote: char) -> Result<usize, BadPath> {
        let (mut at, mut expression, mut escape) = (start + 1, None, None);
        while let Some(character) = self.written[at..].chars().next() {
            let rest = &self.written[at..];
            match character {
                '{' if rest.starts_with("{{") && expression_end(rest).is_some() => {
                    let end = at + expression_end(rest).unwrap_or(rest.len());
                    expression.get_or_insert(at..end);
                    at = end;
                    continue;
                }
                '\\' => {
                    escape.get_or_insert(at);
                    at += 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                    continue;
                }
                _ => {}
            }
            at += character.len_utf8();
            if character == quote {
                break;
            }
        }
        let Some(expression) = expression else { return Ok(at) };
        if !self.in_filter() {
            return Err(misplaced(expression));
        }
        if let Some(escape) = escape {
            return Err(BadPath {
                range: Some(escape..at),
                ..BadPath::syntax(
                    "a text with an expression cannot contain a backslash",
                    "put the text in [vars], and write `{{vars.name}}`",
                )
            });
        }
        self.put(start..at, Placeholder { range: start + 1..at - 1, is_quoted: true })?;
        Ok(at)
    }

    /// Reads an expression outside of quotes, and returns its end.
    fn expression(&mut self, start: usize) -> Result<usize, BadPath> {
        let Some(length) = expression_end(&self.written[start..]) else { return Ok(start + 2) };
        let range = start..start + length;
        let before = self.written[..start].trim_end();
        if !self.in_filter() || !before.ends_with(['=', '<', '>', '(', ',', '?', '&', '|', '!']) {
            return Err(misplaced(range));
        }
        if self.written[start + 2..].starts_with(['#', '/', '^', '>', '!']) {
            return Err(BadPath {
                code: Code::TemplatePlace,
                message: "a block is a text and stands in quotes here".to_owned(),
                help: "write `[?@.id == '{{#if x}}…{{/if}}']`".to_owned(),
                range: Some(range),
            });
        }
        let end = range.end;
        self.put(range.clone(), Placeholder { range, is_quoted: false })?;
        Ok(end)
    }

    fn in_filter(&self) -> bool {
        self.brackets.contains(&true)
    }

    /// Puts a string literal into the place of `range`.
    fn put(&mut self, range: Range<usize>, placeholder: Placeholder) -> Result<(), BadPath> {
        let index = self.placeholders.list.len();
        if index == MAX_VALUES {
            return Err(BadPath::syntax(
                format!("a JSONPath may contain at most {MAX_VALUES} expressions"),
                "extract the list with `all = true`, and choose from it in the reply",
            ));
        }
        self.out.push_str(&self.written[self.copied..range.start]);
        self.out.push('\'');
        self.out.push(self.placeholders.mark);
        self.out.push_str(&index.to_string());
        self.out.push('\'');
        self.copied = range.end;
        self.placeholders.list.push(placeholder);
        Ok(())
    }
}

fn misplaced(range: Range<usize>) -> BadPath {
    BadPath {
        code: Code::TemplatePlace,
        message: "a JSONPath cannot contain a template in this place".to_owned(),
        help: PLACES.to_owned(),
        range: Some(range),
    }
}

/// The length of the expression at the start of a text. Braces in its quoted texts do not end it.
fn expression_end(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, character) in text.char_indices().skip(2) {
        match (quote, character) {
            (None, '}') if text[at..].starts_with("}}") => return Some(at + 2),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), character) if open == character => quote = None,
            _ => {}
        }
    }
    text.find("}}").map(|end| end + 2)
}
