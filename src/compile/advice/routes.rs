//! Advice about routes and events: unused arguments and extracts, and requests that might be sent twice.

use std::time::Duration;

use http::Method;

use crate::diagnostic::{Code, Diagnostic, list};
use crate::lang::template::Uses;
use crate::plan::replies::Replies;
use crate::plan::route::Step;
use crate::plan::{Served, budget};
use crate::platform::Endpoint;
use crate::table::document::Located;
use crate::table::raw::{RawExtract, RawRequest, RawRoute};
use crate::table::reader::{Key, Named};

use crate::compile::cx::Cx;

/// How many arguments a note names.
const SHOWN: usize = 5;

/// Arguments and extracts that nothing uses. An argument with `allowed`, or with a single allowed value, counts as used
/// because it validates the call.
pub(in crate::compile) fn unused(cx: &mut Cx<'_>, raw: &RawRoute, replies: &Replies, uses: &Uses) {
    for (name, argument) in raw.args.entries() {
        let guards = argument.get().is_some_and(|argument| {
            let words = argument.value.enumeration.get().map(|words| words.value.len());
            !argument.value.allowed.is_absent() || words == Some(1)
        });
        if !guards && !uses.argument(&name.value) {
            cx.advise(
                Diagnostic::new(Code::ArgumentUnused, name.span, format!("unused argument `{}`", name.value))
                    .label("the model must provide it, but nothing uses it")
                    .help(format!(
                        "write `{{{{args.{}}}}}` where it belongs, or remove the argument",
                        name.value
                    )),
            );
        }
    }
    if !replies.cases.iter().any(|case| case.when.failure.is_empty()) {
        // Without a case for success, the reply is all extracted values.
        return;
    }
    let steps = raw.steps.items();
    match steps {
        [] => unused_extracts(cx, &raw.extract, 0, None, uses),
        steps => {
            for (index, step) in steps.iter().enumerate() {
                let name = step.value.name.get().map(|name| name.value.as_str());
                unused_extracts(cx, &step.value.extract, index, name, uses);
            }
        }
    }
}

fn unused_extracts(
    cx: &mut Cx<'_>,
    raw: &Key<Named<RawExtract>>,
    step: usize,
    step_name: Option<&str>,
    uses: &Uses,
) {
    for (place, (name, extract)) in raw.get().into_iter().flat_map(|raw| &raw.value.0).enumerate() {
        // A required extract may be there to reject responses without it.
        let required = extract.get().and_then(|extract| extract.value.required.get());
        if required.is_some_and(|required| required.value) || uses.extract(step, place) {
            continue;
        }
        let written = match step_name {
            Some(step) => format!("{step}.{}", name.value),
            None => name.value.clone(),
        };
        cx.advise(
            Diagnostic::new(Code::ExtractUnused, name.span, format!("unused extract `{}`", name.value))
                .label("extracted but never used")
                .help(format!("write `{{{{{written}}}}}` where it belongs, or remove the extract")),
        );
    }
}

/// A write that would be sent twice if the platform retries the call.
pub(in crate::compile) fn unguarded(cx: &mut Cx<'_>, raw: &RawRoute, steps: &[Step], callers: &[&Served]) {
    let repeats = callers.iter().find(|served| !served.platform.identifies_calls());
    let Some(served) = repeats else { return };
    // An `idempotency_key` is derived from the call id. Without a call id, each retry has a different key.
    if !raw.repeat_window.is_absent() {
        return;
    }
    // PUT and DELETE are idempotent.
    let makes = |(step, _): &(&Step, &Located<RawRequest>)| {
        !step.request.is_safe() && !matches!(step.request.method, Method::PUT | Method::DELETE)
    };
    if let Some((step, request)) = steps.iter().zip(requests(raw)).find(makes) {
        let (method, platform) = (&step.request.method, served.platform.name());
        let span = request.value.method.span().unwrap_or(request.span);
        let is_read = method.is_safe();
        let safe = if is_read { "remove `safe = false` from" } else { "add `safe = true` to" };
        cx.advise(
            Diagnostic::new(
                Code::WriteUnguarded,
                span,
                format!("this {method} may be sent twice if `{platform}` retries a call"),
            )
            .label(format!("`{platform}` sends no call id, so retries cannot be detected"))
            .help(format!(
                "add `repeat_window = \"30s\"` to the route, or {safe} the request if it changes nothing"
            )),
        );
    }
}

