//! `jackfield test`: runs the tests of the table.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::diagnostic::{self, FileId, Sources};
use crate::load::{Edit, Environment, edited, load_with_tests, process_environment};
use crate::plan::Plan;
use crate::plan::testing::{Test, Tests};
use crate::printable::printable_styled;
use crate::testing::{self, Coverage, TestResult};
use crate::upstream::resources::Resources;

use super::from_record::FromRecord;
use super::output::{junit, results};
use super::shared::{counted, has_color, summary, unreadable};
use super::{print, print_as_is, print_json, report};

/// What to do about a table without tests.
const NO_TESTS: &str = "add `[[routes.x.tests]]`, or `[[tests]]` in a file that is named after the table, such as \
                        routes.test.toml; `--allow-none` accepts a table without tests";

/// Arguments of `test`.
#[derive(Debug, Args)]
pub(super) struct TestCommand {
    /// Run only the tests whose `route: name` contains this text.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Replace the expected values of failing tests with the actual ones, then run the tests again.
    #[arg(long)]
    update: bool,
    /// Exit with 0 if there are no tests; otherwise that is an error.
    #[arg(long)]
    allow_none: bool,
    /// Exit with 1 if no test reaches a route or a reply case.
    #[arg(long, conflicts_with = "filter")]
    require_coverage: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    format: ReportFormat,
    #[command(flatten)]
    record: FromRecord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// Readable text, one line per test.
    Human,
    /// JSON.
    Json,
    /// JUnit XML, for CI systems.
    Junit,
}

pub(super) fn run(command: &TestCommand, path: &Path) -> anyhow::Result<ExitCode> {
    if let Some(source) = &command.record.from_record {
        return command.record.run(source, path);
    }
    if command.update {
        let ready = match ready(command, path)? {
            Ok(ready) => ready,
            Err(code) => return Ok(code),
        };
        update(&ready.run(command)?, &ready.sources)?;
    }
    let ready = match ready(command, path)? {
        Ok(ready) => ready,
        Err(code) => return Ok(code),
    };
    let (ran, sources) = (ready.run(command)?, &ready.sources);
    if ran.is_empty() && !command.allow_none {
        let why = format!("error: no tests found for `{}`", path.display());
        report_unrun(&format!("{why}: {NO_TESTS}"), path, command.format)?;
        return Ok(ExitCode::from(2));
    }
    // The coverage of a filtered run would be misleading.
    let coverage = command.filter.is_none().then(|| Coverage::of(&ready.tests, &ran));
    match command.format {
        ReportFormat::Human => {
            print_as_is(&printable_styled(&results::human(&ran, coverage.as_ref(), sources, has_color())))?;
        }
        ReportFormat::Json => print_json(&results::to_json(&ran, coverage.as_ref(), sources))?,
        ReportFormat::Junit => print(&junit::results(path, &ran, sources))?,
    }
    let missed = coverage.map_or(0, |coverage| coverage.missed.len());
    let is_covered = !command.require_coverage || missed == 0;
    if !is_covered {
        report(&format!(
            "error: the tests do not reach {missed} routes and reply cases (`--require-coverage`)"
        ));
    }
    let is_good = is_covered && results::failed(&ran) == 0;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A table without errors, and its tests.
pub(super) struct Ready {
    pub(super) plan: Plan,
    pub(super) resources: Resources,
    pub(super) tests: Tests,
    pub(super) sources: Sources,
}

/// Reads the table and its tests. If there is nothing to run, returns the exit code.
fn ready(command: &TestCommand, path: &Path) -> anyhow::Result<Result<Ready, ExitCode>> {
    let ready = match Ready::read(path, command.format)? {
        Ok(ready) => ready,
        Err(code) => return Ok(Err(code)),
    };
    if let (Some(filter), None) = (&command.filter, ready.selected(command).next()) {
        report_unrun(&format!("error: no test matches `{filter}`"), path, command.format)?;
        return Ok(Err(ExitCode::from(2)));
    }
    Ok(Ok(ready))
}

/// Reports why no test ran, on standard error and in the results.
fn report_unrun(why: &str, path: &Path, format: ReportFormat) -> anyhow::Result<()> {
    report(why);
    match format {
        ReportFormat::Junit => print(&junit::nothing_ran(path, why)),
        ReportFormat::Human | ReportFormat::Json => Ok(()),
    }
}

impl Ready {
    /// Reads the table and its tests. Reports errors in this format and returns the exit code.
    pub(super) fn read(path: &Path, format: ReportFormat) -> anyhow::Result<Result<Self, ExitCode>> {
        // Nothing is sent, so secrets may be unset.
        let environment = Environment { without_secrets: true, ..process_environment() };
        let (loaded, tests) = match load_with_tests(path, &environment) {
            Ok(loaded) => loaded,
            Err(error) => {
                report_unrun(&unreadable(path, &error.source), path, format)?;
                return Ok(Err(ExitCode::from(2)));
            }
        };
        let sources = loaded.sources;
        let Some(plan) = loaded.plan else {
            match format {
                ReportFormat::Json => {
                    let diagnostics = diagnostic::to_json(&loaded.diagnostics, &sources);
                    print_json(&json!({ "diagnostics": diagnostics }))?;
                }
                ReportFormat::Human | ReportFormat::Junit => {
                    let text = diagnostic::to_text(&loaded.diagnostics, &sources, false);
                    report_unrun(
                        &format!("{text}{}", summary(path, &loaded.diagnostics, None)),
                        path,
                        format,
                    )?;
                }
            }
            return Ok(Err(ExitCode::FAILURE));
        };
        let resources = Resources::without_resilience(&plan.deliveries);
        Ok(Ok(Self { plan, resources, tests, sources }))
    }

    fn selected(&self, command: &TestCommand) -> impl Iterator<Item = &Test> {
        let matches = |name: &str| command.filter.as_ref().is_none_or(|filter| name.contains(filter));
        self.tests.tests.iter().filter(move |test| matches(&format!("{}: {}", test.route, test.name)))
    }

    fn run(&self, command: &TestCommand) -> anyhow::Result<Vec<TestResult<'_>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(async {
            let mut ran = Vec::new();
            for test in self.selected(command) {
                ran.push(testing::run(&self.plan, &self.resources, test).await);
            }
            ran
        }))
    }
}

/// Replaces the expected values of failing tests with the actual ones.
fn update(ran: &[TestResult<'_>], sources: &Sources) -> anyhow::Result<()> {
    let mut files: Vec<FileId> = ran.iter().map(|ran| ran.test.place.file).collect();
    files.dedup();
    for file in files {
        let there = ran.iter().filter(|ran| ran.test.place.file == file);
        let edits: Vec<Edit> = there
            .flat_map(|ran| ran.faults.iter().map(|fault| (ran.test, fault)))
            .filter_map(|(test, fault)| {
                let (keys, value) = fault.instead.clone()?;
                let route = test.in_route.then(|| test.route.clone());
                Some(Edit { route, index: test.index, keys, value })
            })
            .collect();
        if edits.is_empty() {
            continue;
        }
        let source = sources.get(file);
        let (text, left) = edited(&source.text, &edits);
        fs::write(&source.path, text).with_context(|| format!("cannot write `{}`", source.name))?;
        let values = counted(edits.len() - left, "value");
        report(&format!("{}: {values} updated; review them before you commit", source.name));
    }
    Ok(())
}
