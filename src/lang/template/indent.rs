//! The indentation of a partial that stands on a line of its own.

use super::{RenderError, Sink};
use crate::json::ValueRef;

/// Writes to another place, and begins each line of literal text with an indentation. As with handlebars.js, a line
/// is indented before its first character, so nothing follows a final line break. The lines within a value stay as
/// they are.
pub(super) struct IndentSink<'s> {
    indent: &'s str,
    inner: &'s mut dyn Sink,
    at_line_start: bool,
}

impl<'s> IndentSink<'s> {
    pub(super) fn new(indent: &'s str, inner: &'s mut dyn Sink) -> Self {
        Self { indent, inner, at_line_start: true }
    }

    fn begin(&mut self) -> Result<(), RenderError> {
        if std::mem::take(&mut self.at_line_start) { self.inner.literal(self.indent) } else { Ok(()) }
    }
}

impl Sink for IndentSink<'_> {
    fn literal(&mut self, text: &str) -> Result<(), RenderError> {
        for line in text.split_inclusive('\n') {
            self.begin()?;
            self.inner.literal(line)?;
            self.at_line_start = line.ends_with('\n');
        }
        Ok(())
    }

    fn value(&mut self, value: ValueRef<'_>) -> Result<(), RenderError> {
        self.begin()?;
        self.inner.value(value)
    }

    fn block(&mut self) {
        self.inner.block();
    }

    fn len(&self) -> usize {
        self.inner.len()
    }
}
