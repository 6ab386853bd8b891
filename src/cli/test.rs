//! `jackfield test`: the table's own tests, as lines for people, as JSON, or as JUnit's XML.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::diagnostic::{self, FileId, Place, Sources, Span};
use crate::load::{Edit, Environment, edited, load_with_tests, process_environment};
use crate::plan::Plan;
use crate::plan::testing::{Test, Tests};
use crate::testing::{self, Coverage, Missed, Ran};
use crate::upstream::resources::Resources;

use super::check::{summary, unreadable};
use super::{junit, print, report};

/// Arguments of `test`.
#[derive(Debug, Args)]
pub(super) struct TestCommand {
    /// Run only the tests in whose `route: name` this text stands.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write what comes into the tests that expect something else, and run them again.
    #[arg(long)]
    update: bool,
    /// How results are printed.
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    format: ReportFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// One line a test, for people.
    Human,
    /// As JSON, for machines.
    Json,
    /// As JUnit's XML, for what builds and shows tests.
    Junit,
}

pub(super) fn run(command: &TestCommand, path: &Path) -> anyhow::Result<ExitCode> {
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
    // A few tests say nothing about what all of them reach.
    let coverage = command.filter.is_none().then(|| Coverage::of(&ready.tests, &ran));
    print(&match command.format {
        ReportFormat::Human => human(&ran, coverage.as_ref(), sources),
        ReportFormat::Json => format!("{:#}", to_json(&ran, coverage.as_ref(), sources)),
        ReportFormat::Junit => junit::results(path, &ran, sources),
    })?;
    Ok(if failed(&ran) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A table whose tests can be run.
pub(super) struct Ready {
    pub(super) plan: Plan,
    pub(super) resources: Resources,
    pub(super) tests: Tests,
    pub(super) sources: Sources,
}

/// Reads the table and its tests; a code to end with when there is nothing to run.
fn ready(command: &TestCommand, path: &Path) -> anyhow::Result<Result<Ready, ExitCode>> {
    let ready = match Ready::read(path, command.format)? {
        Ok(ready) => ready,
        Err(code) => return Ok(Err(code)),
    };
    if let (Some(filter), None) = (&command.filter, ready.chosen(command).next()) {
        tell(&format!("error: no test has `{filter}` in its route and name"), path, command.format)?;
        return Ok(Err(ExitCode::from(2)));
    }
    Ok(Ok(ready))
}

/// Tells why no test was run: people, and whoever reads only the results.
fn tell(why: &str, path: &Path, format: ReportFormat) -> anyhow::Result<()> {
    report(why);
    match format {
        ReportFormat::Junit => print(&junit::nothing_ran(path, why)),
        ReportFormat::Human | ReportFormat::Json => Ok(()),
    }
}

impl Ready {
    /// Reads the table and its tests; faults are told in this format, and come with a code to end with.
    pub(super) fn read(path: &Path, format: ReportFormat) -> anyhow::Result<Result<Self, ExitCode>> {
        // Nothing is sent, so no secret has to be right.
        let environment = Environment { without_secrets: true, ..process_environment() };
        let (loaded, tests) = match load_with_tests(path, &environment) {
            Ok(loaded) => loaded,
            Err(error) => {
                tell(&unreadable(path, &error.source), path, format)?;
                return Ok(Err(ExitCode::from(2)));
            }
        };
        let sources = loaded.sources;
        let Some(plan) = loaded.plan else {
            match format {
                ReportFormat::Json => {
                    let diagnostics = diagnostic::to_json(&loaded.diagnostics, &sources);
                    print(&format!("{:#}", json!({ "diagnostics": diagnostics })))?;
                }
                ReportFormat::Human | ReportFormat::Junit => {
                    let text = diagnostic::to_text(&loaded.diagnostics, &sources, false);
                    tell(&format!("{text}{}", summary(path, &loaded.diagnostics, None)), path, format)?;
                }
            }
            return Ok(Err(ExitCode::FAILURE));
        };
        let resources = Resources::without_resilience(&plan.deliveries);
        Ok(Ok(Self { plan, resources, tests, sources }))
    }

    fn chosen(&self, command: &TestCommand) -> impl Iterator<Item = &Test> {
        let wanted = |name: &str| command.filter.as_ref().is_none_or(|filter| name.contains(filter));
        self.tests.tests.iter().filter(move |test| wanted(&format!("{}: {}", test.route, test.name)))
    }

    fn run(&self, command: &TestCommand) -> anyhow::Result<Vec<Ran<'_>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(async {
            let mut ran = Vec::new();
            for test in self.chosen(command) {
                ran.push(testing::run(&self.plan, &self.resources, test).await);
            }
            ran
        }))
    }
}

