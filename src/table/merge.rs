//! Merges the files of a table.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};

use super::document::Located;
use super::raw::{RawFile, RawRoute};
use super::reader::{Key, Named, WithJson};
use super::{Entry, Table};

/// Adds the entries of one file to the table. A name that exists already is an error.
pub(super) fn merge(table: &mut Table, file: RawFile, defined: &mut Defined, diagnostics: &mut Diagnostics) {
    add(&mut table.platforms, file.platforms, "platform", defined, diagnostics);
    add(&mut table.upstreams, file.upstreams, "upstream", defined, diagnostics);
    add(&mut table.vars, file.vars, "constant", defined, diagnostics);
    add(&mut table.routes, file.routes, "route", defined, diagnostics);
    add(&mut table.forms, file.forms, "form", defined, diagnostics);
    if let Key::Is(platforms) = file.events {
        for (platform, events) in platforms.value.0 {
            let Key::Is(events) = events else { continue };
            for (name, entry) in events.value.0 {
                add_event(table, &platform, name, entry, (defined, diagnostics));
            }
        }
    }
    if let Key::Is(defaults) = file.defaults
        && defaults.span.file != table.main
        && let Key::Is(theirs) = defaults.value.entry.failure
    {
        table.defaults_json.push_str(&defaults.value.json);
        match &mut table.defaults.failure {
            Key::Is(ours) => {
                let mut texts = ours
                    .value
                    .0
                    .iter()
                    .map(|(name, _)| (("default text", name.value.clone()), name.span))
                    .collect();
                add(&mut ours.value.0, Key::Is(theirs), "default text", &mut texts, diagnostics);
            }
            ours => *ours = Key::Is(theirs),
        }
    }
}

fn add_event(
    table: &mut Table,
    platform: &Located<String>,
    name: Located<String>,
    entry: Key<WithJson<RawRoute>>,
    (defined, diagnostics): (&mut Defined, &mut Diagnostics),
) {
    // No platform has a line break in its name, so the two names stay apart.
    match defined.entry(("event", format!("{}\n{}", platform.value, name.value))) {
        Occupied(first) => diagnostics.push(duplicate_name("event", &name, *first.get())),
        Vacant(free) => {
            free.insert(name.span);
            table.events.push((platform.clone(), name, entry));
        }
    }
}

/// The error about a name that is defined twice, in one file or in two.
fn duplicate_name(what: &str, name: &Located<String>, first: Span) -> Diagnostic {
    Diagnostic::new(Code::DuplicateName, name.span, format!("duplicate {what} `{}`", name.value))
        .label("defined again here")
        .related(first, "first defined here")
        .help("rename or remove one of them")
}

/// The place of each name that is defined so far, by the kind of entry. A map, because a table may have thousands of
/// names.
pub(super) type Defined = HashMap<(&'static str, String), Span>;

fn add<T>(
    ours: &mut Entry<T>,
    theirs: Key<Named<T>>,
    what: &'static str,
    defined: &mut Defined,
    diagnostics: &mut Diagnostics,
) {
    let Key::Is(theirs) = theirs else { return };
    for (name, value) in theirs.value.0 {
        match defined.entry((what, name.value.clone())) {
            Occupied(first) => diagnostics.push(duplicate_name(what, &name, *first.get())),
            Vacant(free) => {
                free.insert(name.span);
                ours.push((name, value));
            }
        }
    }
}

/// Reports the keys of an included file that are only allowed in the main file.
pub(super) fn main_file_only(file: &RawFile, diagnostics: &mut Diagnostics) {
    let mut refuse = |span: Option<Span>, what: &str, help: &str| {
        if let Some(span) = span {
            diagnostics.push(
                Diagnostic::new(Code::MainFileOnly, span, format!("{what} is only allowed in the main file"))
                    .help(help),
            );
        }
    };
    refuse(file.include.span(), "`include`", "list all files in the main file");
    refuse(file.server.span(), "`[server]`", "move it to the main file");
    refuse(file.log.span(), "`[log]`", "move it to the main file");
    refuse(file.traces.span(), "`[traces]`", "move it to the main file");
    refuse(file.state.span(), "`[state]`", "move it to the main file");
    if let Some(defaults) = file.defaults.get() {
        refuse(defaults.value.entry.headers.span(), "`defaults.headers`", "move it to the main file");
        refuse(defaults.value.entry.tz.span(), "`defaults.tz`", "move it to the main file");
        refuse(defaults.value.entry.allow.span(), "`defaults.allow`", "move it to the main file");
    }
}
