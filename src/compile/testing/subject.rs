//! The subject of a test: a route or an event.

use std::fmt;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::platform::{self, Platform};
use crate::table::Table;
use crate::table::document::Located;
use crate::table::raw::{RawRoute, RawTest};
use crate::table::reader::{Key, missing_key};

/// The subject of a test.
pub(super) struct Subject<'a> {
    /// The route's name, or the event's with its platform before it.
    pub(super) name: String,
    pub(super) raw: &'a RawRoute,
    /// The platform that sends it and its own name, if it is an event.
    pub(super) event: Option<(&'static dyn Platform, &'a str)>,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} `{}`", if self.event.is_some() { "event" } else { "route" }, self.name)
    }
}

impl<'a> Subject<'a> {
    pub(super) fn route(name: &str, raw: &'a RawRoute) -> Self {
        Self { name: name.to_owned(), raw, event: None }
    }

    /// The route or event that a test of a test file names.
    pub(super) fn named_by(
        table: &'a Table,
        test: &Located<RawTest>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        if let Some(event) = test.value.event.get() {
            return Self::event(table, test, event, diagnostics);
        }
        let Some(wanted) = test.value.route.get() else {
            if test.value.route.is_absent() && test.value.event.is_absent() {
                diagnostics.push(missing_key(
                    test.span,
                    "this test has no `route`",
                    "add `route = \"…\"` with the tested function, or `event = \"voicedock.status_update\"`",
                ));
            }
            return None;
        };
        let found = table.routes.iter().find(|(name, _)| name.value == wanted.value);
        if found.is_none() {
            let known = table.routes.iter().map(|(name, _)| name.value.as_str());
            diagnostics.push(
                Diagnostic::new(Code::UnknownRoute, wanted.span, format!("unknown route `{}`", wanted.value))
                    .maybe_help(suggest(&wanted.value, known)),
            );
        }
        match found? {
            (name, Key::Is(route)) => Some(Self::route(&name.value, &route.value.entry)),
            _ => None,
        }
    }

    fn event(
        table: &'a Table,
        test: &Located<RawTest>,
        wanted: &Located<String>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let raw = &test.value;
        for (key, span) in
            [("route", raw.route.span()), ("platform", raw.platform.span()), ("args", raw.args.span())]
        {
            if let Some(span) = span {
                diagnostics.push(
                    Diagnostic::new(
                        Code::ConflictingKeys,
                        span,
                        format!("a test of an event cannot have `{key}`"),
                    )
                    .related(wanted.span, "the event")
                    .help(format!("remove `{key}`; the event and its request file determine it")),
                );
            }
        }
        if raw.request_file.is_absent() {
            diagnostics.push(missing_key(
                test.span,
                "a test of an event needs a `request_file`",
                "add `request_file = \"…\"`, a file with the whole body that the platform posts",
            ));
        }
        let full = |platform: &str, name: &str| format!("{platform}.{name}");
        let known = table
            .events
            .iter()
            .find(|(platform, name, _)| full(&platform.value, &name.value) == wanted.value);
        let Some((platform, name, entry)) = known else {
            let names: Vec<String> =
                table.events.iter().map(|(platform, name, _)| full(&platform.value, &name.value)).collect();
            diagnostics.push(
                Diagnostic::new(
                    Code::UnknownEvent,
                    wanted.span,
                    format!("no entry for the event `{}`", wanted.value),
                )
                .maybe_help(suggest(&wanted.value, names.iter().map(String::as_str))),
            );
            return None;
        };
        // Errors of the entry itself have been reported.
        let (platform, entry) = (platform::find(&platform.value)?, entry.get()?);
        let event = Some((platform, name.value.as_str()));
        Some(Self { name: wanted.value.clone(), raw: &entry.value.entry, event })
    }

    /// The names of the steps; the only step of a route without `steps` has an empty name.
    pub(super) fn steps(&self) -> Vec<&'a str> {
        if self.raw.steps.get().is_some() {
            let names = self.raw.steps.items().iter().filter_map(|step| step.value.name.get());
            return names.map(|name| name.value.as_str()).collect();
        }
        if self.raw.request.is_absent() { Vec::new() } else { vec![""] }
    }
}
