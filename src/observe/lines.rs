//! How a line of the log is written: for people, or as one object of JSON, as the running table and the environment
//! say.

use std::fmt::{self, Write as _};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::json::{push_escaped, push_string};
use crate::live::Live;
use crate::plan::LogFormat;

/// The field whose text is JSON already.
const RECORD: &str = "record";

/// How lines are written.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What the environment says; it goes before the table.
    wanted: Option<LogFormat>,
    /// Whether a person reads the log as it is written.
    is_terminal: bool,
    /// The running table, as soon as there is one.
    live: OnceLock<Arc<Live>>,
}

impl Lines {
    pub(super) fn new(wanted: Option<LogFormat>, is_terminal: bool) -> Self {
        Self { wanted, is_terminal, live: OnceLock::new() }
    }

    /// From now on the running table says how lines are written.
    pub(super) fn follow(&self, live: Arc<Live>) {
        // There is one running table in a process, and one log.
        let _ = self.live.set(live);
    }

    fn is_json(&self) -> bool {
        let format = self.wanted.filter(|format| *format != LogFormat::Auto);
        let format = format.or_else(|| Some(self.live.get()?.plan().log.format));
        match format {
            Some(LogFormat::Json) => true,
            Some(LogFormat::Auto) => !self.is_terminal,
            // Nothing runs before there is a table: what is said then is for whoever started it.
            Some(LogFormat::Human) | None => false,
        }
    }

    /// Lines for a person that are no event, such as the faults of a table.
    pub(super) fn text(&self, level: Level, text: &str) -> String {
        if self.is_json() { JsonLine::saying(text).text(level) } else { format!("{text}\n") }
    }

    /// That lines were lost, and why.
    pub(super) fn lost(&self, lost: u64, why: &str) -> String {
        let message = format!("{lost} log lines could not be written: {why}");
        if self.is_json() {
            let mut line = JsonLine::saying(&message);
            line.add("lost", lost);
            return line.text(Level::WARN);
        }
        format!("{:.6}  WARN {message} lost={lost}\n", Timestamp::now())
    }
}

/// Writes the events of the program.
#[derive(Debug)]
pub(super) struct Events {
    lines: Arc<Lines>,
    human: Format,
}

impl Events {
    pub(super) fn new(lines: Arc<Lines>) -> Self {
        Self { lines, human: Format::default().with_target(false) }
    }
}

impl<S, N> FormatEvent<S, N> for Events
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.lines.is_json() {
            return self.human.format_event(context, out, event);
        }
        let mut line = JsonLine::new();
        event.record(&mut line);
        line.write(*event.metadata().level(), &mut out)
    }
}

/// A line that is one object: the fields of an event, written as they come.
#[derive(Debug)]
struct JsonLine {
    message: String,
    /// The other fields, each behind a comma.
    fields: String,
    /// The addresses of the listeners, if the line has them.
    listen: Option<String>,
    admin: Option<String>,
}

impl JsonLine {
    fn new() -> Self {
        let (message, fields) = (String::with_capacity(128), String::with_capacity(384));
        Self { message, fields, listen: None, admin: None }
    }

    fn saying(message: &str) -> Self {
        Self { message: message.to_owned(), ..Self::new() }
    }

    fn text(&self, level: Level) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(level, &mut text);
        text
    }

    fn write(&self, level: Level, out: &mut impl fmt::Write) -> fmt::Result {
        write!(out, r#"{{"timestamp":"{:.6}","level":"{level}","message":"#, Timestamp::now())?;
        let mut message = String::with_capacity(self.message.len() + 16);
        match (&self.listen, &self.admin) {
            // Whoever started the proxy finds `listen=` and `admin=` in its output, however the lines are written.
            (Some(listen), Some(admin)) => {
                push_string(&mut message, &format!("listen={listen} admin={admin} {}", self.message));
            }
            _ => push_string(&mut message, &self.message),
        }
        [&message, &self.fields, "}\n"].into_iter().try_for_each(|part| out.write_str(part))
    }

    /// Adds a field whose value is written as JSON.
    fn add(&mut self, name: &str, json: impl fmt::Display) {
        if self.begin(name) {
            // Writing to a string does not fail.
            let _ = write!(self.fields, "{json}");
        }
    }

    /// Begins a field, unless it is one of the `log.` fields of other libraries, which say where in their code the line
    /// comes from.
    fn begin(&mut self, name: &str) -> bool {
        if name.starts_with("log.") {
            return false;
        }
        self.fields.push(',');
        push_string(&mut self.fields, name);
        self.fields.push(':');
        true
    }

    /// Adds a text, which is written as it is formatted.
    fn add_text(&mut self, name: &str, text: fmt::Arguments<'_>) {
        match name {
            "message" => {
                // Writing to a string does not fail.
                let _ = self.message.write_fmt(text);
            }
            RECORD => {
                let text = text.to_string();
                match serde_json::from_str::<IgnoredAny>(&text) {
                    Ok(_) => self.add(name, text),
                    Err(_) => self.add_quoted(name, format_args!("{text}")),
                }
            }
            _ => self.add_quoted(name, text),
        }
        match name {
            "listen" => self.listen = Some(text.to_string()),
            "admin" => self.admin = Some(text.to_string()),
            _ => {}
        }
    }

    fn add_quoted(&mut self, name: &str, text: fmt::Arguments<'_>) {
        if self.begin(name) {
            self.fields.push('"');
            // Writing to a string does not fail.
            let _ = Escaping(&mut self.fields).write_fmt(text);
            self.fields.push('"');
        }
    }
}

/// Escapes what is written for a JSON string.
struct Escaping<'o>(&'o mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text);
        Ok(())
    }
}

impl Visit for JsonLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field.name(), format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field.name(), format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field.name(), u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_is_one_object_whatever_its_texts_hold() {
        let mut line = JsonLine::saying("two\nlines, \"quoted\"");
        line.add_text("function", format_args!("{}", "a\\b\u{1}\u{e9}"));
        line.add_text(RECORD, format_args!("{}", r#"{"id":1}"#));
        line.add("ms", 12);
        line.add_text("log.file", format_args!("src/lib.rs"));
        let text = line.text(Level::WARN);
        assert_eq!(text.lines().count(), 1, "{text}");
        let mut value: Value = serde_json::from_str(&text).unwrap();
        let timestamp = value["timestamp"].take();
        assert!(timestamp.as_str().unwrap().parse::<Timestamp>().is_ok());
        let expected = json!({
            "timestamp": null, "level": "WARN", "message": "two\nlines, \"quoted\"", "function": "a\\b\u{1}\u{e9}",
            "record": {"id": 1}, "ms": 12,
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_record_that_is_no_json_is_a_text() {
        let mut line = JsonLine::new();
        line.add_text(RECORD, format_args!("not json"));
        assert!(line.text(Level::INFO).ends_with(",\"record\":\"not json\"}\n"));
    }
}
