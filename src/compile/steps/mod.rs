//! `[[routes.x.steps]]`, or the single step of a `request`: the requests of a route and their order.

pub(in crate::compile) mod body;
pub(in crate::compile) mod extracts;
pub(in crate::compile) mod needs;
pub(in crate::compile) mod parameters;
pub(in crate::compile) mod request;
pub(in crate::compile) mod step;

use crate::call::FailureKind;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::lang::template::{RESERVED, StepNames};
use crate::plan::route::Step;
use crate::plan::when::When;
use crate::table::document::Located;
use crate::table::raw::{RawRoute, RawStep};
use crate::table::reader::missing_key;

use crate::compile::cx::Cx;
use crate::compile::names::Inputs;
use crate::compile::replies::when;
use crate::compile::state::memory;
use crate::compile::upstreams::Upstreams;

use step::StepPlan;

/// The maximum number of steps in a route. More could not finish within a call's deadline.
const MAX_STEPS: usize = 32;

/// The steps of a route without errors, and the names that they define.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    raw: &RawRoute,
    inputs: &Inputs<'_>,
    upstreams: &Upstreams<'_>,
) -> (Vec<Step>, Vec<StepNames>) {
    if !raw.steps.is_absent() {
        return named_steps(cx, raw, inputs, upstreams);
    }
    let extracts = extracts::names(cx, &raw.extract);
    let names = vec![StepNames { name: None, extracts }];
    let known = inputs.names(&names, 0);
    let extraction = extracts::compile(cx, &raw.extract, &known);
    if raw.request.is_absent() {
        no_request(cx, raw);
        // Define the names even if the request is missing, so that this is one error instead of one per use of a name.
        let meant = !raw.upstream.is_absent() || !raw.extract.is_absent();
        return (Vec::new(), if meant { names } else { Vec::new() });
    }
    let plan = StepPlan {
        owner: format!("route `{}`", name.value),
        owner_span: name.span,
        upstream: &raw.upstream,
        request: &raw.request,
        response: &raw.response,
        names: known,
        extraction,
        when: When::default(),
        after_failure_of: None,
        remember: Vec::new(),
    };
    let step = step::compile(cx, plan, upstreams);
    (step.into_iter().collect(), names)
}

/// Reports the keys that need a `request`.
fn no_request(cx: &mut Cx<'_>, raw: &RawRoute) {
    if let Some(upstream) = raw.upstream.span() {
        cx.report(
            Diagnostic::new(
                Code::RequestIncomplete,
                upstream,
                "this route has an `upstream` but no `request`",
            )
            .help("add `request = { method = \"GET\", path = \"/…\" }`"),
        );
    }
    for (span, what) in [(raw.extract.span(), "`extract`"), (raw.response.span(), "`response`")] {
        // If there is an upstream, the missing request has been reported already.
        if let Some(span) = span.filter(|_| raw.upstream.is_absent()) {
            cx.report(
                Diagnostic::new(
                    Code::NeedsRequest,
                    span,
                    format!("{what} needs a response, but this route sends no request"),
                )
                .help("add a `request`, or remove this key"),
            );
        }
    }
}

/// The steps of a route with `steps`.
fn named_steps(
    cx: &mut Cx<'_>,
    raw: &RawRoute,
    inputs: &Inputs<'_>,
    upstreams: &Upstreams<'_>,
) -> (Vec<Step>, Vec<StepNames>) {
    report_keys_beside_steps(raw, cx.diagnostics);
    let list = step_list(raw, cx.diagnostics);
    let mut names: Vec<StepNames> = Vec::new();
    for step in list {
        let extracts = extracts::names(cx, &step.value.extract);
        let name = step_name(cx, step, list).unwrap_or_default();
        names.push(StepNames { name: Some(name), extracts });
    }
    let mut steps: Vec<Step> = Vec::new();
    for (index, step) in list.iter().enumerate() {
        // The steps of a group run concurrently, so each sees only the results from before the group.
        let before = group_start(list, index);
        let (when, after_failure_of) = step_when(cx, step, &names, before, inputs);
        let known = inputs.names(&names, before);
        let extraction = extracts::compile(cx, &step.value.extract, &known);
        let name = names[index].name.clone();
        let plan = StepPlan {
            owner: format!("step `{}`", name.as_deref().unwrap_or_default()),
            owner_span: step.value.name.span().unwrap_or(step.span),
            upstream: if step.value.upstream.is_absent() { &raw.upstream } else { &step.value.upstream },
            request: &step.value.request,
            response: &step.value.response,
            names: known,
            extraction,
            when,
            after_failure_of,
            remember: memory::compile(cx, &step.value.remember, &inputs.names(&names, index + 1)),
        };
        if let Some(mut built) = step::compile(cx, plan, upstreams) {
            built.request.step = name.as_deref().unwrap_or_default().into();
            let group = step.value.group.get().map(|group| group.value.clone());
            steps.push(Step { name, group, ..built });
        }
    }
    let covered: Vec<usize> = steps.iter().filter_map(|step| step.after_failure_of).collect();
    for (index, step) in steps.iter_mut().enumerate() {
        step.has_fallback = covered.contains(&index);
    }
    (steps, names)
}

