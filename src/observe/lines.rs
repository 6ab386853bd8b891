//! How a line of the log is written: for people, or as one object of JSON, as the running table and the environment
//! say.

use std::fmt;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

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
        if self.is_json() { json(level, text, Map::new()) } else { format!("{text}\n") }
    }

    /// That lines were lost, and why.
    pub(super) fn lost(&self, lost: u64, why: &str) -> String {
        let message = format!("{lost} log lines could not be written: {why}");
        if self.is_json() {
            let fields = Map::from_iter([("lost".to_owned(), Value::from(lost))]);
            return json(Level::WARN, &message, fields);
        }
        format!("{:.6}  WARN {message} lost={lost}\n", Timestamp::now())
    }
}

/// One object on one line.
fn json(level: Level, message: &str, fields: Map<String, Value>) -> String {
    let mut line = Map::new();
    line.insert("timestamp".to_owned(), format!("{:.6}", Timestamp::now()).into());
    line.insert("level".to_owned(), level.as_str().into());
    line.insert("message".to_owned(), message.into());
    line.extend(fields);
    format!("{}\n", Value::Object(line))
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
        let mut fields = LogFields::default();
        event.record(&mut fields);
        fields.tell_addresses();
        out.write_str(&json(*event.metadata().level(), &fields.message, fields.others))
    }
}

/// The fields of an event.
#[derive(Debug, Default)]
struct LogFields {
    message: String,
    others: Map<String, Value>,
}

impl LogFields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        // Those of the libraries tell where in their code it was.
        if !field.name().starts_with("log.") {
            self.others.insert(field.name().to_owned(), value.into());
        }
    }

    /// Whoever started the proxy finds `listen=` and `admin=` in its output, however the lines are written.
    fn tell_addresses(&mut self) {
        let text = |name| self.others.get(name).and_then(Value::as_str);
        if let (Some(listen), Some(admin)) = (text("listen"), text("admin")) {
            self.message = format!("listen={listen} admin={admin} {}", self.message);
        }
    }

    fn add_text(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            RECORD => {
                let record = serde_json::from_str(&text).unwrap_or(Value::String(text));
                self.add(field, record);
            }
            _ => self.add(field, text),
        }
    }
}

impl Visit for LogFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value.to_owned());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }
}
