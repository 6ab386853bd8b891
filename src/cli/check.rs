//! `jackfield check`: reports every error and warning of the table in one run.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::diagnostic::{self, JsonDiagnostic, Severity};
use crate::load::{self, Environment, Loaded, process_environment};
use crate::printable::printable;

use super::output::sarif;
use super::shared::{has_color, start_demo, summary, unreadable};
use super::{online, print_as_is, print_json, report};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Output format.
    #[arg(long, value_enum, default_value_t = CheckFormat::Human)]
    format: CheckFormat,
    /// Don't fail on secrets (`${NAME}`, `${file:PATH}`) that are not set.
    #[arg(long)]
    no_secrets: bool,
    /// Start the sample API and point `[upstreams.demo]` at it.
    #[arg(long)]
    pub(super) demo: bool,
    /// Exit with 1 on warnings, too.
    #[arg(long)]
    deny_warnings: bool,
    /// Send one GET to each upstream to check that it is reachable and accepts its credential, and look at the state
    /// database without changing it.
    #[arg(long, conflicts_with = "no_secrets")]
    online: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    /// Readable text with snippets.
    Human,
    /// JSON.
    Json,
    /// SARIF 2.1.0, for code hosts and editors.
    Sarif,
}

pub(super) fn run(command: &Check, path: &Path, demo: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(check(command, path, demo));
    // Do not wait for a DNS lookup that hangs in a system call.
    runtime.shutdown_background();
    code
}

async fn check(command: &Check, path: &Path, demo: bool) -> anyhow::Result<ExitCode> {
    let demo = if demo { Some(start_demo().await?) } else { None };
    let environment = Environment { without_secrets: command.no_secrets, demo, ..process_environment() };
    let (loaded, probes) = match load::check(path, &environment) {
        Ok(checked) => checked,
        Err(error) => {
            match command.format {
                CheckFormat::Human => report(&unreadable(path, &error.source)),
                CheckFormat::Json => {
                    let diagnostics = [JsonDiagnostic::unreadable(&error.path, &error.source)];
                    print_json(&json!({"diagnostics": diagnostics}))?;
                }
                CheckFormat::Sarif => print_json(&sarif::unreadable(&error.path, &error.source))?,
            }
            return Ok(ExitCode::from(2));
        }
    };
    let Loaded { plan, mut diagnostics, sources, .. } = loaded;
    let (mut reports, mut stored) = (Vec::new(), None);
    if let (Some(plan), true) = (&plan, command.online) {
        reports = online::probe(&probes.upstreams, &plan.masks).await?;
        stored = online::probe_state(plan, probes.state).await;
        let faults = reports.iter().chain(&stored).filter_map(|report| report.fault.clone());
        diagnostics.extend(faults);
    }
    let has = |severity| diagnostics.iter().any(|found| found.code.severity() == severity);
    let (faulty, warned) = (has(Severity::Error), has(Severity::Warning));
    match command.format {
        CheckFormat::Json => {
            let mut answer = json!({"diagnostics": diagnostic::to_json(&diagnostics, &sources)});
            if command.online {
                answer["upstreams"] = online::to_json(&reports);
                answer["state"] = stored.iter().map(online::ProbeReport::to_json).next().into();
            }
            print_json(&answer)?;
        }
        CheckFormat::Sarif => print_json(&sarif::report(&diagnostics, &sources))?,
        CheckFormat::Human => {
            let text = diagnostic::to_text(&diagnostics, &sources, has_color());
            let routes = plan.as_ref().filter(|_| !faulty).map(|plan| plan.routes.len());
            let (online, summary) =
                (online::human(reports.iter().chain(&stored)), summary(path, &diagnostics, routes));
            let more = match diagnostics.first() {
                Some(first) => format!("\nMore about an error: jackfield explain {}", first.code.slug()),
                None => String::new(),
            };
            print_as_is(&format!("{text}{}{summary}{more}", printable(&online)))?;
        }
    }
    let denied = command.deny_warnings && warned;
    Ok(if faulty || denied { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