fn step_name(cx: &mut Cx<'_>, step: &Located<RawStep>, list: &[Located<RawStep>]) -> Option<String> {
    let Some(name) = step.value.name.get() else {
        if step.value.name.is_absent() {
            cx.report(missing_key(
                step.span,
                "this step has no `name`",
                "add `name = \"lookup\"`: templates refer to its results by this name",
            ));
        }
        return None;
    };
    if RESERVED.contains(&name.value.as_str()) {
        cx.report(extracts::reserved(name, "step"));
    } else if name.value.is_empty()
        || !name.value.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    {
        cx.report(
            Diagnostic::new(Code::InvalidName, name.span, format!("invalid step name `{}`", name.value))
                .help("use letters, digits and `_`, so that templates can write it"),
        );
    }
    let first = list.iter().filter_map(|step| step.value.name.get()).find(|other| other.value == name.value);
    if let Some(first) = first.filter(|first| first.span != name.span) {
        cx.report(
            Diagnostic::new(Code::DuplicateName, name.span, format!("duplicate step `{}`", name.value))
                .related(first.span, "first defined here")
                .help("give each step its own name"),
        );
    }
    Some(name.value.clone())
}

/// The conditions of a step, and the step it is a fallback for.
fn step_when(
    cx: &mut Cx<'_>,
    step: &Located<RawStep>,
    names: &[StepNames],
    before: usize,
    inputs: &Inputs<'_>,
) -> (When, Option<usize>) {
    let Some(raw) = step.value.when.get() else { return (When::default(), None) };
    if let Some(failure) = raw.value.failure.get() {
        cx.report(
            Diagnostic::new(
                Code::UnknownKey,
                failure.span,
                "`failure` names a kind of failure and belongs in the `when` of a reply case",
            )
            .help("write `when.failed = \"lookup\"` to run this step after the step `lookup` has failed"),
        );
    }
    let known = inputs.names(names, before);
    let when = when::compile(cx, &raw.value, &known, before > 0);
    let earlier = || names[..before].iter().filter_map(|step| step.name.as_deref());
    let failed = raw.value.failed.get().and_then(|failed| {
        let found = earlier().position(|name| name == failed.value);
        if found.is_none() {
            let is_kind = FailureKind::from_slug(&failed.value).is_some();
            cx.report(
                Diagnostic::new(
                    Code::UnknownName,
                    failed.span,
                    format!("no earlier step is named `{}`", failed.value),
                )
                .maybe_help(suggest(&failed.value, earlier()))
                .maybe_help(is_kind.then(|| {
                    format!(
                        "`{0}` is a kind of failure: in a reply case write `when.failure = \"{0}\"`",
                        failed.value
                    )
                })),
            );
        }
        found
    });
    (when, failed)
}

/// Reports each key that belongs in a step when the route has `steps`.
fn report_keys_beside_steps(raw: &RawRoute, diagnostics: &mut Diagnostics) {
    let beside =
        [("request", raw.request.span()), ("extract", raw.extract.span()), ("response", raw.response.span())];
    for (key, span) in beside {
        if let Some(span) = span {
            diagnostics.push(
                Diagnostic::new(
                    Code::ConflictingKeys,
                    span,
                    format!("`{key}` and `steps` exclude each other"),
                )
                .help(format!("move `{key}` into the step it belongs to")),
            );
        }
    }
}

/// The listed steps; none if there are too few or too many.
fn step_list<'r>(raw: &'r RawRoute, diagnostics: &mut Diagnostics) -> &'r [Located<RawStep>] {
    let list = raw.steps.items();
    if (1..=MAX_STEPS).contains(&list.len()) {
        return list;
    }
    if let Some(span) = raw.steps.span() {
        diagnostics.push(
            Diagnostic::new(Code::RequestIncomplete, span, format!("a route has 1 to {MAX_STEPS} steps"))
                .help("remove `steps` if the route sends no request"),
        );
    }
    &[]
}

/// The first step of the group that a step belongs to: the step itself without a group.
fn group_start(list: &[Located<RawStep>], index: usize) -> usize {
    let group = |index: usize| list[index].value.group.get().map(|group| group.value.as_str());
    let Some(own) = group(index) else { return index };
    (0..index).rev().take_while(|&earlier| group(earlier) == Some(own)).last().unwrap_or(index)
}
