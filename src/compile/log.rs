//! `[log]`.

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::plan::{LogConfig, LogFormat};

use super::TableCompiler;

impl TableCompiler<'_> {
    /// `[log]`; what has faults is as if it were not there.
    pub(super) fn log(&self, diagnostics: &mut Diagnostics) -> LogConfig {
        let raw = &self.table.log;
        let format = raw.format.get().and_then(|text| {
            let format = LogFormat::from_name(&text.value);
            if format.is_none() {
                diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownValue,
                        text.span,
                        format!("unknown format `{}`", text.value),
                    )
                    .help(
                        "write \"human\", \"json\", or \"auto\" for people on a terminal and JSON elsewhere",
                    ),
                );
            }
            format
        });
        LogConfig {
            format: format.unwrap_or_default(),
            bodies: raw.bodies.get().is_some_and(|bodies| bodies.value),
        }
    }
}
