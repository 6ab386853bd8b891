//! `remember`: what calls of a conversation keep for later ones.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic};
use crate::lang::template::{MemoryNames, Names};
use crate::plan::Route;
use crate::plan::state::Remember;
use crate::state::MAX_NAMES;
use crate::table::Table;
use crate::table::document::{Kind, Located};
use crate::table::raw::RawRoute;
use crate::table::reader::{Key, Named};

use crate::compile::cx::Cx;
use crate::compile::replies::json;
use crate::compile::values;

/// The names that routes and events remember. A value is trusted if every route that remembers it is.
pub(in crate::compile) fn names(cx: &mut Cx<'_>) -> MemoryNames {
    let mut names = MemoryNames::new();
    let mut first_too_many = None;
    for raw in entries(cx.table) {
        let trusted = raw.trusted.get().is_some_and(|trusted| trusted.value);
        for (name, _) in remembered(raw) {
            let all = names.entry(name.value.clone()).or_insert(true);
            *all &= trusted;
            if names.len() > MAX_NAMES {
                first_too_many = first_too_many.or(Some(name.span));
            }
        }
    }
    if let Some(span) = first_too_many {
        let message = format!("a conversation remembers at most {MAX_NAMES} names");
        cx.report(
            Diagnostic::new(Code::UnknownValue, span, message).help(
                "remember related values as one: `order = { id = \"{{id}}\", status = \"{{status}}\" }`",
            ),
        );
    }
    names
}

/// All routes and events as written.
fn entries(table: &Table) -> impl Iterator<Item = &RawRoute> {
    let routes = table.routes.iter().map(|(_, raw)| raw);
    let events = table.events.iter().map(|(_, _, raw)| raw);
    routes.chain(events).filter_map(|raw| Some(&raw.get()?.value.entry))
}

/// Everything that a route remembers: by its own key, its steps and its reply cases.
pub(in crate::compile) fn remembered(raw: &RawRoute) -> impl Iterator<Item = &(Located<String>, Key<Kind>)> {
    let steps = raw.steps.items().iter().map(|step| &step.value.remember);
    let cases = raw.reply.cases().iter().map(|case| &case.value.remember);
    std::iter::once(&raw.remember).chain(steps).chain(cases).flat_map(Key::entries)
}

/// The values of one `remember`, without those that have errors.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &Key<Named<Kind>>,
    names: &Names<'_>,
) -> Vec<Remember> {
    let mut out = Vec::new();
    for (name, node) in raw.entries() {
        if !values::is_name(&name.value) {
            cx.report(
                Diagnostic::new(Code::InvalidName, name.span, format!("invalid name `{}`", name.value))
                    .help("use letters, digits and `_`, so that templates can write `memory.<name>`"),
            );
        }
        let Some(node) = node.get() else { continue };
        let value = json::compile(cx, node, names);
        out.extend(value.map(|value| Remember { name: name.value.clone(), value }));
    }
    out
}

/// Reports `trusted` in a route that remembers nothing.
pub(in crate::compile) fn check_trusted(cx: &mut Cx<'_>, raw: &RawRoute) {
    let Some(span) = raw.trusted.span() else { return };
    if remembered(raw).next().is_none() && !raw.remember.is_faulty() {
        cx.report(
            Diagnostic::new(Code::NoEffect, span, "`trusted` has no effect: this route remembers nothing")
                .label("has no effect")
                .help("remove it, or add `remember = { name = \"…\" }`"),
        );
    }
}

/// Marks the routes that store something sensitive: their own arguments or extracts, or values that a sensitive route
/// remembered.
pub(in crate::compile) fn mark_sensitive(
    routes: &mut [Route],
    events: &mut [(&'static str, &'static str, Arc<Route>)],
) {
    let events = events.iter_mut().filter_map(|(_, _, entry)| Arc::get_mut(entry));
    let mut routes: Vec<&mut Route> =
        routes.iter_mut().chain(events).filter(|route| route.state.is_needed() || route.writes()).collect();
    for route in &mut routes {
        let mut steps = route.steps.iter();
        route.state.sensitive =
            route.arguments.has_sensitive() || steps.any(|step| step.extraction.has_sensitive());
    }
    let mut names = BTreeSet::new();
    loop {
        let sensitive = routes.iter().filter(|route| route.state.sensitive);
        let known: BTreeSet<String> =
            sensitive.flat_map(|route| route.remembered()).map(|value| value.name.clone()).collect();
        if known == names {
            return;
        }
        names = known;
        for route in &mut routes {
            route.state.sensitive |= route.state.recalled.iter().any(|(name, _)| names.contains(name));
        }
    }
}
