//! Formats log lines: as text for people, or as one JSON object per line. The environment or the running plan decides
//! which.

use std::fmt;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use tracing::{Event, Level};

use crate::live::Live;
use crate::plan::LogFormat;

use super::json_line::JsonLine;
use super::{human_line, json_line};

/// The format of the log's lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The format set in the environment. Unless it is `auto`, it overrides the plan's.
    from_environment: Option<LogFormat>,
    /// Whether the log is written to a terminal.
    is_terminal: bool,
    /// Whether lines for people have colours.
    is_coloured: bool,
    /// The running plan, once there is one.
    live: OnceLock<Arc<Live>>,
}

impl Lines {
    pub(super) fn new(from_environment: Option<LogFormat>, is_terminal: bool, is_coloured: bool) -> Self {
        Self { from_environment, is_terminal, is_coloured, live: OnceLock::new() }
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

    /// Appends the line of an event.
    pub(super) fn push(&self, out: &mut String, event: &Event<'_>) -> fmt::Result {
        if !self.is_json() {
            return human_line::push(out, event, self.is_coloured);
        }
        json_line::push(out, event);
        Ok(())
    }

    /// Formats text that is not an event, such as the diagnostics of a table.
    pub(super) fn text(&self, level: Level, text: &str) -> String {
        if !self.is_json() {
            return format!("{text}\n");
        }
        let mut out = String::new();
        let mut line = JsonLine::begin(&mut out, level);
        line.add_message(format_args!("{text}"));
        line.end();
        out
    }

    /// A warning that lines were lost, and why.
    pub(super) fn lost(&self, lost: u64, why: &str) -> String {
        let message = format!("{lost} log lines could not be written: {why}");
        if !self.is_json() {
            return format!("{:.6}  WARN {message} lost={lost}\n", Timestamp::now());
        }
        let mut out = String::new();
        let mut line = JsonLine::begin(&mut out, Level::WARN);
        line.add_message(format_args!("{message}"));
        line.add_number("lost", lost);
        line.end();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::log::captured;
    use regex::Regex;
    use serde::de::IgnoredAny;
    use std::error::Error;
    use std::io;

    /// Logs events with all kinds of values, and returns their lines.
    fn logged(lines: Lines) -> String {
        let (log, logged) = captured::formatted(lines);
        tracing::subscriber::with_default(log, events);
        without_times(&logged())
    }

    fn events() {
        let (name, error) = ("a \"b\"\u{1b}", io::Error::other("two\nlines"));
        tracing::info!(
            %name, debug = ?name, text = name, some = Some("caf\u{e9}"), none = None::<u64>, shown = Some(display("x")),
            ms = 12_u128, below = -1_i64, most = u64::MAX, more = u128::MAX, share = 0.25, whole = 2.0,
            is_late = true, r#type = "t", error = &error as &dyn Error,
            "{}: \"answered\"\n\u{1b}[2J\u{7f}\u{9b}\u{e9}\\ in {} ms", "f", 12
        );
        tracing::warn!(later = 1, "log.file" = "src/lib.rs", "log.line" = 7, record = %r#"{"id":1}"#, "");
        tracing::error!(record = "{not json", message = "last");
        tracing::debug!(listen = %"127.0.0.1:1", admin = "127.0.0.1:2", "listening on \"{}\"", 1);
        tracing::trace!(admin = 1, listen = true, "t");
    }

    /// Replaces the time of each line.
    fn without_times(lines: &str) -> String {
        let time = Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z").unwrap();
        time.replace_all(lines, "TIME").into_owned()
    }

    #[test]
    fn json_lines() {
        let lines = logged(Lines::new(Some(LogFormat::Json), false, false));
        assert!(lines.lines().all(|line| serde_json::from_str::<IgnoredAny>(line).is_ok()), "{lines}");
        let expected = concat!(
            r#"{"timestamp":"TIME","level":"INFO","message":"f: \"answered\"\n\u001b[2J"#,
            "\u{7f}\u{9b}\u{e9}",
            r#"\\ in 12 ms","name":"a \"b\"\u001b","debug":"\"a \\\"b\\\"\\u{1b}\"","text":"a \"b\"\u001b","some":"café","#,
            r#""shown":"x","ms":12,"below":-1,"most":18446744073709551615,"more":18446744073709551615,"share":0.25,"#,
            r#""whole":2.0,"is_late":true,"type":"t","error":"two\nlines"}"#,
            "\n",
            r#"{"timestamp":"TIME","level":"WARN","message":"","later":1,"record":{"id":1}}"#,
            "\n",
            r#"{"timestamp":"TIME","level":"ERROR","message":"last","record":"{not json"}"#,
            "\n",
            r#"{"timestamp":"TIME","level":"DEBUG","message":"listen=127.0.0.1:1 admin=127.0.0.1:2 listening on \"1\"","#,
            r#""listen":"127.0.0.1:1","admin":"127.0.0.1:2"}"#,
            "\n",
            r#"{"timestamp":"TIME","level":"TRACE","message":"t","admin":1,"listen":true}"#,
            "\n",
        );
        assert_eq!(lines, expected);
    }

    #[test]
    fn lines_for_people() {
        let expected = concat!(
            "TIME  INFO f: \"answered\"\n\\x1b[2J\\x7f\\u{9b}\u{e9}\\ in 12 ms name=a \"b\"\u{1b} ",
            r#"debug="a \"b\"\u{1b}" text="a \"b\"\u{1b}" some="café" shown=x ms=12 below=-1 most=18446744073709551615 "#,
            "more=340282366920938463463374607431768211455 share=0.25 whole=2.0 is_late=true type=\"t\" error=two\nlines\n",
            "TIME  WARN  later=1 record={\"id\":1}\n",
            "TIME ERROR record=\"{not json\" last\n",
            "TIME DEBUG listening on \"1\" listen=127.0.0.1:1 admin=\"127.0.0.1:2\"\n",
            "TIME TRACE t admin=1 listen=true\n",
        );
        assert_eq!(logged(Lines::default()), expected);
    }

    #[test]
    fn lines_for_people_may_have_colours() {
        let lines = logged(Lines::new(None, true, true));
        let dim = |text: &str| format!("\u{1b}[2m{text}\u{1b}[0m");
        for (colour, level) in [(35, "TRACE"), (34, "DEBUG"), (32, " INFO"), (33, " WARN"), (31, "ERROR")] {
            let begin = format!("{} \u{1b}[{colour}m{level}\u{1b}[0m ", dim("TIME"));
            assert!(lines.contains(&begin), "{begin}: {lines}");
        }
        let field = |name: &str| format!(" \u{1b}[3m{name}\u{1b}[0m{}", dim("="));
        let last = format!(" t{}1{}true\n", field("admin"), field("listen"));
        assert!(lines.ends_with(&last), "{lines}");
    }
}
