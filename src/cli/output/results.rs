//! Test results as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::diagnostic::{Place, Sources, Span};
use crate::testing::{Coverage, Missed, TestResult};

pub(in crate::cli) fn failed(ran: &[TestResult<'_>]) -> usize {
    ran.iter().filter(|ran| !ran.faults.is_empty()).count()
}

/// `routes.toml:12`
pub(in crate::cli) fn place(span: Span, sources: &Sources) -> String {
    let (file, line) = file_and_line(span, sources);
    format!("{file}:{line}")
}

pub(in crate::cli) fn file_and_line(span: Span, sources: &Sources) -> (&str, usize) {
    let source = sources.get(span.file);
    (&source.name, Place::of(&source.text, span.start).line)
}

pub(in crate::cli) fn human(
    ran: &[TestResult<'_>],
    coverage: Option<&Coverage>,
    sources: &Sources,
    color: bool,
) -> String {
    let mut out = String::new();
    for ran in ran {
        let verdict = match (ran.faults.is_empty(), color) {
            (true, _) => "ok   ",
            (false, false) => "FAIL ",
            (false, true) => "\u{1b}[1;31mFAIL\u{1b}[0m ",
        };
        let _ = writeln!(out, "{verdict} {}: {}", ran.test.route, ran.test.name);
        for line in faults(ran, sources) {
            let _ = writeln!(out, "      {line}");
        }
    }
    if ran.is_empty() {
        out.push_str("no tests found");
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
        for missed in missed_entries(coverage) {
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

/// The routes and cases that no test reaches. The cases of an unreached route are omitted.
fn missed_entries(coverage: &Coverage) -> impl Iterator<Item = &Missed> {
    let whole =
        |route: &str| coverage.missed.iter().any(|missed| missed.case.is_none() && missed.route == route);
    coverage.missed.iter().filter(move |missed| missed.case.is_none() || !whole(&missed.route))
}

/// Formats the mismatches, line by line.
pub(in crate::cli) fn faults(ran: &TestResult<'_>, sources: &Sources) -> Vec<String> {
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

pub(in crate::cli) fn to_json(
    ran: &[TestResult<'_>],
    coverage: Option<&Coverage>,
    sources: &Sources,
) -> Value {
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
