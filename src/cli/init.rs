//! `jackfield init`: creates a starter table, and its JSON Schema for editors.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::{print, schema};

const TABLE: &str = include_str!("init.toml");

/// The file of the schema. The first line of [`TABLE`] refers to it.
const SCHEMA: &str = "routes.schema.json";

pub(super) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let cannot = |path: &Path| format!("cannot write `{}`", path.display());
    if !write_new(path, TABLE).with_context(|| cannot(path))? {
        bail!(
            "`{}` already exists and was not changed; choose another file with `--config FILE`",
            path.display()
        );
    }
    let beside = path.with_file_name(SCHEMA);
    let is_new = write_new(&beside, &format!("{}\n", schema::text())).with_context(|| cannot(&beside))?;
    let note = if is_new {
        "lets your editor complete and explain the keys"
    } else {
        "already exists and was not changed"
    };
    let config = match path.to_str() {
        Some("routes.toml") => String::new(),
        _ => format!(" --config {}", path.display()),
    };
    print(&format!(
        "Created {}: a table with one route that calls a sample API.
{SCHEMA} {note}.

Next:
  jackfield check{config}
      validates the table
  jackfield call get_weather --args '{{\"city\": \"Oslo\"}}' --explain --demo{config}
      calls the route and shows every step; add `--save-test \"Oslo\"` to save the call as a test for `jackfield test`
  jackfield serve --demo{config}
      serves it and reloads it when you save; try `curl 'localhost:8080/http/get_weather?city=Oslo'`",
        path.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Creates a file. Returns `false` if it already exists.
fn write_new(path: &Path, text: &str) -> io::Result<bool> {
    match File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}
