//! Advice: warnings about a table that works but is unwise. Only `jackfield check` reports them.

mod exposure;
mod routes;

use std::collections::BTreeSet;

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::plan::testing::Tests;
use crate::table::Table;
use crate::table::document::Located;

pub(crate) use super::cx::allowed_codes;
pub(super) use exposure::{auth_example, deadline, in_clear, open_platform, public_url};
pub(super) use routes::{descriptions, timeout, unchecked, unguarded, unused};

/// The routes that no test calls. A table without any test gets one warning.
pub(crate) fn untested(table: &Table, tests: &Tests, advice: &mut Diagnostics) {
    let tested: BTreeSet<&str> = tests.tests.iter().map(|test| test.route.as_str()).collect();
    let routes = table.routes.iter().filter_map(|(name, raw)| Some((name, &raw.get()?.value.entry)));
    let missed = routes.filter(|(name, raw)| {
        !tested.contains(name.value.as_str()) && !allowed_codes(&raw.allow).contains(&Code::RouteUntested)
    });
    let missed: Vec<&Located<String>> = missed.map(|(name, _)| name).collect();
    let reported = if tested.is_empty() { missed.get(..1).unwrap_or_default() } else { &missed };
    for name in reported {
        let message = match missed.len() {
            2 if tested.is_empty() => format!("no test calls the route `{}` or 1 other", name.value),
            all @ 3.. if tested.is_empty() => {
                format!("no test calls the route `{}` or {} others", name.value, all - 1)
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
