//! `jackfield schema`: what an editor needs to complete and explain the keys of the table.

use std::process::ExitCode;

use crate::load::schema;

use super::print;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    print(&text())?;
    Ok(ExitCode::SUCCESS)
}

/// The schema as it is written to a file, but for the newline at its end.
pub(super) fn text() -> String {
    format!("{:#}", schema())
}
