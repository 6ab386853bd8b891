//! What is taken, and is still unwise: for `jackfield check`, which tells it beside the faults. Whoever only runs the
//! table does not hear of it.

mod exposure;
mod routes;

use std::collections::BTreeSet;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity, suggest};
use crate::plan::testing::Tests;
use crate::table::Table;
use crate::table::document::Located;
use crate::table::raw::Strings;
use crate::table::reader::Key;

pub(super) use exposure::login_for;

use super::TableCompiler;

impl TableCompiler<'_> {
    /// Builds a part of the table, without the warnings that it allows.
    pub(super) fn allowing<T>(
        &self,
        allow: &Key<Strings>,
        diagnostics: &mut Diagnostics,
        build: impl FnOnce(&mut Diagnostics) -> T,
    ) -> T {
        let (found, advised) = (diagnostics.len(), self.advice.borrow().len());
        let built = build(diagnostics);
        let codes = allowed_codes(allow);
        diagnostics.silence(found, &codes);
        self.advice.borrow_mut().silence(advised, &codes);
        self.check_allow(allow, diagnostics);
        built
    }

    /// Refuses in an `allow` what is no warning.
    pub(super) fn check_allow(&self, allow: &Key<Strings>, diagnostics: &mut Diagnostics) {
        for slug in allow.get().into_iter().flat_map(|slugs| &slugs.value) {
            let message = match Code::from_slug(&slug.value) {
                Some(code) if code.severity() != Severity::Error => continue,
                Some(_) => format!("`{}` is an error and cannot be allowed", slug.value),
                None => format!("unknown warning `{}`", slug.value),
            };
            diagnostics.push(
                Diagnostic::new(Code::UnknownValue, slug.span, message)
                    .help("use the code that a warning shows in brackets: `allow = [\"route-untested\"]`")
                    .maybe_help(suggest(&slug.value, Code::allowable())),
            );
        }
    }

    fn advise(&self, diagnostic: Diagnostic) {
        self.advice.borrow_mut().push(diagnostic);
    }
}

/// The routes that no test calls. A table without any test hears it once.
pub(crate) fn untested(table: &Table, tests: &Tests, advice: &mut Diagnostics) {
    let tested: BTreeSet<&str> = tests.tests.iter().map(|test| test.route.as_str()).collect();
    let routes = table.routes.iter().filter_map(|(name, raw)| Some((name, &raw.get()?.value.entry)));
    let missed = routes.filter(|(name, raw)| {
        !tested.contains(name.value.as_str()) && !allowed_codes(&raw.allow).contains(&Code::RouteUntested)
    });
    let missed: Vec<&Located<String>> = missed.map(|(name, _)| name).collect();
    let told = if tested.is_empty() { missed.get(..1).unwrap_or_default() } else { &missed };
    for name in told {
        let message = match missed.len() {
            others @ 2.. if tested.is_empty() => {
                format!("no test calls the route `{}` or {} others", name.value, others - 1)
            }
            _ => format!("no test calls the route `{}`", name.value),
        };
        advice.push(
            Diagnostic::new(Code::RouteUntested, name.span, message).help(format!(
                "add `[[routes.{0}.tests]]` with `args` and `expect`, or record one with `jackfield call {0} --save-test NAME`",
                name.value
            )),
        );
    }
}

/// The warnings that `allow` names.
pub(crate) fn allowed_codes(allow: &Key<Strings>) -> Vec<Code> {
    let slugs = allow.get().into_iter().flat_map(|slugs| &slugs.value);
    let codes = slugs.filter_map(|slug| Code::from_slug(&slug.value));
    codes.filter(|code| code.severity() != Severity::Error).collect()
}
