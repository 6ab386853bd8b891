//! `jackfield schema`: prints the JSON Schema of the table, for completion and documentation in editors.

use std::process::ExitCode;

use crate::load::schema;

use super::print;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    print(&text())?;
    Ok(ExitCode::SUCCESS)
}

/// The text of the schema, without the final newline.
pub(super) fn text() -> String {
    format!("{:#}", schema())
}
