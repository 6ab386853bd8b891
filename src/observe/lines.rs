//! Formats log lines: as text for people, or as one JSON object per line. The environment or the running plan decides
//! which.

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

/// The field whose value is already JSON.
const RECORD: &str = "record";

/// The format of the log's lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The format set in the environment. Unless it is `auto`, it overrides the plan's.
    from_environment: Option<LogFormat>,
    /// Whether the log is written to a terminal.
    is_terminal: bool,
    /// The running plan, once there is one.
    live: OnceLock<Arc<Live>>,
}

impl Lines {
    pub(super) fn new(from_environment: Option<LogFormat>, is_terminal: bool) -> Self {
        Self { from_environment, is_terminal, live: OnceLock::new() }
    }

    /// Uses the format of the running plan from now on.
    pub(super) fn follow(&self, live: Arc<Live>) {
        // Setting it fails only the second time. A process has one running plan and one log.
        let _ = self.live.set(live);
    }

    fn is_json(&self) -> bool {
        let format = self.from_environment.filter(|format| *format != LogFormat::Auto);
        let format = format.or_else(|| Some(self.live.get()?.plan().log.format));
        match format {
            Some(LogFormat::Json) => true,
            Some(LogFormat::Auto) => !self.is_terminal,
            // Lines before the first plan are for the person who started the process.
            Some(LogFormat::Human) | None => false,
        }
    }

    /// Formats text that is not an event, such as the diagnostics of a table.
    pub(super) fn text(&self, level: Level, text: &str) -> String {
        if self.is_json() { JsonLine::with_message(text).text(level) } else { format!("{text}\n") }
    }

    /// A warning that lines were lost, and why.
    pub(super) fn lost(&self, lost: u64, why: &str) -> String {
        let message = format!("{lost} log lines could not be written: {why}");
        if self.is_json() {
            let mut line = JsonLine::with_message(&message);
            line.add("lost", lost);
            return line.text(Level::WARN);
        }
        format!("{:.6}  WARN {message} lost={lost}\n", Timestamp::now())
    }
}

/// Formats the program's events.
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

/// A line in JSON. The fields of an event are written in the order in which they are visited.
#[derive(Debug)]
struct JsonLine {
    message: String,
    /// The other fields as JSON, each after a comma.
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

    fn with_message(message: &str) -> Self {
        Self { message: message.to_owned(), ..Self::new() }
    }

    fn text(&self, level: Level) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(level, &mut text);
        text
    }

    fn write(&self, level: Level, out: &mut impl fmt::Write) -> fmt::Result {
        write!(out, r#"{{"timestamp":"{:.6}","level":"{level}","message":"#, Timestamp::now())?;
        let mut message = String::with_capacity(self.message.len() + 16);
        match (&self.listen, &self.admin) {
            // Scripts that start the proxy look for `listen=` and `admin=` in its output, in either format.
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
            // Writing to a string cannot fail.
            let _ = write!(self.fields, "{json}");
        }
    }

    /// Begins a field. Returns `false` for the `log.` fields of other libraries, which are omitted: they only name the
    /// source code that logged the line.
    fn begin(&mut self, name: &str) -> bool {
        if name.starts_with("log.") {
            return false;
        }
        self.fields.push(',');
        push_string(&mut self.fields, name);
        self.fields.push(':');
        true
    }

    /// Adds a text field: a record as JSON, or a string.
    fn add_text(&mut self, name: &str, text: fmt::Arguments<'_>) {
        match name {
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
            // Writing to a string cannot fail.
            let _ = Escaping(&mut self.fields).write_fmt(text);
            self.fields.push('"');
        }
    }
}

/// Escapes text for a JSON string while it is written.
struct Escaping<'o>(&'o mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_escaped(self.0, text);
        Ok(())
    }
}

impl Visit for JsonLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => {
                // Writing to a string cannot fail.
                let _ = write!(self.message, "{value:?}");
            }
            name @ (RECORD | "listen" | "admin") => self.add_text(name, format_args!("{value:?}")),
            // Most fields: each further layer of formatting would cost more than the field itself.
            name => {
                if self.begin(name) {
                    self.fields.push('"');
                    let _ = write!(Escaping(&mut self.fields), "{value:?}");
                    self.fields.push('"');
                }
            }
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
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
    fn a_line_is_one_json_object_even_with_special_characters() {
        let mut line = JsonLine::with_message("two\nlines, \"quoted\"");
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
    fn a_record_that_is_not_json_becomes_a_string() {
        let mut line = JsonLine::new();
        line.add_text(RECORD, format_args!("not json"));
        assert!(line.text(Level::INFO).ends_with(",\"record\":\"not json\"}\n"));
    }
}
