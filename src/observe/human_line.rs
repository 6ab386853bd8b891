//! Formats an event as a line for people: the time, the level, the message, and the fields as `name=value`.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::utc;

const DIMMED: &str = "\x1b[2m";
const ITALIC: &str = "\x1b[3m";
const RESET: &str = "\x1b[0m";

/// Appends the line of an event, with colours if it `is_coloured`.
pub(super) fn push(out: &mut String, event: &Event<'_>, is_coloured: bool) -> fmt::Result {
    let (dimmed, reset) = if is_coloured { (DIMMED, RESET) } else { ("", "") };
    let (colour, level) = level(*event.metadata().level());
    out.push_str(dimmed);
    utc::push_micros(out, Timestamp::now());
    [reset, " ", if is_coloured { colour } else { "" }, level, reset]
        .into_iter()
        .for_each(|part| out.push_str(part));
    let mut fields = Fields { out, is_coloured, result: Ok(()) };
    event.record(&mut fields);
    fields.result?;
    out.push('\n');
    Ok(())
}

/// The colour and the name of a level. All names are equally wide.
fn level(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::TRACE => ("\x1b[35m", "TRACE"),
        Level::DEBUG => ("\x1b[34m", "DEBUG"),
        Level::INFO => ("\x1b[32m", " INFO"),
        Level::WARN => ("\x1b[33m", " WARN"),
        Level::ERROR => ("\x1b[31m", "ERROR"),
    }
}

/// Appends the fields of an event in the order in which they are visited, each after a space.
struct Fields<'o> {
    out: &'o mut String,
    is_coloured: bool,
    /// An error of the first value that could not be formatted.
    result: fmt::Result,
}

impl Fields<'_> {
    fn add(&mut self, name: &str, value: fmt::Arguments<'_>) -> fmt::Result {
        self.out.push(' ');
        if name == "message" {
            let begin = self.out.len();
            self.out.write_fmt(value)?;
            make_printable(self.out, begin);
            return Ok(());
        }
        let name = name.trim_start_matches("r#");
        let parts = if self.is_coloured {
            [ITALIC, name, RESET, DIMMED, "=", RESET]
        } else {
            [name, "=", "", "", "", ""]
        };
        parts.into_iter().for_each(|part| self.out.push_str(part));
        self.out.write_fmt(value)
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // The `log.` fields of other libraries only name the source code that logged the line.
        if self.result.is_ok() && !field.name().starts_with("log.") {
            self.result = self.add(field.name(), format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }
}

/// Escapes the characters from `begin` on that a terminal would act on. Line breaks and tabs stay.
fn make_printable(text: &mut String, begin: usize) {
    let is_unsafe = |char: char| matches!(char, '\x07' | '\x08' | '\x0c' | '\x1b' | '\x7f'..='\u{9f}');
    if !text[begin..].contains(is_unsafe) {
        return;
    }
    for char in text.split_off(begin).chars() {
        // Writing to a string cannot fail.
        let _ = match u32::from(char) {
            code if is_unsafe(char) && char.is_ascii() => write!(text, "\\x{code:02x}"),
            code if is_unsafe(char) => write!(text, "\\u{{{code:x}}}"),
            _ => text.write_char(char),
        };
    }
}
