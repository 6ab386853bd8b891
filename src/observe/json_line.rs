//! Formats an event as one JSON object on a line, in one pass.

use std::fmt::{self, Write as _};
use std::ops::Range;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::json::{escape_from, push_escaped};
use crate::utc;

/// The field whose value is already JSON.
const RECORD: &str = "record";

/// Appends the line of an event. Its fields are written in the order in which they are visited.
pub(super) fn push(out: &mut String, event: &Event<'_>) {
    let mut line = JsonLine::begin(out, *event.metadata().level());
    event.record(&mut line);
    line.end();
}

/// A line that is being written.
#[derive(Debug)]
pub(super) struct JsonLine<'o> {
    out: &'o mut String,
    /// Where the message is, without its quotes.
    message: Range<usize>,
    /// The addresses of the listeners, if the line has them.
    listen: Option<String>,
    admin: Option<String>,
}

impl<'o> JsonLine<'o> {
    /// Appends the begin of a line, with an empty message.
    pub(super) fn begin(out: &'o mut String, level: Level) -> Self {
        out.push_str(r#"{"timestamp":""#);
        utc::push_micros(out, Timestamp::now());
        out.push_str(r#"","level":""#);
        out.push_str(level.as_str());
        out.push_str(r#"","message":""#);
        let message = out.len()..out.len();
        out.push('"');
        Self { out, message, listen: None, admin: None }
    }

    pub(super) fn end(self) {
        // Scripts that start the proxy look for `listen=` and `admin=` in its output, in either format.
        if let (Some(listen), Some(admin)) = (self.listen, self.admin) {
            let mut before = String::new();
            push_escaped(&mut before, &format!("listen={listen} admin={admin} "));
            self.out.insert_str(self.message.start, &before);
        }
        self.out.push_str("}\n");
    }

    /// Adds text to the message.
    pub(super) fn add_message(&mut self, text: fmt::Arguments<'_>) {
        // Usually, the message comes first, and only its closing quote is behind it.
        let is_first = self.out.len() == self.message.end + 1;
        let fields = (!is_first).then(|| self.out.split_off(self.message.end));
        self.out.truncate(self.message.end);
        push_text(self.out, text);
        self.message.end = self.out.len();
        self.out.push_str(fields.as_deref().unwrap_or("\""));
    }

    /// Adds a field with a number.
    pub(super) fn add_number(&mut self, name: &str, number: impl itoa::Integer) {
        self.add_json(name, itoa::Buffer::new().format(number));
    }

    /// Adds a field whose value is JSON.
    fn add_json(&mut self, name: &str, json: &str) {
        if self.begin_field(name) {
            self.out.push_str(json);
        }
    }

    /// Begins a field. Returns `false` for the `log.` fields of other libraries, which are omitted: they only name the
    /// source code that logged the line.
    fn begin_field(&mut self, name: &str) -> bool {
        if name.starts_with("log.") {
            return false;
        }
        // The names of fields are identifiers.
        [",\"", name, "\":"].into_iter().for_each(|part| self.out.push_str(part));
        true
    }

    /// Adds a record, which is JSON. Anything else becomes a string.
    fn add_record(&mut self, record: &str) {
        match serde_json::from_str::<IgnoredAny>(record) {
            Ok(_) => self.add_json(RECORD, record),
            Err(_) => self.add_text(RECORD, format_args!("{record}")),
        }
    }

    fn add_text(&mut self, name: &str, text: fmt::Arguments<'_>) {
        if self.begin_field(name) {
            self.out.push('"');
            push_text(self.out, text);
            self.out.push('"');
        }
    }
}

/// Appends `text` as the content of a JSON string.
fn push_text(out: &mut String, text: fmt::Arguments<'_>) {
    let begin = out.len();
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
    escape_from(out, begin);
}

impl Visit for JsonLine<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => return self.add_message(format_args!("{value:?}")),
            RECORD => return self.add_record(&format!("{value:?}")),
            "listen" => self.listen = Some(format!("{value:?}")),
            "admin" => self.admin = Some(format!("{value:?}")),
            _ => {}
        }
        self.add_text(field.name(), format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" | RECORD | "listen" | "admin" => self.record_debug(field, &format_args!("{value}")),
            name => {
                if self.begin_field(name) {
                    self.out.push('"');
                    push_escaped(self.out, value);
                    self.out.push('"');
                }
            }
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add_json(field.name(), if value { "true" } else { "false" });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add_number(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add_number(field.name(), value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add_number(field.name(), u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add_json(field.name(), &Value::from(value).to_string());
    }
}
