//! `[log]`.

use crate::diagnostic::{Code, Diagnostic};
use crate::plan::{LogConfig, LogFormat, LogLevel};

use crate::compile::cx::Cx;
use crate::compile::values;

/// `[log]`. A value with an error is replaced by the default.
pub(in crate::compile) fn compile(cx: &mut Cx<'_>) -> LogConfig {
    let raw = &cx.table.log;
    let format = raw.format.get().and_then(|text| {
        let format = LogFormat::from_name(&text.value);
        if format.is_none() {
            cx.report(
                Diagnostic::new(Code::UnknownValue, text.span, format!("unknown format `{}`", text.value))
                    .help(
                        "write \"human\", \"json\", or \"auto\" for people on a terminal and JSON elsewhere",
                    ),
            );
        }
        format
    });
    let help = "write \"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
    let level = raw.level.get();
    let level = level.and_then(|text| values::one_of(&LogLevel::NAMES, "level", text, help, cx.diagnostics));
    LogConfig {
        level: level.unwrap_or_default(),
        format: format.unwrap_or_default(),
        bodies: raw.bodies.get().is_some_and(|bodies| bodies.value),
    }
}
