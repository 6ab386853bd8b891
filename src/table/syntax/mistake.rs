//! A mistake in TOML: the parser's errors on one line, and the text around them.

use std::cell::OnceCell;
use std::ops::Range;

use super::open::Open;

/// An error of the parser.
pub(in crate::table) struct ParserError {
    pub(in crate::table) message: String,
    pub(in crate::table) range: Range<usize>,
}

/// The errors of one line as one mistake, with the text around the first error.
pub(super) struct Mistake<'t> {
    pub(super) errors: &'t [ParserError],
    pub(super) text: &'t str,
    /// The position of the first error.
    pub(super) at: usize,
    /// The range of the first error.
    pub(super) here: Range<usize>,
    /// The content of its line, without surrounding whitespace.
    pub(super) content: Range<usize>,
    /// The line up to the error.
    pub(super) before: &'t str,
    /// The line from the error on.
    pub(super) rest: &'t str,
    /// The open brackets or string at the error.
    pub(super) open: Open,
    /// The same at the end of the first error, found when it is asked for.
    open_after: OnceCell<Open>,
}

impl<'t> Mistake<'t> {
    pub(super) fn new(errors: &'t [ParserError], text: &'t str) -> Option<Self> {
        let first = errors.first()?;
        let at = text.floor_char_boundary(first.range.start.min(text.len()));
        let around = line(text, at);
        let (before, rest) = (&text[around.start..at], &text[at..around.end]);
        let start = around.start + (before.len() - before.trim_start().len());
        // A line with only non-breaking spaces has empty content.
        let content = start..start.max(around.start + text[around.clone()].trim_end().len());
        let here = at..first.range.end.max(at).min(text.len());
        Some(Self {
            errors,
            text,
            at,
            here,
            content,
            before,
            rest,
            open: Open::until(text, at),
            open_after: OnceCell::new(),
        })
    }

    /// The open brackets or string at the end of the first error.
    pub(super) fn open_after(&self) -> &Open {
        self.open_after.get_or_init(|| Open::until(self.text, self.here.end))
    }

    /// Whether the parser's first error begins with one of these words.
    pub(super) fn first_is(&self, starts: &[&str]) -> bool {
        self.errors.first().is_some_and(|error| starts.iter().any(|start| error.message.starts_with(start)))
    }

    /// Whether any of the parser's errors begins with one of these words.
    pub(super) fn any_is(&self, starts: &[&str]) -> bool {
        self.errors.iter().any(|error| starts.iter().any(|start| error.message.starts_with(start)))
    }

    /// The text from the first character of the line on.
    pub(super) fn written(&self) -> &'t str {
        self.text[self.content.start..].trim_end()
    }
}

/// The line around a place, without its newline.
pub(super) fn line(text: &str, at: usize) -> Range<usize> {
    let at = text.floor_char_boundary(at.min(text.len()));
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    start..text[at..].find('\n').map_or(text.len(), |newline| at + newline)
}
