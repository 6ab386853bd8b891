//! `[[routes.x.tests]]` and the test files: simulated calls, and the expected results.

mod canned;
mod expected;
mod files;
mod per_step;
mod subject;
mod test;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Sources};
use crate::plan::testing::{TestableRoute, Tests};
use crate::table::Table;
use crate::table::document::Located;
use crate::table::raw::{RawRoute, RawTest};

use super::cx::Cx;
use super::secrets::Environment;
use subject::Subject;

/// A test of the table: its place, its content, and its subject.
struct Found<'a> {
    place: TestPlace,
    test: &'a Located<RawTest>,
    subject: Subject<'a>,
}

/// The place of a test: in a route or in a test file, and its position there.
#[derive(Clone, Copy)]
struct TestPlace {
    in_route: bool,
    index: usize,
}

/// Compiles the tests of the table and those that are `written` in test files.
pub(crate) fn compile(
    table: &Table,
    written: &[Located<RawTest>],
    sources: &Sources,
    environment: &Environment<'_>,
    diagnostics: &mut Diagnostics,
) -> Tests {
    let mut cx = Cx::new(table, sources, environment, diagnostics);
    let mut out = Tests::default();
    let mut found = Vec::new();
    for (name, route) in &table.routes {
        let Some(route) = route.get() else { continue };
        let raw = &route.value.entry;
        let cases = raw.reply.cases().iter().map(|case| case.span).collect();
        out.routes.push(TestableRoute { name: name.value.clone(), place: name.span, cases });
        found.extend(in_route(&name.value, raw, cx.diagnostics));
    }
    for (position, test) in written.iter().enumerate() {
        let before = written[..position].iter().filter(|other| other.span.file == test.span.file);
        let place = TestPlace { in_route: false, index: before.count() };
        let subject = Subject::named_by(table, test, cx.diagnostics);
        found.extend(subject.map(|subject| Found { place, test, subject }));
    }
    check_names(&found, cx.diagnostics);
    out.tests.extend(found.iter().filter_map(|found| test::compile(&mut cx, found)));
    out
}

/// The tests of a route.
fn in_route<'a>(name: &str, raw: &'a RawRoute, diagnostics: &mut Diagnostics) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for (index, test) in raw.tests.items().iter().enumerate() {
        for (key, other) in [("route", &test.value.route), ("event", &test.value.event)] {
            if let Some(span) = other.span() {
                diagnostics.push(
                    Diagnostic::new(
                        Code::ConflictingKeys,
                        span,
                        "a test inside a route always tests that route",
                    )
                    .help(format!("remove `{key}`; it is for tests in a `*.test.toml` file")),
                );
            }
        }
        let place = TestPlace { in_route: true, index };
        found.push(Found { place, test, subject: Subject::route(name, raw) });
    }
    found
}

/// Reports each test that has the name of an earlier test of the same route or event.
fn check_names(found: &[Found<'_>], diagnostics: &mut Diagnostics) {
    for (position, Found { test, subject, .. }) in found.iter().enumerate() {
        let Some(name) = test.value.name.get() else { continue };
        let earlier = found[..position].iter().filter(|earlier| earlier.subject.name == subject.name);
        let mut names = earlier.filter_map(|earlier| earlier.test.value.name.get());
        if let Some(first) = names.find(|first| first.value == name.value) {
            diagnostics.push(
                Diagnostic::new(
                    Code::DuplicateName,
                    name.span,
                    format!("duplicate test `{}` of `{}`", name.value, subject.name),
                )
                .label("defined again here")
                .related(first.span, "first defined here")
                .help("give each test of a route its own name"),
            );
        }
    }
}
