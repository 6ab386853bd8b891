//! `jackfield check`: every fault of the table in one run.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::diagnostic::{self, Diagnostic, JsonDiagnostic, Severity, unreadable_help};
use crate::load::{self, Environment, Loaded, process_environment};

use super::{online, print, report, sarif};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// How faults are printed.
    #[arg(long, value_enum, default_value_t = CheckFormat::Human)]
    format: CheckFormat,
    /// Take secrets (`${NAME}`, `${file:PATH}`) that are not set here as if they were.
    #[arg(long)]
    no_secrets: bool,
    /// End with 1 for warnings, too.
    #[arg(long)]
    deny_warnings: bool,
    /// Ask each upstream, by one GET, whether it can be reached and takes its credential.
    #[arg(long, conflicts_with = "no_secrets")]
    online: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    /// With snippets, for people.
    Human,
    /// As JSON, for machines.
    Json,
    /// As SARIF 2.1.0, for what shows the findings of many tools.
    Sarif,
}

pub(super) fn run(command: &Check, path: &Path, demo: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(check(command, path, demo));
    // The look-up of a name may hang in the system, which nothing here waits for.
    runtime.shutdown_background();
    code
}

async fn check(command: &Check, path: &Path, demo: bool) -> anyhow::Result<ExitCode> {
    let demo = if demo { Some(super::serve::start_demo().await?) } else { None };
    let environment = Environment { without_secrets: command.no_secrets, demo, ..process_environment() };
    let (loaded, asked) = match load::check(path, &environment) {
        Ok(checked) => checked,
        Err(error) => {
            match command.format {
                CheckFormat::Human => report(&unreadable(path, &error.source)),
                CheckFormat::Json => {
                    let diagnostics = [JsonDiagnostic::unreadable(&error.path, &error.source)];
                    print(&format!("{:#}", json!({"diagnostics": diagnostics})))?;
                }
                CheckFormat::Sarif => print(&format!("{:#}", sarif::unreadable(&error.path, &error.source)))?,
            }
            return Ok(ExitCode::from(2));
        }
    };
    let Loaded { plan, mut diagnostics, sources, .. } = loaded;
    let mut findings = Vec::new();
    if let (Some(plan), true) = (&plan, command.online) {
        findings = online::ask(&asked, &plan.masks).await?;
        diagnostics.extend(findings.iter().filter_map(|finding| finding.fault.clone()));
    }
    let has = |severity| diagnostics.iter().any(|found| found.code.severity() == severity);
    let (faulty, warned) = (has(Severity::Error), has(Severity::Warning));
    match command.format {
        CheckFormat::Json => {
            let mut answer = json!({"diagnostics": diagnostic::to_json(&diagnostics, &sources)});
            if command.online {
                answer["upstreams"] = online::to_json(&findings);
            }
            print(&format!("{answer:#}"))?;
        }
        CheckFormat::Sarif => print(&format!("{:#}", sarif::report(&diagnostics, &sources)))?,
        CheckFormat::Human => {
            let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let text = diagnostic::to_text(&diagnostics, &sources, color);
            let routes = plan.as_ref().filter(|_| !faulty).map(|plan| plan.routes.len());
            let (online, summary) = (online::human(&findings), summary(path, &diagnostics, routes));
            let more = match diagnostics.first() {
                Some(first) => format!("\nMore about an error: jackfield explain {}", first.code.slug()),
                None => String::new(),
            };
            print(&format!("{text}{online}{summary}{more}"))?;
        }
    }
    let denied = command.deny_warnings && warned;
    Ok(if faulty || denied { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is said of a table that cannot be read at all.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("error: `{}` cannot be read: {error}\nhelp: {}", path.display(), unreadable_help(error))
}

/// The closing line: what was found, and whether the table can be served.
pub(super) fn summary(path: &Path, diagnostics: &[Diagnostic], routes: Option<usize>) -> String {
    let count = |severity| diagnostics.iter().filter(|found| found.code.severity() == severity).count();
    let counted = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let mut found = vec![counted(count(Severity::Error), "error")];
    for (severity, noun) in [(Severity::Warning, "warning"), (Severity::Note, "note")] {
        if count(severity) > 0 {
            found.push(counted(count(severity), noun));
        }
    }
    match routes {
        Some(routes) => {
            format!("{}: ok, {} ({})", path.display(), counted(routes, "route"), found.join(", "))
        }
        None => format!("{}: {}", path.display(), found.join(", ")),
    }
}
