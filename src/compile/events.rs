//! `[events]`: webhooks that are no function calls, answered by the same sentence as calls.

use std::sync::Arc;

use serde_json::json;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::lang::template::Fields;
use crate::plan::arguments::Arguments;
use crate::plan::route::Route;
use crate::platform::Platform;
use crate::table::document::Located;
use crate::table::raw::RawRoute;
use crate::table::reader::{WithJson, missing_key, unknown_key};

use super::server::known_platform;
use super::upstreams::Upstreams;
use super::{Inputs, TableCompiler, values};

/// The keys of a route that an event's entry has too.
pub(super) const KEYS: [&str; 14] = [
    "upstream",
    "request",
    "response",
    "extract",
    "steps",
    "reply",
    "failure",
    "timeout",
    "limit",
    "idempotency_key",
    "repeat_window",
    "cache",
    "stale_if_error",
    "allow",
];

impl TableCompiler<'_> {
    /// The entries of events, without those that have faults.
    pub(super) fn events(
        &self,
        upstreams: &Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<(&'static str, &'static str, Arc<Route>)> {
        let mut out = Vec::new();
        for (platform, name, entry) in &self.table.events {
            let Some(platform) = known_platform(platform, diagnostics) else { continue };
            let Some(kind) = platform.events().iter().find(|kind| kind.name == name.value) else {
                diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownEvent,
                        name.span,
                        format!("{} sends no event `{}`", platform.name(), name.value),
                    )
                    .help(
                        match suggest(&name.value, platform.events().iter().map(|kind| kind.name)) {
                            Some(help) => help,
                            None => format!("{} has no events", platform.name()),
                        },
                    ),
                );
                continue;
            };
            if !self.table.platforms.iter().any(|(served, _)| served.value == platform.name()) {
                diagnostics.push(
                    Diagnostic::new(
                        Code::UnservedPlatform,
                        name.span,
                        format!("the platform `{}` is not served, so it sends no events", platform.name()),
                    )
                    .help(format!("add `[platforms.{}]`, or remove the entry", platform.name())),
                );
            }
            let Some(entry) = entry.get() else { continue };
            let said = &entry.value;
            let route = self.allowing(&said.entry.allow, diagnostics, |diagnostics| {
                self.event(name, said, platform, kind.answered, upstreams, diagnostics)
            });
            out.extend(route.map(|route| (platform.name(), kind.name, Arc::new(route))));
        }
        out
    }

    fn event(
        &self,
        name: &Located<String>,
        said: &WithJson<RawRoute>,
        platform: &'static dyn Platform,
        answered: bool,
        upstreams: &Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Route> {
        let raw = &said.entry;
        self.templates.uses.take();
        for (key, span) in [
            ("description", raw.description.span()),
            ("platforms", raw.platforms.span()),
            ("args", raw.args.span()),
            ("args_schema", raw.args_schema.span()),
            ("streaming", raw.streaming.span()),
            ("declare", raw.declare.span()),
            ("tests", raw.tests.span()),
        ] {
            if let Some(span) = span {
                diagnostics
                    .push(Diagnostic::new(Code::UnknownKey, span, format!("an event cannot have `{key}`")).help(
                    "remove it; use `event.*` for the payload, and write requests, extracts and replies as in a route",
                ));
            }
        }
        for (key, _) in &raw.own {
            unknown_key(key, &KEYS, diagnostics);
        }
        let inputs = Inputs { args: Fields::Leaf, event: true };
        let before = diagnostics.len();
        let (steps, step_names) = self.steps(name, raw, &inputs, upstreams, diagnostics);
        let steps_are_good = diagnostics.len() == before;
        let names = self.names(&inputs, &step_names, step_names.len());
        let replies = self.replies(&raw.reply, &names, !step_names.is_empty(), diagnostics);
        for case in raw.reply.get().map(|replies| replies.value.0.as_slice()).unwrap_or_default() {
            let said = case.value.text.span().or(case.value.text_file.span());
            if let Some(span) = said {
                diagnostics.push(
                    Diagnostic::new(Code::UnusedText, span, "this text is never used")
                        .label("never used")
                        .help(if answered {
                            "use `data`, which is the whole response body of an event"
                        } else {
                            "remove it: the platform ignores the response to this event"
                        }),
                );
            }
        }
        if raw.request.is_absent() && raw.steps.is_absent() && raw.reply.is_absent() {
            diagnostics.push(missing_key(
                name.span,
                format!("the event `{}` has neither a `request` nor a `reply`", name.value),
                "add a `request`, or a `reply` with `data`",
            ));
        }
        let failure_texts = self.failure_texts(&raw.failure, &self.names(&inputs, &[], 0), diagnostics);
        let timeout = raw.timeout.get().map(|text| values::duration(text, diagnostics));
        self.advise_unused(raw, &replies);
        let care = self.care(raw, &steps, diagnostics);
        let fingerprint = self.fingerprint(said, raw, upstreams);
        let nothing = Arguments::compile(json!({"type": "object", "properties": {}}), Vec::new()).ok()?;
        Some(Route {
            platforms: Some(vec![platform.name()]),
            steps: steps_are_good.then_some(steps)?,
            replies,
            failure_texts,
            timeout: timeout.flatten(),
            limit: care.limit,
            idempotency_key: care.idempotency_key,
            repeat_window: care.repeat_window,
            cache: care.cache,
            ..Route::new(name.value.clone(), nothing, fingerprint)
        })
    }
}