/// Writes what came into the tests that expect something else.
fn update(ran: &[Ran<'_>], sources: &Sources) -> anyhow::Result<()> {
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
        let count = edits.len() - left;
        let values = if count == 1 { "value" } else { "values" };
        report(&format!("{}: {count} {values} written; look at them before you keep them", source.name));
    }
    Ok(())
}

pub(super) fn failed(ran: &[Ran<'_>]) -> usize {
    ran.iter().filter(|ran| !ran.faults.is_empty()).count()
}

/// `routes.toml:12`
pub(super) fn place(span: Span, sources: &Sources) -> String {
    let (file, line) = file_and_line(span, sources);
    format!("{file}:{line}")
}

pub(super) fn file_and_line(span: Span, sources: &Sources) -> (&str, usize) {
    let source = sources.get(span.file);
    (&source.name, Place::of(&source.text, span.start).line)
}

fn human(ran: &[Ran<'_>], coverage: Option<&Coverage>, sources: &Sources) -> String {
    let mut out = String::new();
    for ran in ran {
        let verdict = if ran.faults.is_empty() { "ok" } else { "FAIL" };
        let _ = writeln!(out, "{verdict:<5} {}: {}", ran.test.route, ran.test.name);
        for line in faults(ran, sources) {
            let _ = writeln!(out, "      {line}");
        }
    }
    if ran.is_empty() {
        out.push_str("there are no tests: write `[[routes.x.tests]]`, or `[[tests]]` in a file such as routes.test.toml");
    } else {
        let failed = failed(ran);
        let _ = write!(out, "\n{} passed, {failed} failed", ran.len() - failed);
    }
    if let Some(coverage) = coverage {
        let _ = write!(
            out,
            "\ncoverage: {} of {} routes, {} of {} reply cases",
            coverage.routes_reached(),
            coverage.routes,
            coverage.cases_reached(),
            coverage.cases
        );
        for missed in not_implied(coverage) {
            let case = missed.case.map(|case| format!(", case {}", case + 1)).unwrap_or_default();
            let _ = write!(
                out,
                "\n  no test reaches `{}`{case} ({})",
                missed.route,
                place(missed.place, sources)
            );
        }
    }
    out
}

/// What no test reaches, without the cases of routes that none reaches.
fn not_implied(coverage: &Coverage) -> impl Iterator<Item = &Missed> {
    let whole =
        |route: &str| coverage.missed.iter().any(|missed| missed.case.is_none() && missed.route == route);
    coverage.missed.iter().filter(move |missed| missed.case.is_none() || !whole(&missed.route))
}

/// What did not come as it should, line by line.
pub(super) fn faults(ran: &Ran<'_>, sources: &Sources) -> Vec<String> {
    let mut lines = Vec::new();
    for fault in &ran.faults {
        lines.push(format!("{}: {}", place(fault.place, sources), fault.what));
        lines.extend(fault.lines.iter().map(|line| format!("  {line}")));
    }
    if let (Some(error), false) = (&ran.error, ran.faults.is_empty()) {
        lines.push(format!("the call failed: {error}"));
    }
    lines
}

fn to_json(ran: &[Ran<'_>], coverage: Option<&Coverage>, sources: &Sources) -> Value {
    let at = |span: Span| {
        let (file, line) = file_and_line(span, sources);
        (Value::from(file), Value::from(line))
    };
    let tests: Vec<Value> = ran
        .iter()
        .map(|ran| {
            let (file, line) = at(ran.test.place);
            let faults = ran.faults.iter().map(|fault| {
                let (file, line) = at(fault.place);
                json!({"what": fault.what, "file": file, "line": line, "lines": fault.lines})
            });
            json!({
                "route": ran.test.route, "name": ran.test.name, "file": file, "line": line,
                "passed": ran.faults.is_empty(), "faults": faults.collect::<Vec<_>>(), "error": ran.error,
            })
        })
        .collect();
    let coverage = coverage.map(|coverage| {
        let missed = coverage.missed.iter().map(|missed| {
            let (file, line) = at(missed.place);
            json!({"route": missed.route, "case": missed.case.map(|case| case + 1), "file": file, "line": line})
        });
        json!({
            "routes": coverage.routes, "routes_reached": coverage.routes_reached(),
            "cases": coverage.cases, "cases_reached": coverage.cases_reached(),
            "missed": missed.collect::<Vec<_>>(),
        })
    });
    let failed = failed(ran);
    json!({"passed": ran.len() - failed, "failed": failed, "tests": tests, "coverage": coverage})
}
