//! Shared by several commands: loads a table or reports its errors, formats bodies, starts the sample API.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::demo;
use crate::diagnostic::{self, Diagnostic, Severity, unreadable_help};
use crate::dispatch::state;
use crate::load::{Environment, Loaded, Unreadable, load, process_environment};
use crate::plan::Plan;
use crate::printable::{printable_json, printable_line};
use crate::state::{StateUrl, Store};

use super::report;

/// Whether standard output is a terminal that wants colors.
pub(super) fn has_color() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// The plan of a loaded table. Without one, reports the errors and returns the exit code.
pub(super) fn plan_or_exit(path: &Path, loaded: Result<Loaded, Unreadable>) -> Result<Plan, ExitCode> {
    let loaded = loaded.map_err(|error| {
        report(&unreadable(path, &error.source));
        ExitCode::from(2)
    })?;
    loaded.plan.ok_or_else(|| {
        let text = diagnostic::to_text(&loaded.diagnostics, &loaded.sources, false);
        report(&format!("{text}{}", summary(path, &loaded.diagnostics, None)));
        ExitCode::FAILURE
    })
}

/// A table, its store, and what runs it.
pub(super) struct Stored {
    pub(super) plan: Plan,
    pub(super) store: Store,
    pub(super) runtime: Runtime,
}

/// Loads a table and opens its store. Without a plan, reports the errors and returns the exit code.
pub(super) fn plan_and_store(path: &Path) -> anyhow::Result<Result<Stored, ExitCode>> {
    // Nothing is sent, so only the secrets of `[state]` must be set.
    let environment = Environment { without_secrets: true, ..process_environment() };
    let mut loaded = load(path, &environment);
    if loaded.as_ref().is_ok_and(|loaded| loaded.plan.as_ref().is_none_or(|plan| plan.state.is_none())) {
        // This load names the secrets that are missing.
        loaded = load(path, &process_environment());
    }
    let plan = match plan_or_exit(path, loaded) {
        Ok(plan) => plan,
        Err(code) => return Ok(Err(code)),
    };
    let config = plan.state.as_ref();
    let config =
        config.context("this table stores nothing: no route has `delivery = \"async\"` or uses memory")?;
    // `serve` makes the database: it then belongs to the user that `serve` runs as.
    if let StateUrl::Sqlite(file) = &config.url
        && std::fs::metadata(file).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    {
        bail!(
            "the database `{}` does not exist yet: has `jackfield serve` run with this table?",
            shown(file)
        );
    }
    // A store may start tasks when it is opened.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let store = {
        let _inside = runtime.enter();
        state::open(config)
    };
    Ok(Ok(Stored { plan, store, runtime }))
}

/// The message for a table that cannot be read at all.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("error: `{}` cannot be read: {error}\nhelp: {}", shown(path), unreadable_help(error))
}

/// The last line of output: the counts of diagnostics, and the number of routes if the table is valid.
pub(super) fn summary(path: &Path, diagnostics: &[Diagnostic], routes: Option<usize>) -> String {
    let count = |severity| diagnostics.iter().filter(|found| found.code.severity() == severity).count();
    let mut found = vec![counted(count(Severity::Error), "error")];
    for (severity, noun) in [(Severity::Warning, "warning"), (Severity::Note, "note")] {
        if count(severity) > 0 {
            found.push(counted(count(severity), noun));
        }
    }
    match routes {
        Some(routes) => {
            format!("{}: ok, {} ({})", shown(path), counted(routes, "route"), found.join(", "))
        }
        None => format!("{}: {}", shown(path), found.join(", ")),
    }
}

/// A number of things, as in `1 route` or `2 routes`.
pub(super) fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    format!("{count} {noun}{}", if count == N::from(1) { "" } else { "s" })
}

/// A path as it is printed.
fn shown(path: &Path) -> String {
    printable_line(&path.display().to_string()).into_owned()
}

/// A body as indented JSON, or as text if it is not JSON.
pub(super) fn pretty(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(json) => printable_json(&format!("{json:#}")).into_owned(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

/// Starts the sample API and returns its address.
pub(super) async fn start_demo() -> anyhow::Result<url::Url> {
    let (address, api) = demo::start().await.context("cannot start the sample API")?;
    tokio::spawn(async move {
        if let Err(error) = api.await {
            tracing::error!("sample API stopped: {error}");
        }
    });
    Ok(url::Url::parse(&format!("http://{address}"))?)
}
