//! `jackfield schema`: prints the JSON Schema of the table or of its test files, for completion and documentation in
//! editors.

use std::process::ExitCode;

use clap::Args;

use crate::load::{schema, test_schema};

use super::print;

#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Print the schema of test files, `*.test.toml`, instead.
    #[arg(long)]
    tests: bool,
}

pub(super) fn run(command: &Schema) -> anyhow::Result<ExitCode> {
    let schema = if command.tests { format!("{:#}", test_schema()) } else { text() };
    print(&schema)?;
    Ok(ExitCode::SUCCESS)
}

/// The text of the table's schema, without the final newline.
pub(super) fn text() -> String {
    format!("{:#}", schema())
}