/// A route, or arguments, without a description. Only models read them, so they matter if a platform declares tools.
pub(in crate::compile) fn descriptions(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    raw: &RawRoute,
    callers: &[&Served],
) {
    let nowhere = Endpoint { url: "", events: &[], form: None };
    if !callers.iter().any(|served| served.platform.declare(&[], &nowhere).is_some()) {
        return;
    }
    let is_blank =
        |text: &Key<String>| text.is_absent() || text.get().is_some_and(|text| text.value.trim().is_empty());
    if is_blank(&raw.description) {
        cx.advise(
            Diagnostic::new(
                Code::DescriptionMissing,
                name.span,
                format!("the route `{}` has no description", name.value),
            )
            .label("the model has only this name to choose the function")
            .help("add `description = \"…\"`: what the function does, and when to call it"),
        );
    }
    let arguments = raw.args.entries().iter();
    let blank = arguments
        .filter(|(_, argument)| argument.get().is_some_and(|argument| is_blank(&argument.value.description)));
    let blank: Vec<&Located<String>> = blank.map(|(name, _)| name).collect();
    if let Some(first) = blank.first() {
        let names: Vec<&str> = blank.iter().take(SHOWN).map(|name| name.value.as_str()).collect();
        let more = match blank.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (noun, verb) = if blank.len() == 1 { ("argument", "has") } else { ("arguments", "have") };
        cx.advise(
            Diagnostic::new(
                Code::ArgumentUndescribed,
                first.span,
                format!("the {noun} {}{more} {verb} no description", list(&names)),
            )
            .help(format!("add `description = \"…\"` to `args.{}`, for the model", first.value)),
        );
    }
}

/// Writes whose response is never looked at: neither its body nor, beyond success, its status or headers.
pub(in crate::compile) fn unchecked(
    cx: &mut Cx<'_>,
    raw: &RawRoute,
    steps: &[Step],
    replies: &Replies,
    uses: &Uses,
) {
    let names_status = replies.cases.iter().any(|case| !case.when.status.is_empty());
    if names_status || uses.heads() || steps.iter().any(|step| !step.when.status.is_empty()) {
        return;
    }
    for (step, request) in steps.iter().zip(requests(raw)) {
        if step.request.is_safe() || step.body.is_read() {
            continue;
        }
        let method = &step.request.method;
        let span = request.value.method.span().unwrap_or(request.span);
        cx.advise(
            Diagnostic::new(
                Code::WriteUnchecked,
                span,
                format!("the response to this {method} is never looked at"),
            )
            .label("an error that the API reports with status 200 goes unnoticed")
            .help(
                "if the API reports errors in the body, add a reply case such as `when.truthy = \"$.error\"` with \
                 `failure = \"bad_response\"`, or a `required` extract",
            ),
        );
    }
}

/// The requests of a route, in the order of its steps.
fn requests(raw: &RawRoute) -> impl Iterator<Item = &Located<RawRequest>> {
    let list = raw.steps.items();
    let written = list.iter().map(|step| &step.value.request);
    written.chain(list.is_empty().then_some(&raw.request)).filter_map(Key::get)
}

/// A `timeout` that is longer than any platform waits.
pub(in crate::compile) fn timeout(
    cx: &mut Cx<'_>,
    raw: &RawRoute,
    timeout: Option<Duration>,
    callers: &[&Served],
) {
    let (Some(timeout), Some(text)) = (timeout, raw.timeout.get()) else { return };
    let longest = callers.iter().max_by_key(|served| served.budget);
    if let Some(served) = longest.filter(|served| budget(timeout) > served.budget) {
        cx.advise(
            Diagnostic::new(
                Code::DeadlineTooLong,
                text.span,
                format!("no platform waits that long: a call from `{}` ends earlier", served.platform.name()),
            )
            .label("has no effect")
            .help("set a time below the platform's `deadline`, or remove the key"),
        );
    }
}
