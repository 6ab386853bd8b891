//! `args.x.default` with templates: its value depends on the call.

use crate::lang::template::Names;
use crate::plan::arguments::{Below, CallDefault};
use crate::table::document::{Kind, Node};
use crate::table::raw::RawArgument;
use crate::table::reader::{Key, Named};

use crate::compile::cx::Cx;
use crate::compile::replies::json;

/// Whether a string in a default is a template. Such a default is not part of the schema.
pub(in crate::compile) fn has_template(default: &Node) -> bool {
    match &default.value {
        Kind::String(text) => text.contains("{{"),
        Kind::List(items) => items.iter().any(has_template),
        Kind::Table(entries) => entries.iter().any(|(_, value)| has_template(value)),
        _ => false,
    }
}

/// The defaults that contain templates, also those of nested arguments.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &Key<Named<RawArgument>>,
    names: &Names<'_>,
) -> Vec<CallDefault> {
    let mut found = Vec::new();
    each(raw, &mut Vec::new(), &mut |place, default| {
        let value = json::compile(cx, default, names);
        found.extend(value.map(|value| CallDefault { place: place.to_vec(), value }));
    });
    found
}

/// Reports each default that contains a template, where no call fills it in.
pub(in crate::compile) fn refuse(cx: &mut Cx<'_>, raw: &Key<Named<RawArgument>>) {
    each(raw, &mut Vec::new(), &mut |_, default| cx.no_templates(default, "the default of a form"));
}

/// Visits each default that contains a template, with its place.
fn each(raw: &Key<Named<RawArgument>>, place: &mut Vec<Below>, visit: &mut dyn FnMut(&[Below], &Node)) {
    for (name, argument) in raw.entries() {
        if let Some(argument) = argument.get() {
            place.push(Below::Property(name.value.clone()));
            each_below(&argument.value, place, visit);
            place.pop();
        }
    }
}

fn each_below(raw: &RawArgument, place: &mut Vec<Below>, visit: &mut dyn FnMut(&[Below], &Node)) {
    if let Some(default) = raw.default.get().filter(|default| has_template(default)) {
        visit(place, default);
    }
    each(&raw.properties, place, visit);
    if let Some(items) = raw.items.get() {
        place.push(Below::Items);
        each_below(&items.value, place, visit);
        place.pop();
    }
}
