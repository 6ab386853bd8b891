//! `[events]`: webhooks that are not function calls. They are handled like calls.

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::lang::template::Fields;
use crate::plan::route::Route;
use crate::platform::Platform;
use crate::table::document::Located;
use crate::table::misplaced_keys::unknown_key;
use crate::table::raw::RawRoute;
use crate::table::reader::WithJson;

use crate::compile::advice;
use crate::compile::cx::{Compiled, Cx};
use crate::compile::names::Inputs;
use crate::compile::routes::arguments;
use crate::compile::routes::handling::{self, Handling};
use crate::compile::server::platforms;
use crate::compile::shared::SharedParts;

/// The keys of a route that an event can have, too.
pub(in crate::compile) const KEYS: [&str; 17] = [
    "upstream",
    "request",
    "response",
    "extract",
    "steps",
    "reply",
    "delivery",
    "remember",
    "trusted",
    "failure",
    "timeout",
    "limit",
    "idempotency_key",
    "repeat_window",
    "cache",
    "stale_if_error",
    "allow",
];

/// The entries of events, without those that have errors.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    shared: &SharedParts<'_>,
) -> Vec<(&'static str, &'static str, Arc<Route>)> {
    let mut out = Vec::new();
    for (platform, name, entry) in &cx.table.events {
        if cx.diagnostics.is_full() {
            break;
        }
        let Some(platform) = platforms::find(platform, cx.diagnostics) else { continue };
        let Some(kind) = platform.events().iter().find(|kind| kind.name == name.value) else {
            cx.report(unknown_event(platform, name));
            continue;
        };
        if !cx.table.platforms.iter().any(|(served, _)| served.value == platform.name()) {
            cx.report(
                Diagnostic::new(
                    Code::UnservedPlatform,
                    name.span,
                    format!("the platform `{}` is not served, so it sends no events", platform.name()),
                )
                .help(format!("add `[platforms.{}]`, or remove the entry", platform.name())),
            );
        }
        let Some(entry) = entry.get() else { continue };
        let raw = &entry.value;
        let route = cx.allowing(&raw.entry.allow, |cx| {
            check_keys(&raw.entry, cx.diagnostics);
            check_texts(&raw.entry, kind.answered, cx.diagnostics);
            compile_event(cx, (name, kind.answered), raw, shared)
        });
        let of_platform = |route| Route { platforms: Some(vec![platform.name()]), ..route };
        out.extend(route.map(|route| (platform.name(), kind.name, Arc::new(of_platform(route)))));
    }
    out
}

fn compile_event(
    cx: &mut Cx<'_>,
    (name, answered): (&Located<String>, bool),
    raw: &WithJson<RawRoute>,
    shared: &SharedParts<'_>,
) -> Option<Route> {
    let inputs = Inputs { globals: &shared.globals, args: Fields::Leaf, event: true, memory: true };
    let Compiled { value: mut handling, used } =
        cx.track(|cx| Handling::compile(cx, name, &raw.entry, &inputs, (shared, answered)));
    handling.set_needs(&used.names);
    advice::unused(cx, &raw.entry, &handling.replies, &used.names);
    let fingerprint = handling::fingerprint(cx, raw, shared, &used.files);
    handling.complete(Route::new(name.value.clone(), arguments::none(cx)?, fingerprint))
}

fn unknown_event(platform: &dyn Platform, name: &Located<String>) -> Diagnostic {
    let help = match suggest(&name.value, platform.events().iter().map(|kind| kind.name)) {
        Some(help) => help,
        None => format!("{} has no events", platform.name()),
    };
    let message = format!("{} sends no event `{}`", platform.name(), name.value);
    Diagnostic::new(Code::UnknownEvent, name.span, message).help(help)
}

/// Reports each key of a route that an event does not have.
fn check_keys(raw: &RawRoute, diagnostics: &mut Diagnostics) {
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
            diagnostics.push(
                Diagnostic::new(Code::UnknownKey, span, format!("an event cannot have `{key}`")).help(
                    "remove it; use `event.*` for the payload, and write requests, extracts and replies as in a route",
                ),
            );
        }
    }
    for (key, _) in &raw.own {
        unknown_key(key, &KEYS, diagnostics);
    }
}

/// Reports each text for the model, because an event has none. `answered` is whether the platform reads the response.
fn check_texts(raw: &RawRoute, answered: bool, diagnostics: &mut Diagnostics) {
    for case in raw.reply.cases() {
        if let Some(span) = case.value.text.span().or(case.value.text_file.span()) {
            diagnostics.push(
                Diagnostic::new(Code::UnusedText, span, "this text is never used").label("never used").help(
                    if answered {
                        "use `data`, which is the whole response body of an event"
                    } else {
                        "remove it: the platform ignores the response to this event"
                    },
                ),
            );
        }
    }
}
